"""Patterns of tensor names, as they are written: groups are still in them.

The k-th group of one name pairs with the k-th group of every other name of its rule;
:func:`expand_groups` writes the parallel copies out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import prod

from mapcc.ir.expr import Expr
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Text:
    """``quoted`` where empty segments may stand in it: they were written in quotes, and so are meant."""

    text: str
    quoted: bool = False


@dataclass(frozen=True, slots=True)
class Index:
    """``{i}``, ``{4*b + r}``: a natural number, an affine expression over indices.

    ``{i:03}`` has a ``width``: the number has zeros in front up to so many digits, and as many more as
    it needs. 0 is without zeros in front.
    """

    expr: Expr
    width: int = 0


@dataclass(frozen=True, slots=True)
class Star:
    """``*``: text within one segment."""


@dataclass(frozen=True, slots=True)
class Deep:
    """``**``: one or more whole segments."""


@dataclass(frozen=True, slots=True)
class Regex:
    """``{x:/re/}``: text within one segment that fully matches a regular expression."""

    name: str
    expression: str


@dataclass(frozen=True, slots=True)
class Group:
    """``{q,k,v}``: parallel copies of the rule, one a member."""

    members: tuple[tuple[Part, ...], ...]


@dataclass(frozen=True, slots=True)
class NameAxis:
    """``[t=q,k,v]`` or ``[e]``: an axis that lives in the name. ``labels`` is None for indices.

    ``width`` is that of its numbers, as in ``[e:03]``.
    """

    atom: str
    labels: tuple[str, ...] | None
    width: int = 0


Part = Text | Index | Star | Deep | Regex | Group | NameAxis


@dataclass(frozen=True, slots=True)
class Pattern:
    parts: tuple[Part, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


EMPTY = Pattern(())

MAX_WIDTH = 18

# What needs no quotes.
PLAIN = re.compile(r"(?:[A-Za-z0-9_.\/]|-(?!>))+")

# With some separator these have an empty segment, or may have one beside other parts of the name.
_OPEN_ENDS = re.compile(r"(?:[\W_].*|.*[\W_])?|.*([\W_])\1.*", re.DOTALL)


def quoted_text(text: str) -> Text:
    """What stands in quotes: empty segments in it are meant, whatever the separator is.

    >>> quoted_text("a..b"), quoted_text("a.b")
    (Text(text='a..b', quoted=True), Text(text='a.b', quoted=False))
    """
    return Text(text, _OPEN_ENDS.fullmatch(text) is not None)


def exact_name(name: str, separator: str = ".") -> Pattern:
    """The pattern of one tensor's name, which may have empty segments; it prints as the grammar needs it."""
    return Pattern((Text(name, not all(name.split(separator))),))


def join(prefix: Pattern, name: Pattern, separator: str) -> Pattern:
    """A name under a block's prefix."""
    if not prefix.parts:
        return name
    if not name.parts:
        return prefix
    return Pattern(merge_texts((*prefix.parts, Text(separator), *name.parts)), name.span)


def merge_texts(parts: Sequence[Part]) -> tuple[Part, ...]:
    """Neighbouring texts as one, so that equal patterns compare equal."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, Text) and out and isinstance(previous := out[-1], Text):
            text = previous.text + part.text
            is_quoted = previous.quoted or part.quoted or not PLAIN.fullmatch(text)
            out[-1] = quoted_text(text) if is_quoted else Text(text)
        elif not (isinstance(part, Text) and not part.text and not part.quoted):
            out.append(part)
    return tuple(out)


def first_group(pattern: Pattern) -> int | None:
    """The position of the first group among the parts."""
    return next((at for at, part in enumerate(pattern.parts) if isinstance(part, Group)), None)


def count_copies(parts: Sequence[Part]) -> int:
    """How many names the groups of a name stand for; they are not made.

    >>> count_copies((Group(((Text("a"),), (Text("b"),))),) * 64) == 2**64
    True
    """
    return prod(
        sum(count_copies(member) for member in part.members) for part in parts if isinstance(part, Group)
    )


class UnpairedGroups(Exception):
    """Groups that stand in some names only, or have other sizes; ``at`` is the name at fault."""

    def __init__(self, message: str, at: int) -> None:
        super().__init__(message)
        self.at = at


def expand_groups(names: Sequence[Pattern]) -> Iterator[tuple[tuple[int, ...], list[Pattern]]]:
    """The parallel copies of a rule's names, each with the numbers of the members that it took.

    Raises:
        UnpairedGroups: a group on one name only, or of another size.
    """
    firsts = [first_group(name) for name in names]
    if all(at is None for at in firsts):
        yield (), list(names)
        return
    groups: list[Group] = []
    for which, (name, at) in enumerate(zip(names, firsts, strict=True)):
        if at is None:
            raise UnpairedGroups("a group stands in the other names of the rule, but not in this one", which)
        part = name.parts[at]
        assert isinstance(part, Group)
        groups.append(part)
        if len(part.members) != len(groups[0].members):
            raise UnpairedGroups(
                f"this group has {len(part.members)} members, its partner {len(groups[0].members)}", which
            )
    for k in range(len(groups[0].members)):
        chosen = [
            Pattern(merge_texts((*name.parts[:at], *group.members[k], *name.parts[at + 1 :])), name.span)
            for name, at, group in zip(names, firsts, groups, strict=True)
            if at is not None
        ]
        for numbers, copy in expand_groups(chosen):
            yield (k, *numbers), copy


def walk(parts: Sequence[Part]) -> Iterator[Part]:
    """Every part, those of group members too."""
    for part in parts:
        yield part
        if isinstance(part, Group):
            for member in part.members:
                yield from walk(member)
