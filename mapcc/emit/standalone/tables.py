"""The tables of an emitted script: rows with indices, written out."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any


def each(index: dict[str, Iterable[int]], *row: Any) -> list[tuple[Any, ...]]:
    """A row for every combination of the indices."""
    return [fill_in(row, dict(zip(index, at, strict=True))) for at in product(*index.values())]


def side_by_side(index: dict[str, Iterable[int]], *row: Any) -> list[tuple[Any, ...]]:
    """A row for the first of each index, one for the second of each, and so on."""
    return [fill_in(row, dict(zip(index, at, strict=True))) for at in zip(*index.values(), strict=True)]


def fill_in(x: Any, at: dict[str, int]) -> Any:
    """A row with its indices. What is not an index is text, whatever it looks like."""
    if isinstance(x, str):
        for mark, number in at.items():
            x = x.replace(mark, str(number))
    elif isinstance(x, (tuple, list)):
        return type(x)(fill_in(one, at) for one in x)
    elif isinstance(x, dict):
        return {key: fill_in(one, at) for key, one in x.items()}
    return x


def family(index: dict[str, Iterable[int]], *names: str) -> list[str]:
    """Tensors that a function takes as one list."""
    return [name for row in each(index, *names) for name in row]
