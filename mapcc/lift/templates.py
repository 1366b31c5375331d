"""Concrete names to templates: indices found by comparing the names of many equations."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mapcc.dialects.made import Made, Operand
from mapcc.ir.axes import Shape

# What an index of a mapping matches; longer runs of digits are text.
_INT = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")


@dataclass(frozen=True, slots=True)
class Var:
    """An index, by its number in the rule, and what is added to it."""

    number: int
    plus: int = 0


@dataclass(frozen=True, slots=True)
class Axis:
    """The place of a name axis; ``labels`` are its members (None: 0, 1, 2, ...)."""

    labels: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class Rest:
    """The end of a name, the same on both sides: ``*`` or, of several segments, ``**``."""

    deep: bool


Part = str | Var | Axis | Rest
Template = tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Term:
    template: Template
    shape: Shape | None
    axis: str


@dataclass(frozen=True, slots=True)
class Draft:
    """A rule in the making: templates, and the equations that it stands for.

    Attributes:
        ranges: bounds of indices, by number, where the rule must not match all that it could.
    """

    left: tuple[Term, ...]
    right: tuple[Term, ...]
    sizes: tuple[tuple[str, int], ...]
    entries: tuple[int, ...]
    names: frozenset[str]
    ranges: tuple[tuple[int, int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class _Name:
    """A name (or the names of an axis) taken apart: texts, with integers between them."""

    texts: tuple[str, ...]
    ints: tuple[int, ...]
    axis: Axis | None = None
    slot: int = -1  # the integer, or the end of the text, in whose place the axis stands


@dataclass(frozen=True, slots=True)
class _Row:
    made: Made
    left: tuple[_Name, ...]
    right: tuple[_Name, ...]

    @property
    def left_ints(self) -> tuple[int, ...]:
        return tuple(n for name in self.left for n in name.ints)

    @property
    def right_ints(self) -> tuple[int, ...]:
        return tuple(n for name in self.right for n in name.ints)


def drafts(mades: Sequence[Made], labelled: bool = False) -> list[Draft]:
    """One draft for all equations that differ in indices only.

    Args:
        labelled: write the members of name axes out: ``[e=0,1]``, where ``[e]`` would take others too.
    """
    groups: dict[object, list[_Row]] = {}
    for made in mades:
        left = tuple(_name(operand, labelled) for operand in made.left)
        row = _Row(made, left, tuple(_name(operand, False) for operand in made.right))
        groups.setdefault(_key(row), []).append(row)
    return [draft for rows in groups.values() for draft in _resolved(rows)]


def _key(row: _Row) -> object:
    made = row.made
    shapes = tuple((o.shape, o.axis) for o in (*made.left, *made.right))
    names = tuple((n.texts, n.axis, n.slot) for n in (*row.left, *row.right))
    return made.entries, made.sizes, len(made.left), shapes, names


def tokens(name: str) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """Texts and the integers between them.

    >>> tokens("blocks.0.x2")
    (('blocks.', '.x', ''), (0, 2))
    """
    parts = _INT.split(name)
    return tuple(parts[::2]), tuple(map(int, parts[1::2]))


def _name(operand: Operand, labelled: bool) -> _Name:
    names = operand.names
    if not operand.axis:
        return _Name(*tokens(names[0]))
    if labelled:
        return _labelled(names)
    taken = [tokens(name) for name in names]
    texts = {t for t, _ in taken}
    if len(texts) == 1:
        columns = list(zip(*(ints for _, ints in taken), strict=True))
        varying = [k for k, column in enumerate(columns) if len(set(column)) > 1]
        if len(names) == 1:
            varying = [k for k, column in enumerate(columns) if column == (0,)][-1:]
        if len(varying) == 1 and columns[varying[0]] == tuple(range(len(names))):
            (slot,) = varying
            ints = taken[0][1]
            return _Name(taken[0][0], ints[:slot] + ints[slot + 1 :], Axis(None), slot)
    return _labelled(names)


def _labelled(names: Sequence[str]) -> _Name:
    """An axis of labels: what is the same before and after, in whole segments where that can be."""
    start, end = _common(names), _common([name[::-1] for name in names])
    shortest = min(map(len, names))
    if len(names) == 1:
        start = names[0].rfind(".") + 1
        end = 0
    end = min(end, shortest - start)
    head = names[0][:start]
    # A number must not be cut in two: what is left of it on either side would be read as another.
    while head and head[-1].isdigit():
        head = head[:-1]
    tail = names[0][len(names[0]) - end :] if end else ""
    while tail and tail[0].isdigit():
        tail = tail[1:]
    labels = tuple(name[len(head) : len(name) - len(tail)] for name in names)
    before, after = tokens(head), tokens(tail)
    texts = (*before[0][:-1], before[0][-1] + "\0" + after[0][0], *after[0][1:])
    return _Name(texts, before[1] + after[1], Axis(labels), -1)


def _common(names: Sequence[str]) -> int:
    first, last = min(names), max(names)
    at = 0
    while at < min(len(first), len(last)) and first[at] == last[at]:
        at += 1
    return at


# --- indices


def _resolved(rows: list[_Row]) -> Iterator[Draft]:
    """Rows that agree in all but integers: one draft if every right integer follows from a left one."""
    lefts = list(zip(*(row.left_ints for row in rows), strict=True))
    rights = list(zip(*(row.right_ints for row in rows), strict=True))
    columns: dict[tuple[int, ...], int] = {}
    for column in lefts:
        if len(set(column)) > 1:
            columns.setdefault(column, len(columns))
    left = [_left_slot(column, columns) for column in lefts]
    right = [_right_slot(column, columns) for column in rights]
    if None not in right:
        yield _draft(rows, left, [slot for slot in right if slot is not None])
        return
    # The right side counts otherwise (``7 -> 1.0``): told apart by the index with the fewest values.
    by = min((k for k, c in enumerate(lefts) if len(set(c)) > 1), key=lambda k: len(set(lefts[k])))
    parted: dict[int, list[_Row]] = {}
    for row in rows:
        parted.setdefault(row.left_ints[by], []).append(row)
    for part in parted.values():
        yield from _resolved(part)


def _left_slot(column: tuple[int, ...], columns: dict[tuple[int, ...], int]) -> str | Var:
    return Var(columns[column]) if column in columns else str(column[0])


def _right_slot(column: tuple[int, ...], columns: dict[tuple[int, ...], int]) -> str | Var | None:
    if column in columns:
        return Var(columns[column])
    if len(set(column)) == 1:
        return str(column[0])
    for other, number in columns.items():
        differences = {mine - theirs for mine, theirs in zip(column, other, strict=True)}
        if len(differences) == 1:
            return Var(number, differences.pop())
    return None


def _draft(rows: list[_Row], left: list[str | Var], right: list[str | Var]) -> Draft:
    made = rows[0].made
    return Draft(
        tuple(_terms(rows[0].left, made.left, iter(left))),
        tuple(_terms(rows[0].right, made.right, iter(right))),
        made.sizes,
        made.entries,
        frozenset(name for row in rows for operand in row.made.left for name in operand.names),
    )


def _terms(names: Sequence[_Name], operands: Sequence[Operand], slots: Iterator[str | Var]) -> Iterator[Term]:
    for name, operand in zip(names, operands, strict=True):
        parts: list[Part] = []
        for at, text in enumerate(name.texts):
            if at:
                parts.append(name.axis if at - 1 == name.slot and name.axis else next(slots))
            before, cut, after = text.partition("\0")
            parts.append(before)
            if cut and name.axis:
                parts += [name.axis, after]
        yield Term(merged(parts), operand.shape, operand.axis)


def merged(parts: Sequence[Part]) -> Template:
    """Neighbouring texts as one, and none empty."""
    out: list[Part] = []
    for part in parts:
        if isinstance(part, str) and out and isinstance(out[-1], str):
            out[-1] += part
        elif part != "":
            out.append(part)
    return tuple(out)
