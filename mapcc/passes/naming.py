"""Names as patterns that can be typed: folded names, and what a misspelt one has to become."""

from __future__ import annotations

import re
from collections.abc import Container, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import count

from mapcc.diagnostics.model import Edit
from mapcc.ir import rules
from mapcc.ir.expr import Name, Number
from mapcc.ir.patterns import Group, Index, Part, Pattern, Text, merge_texts
from mapcc.text import Span

_BRACES = re.compile(r"\{([^{}]*)\}")
_NUMBERS = re.compile(r"(?:(?:0|[1-9][0-9]{0,17})(?:\.\.[0-9]+)?)(?:,(?:0|[1-9][0-9]{0,17})(?:\.\.[0-9]+)?)*")
_LETTERS = "ijklmnopqrst"
_TOKEN = re.compile(r"[A-Za-z]+|[0-9]+|[^A-Za-z0-9]")


def pattern_of(template: str, names: Container[str] = ()) -> Pattern:
    """A folded name as a pattern: ``blocks.{0..3}.x`` is ``blocks.{i}.x``, and ``{w,b}`` is a group.

    ``names`` are those that were folded: what is one of them is itself, whatever characters it has.
    """
    return Pattern(tuple(_parts(template, names)))


def bounds_of(template: str, names: Container[str] = ()) -> tuple[rules.Condition, ...] | None:
    """What holds :func:`pattern_of` to the indices of the template; None if that is no range."""
    conditions: list[rules.Condition] = []
    if template in names:
        return ()
    for letter, numbers in zip(
        _indices(), filter(_NUMBERS.fullmatch, _BRACES.findall(template)), strict=False
    ):
        first, dots, last = numbers.partition("..")
        if not dots or "," in numbers:
            return None
        conditions.append(rules.InRange(Name(letter), Number(int(first)), Number(int(last))))
    return tuple(conditions)


def _parts(template: str, names: Container[str]) -> Sequence[Part]:
    if template in names:
        return merge_texts((Text(template),))
    parts: list[Part] = []
    letters, at = _indices(), 0
    for found in _BRACES.finditer(template):
        parts.append(Text(template[at : found.start()]))
        if _NUMBERS.fullmatch(found[1]):
            parts.append(Index(Name(next(letters))))
        else:
            parts.append(Group(tuple(merge_texts((Text(text),)) for text in found[1].split(","))))
        at = found.end()
    parts.append(Text(template[at:]))
    return merge_texts(parts)


def _indices() -> Iterator[str]:
    yield from _LETTERS
    yield from (f"i{number}" for number in count(1))


def renaming(
    written: Span, given: str, meant: str, indices: dict[str, int | str]
) -> Iterator[tuple[Edit, ...]]:
    """Edits of a name as it is written, by which it gives ``meant`` in place of ``given``.

    The name may have groups, stars and indices, and a block around it: what differs is looked for
    in the text. ``indices`` are the rule's, with their values: a number that is one of them becomes it.
    """
    ours, theirs = _TOKEN.findall(given), _TOKEN.findall(meant)
    changes = [
        op for op in SequenceMatcher(None, ours, theirs, autojunk=False).get_opcodes() if op[0] != "equal"
    ]
    if not changes or len(changes) > 3:
        return
    edits: list[Edit] = []
    for _, a, b, c, d in changes:
        old, new = "".join(ours[a:b]), _with_indices(theirs[c:d], indices)
        place = _placed(written, ours, a, b, old)
        if place is None:
            return
        edits.append(Edit(place, new))
    yield tuple(edits)


def _with_indices(tokens: Sequence[str], indices: dict[str, int | str]) -> str:
    by_value: dict[str, str] = {}
    for index, value in indices.items():
        by_value.setdefault(str(value), index)
    return "".join(f"{{{by_value[token]}}}" if token in by_value else token for token in tokens)


def _placed(written: Span, tokens: Sequence[str], start: int, end: int, old: str) -> Span | None:
    """Where in the text the tokens ``start`` to ``end`` stand, if that is one place."""
    text = written.text
    # With as many neighbours as it takes to find one place.
    for more in range(4):
        before = "".join(tokens[max(0, start - more) : start])
        after = "".join(tokens[end : end + more])
        for left, right in ((before, after), (before, ""), ("", after)):
            whole = left + old + right
            if not whole or (not old and not left and not right):
                continue
            found = [
                m.start()
                for m in re.finditer(f"(?={re.escape(whole)})", text)
                if _bounded(text, m.start(), len(whole))
            ]
            if len(found) == 1:
                at = written.start + found[0] + len(left)
                return Span(written.source, at, at + len(old))
    return None


def _bounded(text: str, start: int, length: int) -> bool:
    """Whether a piece of text begins and ends with a token."""
    piece = text[start : start + length]
    before, after = text[start - 1 : start], text[start + length : start + length + 1]
    return not (_joins(before, piece[:1]) or _joins(piece[-1:], after))


def _joins(a: str, b: str) -> bool:
    return bool(a and b) and ((a.isalpha() and b.isalpha()) or (a.isdigit() and b.isdigit()))
