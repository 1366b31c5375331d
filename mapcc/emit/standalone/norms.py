"""Weight norm."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

BLOCK = 1 << 16


def weight_norm(v: Any, g: Any, box: tuple[int, int, int]) -> Any:
    """``v * (g / norm(v))``, where ``v`` has the shape ``box``, and the norm is over all but its middle.

    Squares are added up in F64, tile by tile, always in the same order.
    """
    v = v.reshape(box)
    squares = np.zeros(box[1])
    with np.errstate(all="ignore"):  # a direction of zeros gives NaN
        for a, b, c in tiles(box):
            squares[b] += np.square(v[a, b, c], dtype=np.float64).sum(axis=(0, 2))
        factors = g / np.sqrt(squares).astype(v.dtype)
        return (v * factors[:, None]).reshape(-1)


def tiles(box: tuple[int, int, int]) -> Iterator[tuple[slice, slice, slice]]:
    """A box by tiles of at most BLOCK elements that lie in one piece each."""
    outer, rows, inner = box
    if 0 in box:
        return
    steps = max(1, BLOCK // (rows * inner)), min(rows, max(1, BLOCK // inner)), min(inner, BLOCK)
    for a in range(0, outer, steps[0]):
        for b in range(0, rows, steps[1]):
            for c in range(0, inner, steps[2]):
                yield slice(a, a + steps[0]), slice(b, b + steps[1]), slice(c, c + steps[2])
