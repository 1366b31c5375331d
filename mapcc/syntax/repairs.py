"""Edits that mend a syntax error whose cause lies elsewhere than where the parser stops.

A repair is offered if the parser gets further with it: it tries them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from mapcc.syntax.comments import BRACES

_LABELS = re.compile(r"\[[ \t]*([\w./-]*(?:[ \t]*,[ \t]*[\w./-]*)+)[ \t]*\]")
_SHAPE = re.compile(r"(?<=\s):\s([^|{}\"]*)")
_WORD = re.compile(r"[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class Repair:
    """Texts to insert, by offset, and how the fault is told.

    ``start`` and ``end`` are what is wrong.
    """

    message: str
    help: str
    title: str
    start: int
    end: int
    inserts: tuple[tuple[int, str], ...]
    certain: bool = True

    def applied(self, text: str) -> str:
        for at, new in sorted(self.inserts, reverse=True):
            text = text[:at] + new + text[at:]
        return text


def repairs(text: str, start: int, offset: int) -> Iterator[Repair]:
    """What may be meant where the parser stopped; ``start`` is the start of the statement."""
    yield from _space_before_brace(text, start, offset)
    yield from _name_of_an_axis(text, start, offset)


def _space_before_brace(text: str, start: int, offset: int) -> Iterator[Repair]:
    """``A -> B{``: read as a group, so that the error comes somewhere inside the block."""
    open_: list[int] = []
    for token in BRACES.finditer(text, start, min(offset + 1, len(text))):
        if token["brace"] == "{":
            open_.append(token.start())
        elif token["brace"] == "}" and open_ and token.start() < offset:
            open_.pop()
    for at in reversed(open_):
        if at and not text[at - 1].isspace():
            yield Repair(
                "the '{' of a block touches what stands before it",
                "put a space before the '{' of a block",
                "a space before '{'",
                at,
                at + 1,
                ((at, " "),),
            )
            return


def _name_of_an_axis(text: str, start: int, offset: int) -> Iterator[Repair]:
    """``[q,k,v]``: an axis has a name, which its other side says."""
    end = _end_of_line(text, offset)
    lists = list(_LABELS.finditer(text, start, end))
    wrong = next((found for found in lists if found.start() < offset <= found.end()), None)
    if wrong is None:
        return
    before = re.split(r"\n|\{[ \t]", text[start : wrong.start()])[-1]
    name, is_told = _axis_name(before, text[wrong.end() : end])
    alike = [found for found in lists if found[1] == wrong[1]]
    yield Repair(
        f"{wrong[0]} is a list of labels without the name of its axis",
        f"name the axis: [{name}={wrong[1]}]",
        f"the axis is named {name}",
        wrong.start(),
        wrong.end(),
        tuple((found.start() + 1, f"{name}=") for found in alike),
        is_told or len(alike) > 1,
    )


def _axis_name(before: str, after: str) -> tuple[str, bool]:
    """The axis that the rule's other side has and this side has not, and whether it is the only one."""
    arrow = before.rfind("->")
    own, other = (before[arrow:] + after, before[:arrow]) if arrow >= 0 else (before + after, "")
    if arrow < 0 and "->" in after:
        own, _, other = (before + after).partition("->")
    ours, theirs = (
        {word for shape in _SHAPE.findall(side) for word in _WORD.findall(shape)} for side in (own, other)
    )
    missing = sorted(theirs - ours)
    if missing:
        return missing[0], len(missing) == 1
    return next(word for word in ("t", "p", "s", "axis") if word not in ours or word == "axis"), False


def _end_of_line(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end
