"""Rows of a table that differ by indices alone, as one row."""

from __future__ import annotations

import re
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, count, product
from typing import NamedTuple

from mapcc.emit.layout import Expr, call, text

# As mapcc reads an index: without leading zeros, so that str() gives it back.
_INDEX = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")
_LETTERS = ("i", "j", "k", "l", "m", "n")
FAMILY = "e"

# Numbers side by side are better than more than so many products of ranges, if they are ranges or few.
_MOST_PIECES = 4
_MOST_NUMBERS = 12


@dataclass(frozen=True, slots=True)
class Brackets:
    """What stands around an index in a template; in no name of the script."""

    before: str
    after: str

    def mark(self, letter: str) -> str:
        return f"{self.before}{letter}{self.after}"


def brackets_for(names: Iterable[str]) -> Brackets:
    """Brackets whose first one no name has.

    >>> brackets_for(["a.0"]), brackets_for(["{i}", "<"])
    (Brackets(before='{', after='}'), Brackets(before='[', after=']'))
    """
    every = "\n".join(names)
    known = (("{", "}"), ("<", ">"), ("[", "]"), ("$", "$"), ("%", "%"))
    pairs = chain(known, ((f"<{k}:", ">") for k in count()))
    return next(Brackets(*pair) for pair in pairs if pair[0] not in every)


class Row(NamedTuple):
    """Names that are written out, what else is the same in all rows folded with it, and numbers."""

    key: Hashable
    names: tuple[str, ...]
    numbers: tuple[int, ...] = ()


class Folded(NamedTuple):
    """Rows as one: templates, numbers or marks, and what goes in for the marks, row by row."""

    key: Hashable
    names: tuple[str, ...]
    numbers: tuple[int | str, ...]
    letters: tuple[str, ...]
    values: tuple[tuple[int, ...], ...]
    repeat: tuple[str, Expr] | None


def fold_rows(rows: Sequence[Row], brackets: Brackets) -> list[Folded]:
    """The rows in few, in the order of first sight."""
    groups: dict[Hashable, list[tuple[int, ...]]] = {}
    samples: dict[Hashable, tuple[Row, list[list[str]]]] = {}
    for row in rows:
        parts = [_INDEX.split(name) for name in row.names]
        key = (row.key, tuple(tuple(part[::2]) for part in parts))
        digits = tuple(int(text) for part in parts for text in part[1::2])
        groups.setdefault(key, []).append((*digits, *row.numbers))
        samples.setdefault(key, (row, parts))
    return [
        folded
        for key, found in groups.items()
        for piece in _pieces(found)
        for folded in [_folded(*samples[key], piece, brackets)]
    ]


def _pieces(rows: list[tuple[int, ...]]) -> list[list[tuple[int, ...]]]:
    """Parts that are products of ranges, if they are few; else all rows as they are."""
    columns = list(dict.fromkeys(zip(*rows, strict=True)))
    short = list(zip(*columns, strict=True)) if columns else [() for _ in rows]
    full = dict(zip(short, rows, strict=False))
    if len(full) < len(rows):
        return [[row] for row in rows]
    merged: dict[tuple[tuple[int, ...], ...], None] = {tuple((n,) for n in row): None for row in short}
    for axis in reversed(range(len(columns))):
        united: dict[tuple[tuple[int, ...], ...], list[int]] = {}
        for row in merged:
            united.setdefault(row[:axis] + row[axis + 1 :], []).extend(row[axis])
        merged = {(*rest[:axis], tuple(ns), *rest[axis:]): None for rest, ns in united.items()}
    is_plain = len(rows) <= _MOST_NUMBERS or all(numbers(column).startswith("range") for column in columns)
    if len(merged) > _MOST_PIECES and is_plain:
        return [rows]
    return [[full[at] for at in product(*piece)] for piece in merged]


def _folded(row: Row, parts: list[list[str]], rows: list[tuple[int, ...]], brackets: Brackets) -> Folded:
    letters: dict[tuple[int, ...], str] = {}
    texts: list[int | str] = []
    for column in zip(*rows, strict=True):
        if len(set(column)) == 1:
            texts.append(column[0])
        else:
            letter = letters.setdefault(column, _letter(len(letters)))
            texts.append(brackets.mark(letter))
    names = []
    at = 0
    for part in parts:
        out = list(part)
        for k in range(1, len(part), 2):
            out[k] = str(texts[at])
            at += 1
        names.append("".join(out))
    values = tuple(zip(*letters, strict=True)) if letters else ((),)
    return Folded(
        row.key, tuple(names), tuple(texts[at:]), tuple(letters.values()), values, index(letters, brackets)
    )


def _letter(number: int) -> str:
    return _LETTERS[number] if number < len(_LETTERS) else f"i_{number}"


def index(letters: dict[tuple[int, ...], str], brackets: Brackets) -> tuple[str, Expr] | None:
    """How a row is repeated, and ``{"{i}": range(32)}``; None without letters."""
    if not letters:
        return None
    ranges = [tuple(dict.fromkeys(column)) for column in letters]
    is_product = list(zip(*letters, strict=True)) == list(product(*ranges))
    columns = ranges if is_product else list(letters)
    marks = [text(brackets.mark(letter)) for letter in letters.values()]
    pairs = [f"{mark}: {numbers(column)}" for mark, column in zip(marks, columns, strict=True)]
    return "each" if is_product else "side_by_side", call("", pairs, "{}")


def numbers(values: Sequence[int]) -> str:
    """A range if it is one.

    >>> numbers((0, 1, 2)), numbers((4, 2, 0)), numbers((0, 1, 5))
    ('range(3)', 'range(4, -1, -2)', '(0, 1, 5)')
    """
    if len(values) == 1:
        return f"({values[0]},)"
    step = values[1] - values[0]
    if step and list(values) == [values[0] + k * step for k in range(len(values))]:
        stop = values[-1] + (1 if step > 0 else -1)
        if step == 1:
            return f"range({stop})" if values[0] == 0 else f"range({values[0]}, {stop})"
        return f"range({values[0]}, {stop}, {step})"
    return f"({', '.join(map(str, values))})"


class Family(NamedTuple):
    """Names that one parameter takes together: templates, and the numbers that go in for their mark."""

    templates: tuple[str, ...]
    values: tuple[int, ...] = ()


def family(names: Sequence[str], brackets: Brackets) -> Family:
    """The names as few templates with one index, in their order.

    >>> family(["a.0.p", "a.0.q", "a.1.p", "a.1.q"], Brackets("{", "}"))
    Family(templates=('a.{e}.p', 'a.{e}.q'), values=(0, 1))
    """
    for period in range(1, len(names) // 2 + 1):
        if len(names) % period:
            continue
        found = [_one_index(names[k::period], brackets) for k in range(period)]
        values = {one[1] for one in found if one is not None}
        if len(values) == 1 and None not in found:
            return Family(tuple(one[0] for one in found if one is not None), values.pop())
    return Family(tuple(names))


def _one_index(names: Sequence[str], brackets: Brackets) -> tuple[str, tuple[int, ...]] | None:
    parts = [_INDEX.split(name) for name in names]
    if len({tuple(part[::2]) for part in parts}) > 1:
        return None
    columns = list(zip(*(part[1::2] for part in parts), strict=True))
    varying = {column for column in columns if len(set(column)) > 1}
    if len(varying) != 1:
        return None
    (column,) = varying
    out = list(parts[0])
    for k, own in enumerate(columns):
        if own == column:
            out[2 * k + 1] = brackets.mark(FAMILY)
    return "".join(out), tuple(map(int, column))
