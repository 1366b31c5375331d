"""Which names a set of patterns matches: one trie over segments for all of them.

A name is walked once, whatever the number of patterns. Literal segments are looked up; what is
left at a node are the few distinct shapes of segments with holes. Names that differ in their
numbers alone (256 experts of 61 layers) are walked once for all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from time import thread_time
from typing import Any

import regex

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.passes.regexes import INTEGER, expression_of
from mapcc.passes.segments import Hole, Segment, Variant, is_deep

REGEX_SECONDS = 0.05
REGEX_BUDGET = 2.0
REGEX_FREE = 0.000_05  # an ordinary match takes a tenth; a million of them are no fault of the expression


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """The end of a pattern: its owner's key, and the holes whose texts a match gives, in order."""

    owner: Any
    variant: Variant
    holes: tuple[Hole, ...]


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    integer: _Node | None = None
    anything: _Node | None = None
    expressions: dict[str, tuple[Any, _Node]] = field(default_factory=dict)
    deep: _Node | None = None
    leaves: list[Leaf] = field(default_factory=list)


# The text of a hole, as long as the numbers of a name are open: text, the place of a number, or
# (for ``**``) several of both.
OpenText = str | int | tuple[str | int, ...]

# The text of a hole during a walk: ``**`` is cut out of the name when a pattern has matched, and not for
# each place where it might end.
_Text = str | slice


@dataclass(slots=True)
class OpenMatch:
    """What all names match that differ in their numbers alone; ``note`` is for who asked."""

    leaves: list[tuple[Leaf, list[OpenText]]]
    note: Any = None


class Trie:
    """Patterns of one side; they share its separator."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self._root = _Node()
        self._budget = REGEX_BUDGET
        sign = re.escape(separator)
        self._number = re.compile(rf"(?<![^{sign}])({INTEGER})(?![^{sign}])")
        # The same in names of one line each, where each number has a separator in front.
        self._mark = re.compile(rf"{sign}({INTEGER})(?=[{sign}\n])")
        self._named: set[str] = set()  # numbers that patterns name, as in ``net.0.proj``
        self._is_open = len(separator) == 1
        self._known: dict[tuple[str, ...], OpenMatch] = {}

    def add(self, owner: Any, variant: Variant) -> None:
        self._known.clear()
        node = self._root
        for segment in variant.segments:
            node = self._child(node, segment)
        node.leaves.append(Leaf(owner, variant, tuple(variant.holes)))

    def _child(self, node: _Node, segment: Segment) -> _Node:
        if all(isinstance(piece, str) for piece in segment):
            literal = "".join(map(str, segment))
            if self._number.fullmatch(literal):
                self._named.add(literal)
            return node.literals.setdefault(literal, _Node())
        if is_deep(segment):
            node.deep = node.deep or _Node()
            return node.deep
        if len(segment) == 1 and isinstance(segment[0], Hole) and segment[0].regex is None:
            if segment[0].variable.startswith("*"):
                node.anything = node.anything or _Node()
                return node.anything
            if not segment[0].variable.startswith("/") and not segment[0].width:
                node.integer = node.integer or _Node()
                return node.integer
        if any(isinstance(piece, Hole) and piece.width for piece in segment) or all(
            not isinstance(piece, str) or piece.isdigit() for piece in segment
        ):
            self._is_open = False  # what it matches depends on the digits of a number
        text = expression_of(segment)
        if text not in node.expressions:
            node.expressions[text] = (regex.compile(text), _Node())
        return node.expressions[text][1]

    def match(self, name: str) -> list[tuple[Leaf, list[str]]]:
        """Every pattern that matches a name, with the texts of its holes."""
        found, numbers = self.open_match(name)
        return [(leaf, closed(texts, numbers)) for leaf, texts in found.leaves]

    def open_matches(self, names: Collection[str]) -> Iterator[tuple[str, OpenMatch, list[int]]]:
        """Each name with its open match and its numbers. All are cut at once: one by one is far dearer."""
        text = self._one_a_line(names)
        shapes = self.shapes(names, text) if self._is_open else []
        if not shapes:
            for name in names:
                found, digits = self.open_match(name)
                yield name, found, list(map(int, digits))
            return
        every = list(map(int, self._mark.findall(text)))
        named = set(map(int, self._named))
        known: dict[object, tuple[OpenMatch, int]] = {}
        at = 0
        for name, shape in zip(names, shapes, strict=True):
            key: object = shape
            if named:
                numbers = every[at : at + shape.count("\0")]
                key = (shape, *[number if number in named else None for number in numbers])
            if key not in known:
                known[key] = (self.open_match(name)[0], shape.count("\0"))
            found, count = known[key]
            yield name, found, every[at : at + count]
            at += count

    @property
    def is_blind(self) -> bool:
        """Whether names that differ in their numbers alone are alike to all its patterns."""
        return self._is_open and not self._named

    def shapes(self, names: Collection[str], text: str = "") -> list[str]:
        """What names are but for their numbers; nothing where that cannot be told of all at once."""
        text = text or self._one_a_line(names)
        shapes = self._mark.sub("\0", text).split("\n")[:-1]
        return [] if len(shapes) != len(names) or "\0" in text else shapes

    def _one_a_line(self, names: Iterable[str]) -> str:
        return f"\n{self.separator}".join(["", *names])[1:] + "\n"

    def open_match(self, name: str) -> tuple[OpenMatch, list[str]]:
        """A match that leaves the numbers of a name open, and the numbers."""
        if not self._is_open:
            return OpenMatch([(leaf, list(texts)) for leaf, texts in self._walked(name)]), []
        parts = self._number.split(name)
        numbers = parts[1::2]
        shape = tuple(parts[::2])
        if self._named:
            shape += tuple([number if number in self._named else "" for number in numbers])
        found = self._known.get(shape)
        if found is None:
            found = self._known[shape] = OpenMatch(self._walked_open(parts))
        return found, numbers

    def _walked(self, name: str) -> list[tuple[Leaf, list[str]]]:
        out: list[tuple[Leaf, list[str]]] = []
        self._walk(self._root, name.split(self.separator), 0, [], out)
        return out

    def _walked_open(self, parts: list[str]) -> list[tuple[Leaf, list[OpenText]]]:
        """Like ``_walked``, with marks for numbers that no pattern names."""
        marks: dict[str, int] = {}
        marked = list(parts)
        for at in range(1, len(parts), 2):
            if parts[at] not in self._named:
                marked[at] = _mark(len(marks), self._named)
                marks[marked[at]] = at // 2
        return [
            (leaf, [_opened(text, marks) for text in texts]) for leaf, texts in self._walked("".join(marked))
        ]

    def _walk(
        self, node: _Node, segments: list[str], at: int, texts: list[_Text], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        while True:
            if at == len(segments):
                if node.leaves:
                    whole = _cut(texts, segments)
                    out.extend((leaf, whole) for leaf in node.leaves)
                return
            segment = segments[at]
            literal = node.literals.get(segment)
            integer = node.integer
            if integer is not None and not (
                segment.isdigit()
                and segment.isascii()
                and (segment[0] != "0" or segment == "0")
                and len(segment) < 19
            ):
                integer = None
            if not (node.anything or node.expressions or node.deep):
                # The usual case by far: one way on.
                if integer is None:
                    if literal is None:
                        return
                    node, at = literal, at + 1
                    continue
                if literal is None:
                    node, at, texts = integer, at + 1, [*texts, segment]
                    continue
            break
        if literal is not None:
            self._walk(literal, segments, at + 1, texts, out)
        if integer is not None:
            self._walk(integer, segments, at + 1, [*texts, segment], out)
        if node.anything is not None and segment:
            self._walk(node.anything, segments, at + 1, [*texts, segment], out)
        for compiled, child in node.expressions.values():
            found = self._full_match(compiled, segment, child)
            if found is not None:
                self._walk(child, segments, at + 1, [*texts, *found], out)
        if node.deep is not None:
            self._walk_deep(node.deep, segments, at, texts, out)

    def _walk_deep(
        self, node: _Node, segments: list[str], at: int, texts: list[_Text], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        if node.leaves and all(segments[at:]):
            deep = _cut([*texts, slice(at, None)], segments)
            out.extend((leaf, deep) for leaf in node.leaves)
        if node.literals or node.integer or node.anything or node.expressions:
            for end in range(at + 1, len(segments)):
                self._walk_after_deep(node, segments, end, [*texts, slice(at, end)], out)

    def _walk_after_deep(
        self, node: _Node, segments: list[str], at: int, texts: list[_Text], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        # The node's own leaves end at the ``**``: they were taken above.
        bare = _Node(node.literals, node.integer, node.anything, node.expressions, None, [])
        self._walk(bare, segments, at, texts, out)

    def _full_match(self, compiled: Any, segment: str, node: _Node) -> list[str] | None:
        started = thread_time()
        try:
            found = compiled.fullmatch(segment, timeout=REGEX_SECONDS)
        except TimeoutError:
            raise _too_slow(node, segment) from None
        spent = thread_time() - started
        if spent > REGEX_FREE:
            self._budget -= spent
            if self._budget < 0:
                raise _too_slow(node, segment)
        if found is None:
            return None
        return [found.group(f"_{k}") for k in range(sum(key.startswith("_") for key in found.groupdict()))]


def _cut(texts: Sequence[_Text], segments: list[str]) -> list[str]:
    return [text if isinstance(text, str) else "\0".join(segments[text]) for text in texts]


def _too_slow(node: _Node, segment: str) -> MappingError:
    """Told at the place of the first pattern that goes through a node."""
    leaf = _first_leaf(node)
    expressions = [hole.regex for hole in leaf.holes if hole.regex is not None]
    what = f"/{expressions[0]}/" if expressions else "this pattern"
    message = f"it takes too long to say whether {what} matches `{segment}`"
    help = "say it with less: {i} is a number, * a text, {a,b} one of these"
    return MappingError([Diagnostic("MC412", message, leaf.variant.span, help=help)])


def _first_leaf(node: _Node) -> Leaf:
    while not node.leaves:
        ways = (node.integer, node.anything, node.deep)
        following = [*node.literals.values(), *(way for way in ways if way is not None)]
        following += [child for _, child in node.expressions.values()]
        node = following[0]
    return node.leaves[0]


def _mark(count: int, named: set[str]) -> str:
    """A number that no pattern names."""
    number = 10**17 + count
    while str(number) in named:
        number += 1000
    return str(number)


def _opened(text: str, marks: dict[str, int]) -> OpenText:
    pieces = tuple([marks.get(piece, piece) for piece in text.split("\0")])
    return pieces[0] if len(pieces) == 1 else pieces


def closed(texts: list[OpenText], numbers: Sequence[str | int]) -> list[str]:
    """The texts of a match, for these numbers."""
    return [text if isinstance(text, str) else _closed(text, numbers) for text in texts]


def _closed(text: OpenText, numbers: Sequence[str | int]) -> str:
    if isinstance(text, int):
        return str(numbers[text])
    if isinstance(text, tuple):
        return "\0".join([str(numbers[piece]) if isinstance(piece, int) else piece for piece in text])
    return text
