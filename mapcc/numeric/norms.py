"""Weight norm, with sums in a fixed order: the same bits whatever the memory and the machine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

# Elements of a tile. Another number is another order of the sums, and other last bits.
TILE = 1 << 16


def weight_norm(v: Any, g: Any, box: tuple[int, int, int]) -> Any:
    """``v * (g / norm(v))``, where ``v`` has the shape ``box``; the norm is over all but its middle."""
    floats = f"<f{v.itemsize}"
    v, squares = v.view(floats).reshape(box), np.zeros(box[1])
    for a, b, c in tiles(box):
        squares[b] += row_squares(v[a, b, c])
    out = np.empty(box, floats)
    factors = row_factors(g, squares)
    for a, b, c in tiles(box):
        out[a, b, c] = scaled(v[a, b, c], factors[b])
    return out.reshape(-1).view(f"<u{v.itemsize}")


def row_squares(x: Any) -> Any:
    """The sums of the squares of a tile's rows, in F64: of the last dimension, then of the first."""
    with np.errstate(all="ignore"):
        wide = x.astype("<f8")
        return tree_sum(tree_sum(np.moveaxis(wide * wide, 2, 0)))


def tree_sum(x: Any) -> Any:
    """The sum over the first dimension: its second half is added to its first, until one is left."""
    with np.errstate(all="ignore"):
        while len(x) > 1:
            half = (len(x) + 1) // 2
            total = x[:half].copy()
            total[: len(x) - half] += x[half:]
            x = total
    return x[0]


def row_factors(g: Any, squares: Any) -> Any:
    """``g / norm``, the norm rounded to the type of ``g``. A direction of zeros gives NaN."""
    floats = g.view(f"<f{g.itemsize}")
    with np.errstate(all="ignore"):
        return floats / np.sqrt(squares).astype(floats.dtype)


def scaled(x: Any, factors: Any) -> Any:
    """Rows times their factors; every NaN is the same."""
    with np.errstate(all="ignore"):
        out = np.ascontiguousarray(x * factors[:, None])
    out[np.isnan(out)] = np.nan
    return out


def tiles(box: tuple[int, int, int], limit: int = TILE) -> Iterator[tuple[slice, slice, slice]]:
    """A row-major box in order, by tiles of at most ``limit`` elements that lie in one piece each.

    >>> [tuple((s.start, s.stop) for s in tile) for tile in tiles((1, 3, 4), 8)]
    [((0, 1), (0, 2), (0, 4)), ((0, 1), (2, 3), (0, 4))]
    """
    outer, rows, inner = box
    if 0 in box:
        return
    steps = max(1, limit // (rows * inner)), min(rows, max(1, limit // inner)), min(inner, limit)
    for a in range(0, outer, steps[0]):
        for b in range(0, rows, steps[1]):
            for c in range(0, inner, steps[2]):
                starts = zip((a, b, c), steps, box, strict=True)
                first, second, third = (slice(at, min(at + step, end)) for at, step, end in starts)
                yield first, second, third
