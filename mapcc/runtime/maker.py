"""Bytes of tensors that are made in memory: any range of one, or boxes of one that is turned."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from itertools import accumulate
from math import prod

import numpy as np

from mapcc.ir.bound import Move
from mapcc.numeric.fault import Unrepresentable
from mapcc.plan.memory import Buffers
from mapcc.plan.model import Fill, Gathered, Transfer, Turned
from mapcc.plan.moves import Dims, clip, extent
from mapcc.plan.segments import unit
from mapcc.runtime.arrays import Array, codes_dtype
from mapcc.runtime.gather import UNSIGNED, Gatherer, strided
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.losses import Losses, Tally
from mapcc.runtime.sources import Readable
from mapcc.runtime.turn import turned
from mapcc.runtime.values import filled, transform


class Maker:
    """What one thread makes tensors with. Its buffers are taken once."""

    def __init__(self, inputs: Inputs, sizes: Buffers) -> None:
        self.inputs, self.sizes = inputs, sizes
        # Memory that is never touched costs nothing. A buffer holds an element of any type.
        self.gatherer = Gatherer(np.empty(max(8, sizes.span), np.uint8))
        self.made = np.empty(max(16, sizes.made), np.uint8)
        self.taken = np.empty(max(16, sizes.made), np.uint8)
        self.packed = np.empty(sizes.packed, np.uint8)
        self.tally = Tally()
        self._sign = 1
        self._extents: tuple[tuple[Transfer, ...], list[tuple[int, int]], list[int]] | None = None

    def fold(self, number: int) -> Readable:
        return self.inputs.fold(number, self.gatherer.span)

    def fill(self, segment: Gathered, low: int, high: int, view: memoryview) -> None:
        """Bytes ``low`` to ``high`` of the file, which lie in the tensor, into ``view``."""
        width = unit(segment.transfers[0].target.bits)
        widest = max(width, *(unit(t.source.bits) for t in segment.transfers))
        step = len(self.made) // widest
        self._uncount(segment, low, width)
        first, last = (low - segment.begin) // width, -(-(high - segment.begin) // width)
        for at in range(first, last, step):
            stop = min(at + step, last)
            for transfer in self._touching(segment, at, stop):
                for part in clip(transfer.move, at, stop):
                    self._part(segment, transfer, part, width, at)
            begin = segment.begin + at * width
            # The window may begin or end within an element.
            start, end = max(low, begin), min(high, segment.begin + stop * width)
            view[start - low : end - low] = self.made.data[start - begin : end - begin]

    def _uncount(self, segment: Gathered, low: int, width: int) -> None:
        """An element that begins in the window before was counted there: once more, and it is taken off."""
        begun, is_cut = divmod(low - segment.begin, width)
        if not is_cut:
            return
        self._sign = -1
        for transfer in self._touching(segment, begun, begun + 1):
            for part in () if transfer.is_plain else clip(transfer.move, begun, begun + 1):
                self._part(segment, transfer, part, width, begun)
        self._sign = 1

    def _touching(self, segment: Gathered, low: int, high: int) -> Iterator[Transfer]:
        if len(segment.transfers) == 1:
            yield segment.transfers[0]
            return
        if self._extents is None or self._extents[0] is not segment.transfers:
            extents = [extent(transfer.move) for transfer in segment.transfers]
            self._extents = segment.transfers, extents, list(accumulate((end for _, end in extents), max))
        _, extents, reached = self._extents
        for number in range(bisect_right(reached, low), len(extents)):
            begin, end = extents[number]
            if begin >= high:
                return
            if end > low:
                yield segment.transfers[number]

    def _part(self, segment: Gathered, transfer: Transfer, part: Move, width: int, low: int) -> None:
        if isinstance(transfer.origin, Fill):
            value = filled(transfer.origin.value, transfer.target).view(UNSIGNED[width])
            strided(self.made, part.target_offset - low, part.dims, width)[...] = value[0]
            return
        file, begin = self.inputs.of(transfer.origin, self.gatherer.span)
        if transfer.is_plain:
            self.gatherer.gather(file, begin, part, width, self.made, low)
            return
        result = self.taken_through(segment, transfer, part)
        sizes = [size for size, _, _ in part.dims]
        strided(self.made, part.target_offset - low, part.dims, width)[...] = result.reshape(sizes)

    def taken_through(self, segment: Gathered, transfer: Transfer, part: Move) -> Array:
        """The elements of a part, through the steps, one behind the other in the order of the target.

        Raises:
            Unrepresentable: see :meth:`_compute`.
        """
        assert not isinstance(transfer.origin, Fill)
        file, begin = self.inputs.of(transfer.origin, self.gatherer.span)
        self.gatherer.gather(file, begin, _compact(part), unit(transfer.source.bits), self.taken, 0)
        result = np.empty(part.numel, UNSIGNED[unit(transfer.target.bits)])
        self._compute(segment, transfer, part.numel, result)
        return result

    def _compute(self, segment: Gathered | Turned, transfer: Transfer, count: int, result: Array) -> None:
        """The first ``count`` elements of what was taken, through the steps.

        Raises:
            Unrepresentable: a number that an integer type does not have; ``at`` counts what was taken.
        """
        source = self.taken[: count * unit(transfer.source.bits)].view(codes_dtype(transfer.source))
        losses = Losses()
        for at in range(0, count, self.sizes.block):
            block = source[at : at + self.sizes.block]
            try:
                made = transform(block, transfer.source, transfer.steps, transfer.target, losses)
            except Unrepresentable as error:
                error.at += at
                raise
            result[at : at + self.sizes.block] = made
        self.tally.of(segment.name).merge(losses, self._sign)

    def take_tally(self) -> Tally:
        """What was counted since this was asked before."""
        tally, self.tally = self.tally, Tally()
        return tally

    def box(self, segment: Turned, transfer: Transfer, box: Move) -> Iterator[tuple[memoryview, int]]:
        """The bytes of a box in runs of the output: each with its place in the file."""
        width, own = unit(transfer.target.bits), unit(transfer.source.bits)
        assert not isinstance(transfer.origin, Fill)
        file, begin = self.inputs.of(transfer.origin, self.gatherer.span)
        read = self.gatherer.read(file, begin, box, own)
        for piece, dims, offset in _pieces(read, box, len(self.made) // max(own, width)):
            count = piece.size
            if transfer.is_plain:
                made = self.made[: count * width].view(UNSIGNED[width])
                turned(piece, made.reshape(piece.shape), self.packed)
            else:
                taken = self.taken[: count * own].view(UNSIGNED[own])
                turned(piece, taken.reshape(piece.shape), self.packed)
                made = self.made[: count * width].view(UNSIGNED[width])
                self._compute(segment, transfer, count, made)
            yield from _runs(made, dims, segment.begin + offset * width, width)


def _compact(part: Move) -> Move:
    """The same elements, one behind the other in the order of the target."""
    stride = prod(size for size, _, _ in part.dims)
    dims = []
    for size, across, _ in part.dims:
        stride //= size
        dims.append((size, across, stride))
    return Move(part.source, part.source_offset, part.target, 0, tuple(dims))


def _pieces(read: Array, box: Move, room: int) -> Iterator[tuple[Array, Dims, int]]:
    """A box cut along its outermost dimensions of the target, into pieces of at most ``room`` elements."""
    pending = [(read, box.dims, box.target_offset)]
    while pending:
        piece, dims, offset = pending.pop()
        if piece.size <= room:
            yield piece, dims, offset
            continue
        (size, across, along), *inner = dims
        # As many positions as fit; a single one that does not fit is cut along the next dimension.
        step = max(1, room // (piece.size // size))
        for at in reversed(range(0, size, step)):
            count = min(step, size - at)
            if step == 1 and piece.size // size > room:
                pending.append((piece[at], tuple(inner), offset + at * along))
            else:
                dim = (count, across, along)
                pending.append((piece[at : at + count], (dim, *inner), offset + at * along))


def _runs(made: Array, dims: Dims, begin: int, width: int) -> Iterator[tuple[memoryview, int]]:
    """What was made, by runs of the target."""
    view = made.view(np.uint8).data
    run = 1
    outer = [dim for dim in dims if dim[0] != 1]
    while outer and outer[-1][2] == run:
        run *= outer.pop()[0]
    length = run * width
    offsets = [0]
    for size, _, along in outer:
        offsets = [at + k * along for at in offsets for k in range(size)]
    for number, offset in enumerate(offsets):
        yield view[number * length : (number + 1) * length], begin + offset * width
