"""Names cut into segments, ready to be matched and to be written."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from types import MappingProxyType

from mapcc.ir.expr import Expr, Name
from mapcc.ir.patterns import Deep, Group, Index, NameAxis, Part, Pattern, Regex, Star, Text
from mapcc.text import Span

MAX_LABEL_VARIANTS = 20_000
MAX_SEGMENTS = 256


@dataclass(frozen=True, slots=True)
class Hole:
    """A place in a name that a variable fills: ``*1``, ``**1``, ``/x``, ``[e``, or an index.

    ``expr`` is the index expression; ``regex`` what a ``/x`` must match; ``width`` how many digits a
    number has with the zeros in front of it.
    """

    variable: str
    expr: Expr | None = None
    regex: str | None = None
    width: int = 0


Piece = str | Hole
Segment = tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Variant:
    """A name with its labelled axes written out: ``positions`` along each of them."""

    positions: tuple[tuple[str, int], ...]
    segments: tuple[Segment, ...]
    separator: str
    span: Span | None = field(default=None, compare=False)

    @property
    def holes(self) -> Iterator[Hole]:
        for segment in self.segments:
            for piece in segment:
                if isinstance(piece, Hole):
                    yield piece


def count_segments(pattern: Pattern, separator: str) -> int:
    """How many segments and parts a name has: how deep whoever walks through it gets."""
    return len(pattern.parts) + sum(
        part.text.count(separator) for part in pattern.parts if isinstance(part, Text)
    )


def name_axes(pattern: Pattern) -> tuple[NameAxis, ...]:
    return tuple(part for part in pattern.parts if isinstance(part, NameAxis))


def variants(
    pattern: Pattern, separator: str, regexes: Mapping[str, str] = MappingProxyType({})
) -> list[Variant]:
    """One variant for each choice of labels. Groups must be gone.

    ``regexes`` are the words that a regular expression defines somewhere in the rule: ``{x}`` has to
    match it too.

    >>> from mapcc.ir.patterns import Text as T
    >>> [v.segments for v in variants(Pattern((T("a."), NameAxis("t", ("q", "k")))), ".")]
    [(('a',), ('q',)), (('a',), ('k',))]
    """
    labelled = [axis for axis in name_axes(pattern) if axis.labels is not None]
    out: list[Variant] = []
    choices = product(*(range(len(axis.labels or ())) for axis in labelled))
    for numbers in islice(choices, MAX_LABEL_VARIANTS):  # more of them are a fault of the name
        at = iter(numbers)
        pieces = list(_pieces(pattern.parts, at, regexes))
        positions = tuple((axis.atom, k) for axis, k in zip(labelled, numbers, strict=True))
        out.append(Variant(positions, _cut(pieces, separator), separator, pattern.span))
    return out


def _pieces(parts: Sequence[Part], at: Iterator[int], regexes: Mapping[str, str]) -> Iterator[Piece]:
    stars = deeps = 0
    for part in parts:
        match part:
            case Text(text):
                yield text
            case Star():
                stars += 1
                yield Hole(f"*{stars}")
            case Deep():
                deeps += 1
                yield Hole(f"**{deeps}")
            case Index(Name(name)) if name in regexes:
                yield Hole(f"/{name}", regex=regexes[name])
            case Index(expr, width):
                yield Hole(expr.name if isinstance(expr, Name) else "", expr, width=width)
            case Regex(name, expression):
                yield Hole(f"/{name}", regex=expression)
            case NameAxis(atom, None, width):
                yield Hole(f"[{atom}", width=width)
            case NameAxis(_, labels):
                assert labels is not None
                yield labels[next(at)]
            case Group():
                raise AssertionError("groups are expanded before names are cut")


def _cut(pieces: Sequence[Piece], separator: str) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    current: list[Piece] = []

    def text(piece: str) -> None:
        if not piece:
            return
        if current and isinstance(current[-1], str):
            current[-1] += piece
        else:
            current.append(piece)

    for piece in pieces:
        if isinstance(piece, Hole):
            current.append(piece)
            continue
        first, *others = piece.split(separator)
        text(first)
        for other in others:
            segments.append(tuple(current))
            current = []
            text(other)
    segments.append(tuple(current))
    return tuple(segments)


def is_deep(segment: Segment) -> bool:
    return len(segment) == 1 and isinstance(segment[0], Hole) and segment[0].variable.startswith("**")
