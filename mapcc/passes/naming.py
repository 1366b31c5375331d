"""Names as patterns that can be typed: folded names, and what a misspelt one has to become."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import count, groupby, islice, product

from mapcc.diagnostics.model import Edit
from mapcc.diagnostics.suggest import is_slip
from mapcc.ir import rules
from mapcc.ir.expr import Name, Number
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Group, Index, Part, Pattern, Regex, Text, merge_texts
from mapcc.text import Span

_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(?:(?:0|[1-9][0-9]{0,17})(?:\.\.[0-9]+)?)(?:,(?:0|[1-9][0-9]{0,17})(?:\.\.[0-9]+)?)*")
SEPARATORS = (".", "/")
MAX_MEMBERS = 1000
_LETTERS = "ijklmnopqrst"
_PADDED = re.compile(r"(?<![0-9])0[0-9]{1,5}(?![0-9])")
_TOKEN = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]")


def pattern_of(template: str, names: Container[str] = ()) -> Pattern:
    """A folded name as a pattern: ``blocks.{0..3}.x`` is ``blocks.{i}.x``, and ``{w,b}`` is a group.

    Numbers with gaps are a group too. ``names`` are those that were folded: what is one of them is
    itself, whatever characters it has.
    """
    return Pattern(tuple(_parts(template, names)))


def padded(name: str) -> str | None:
    """A name whose numbers have zeros in front, with indices of that width; None if there are none.

    >>> padded("layer_007.w"), padded("layer_7.w"), padded("layer_{0..3}.007")
    ('layer_{i:03}.w', None, None)
    """
    widths = [len(found) for found in _PADDED.findall(name)]
    if not widths or "{" in name or len(set(widths)) > 1:
        return None
    letters = _indices()
    parts: list[Part] = []
    for at, text in enumerate(re.split(rf"(?<![0-9])([0-9]{{{widths[0]}}})(?![0-9])", name)):
        parts.append(Index(Name(next(letters)), width=widths[0]) if at % 2 else Text(text))
    return print_name(Pattern(merge_texts(parts)))


def bounds_of(
    template: str, names: Container[str] = (), *, needed: bool = False
) -> tuple[rules.Condition, ...]:
    """What holds :func:`pattern_of` to the numbers of the template; those ``needed`` do not begin with 0."""
    conditions: list[rules.Condition] = []
    if template in names:
        return ()
    letters = _indices()
    for found in _BRACES.findall(template):
        numbers = _run(found)
        if numbers is not None:
            letter = next(letters)
            if numbers.start or not needed:
                low, high = Number(numbers.start), Number(numbers.stop - 1)
                conditions.append(rules.InRange(Name(letter), low, high))
    return tuple(conditions)


def _run(braced: str) -> range | None:
    """The numbers in braces, if they have no gap."""
    if not _NUMBERS.fullmatch(braced):
        return None
    runs = [piece.partition("..") for piece in braced.split(",")]
    first, last = int(runs[0][0]), int(runs[-1][2] or runs[-1][0])
    count = sum(int(high or low) - int(low) + 1 for low, _, high in runs)
    return range(first, last + 1) if count == last - first + 1 else None


def _members(braced: str) -> list[str]:
    """The texts in braces; of numbers each."""
    if not _NUMBERS.fullmatch(braced):
        return braced.split(",")
    runs = [piece.partition("..") for piece in braced.split(",")]
    return [
        str(n) for low, _, high in runs for n in islice(range(int(low), int(high or low) + 1), MAX_MEMBERS)
    ]


def _parts(template: str, names: Container[str]) -> Sequence[Part]:
    unseen = count(1)
    if template in names:
        return merge_texts(_texts(template, unseen))
    parts: list[Part] = []
    letters, at = _indices(), 0
    for found in _BRACES.finditer(template):
        parts += _texts(template[at : found.start()], unseen, not at, False)
        if _run(found[1]) is not None:
            parts.append(Index(Name(next(letters))))
        else:
            members = (merge_texts(_texts(text, unseen)) for text in _members(found[1]))
            parts.append(Group(tuple(members)))
        at = found.end()
    parts += _texts(template[at:], unseen, not at, True)
    return merge_texts(parts)


def _texts(text: str, unseen: Iterator[int], is_first: bool = True, is_last: bool = True) -> list[Part]:
    """In quotes where segments are empty, which are meant; what cannot be seen as an expression."""
    doubled = any(separator * 2 in text for separator in SEPARATORS)
    begins, ends = text.startswith(SEPARATORS), text.endswith(SEPARATORS)
    quoted = doubled or (is_first and begins) or (is_last and ends)
    parts: list[Part] = []
    for seen, run in groupby(text, str.isprintable):
        piece = "".join(run)
        if seen:
            parts.append(Text(piece, quoted))
        else:
            parts.append(Regex(f"u{next(unseen)}", "".join(f"\\U{ord(char):08x}" for char in piece)))
    return parts


def _indices() -> Iterator[str]:
    yield from _LETTERS
    yield from (f"i{number}" for number in count(1))


_WILD = "\0"  # the token of whatever is no text of its own


def tokens_of(pattern: Pattern) -> list[str]:
    """The words of a pattern, and one token for each wildcard."""
    out: list[str] = []
    for part in pattern.parts:
        out += _TOKEN.findall(part.text) if isinstance(part, Text) else [_WILD]
    return out


def sample_of(pattern: Pattern) -> str:
    """A name that looks like those of a pattern."""
    return "".join("0" if token == _WILD else token for token in tokens_of(pattern))


@dataclass(frozen=True, slots=True)
class Renaming:
    """Edits of a name as it is written; ``is_slip``: letters of one word, and only one way to be wrong."""

    edits: tuple[Edit, ...]
    is_slip: bool


def renaming(
    written: Span, given: Sequence[str], meant: str, indices: Mapping[str, int | str]
) -> Iterator[Renaming]:
    """How a name may be written to be ``meant`` in place of what ``given`` (its tokens) is.

    The name may have groups, stars and indices, and a block around it: what differs is looked for
    in the text. ``indices`` are the rule's, with their values: a number that is one of them becomes it.
    """
    theirs = _TOKEN.findall(meant)
    changes = list(_changes(given, theirs))
    if not changes or len(changes) > 3:
        return
    (a, b, c, d) = changes[0]
    one = len(changes) == 1 and (b - a, d - c) == (1, 1)
    places = [list(_placed(written, given, a, b))[:3] for a, b, _, _ in changes]
    texts = [_with_indices(theirs[c:d], indices) for _, _, c, d in changes]
    for chosen in islice(product(*places), 4):
        edits = tuple(Edit(place, text) for place, text in zip(chosen, texts, strict=True))
        yield Renaming(edits, one and is_slip(given[a], theirs[c]))


def _changes(given: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[int, int, int, int]]:
    """The runs of tokens that differ; a wildcard stands for what is there."""
    for kind, a, b, c, d in SequenceMatcher(None, given, theirs, autojunk=False).get_opcodes():
        if kind == "replace" and b - a == d - c:
            yield from ((a + k, a + k + 1, c + k, c + k + 1) for k in range(b - a) if given[a + k] != _WILD)
        elif kind != "equal" and set(given[a:b]) != {_WILD}:
            yield a, b, c, d


def _with_indices(tokens: Sequence[str], indices: Mapping[str, int | str]) -> str:
    by_value: dict[str, str] = {}
    for index, value in indices.items():
        by_value.setdefault(str(value), index)
    return "".join(f"{{{by_value[token]}}}" if token in by_value else token for token in tokens)


def _placed(written: Span, tokens: Sequence[str], start: int, end: int) -> Iterator[Span]:
    """Where in the text the tokens ``start`` to ``end`` may stand: next to what they stand next to."""
    text, old = written.text, "".join(tokens[start:end])
    seen: set[int] = set()
    # With as many neighbours as it takes to find one place.
    for more in range(5):
        before = "".join(tokens[max(0, start - more) : start])
        after = "".join(tokens[end : end + more])
        for left, right in ((before, after), (before, ""), ("", after)):
            found = _places(text, left + old + right)
            if len(found) == 1 and (at := written.start + found[0] + len(left)) not in seen:
                seen.add(at)
                yield Span(written.source, at, at + len(old))


def _places(text: str, piece: str) -> list[int]:
    if not piece or _WILD in piece:
        return []
    found = [match.start() for match in re.finditer(f"(?={re.escape(piece)})", text)]
    return [at for at in found if _bounded(text, at, len(piece))]


def _bounded(text: str, start: int, length: int) -> bool:
    """Whether a piece of text begins and ends with a token."""
    piece = text[start : start + length]
    before, after = text[start - 1 : start], text[start + length : start + length + 1]
    return not (_joins(before, piece[:1]) or _joins(piece[-1:], after))


def _joins(a: str, b: str) -> bool:
    return bool(a and b) and ((a.isalpha() and b.isalpha()) or (a.isdigit() and b.isdigit()))
