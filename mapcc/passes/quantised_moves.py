"""Whether a weight and its companion are moved alike: every block keeps the factor that is its own.

Asked of the elements at the edges of what moves, and of blocks: a move is strided, so between two edges
nothing else happens.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate, islice, product
from math import prod
from typing import NamedTuple

from mapcc.ir.bound import Layout, Move
from mapcc.tensors.quantised.blocks import spans, trimmed
from mapcc.tensors.quantised.model import Companion

Shape = tuple[int, ...]
Index = tuple[int, ...]

_PROBES = 4096  # elements that are asked of one move


class Pair(NamedTuple):
    """A weight among those that a target is made of: its operand and shape, and its companion's."""

    weight: int
    shape: Shape
    companion: int
    own: Shape


def is_whole(layout: Layout, operand: int, number: int, shape: Shape) -> bool:
    """Whether a target is this source tensor and nothing else, its elements in their order."""
    moves = [move for move in layout.moves if move.target == number]
    size = prod(shape)
    if prod(layout.target_shapes[number]) != size:
        return False
    return all(
        move.source == operand
        and move.source_offset == move.target_offset
        and all(at == to for length, at, to in move.dims if length > 1)
        for move in moves
    )


def parts_company(
    layout: Layout,
    number: int,
    other: Layout,
    partner: int,
    companion: Companion,
    pairs: Sequence[Pair],
    block: Shape,
) -> str:
    """Why a target's factors are not those of its elements; "" if they are."""
    target, own = layout.target_shapes[number], other.target_shapes[partner]
    origins = _Origins.of(other, partner)
    by_operand = {pair.weight: pair for pair in pairs}
    after: _Grid | None = None
    for move in layout.moves:
        if move.target != number:
            continue
        pair = by_operand[move.source]
        before = _grid(companion, pair.shape, pair.own, block, ())
        after = after or _grid(companion, target, own, block, pair.shape)
        if before is None or after is None:
            return f"{list(own)} is no grid of factors for {list(target)}"
        for at, to in _probes(move, before, after):
            if not _agree(at, to, before, after, pair, origins):
                return _where(at, to)
    return ""


class _Grid(NamedTuple):
    """Which factors belong to an element: along each dimension of the factors, the one of the weight that it
    follows, how many elements share one, and how many one has.
    """

    shape: Shape
    own: Shape  # of the factors, without ones at the end
    dims: tuple[int, ...]
    blocks: tuple[int, ...]
    finer: tuple[int, ...]

    def factors(self, index: Index) -> tuple[tuple[int, int], ...]:
        """The first factor of an element and how many it has, along each dimension."""
        out = []
        for dim, size, length, finer in zip(self.dims, self.own, self.blocks, self.finer, strict=True):
            at = 0 if size == 1 else index[dim] // length * finer
            out.append((min(at, size - 1), finer))
        return tuple(out)

    def place(self, factor: Sequence[int]) -> int:
        place = 0
        for size, at in zip(self.own, factor, strict=True):
            place = place * size + at
        return place


def _grid(companion: Companion, shape: Shape, own: Shape, block: Shape, before: Shape) -> _Grid | None:
    """Which factors belong to the elements of a tensor; None if they are no grid over it.

    Args:
        block: that of the container, along its last dimensions.
        before: what the weight was that a target is made of; () for itself.
    """
    own = trimmed(own, len(shape))
    dims = tuple(range(len(own)))
    if companion.dims is not None:
        deeper = max(len(shape) - len(before), 0) if before else 0
        dims = (*range(deeper), *(dim + deeper for dim in companion.dims))
    if len(dims) < len(own) or any(dim >= len(shape) for dim in dims):
        return None
    dims = dims[: len(own)]
    blocks: list[int] = []
    finer: list[int] = []
    for size, dim in zip(own, dims, strict=True):
        long = shape[dim]
        if size > long and (long == 0 or size % long):
            return None
        length = (
            1 if size >= long else long if size == 1 else _length(long, size, dim - len(shape), block, before)
        )
        if length == 0:
            return None
        blocks.append(length)
        finer.append(size // long if size > long else 1)
    return _Grid(shape, own, dims, tuple(blocks), tuple(finer))


def _length(long: int, size: int, at: int, block: Shape, before: Shape) -> int:
    """The length of a block, of which ``size`` cover a dimension; 0 if the container's do not.

    Where the container has no block along a dimension, what was one weight may be one block.
    """
    allowed = spans(long, size)
    there = _at(block, at)
    known = [length for length in (there, *block) if length > 1]
    if there <= 1:
        known = [_at(before, at), *known, allowed.start]
    return next((length for length in known if length in allowed), 0)


def _at(sizes: Shape, at: int) -> int:
    return sizes[at] if -at <= len(sizes) else 0


def _probes(move: Move, before: _Grid, after: _Grid) -> Iterator[tuple[Index, Index]]:
    """Elements of a move, as indices on both sides: its edges, and what lies at the edges of blocks."""
    steps = sorted({length for grid in (before, after) for length in grid.blocks if length > 1})
    choices = [_places(size, steps, (at, to), before, after) for size, at, to in move.dims]
    for chosen in islice(product(*choices), _PROBES):
        source, target = move.source_offset, move.target_offset
        for k, (_, at, to) in zip(chosen, move.dims, strict=True):
            source, target = source + k * at, target + k * to
        yield _index(source, before.shape), _index(target, after.shape)


def _places(
    size: int, steps: Sequence[int], strides: tuple[int, int], before: _Grid, after: _Grid
) -> list[int]:
    """Of an axis: its ends, and the places next to where a block can end, first and last of each kind."""
    places = {0, 1, size // 2, size - 2, size - 1}
    rows = {prod(grid.shape[at + 1 :]) for grid in (before, after) for at in range(len(grid.shape))}
    lengths = {
        length * row // stride for length in steps for row in (*rows, 1) for stride in strides if stride
    }
    lengths |= {row // stride for row in rows for stride in strides if stride}
    for length in sorted(lengths)[:24]:
        if 1 < length < size:
            last = (size - 1) // length * length
            places |= {length - 1, length, length + 1, last - 1, last}
    return sorted(place for place in places if 0 <= place < size)


def _index(place: int, shape: Shape) -> Index:
    index = []
    for size in reversed(shape):
        index.append(place % size)
        place //= size
    return tuple(reversed(index))


def _agree(at: Index, to: Index, before: _Grid, after: _Grid, pair: Pair, origins: _Origins) -> bool:
    ours, theirs = before.factors(at), after.factors(to)
    counts, wanted = prod(n for _, n in ours), prod(n for _, n in theirs)
    if counts != wanted:
        return False
    for mine, other in zip(_corners(ours), _corners(theirs), strict=True):
        if origins.at(after.place(other)) != (pair.companion, before.place(mine)):
            return False
    return True


def _corners(factors: tuple[tuple[int, int], ...]) -> list[Index]:
    """The first of an element's factors, and the last."""
    first = tuple(start for start, _ in factors)
    last = tuple(start + count - 1 for start, count in factors)
    return [first, last]


class _Origins(NamedTuple):
    """From where the elements of a target are taken: its moves, by where they begin in it."""

    starts: list[int]
    ends: list[int]  # the furthest that this move or one before it reaches
    moves: list[Move]  # their dimensions with the longest steps first

    @classmethod
    def of(cls, layout: Layout, target: int) -> _Origins:
        moves = [
            move._replace(dims=tuple(sorted(move.dims, key=lambda dim: -dim[2])))
            for move in layout.moves
            if move.target == target
        ]
        moves.sort(key=lambda move: move.target_offset)
        reached = [m.target_offset + sum((size - 1) * to for size, _, to in m.dims) for m in moves]
        return cls([move.target_offset for move in moves], list(accumulate(reached, max)), moves)

    def at(self, place: int) -> tuple[int, int] | None:
        """The operand and the place in it that an element is taken from."""
        for number in range(bisect_right(self.starts, place) - 1, -1, -1):
            if self.ends[number] < place:
                return None
            move = self.moves[number]
            left, source = place - move.target_offset, move.source_offset
            for size, at, to in move.dims:
                k = min(left // to, size - 1) if to else 0
                left, source = left - k * to, source + k * at
            if left == 0:
                return move.source, source
        return None


def _where(at: Index, to: Index) -> str:
    return f"the element {list(at)} goes to {list(to)}, and the factor of its block to another"
