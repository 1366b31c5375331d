"""A move in boxes that fit in memory, each long on both sides."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from mapcc.ir.bound import Move
from mapcc.plan.moves import Dims

# Bytes that lie together on either side, from which a longer run makes nothing faster.
LONG = 1 << 18


def boxes(move: Move, width: int, room: int) -> Iterator[Move]:
    """The boxes of a move, in the order of the source, each of at most ``room`` bytes.

    A box that fits may be smaller than that: it ends where what it reads and what it writes lies
    together for :data:`LONG` bytes.

    >>> [box.dims for box in boxes(Move(0, 0, 0, 0, ((4, 1, 6), (6, 4, 1))), 1, 12)]
    [((4, 1, 6), (2, 4, 1)), ((4, 1, 6), (2, 4, 1)), ((4, 1, 6), (2, 4, 1))]
    """
    sizes = box_sizes(move.dims, max(1, room // width), LONG // width)
    if all(size == dim[0] for size, dim in zip(sizes, move.dims, strict=True)):
        yield move
        return
    order = sorted(range(len(sizes)), key=lambda k: (-move.dims[k][1], k))
    starts = [range(0, move.dims[k][0], sizes[k]) for k in order]
    for position in product(*starts):
        at = dict(zip(order, position, strict=True))
        yield _box(move, sizes, at)


def _box(move: Move, sizes: Sequence[int], at: dict[int, int]) -> Move:
    source, target = move.source_offset, move.target_offset
    dims = []
    for k, (size, across, along) in enumerate(move.dims):
        source += at[k] * across
        target += at[k] * along
        count = min(sizes[k], size - at[k])
        if count > 1:
            dims.append((count, across, along))
    return Move(move.source, source, move.target, target, tuple(dims))


def box_sizes(dims: Dims, room: int, goal: int) -> list[int]:
    """How far a box goes along each dimension: it grows on the side where it is the shorter.

    >>> box_sizes(((4096, 1, 4096), (4096, 4096, 1)), 1 << 20, 1 << 30)
    [1024, 1024]
    >>> box_sizes(((8, 1 << 14, 1 << 14), (64, 256, 128), (2, 128, 1 << 13), (128, 1, 1)), 1 << 20, 1 << 13)
    [1, 64, 2, 128]
    """
    sizes = [1] * len(dims)
    by_source = sorted((k for k, dim in enumerate(dims) if dim[1]), key=lambda k: dims[k][1])
    by_target = sorted(range(len(dims)), key=lambda k: dims[k][2])
    while True:
        sides = [
            (run, k)
            for order, side in ((by_source, 1), (by_target, 2))
            for run, k in [_shortest(dims, sizes, order, side)]
            if k is not None and run < goal
        ]
        volume = prod(sizes)
        if not sides or 2 * volume > room:
            return sizes
        _, k = min(sides)
        sizes[k] = _grown(sizes[k], dims[k][0], room // (volume // sizes[k]))


def _shortest(dims: Dims, sizes: Sequence[int], order: Sequence[int], side: int) -> tuple[int, int | None]:
    """How many elements of a box lie together on one side, and the dimension that makes it more."""
    run = 1
    for k in order:
        if sizes[k] == dims[k][0]:
            if dims[k][side] == run:
                run *= sizes[k]
            continue
        return (run * sizes[k] if dims[k][side] == run else run), k
    return run, None


def _grown(size: int, full: int, most: int) -> int:
    """Twice the size; never more than ``most``, and the parts of a dimension nearly alike."""
    if full <= most and full <= 2 * size:
        return full
    wanted = min(2 * size, most)
    parts = -(-full // wanted)
    even = -(-full // parts)
    return min(wanted, -(-even // 16) * 16) if wanted >= 32 else wanted
