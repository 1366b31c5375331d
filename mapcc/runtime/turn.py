"""Strided copies in memory whose rows become columns: a matrix turned at a few GB/s.

Element by element, numpy turns a matrix at 0.3 GB/s: each store is two bytes into another line of the
cache. Here some rows are first packed, so that what belongs together in the target is one number of
16 bytes, and these are stored: eight times fewer, and with lines of the cache that are filled.
"""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np

from mapcc.runtime.arrays import Array

_UNITS = ((16, np.dtype(np.complex128)), (8, np.dtype(np.uint64)))
# Rows that are packed at a time, and elements in a matrix from which packing pays.
_PANEL = 64
_SMALL = 2048
# Without packing: a tile's rows and columns.
_TILE = (16, 256)


def turned(source: Array, target: Array, packed: Array) -> None:
    """``target[...] = source``, where ``source`` may run along any of its dimensions.

    Both are unsigned integers of one type; ``target`` is row-major. ``packed`` is scratch memory.

    >>> a = np.arange(6, dtype=np.uint16).reshape(2, 3)
    >>> out = np.empty((3, 2), np.uint16)
    >>> turned(a.T, out, np.empty(0, np.uint8)); out.tolist()
    [[0, 3], [1, 4], [2, 5]]
    """
    plane = _plane(source)
    if plane is None:
        target[...] = source
        return
    columns = plane
    others = [range(n) for k, n in enumerate(source.shape[:-1]) if k != columns]
    for position in product(*others):
        at: Any = (*position[:columns], slice(None), *position[columns:])
        # The last dimension of the target goes over rows of the source.
        _matrix(source[at].T, target[at], packed)


def _plane(source: Array) -> int | None:
    """The dimension along which the source runs, if that is not the last and packing pays."""
    if source.ndim < 2 or source.strides[-1] in (0, source.itemsize):
        return None
    running = [k for k in range(source.ndim - 1) if source.strides[k] == source.itemsize]
    if not running or source.shape[running[0]] * source.shape[-1] < _SMALL:
        return None
    return running[0]


def _matrix(source: Array, target: Array, packed: Array) -> None:
    """``target[c, r] = source[r, c]``; the rows of both lie together."""
    rows, columns = source.shape
    width = source.itemsize
    done = 0
    for size, dtype in _UNITS:
        if width < size and not target.strides[0] % size and not target.ctypes.data % size:
            group = size // width
            done = rows // group * group
            _packed(source[:done], target[:, :done], packed, group, dtype)
            break
    down, along = _TILE
    for r in range(done, rows, down):
        for c in range(0, columns, along):
            target[c : c + along, r : r + down] = source[r : r + down, c : c + along].T


def _packed(source: Array, target: Array, packed: Array, group: int, dtype: np.dtype[np.generic]) -> None:
    rows, columns = source.shape
    unit = dtype.itemsize
    step = min(_PANEL // group, rows // group) or 1
    wide = min(columns, len(packed) // (step * unit))
    if not wide or not rows:
        target[...] = source.T
        return
    units = target.view(dtype)
    for first in range(0, rows // group, step):
        count = min(step, rows // group - first)
        for c in range(0, columns, wide):
            across = min(wide, columns - c)
            panel = packed[: count * across * unit].view(source.dtype).reshape(count, across, group)
            lines = source[first * group : (first + count) * group, c : c + across]
            for k in range(group):
                panel[:, :, k] = lines[k::group]
            units[c : c + across, first : first + count] = panel.view(dtype)[:, :, 0].T
