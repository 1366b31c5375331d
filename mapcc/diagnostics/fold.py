"""Many tensor names in few lines: ``blocks.{0..39}.attn.q.{weight,bias}``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

# An index is a natural number without leading zeros. Longer runs of digits are text:
# nobody counts that far, and the work stays that of small numbers.
_INDEX = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")


def fold(names: Iterable[str], limit: int | None = None) -> list[str]:
    """The names as templates that stand for exactly these names, in the order of first sight.

    Integers fold where the set is a product of them; what is ragged becomes several
    exact pieces. Whole last segments fold into ``{weight,bias}`` where all before them
    is the same. A name with a brace of its own is left as it is. With a ``limit`` the
    rest is counted: ``... and 12 more``.

    >>> fold(f"layers.{i}.experts.{e}.{p}" for i in range(4) for e in range(8) for p in ("w", "b"))
    ['layers.{0..3}.experts.{0..7}.{w,b}']
    >>> fold(["a.0.w", "a.2.w", "a.5.w", "a.6.w", "a.7.w", "c"])
    ['a.{0,2,5..7}.w', 'c']
    """
    shapes: dict[tuple[str, ...], dict[tuple[str, ...], int]] = {}
    pieces: list[tuple[int, str]] = []
    for rank, name in enumerate(dict.fromkeys(names)):
        if "{" in name or "}" in name:
            pieces.append((rank, name))
        else:
            parts = _INDEX.split(name)
            shapes.setdefault(tuple(parts[::2]), {})[tuple(parts[1::2])] = rank
    folded: list[tuple[int, str]] = []
    for literals, rows in shapes.items():
        folded += [(rank, _weave(literals, row)) for row, rank in _products(rows, len(literals) - 1)]
    ordered = [template for _, template in sorted(pieces + _tails(sorted(folded)))]
    if limit is None or len(ordered) <= limit:
        return ordered
    return [*ordered[:limit], f"... and {len(ordered) - limit} more"]


def _products(rows: dict[tuple[str, ...], int], arity: int) -> Iterable[tuple[tuple[str, ...], int]]:
    """Disjoint products that cover exactly ``rows``: one axis at a time, equal remainders are united.

    A merged axis is kept as its text, which is the same for the same set.
    """
    for axis in reversed(range(arity)):
        merged: dict[tuple[str, ...], tuple[int, list[str]]] = {}
        for row, rank in rows.items():
            rest = row[:axis] + row[axis + 1 :]
            found = merged.get(rest)
            if found is None:
                merged[rest] = (rank, [row[axis]])
            else:
                found[1].append(row[axis])
        rows = {
            (*rest[:axis], _braced(values), *rest[axis:]): rank for rest, (rank, values) in merged.items()
        }
    return rows.items()


def _braced(values: list[str]) -> str:
    """A set of integers, as in ``7``, ``{0,2}``, ``{0..3}``, ``{0,2,5..7}``."""
    if len(values) == 1:
        return values[0]
    numbers = sorted(map(int, values))
    starts = [numbers[0], *(after for before, after in pairwise(numbers) if after != before + 1)]
    ends = [*(before for before, after in pairwise(numbers) if after != before + 1), numbers[-1]]
    return "{" + ",".join(map(_run, starts, ends)) + "}"


def _run(start: int, end: int) -> str:
    if end - start < 2:
        return str(start) if start == end else f"{start},{end}"
    return f"{start}..{end}"


def _weave(literals: tuple[str, ...], row: tuple[str, ...]) -> str:
    if not row:
        return literals[0]
    return "".join(text for pair in zip(literals, (*row, ""), strict=True) for text in pair)


def _tails(templates: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """Unites templates, given in order, that differ in their last segment only."""
    heads: dict[str, tuple[int, list[str]]] = {}
    whole: list[tuple[int, str]] = []
    for rank, template in templates:
        cut = max(template.rfind("."), template.rfind("/")) + 1
        tail = template[cut:]
        # A dot within {0..3} is no separator; then the tail has a brace, and stays.
        if not cut or not tail or "}" in tail or "," in tail:
            whole.append((rank, template))
        else:
            heads.setdefault(template[:cut], (rank, []))[1].append(tail)
    for head, (rank, tails) in heads.items():
        whole.append((rank, head + (tails[0] if len(tails) == 1 else "{" + ",".join(tails) + "}")))
    return whole
