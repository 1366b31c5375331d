"""Moves cut to a range of the target, and moves of elements that are smaller than a byte."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mapcc.ir.bound import Move

Dims = tuple[tuple[int, int, int], ...]


def extent(move: Move) -> tuple[int, int]:
    """The first target element of a move, and one more than its last.

    >>> extent(Move(0, 0, 0, 5, ((3, 1, 4), (2, 3, 1))))
    (5, 15)
    """
    return move.target_offset, move.target_offset + _reach(move.dims)


def clip(move: Move, low: int, high: int) -> list[Move]:
    """The part of a move whose target elements are in ``[low, high)``.

    At most one move for each end of each dimension and one between, in the order of the target.

    >>> clip(Move(0, 0, 0, 0, ((3, 1, 4), (4, 3, 1))), 2, 9)  # doctest: +NORMALIZE_WHITESPACE
    [Move(source=0, source_offset=6, target=0, target_offset=2, dims=((2, 3, 1),)),
     Move(source=0, source_offset=1, target=0, target_offset=4, dims=((4, 3, 1),)),
     Move(source=0, source_offset=2, target=0, target_offset=8, dims=())]
    """
    found: list[Move] = []
    _clip(move, move.source_offset, move.target_offset, move.dims, low, high, found)
    return found


def _clip(move: Move, source: int, target: int, dims: Dims, low: int, high: int, found: list[Move]) -> None:
    reach = _reach(dims)
    if target + reach <= low or high <= target:
        return
    if low <= target and target + reach <= high:
        found.append(Move(move.source, source, move.target, target, dims))
        return
    (size, across, along), *rest = dims
    inner = tuple(rest)
    width = _reach(inner)
    # Positions that touch the range, and among them those that lie in it whole.
    first = max(0, (low - target - width) // along + 1)
    last = min(size - 1, (high - 1 - target) // along)
    begin = max(first, -((target - low) // along))
    end = min(last, (high - target - width) // along)
    if begin > end:
        begin, end = last + 1, last
    for at in range(first, min(begin, last + 1)):
        _clip(move, source + at * across, target + at * along, inner, low, high, found)
    if begin <= end:
        count = end - begin + 1
        whole = inner if count == 1 else ((count, across, along), *inner)
        found.append(Move(move.source, source + begin * across, move.target, target + begin * along, whole))
    for at in range(end + 1, last + 1) if begin <= end else ():
        _clip(move, source + at * across, target + at * along, inner, low, high, found)


def _reach(dims: Sequence[tuple[int, int, int]]) -> int:
    """From the first target element to one behind the last."""
    return 1 + sum((size - 1) * along for size, _, along in dims)


def elements_read(move: Move) -> int:
    """How many different source elements a move takes.

    >>> elements_read(Move(0, 0, 0, 0, ((4, 0, 8), (8, 1, 1))))
    8
    """
    return prod(size for size, across, _ in move.dims if across)
