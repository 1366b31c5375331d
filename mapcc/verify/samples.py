"""Which elements of a tensor are looked at."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np
import numpy.typing as npt

from mapcc.ir.axes import Shape
from mapcc.verify.notation import Index, Notation

ANYWHERE = -1

Table = npt.NDArray[np.int64]


def landmarks(notation: Notation, shape: Shape) -> Table:
    """Coordinates of which one is fixed: ends of dimensions, and both sides of where pieces meet.

    >>> from mapcc.ir.axes import Atom, Sum
    >>> sizes = Notation({"q": 2, "k": 3, "c": 1})
    >>> landmarks(sizes, (Sum((Atom("q"), Atom("k"))), Atom("c"))).tolist()
    [[0, -1], [1, -1], [2, -1], [3, -1], [4, -1]]
    """
    rows: list[list[int]] = []
    dims = notation.dims(shape)
    for k, dim in enumerate(dims):
        extent = notation.extent(dim)
        if extent == 1:
            continue
        fixed = {0, extent - 1}
        for border in notation.borders(dim):
            fixed |= {at for at in range(border - 2, border + 2) if 0 <= at < extent}
        rows += [[at if d == k else ANYWHERE for d in range(len(dims))] for at in sorted(fixed)]
    return np.array(rows, np.int64).reshape(len(rows), len(dims))


def per_tensor(extents: Sequence[int], marks: Table, samples: int) -> int:
    """How many elements are looked at in each tensor: all, if they are not more than ``samples``."""
    numel = prod(extents)
    return numel if numel <= samples else min(numel, 2 + min(len(marks), samples) + samples)


def draw(
    extents: Sequence[int], marks: Table, samples: int, tensors: int, generator: np.random.Generator
) -> tuple[Index, list[Index]]:
    """Which of the tensors (by number), and the coordinates, one array for each dimension."""
    numel, rank = prod(extents), len(extents)
    if numel <= samples:
        every = np.indices(tuple(extents), np.int64).reshape(rank, numel)
        return np.repeat(np.arange(tensors), numel), [np.tile(axis, tensors) for axis in every]
    fixed = min(len(marks), samples)
    at = generator.integers(0, np.array(extents), (tensors, 2 + fixed + samples, rank))
    at[:, 0], at[:, 1] = 0, np.array(extents) - 1
    if fixed:
        chosen = _chosen(marks, fixed, tensors, generator)
        at[:, 2 : 2 + fixed] = np.where(chosen == ANYWHERE, at[:, 2 : 2 + fixed], chosen)
    flat = at.reshape(-1, rank)
    return np.repeat(np.arange(tensors), at.shape[1]), [flat[:, k].copy() for k in range(rank)]


def _chosen(marks: Table, count: int, tensors: int, generator: np.random.Generator) -> Table:
    """All landmarks for each tensor; if they are too many, others for each."""
    if count == len(marks):
        return np.broadcast_to(marks, (tensors, *marks.shape))
    found: Table = marks[generator.integers(0, len(marks), (tensors, count))]
    return found
