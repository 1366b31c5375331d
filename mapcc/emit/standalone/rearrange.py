"""Elements put in their places where a table of moves says it best."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

Dims = Sequence[tuple[int, int, int]]


def whole(x: Any) -> Any:
    """All elements in their order."""
    return x


def moved(sources: Sequence[Any], count: int, moves: Iterable[tuple[int, int, int, Dims]]) -> Any:
    """``count`` elements, copied from flat arrays.

    A move is (which source, its first element, the first element in the result, and for each loop
    from the outermost: size, step in the source, step in the result).
    """
    out = np.empty(count, sources[0].dtype)
    for number, first, place, dims in moves:
        sizes = [size for size, _, _ in dims]
        source, target = sources[number][first:], out[place:]
        steps = [step * source.itemsize for _, step, _ in dims]
        places = [step * out.itemsize for _, _, step in dims]
        piece = np.lib.stride_tricks.as_strided(source, sizes, steps, writeable=False)
        np.lib.stride_tricks.as_strided(target, sizes, places)[...] = piece
    return out


def filled(bits: int, width: int, count: int) -> Any:
    """``count`` elements of ``width`` bytes with the same bits."""
    return np.full(count, bits, f"<u{width}")


def by_blocks(values: Callable[[Any], Any], x: Any, dtype: str, block: int = 1 << 16) -> Any:
    """``values`` of all elements; what it computes with stays small."""
    out = np.empty(x.size, dtype)
    for at in range(0, x.size, block):
        out[at : at + block] = values(x[at : at + block])
    return out
