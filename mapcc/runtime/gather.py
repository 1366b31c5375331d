"""Strided reads: the elements of a move, from a file to their places in a window of the target."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from mapcc.ir.bound import Move
from mapcc.plan.moves import Dims
from mapcc.runtime.arrays import Array
from mapcc.runtime.sources import Readable

# Bytes that are read to be thrown away rather than to call the system once more.
GAP = 8 << 10

UNSIGNED: dict[int, np.dtype[Any]] = {width: np.dtype(f"u{width}") for width in (1, 2, 4, 8)}


@dataclass(frozen=True, slots=True)
class Access:
    """How the source of a move is read: pieces of ``span`` elements, one at each position of ``loops``.

    Attributes:
        loops, piece: numbers of dimensions of the move; those in neither repeat.
        cut: the dimension to cut in two first, since what is to be read does not fit; None if it does.
    """

    loops: tuple[int, ...]
    piece: tuple[int, ...]
    span: int
    cut: int | None = None


def access(dims: Dims, gap: int, room: int) -> Access:
    """Pieces with holes of at most ``gap`` elements in them; all of them in ``room`` elements.

    >>> access(((64, 1, 512), (512, 100, 1)), gap=8, room=40000)
    Access(loops=(1,), piece=(0,), span=64, cut=None)
    >>> access(((64, 1, 512), (512, 100, 1)), gap=8, room=4000).cut
    1
    """
    order = sorted((k for k, (_, across, _) in enumerate(dims) if across), key=lambda k: dims[k][1])
    span, at = 1, 0
    for k in order:
        size, across, _ = dims[k]
        if across - span > gap:
            break
        reach = (size - 1) * across + span
        if reach > room:
            return Access((), (), span, k)
        span, at = reach, at + 1
    loops = tuple(reversed(order[at:]))
    fits = span * prod(dims[k][0] for k in loops) <= room
    return Access(loops, tuple(order[:at]), span, None if fits else loops[0])


@dataclass(frozen=True, slots=True)
class Gatherer:
    """``span`` holds what is read where the elements lie otherwise than in the target: bytes."""

    span: Array

    def gather(self, file: Readable, begin: int, move: Move, width: int, into: Array, first: int) -> None:
        """Put the elements of a move into a window.

        Args:
            begin: the byte of ``file`` where the source tensor begins.
            width: of an element, in bytes: 1, 2, 4 or 8.
            into: the window, as bytes; its first element is number ``first`` of the target.
        """
        how = access(move.dims, GAP // width, max(1, self.span.nbytes // width))
        if how.cut is not None:
            for half in halves(move, how.cut):
                self.gather(file, begin, half, width, into, first)
            return
        at = begin + move.source_offset * width
        to = move.target_offset - first
        if _is_run(move.dims, how):
            view, run = into.data, how.span * width
            for across, along in positions([move.dims[k] for k in how.loops]):
                place = (to + along) * width
                file.read_into(view[place : place + run], at + across * width)
        else:
            self._read_pieces(file, at, move.dims, how, width)
            strided(into, to, move.dims, width)[...] = self._pieces(move.dims, how, width)

    def read(self, file: Readable, begin: int, box: Move, width: int) -> Array:
        """The source elements of a move that fits in ``span``, with its dimensions."""
        room = self.span.nbytes // width
        how = access(box.dims, GAP // width, room)
        if how.cut is not None:  # what lies between does not fit
            how = access(box.dims, 0, room)
        self._read_pieces(file, begin + box.source_offset * width, box.dims, how, width)
        return self._pieces(box.dims, how, width)

    def _read_pieces(self, file: Readable, at: int, dims: Dims, how: Access, width: int) -> None:
        view, length = self.span.data, how.span * width
        for number, (across, _) in enumerate(positions([dims[k] for k in how.loops])):
            file.read_into(view[number * length : (number + 1) * length], at + across * width)

    def _pieces(self, dims: Dims, how: Access, width: int) -> Array:
        """What was read, with the dimensions of the move."""
        strides = [0] * len(dims)
        for k in how.piece:
            strides[k] = dims[k][1] * width
        step = how.span * width
        for k in reversed(how.loops):
            strides[k] = step
            step *= dims[k][0]
        sizes = [size for size, _, _ in dims]
        return np.ndarray(sizes, UNSIGNED[width], self.span.data, 0, strides)


def _is_run(dims: Dims, how: Access) -> bool:
    """Whether each piece is one run on both sides, so that it needs no buffer."""
    if len(how.loops) + len(how.piece) < len(dims):
        return False
    return not how.piece or (len(how.piece) == 1 and dims[how.piece[0]][1:] == (1, 1))


def strided(window: Array, to: int, dims: Dims, width: int) -> Array:
    """The target elements of a move in a window of bytes, as unsigned integers; ``to`` is the first."""
    strides = [along * width for _, _, along in dims]
    return np.ndarray([size for size, _, _ in dims], UNSIGNED[width], window.data, to * width, strides)


def positions(loops: Sequence[tuple[int, int, int]]) -> Iterator[tuple[int, int]]:
    """The source and target offsets of nested loops, one by one: there may be millions.

    >>> list(positions([(2, 10, 1), (2, 3, 5)]))
    [(0, 0), (3, 5), (10, 1), (13, 6)]
    """
    if not loops:
        yield 0, 0
        return
    (size, across, along), *inner = loops
    for k in range(size):
        for source, target in positions(inner) if inner else ((0, 0),):
            yield k * across + source, k * along + target


def halves(move: Move, dim: int) -> tuple[Move, Move]:
    """A move in two, cut in the middle of a dimension of more than one element."""
    size, across, along = move.dims[dim]
    half = size // 2

    def piece(start: int, count: int) -> Move:
        cut = ((count, across, along),) if count > 1 else ()
        dims = (*move.dims[:dim], *cut, *move.dims[dim + 1 :])
        source, target = move.source_offset + start * across, move.target_offset + start * along
        return Move(move.source, source, move.target, target, dims)

    return piece(0, half), piece(half, size - half)
