"""Operations that are not elementwise, computed to a file by tiles."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from mapcc.ir.values import Step
from mapcc.plan.memory import BLOCK
from mapcc.plan.model import Fold, Folded, SourceTensor
from mapcc.plan.moves import clip
from mapcc.plan.segments import unit
from mapcc.runtime.arrays import Array, numpy_dtype
from mapcc.runtime.gather import Gatherer
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.sources import Writable
from mapcc.runtime.values import cast

Tile = tuple[slice, slice, slice]


def write_fold(fold: Fold, inputs: Inputs, file: Writable, buffer: Array) -> None:
    """The result of ``fold``, row-major from byte 0 of ``file``; ``buffer`` is for what is read."""
    if fold.step is None:
        _lay_out(fold, inputs, file, buffer)
    else:
        assert fold.step.op.name == "weight_norm"
        _weight_norm(fold, fold.step, inputs, file, buffer)


def _lay_out(fold: Fold, inputs: Inputs, file: Writable, buffer: Array) -> None:
    """A tensor whose elements lie scattered, in row-major order: by windows of half the buffer."""
    assert fold.move is not None
    width = unit(fold.dtype.bits)
    source, begin = inputs.of(fold.inputs[0], buffer)
    half = len(buffer) // 2 // 16 * 16
    gatherer, window = Gatherer(buffer[:half]), buffer[half:]
    step = len(window) // width
    for low in range(0, fold.nbytes // width, step):
        high = min(low + step, fold.nbytes // width)
        for part in clip(fold.move, low, high):
            gatherer.gather(source, begin, part, width, window, low)
        file.write(window.data[: (high - low) * width], low * width)


def _weight_norm(fold: Fold, step: Step, inputs: Inputs, file: Writable, buffer: Array) -> None:
    """``v * (g / norm(v))``, the norm over all dimensions but one.

    Squares are added up in F64, so that the norm, rounded to the type of the fold, hardly depends on
    the tiles. A direction of zeros gives NaN, as in torch.
    """
    magnitude, direction = fold.inputs
    dim = int(step.number("dim")) % len(fold.shape)
    rows = fold.shape[dim]
    box = (prod(fold.shape[:dim]), rows, prod(fold.shape[dim + 1 :]))
    working = numpy_dtype(fold.dtype)
    # The same tiles whatever the memory: sums in another order have other last bits.
    limit, buffer = BLOCK, buffer if buffer.nbytes >= BLOCK * 8 else np.empty(BLOCK * 8, np.uint8)
    squares = np.zeros(rows)
    with np.errstate(all="ignore"):
        for tile, x in _tiles_of(direction, fold, box, limit, inputs, buffer):
            squares[tile[1]] += np.square(x, dtype=np.float64).sum(axis=(0, 2))
        norms = np.sqrt(squares).astype(working)
        factors = _whole(magnitude, fold, inputs, buffer) / norms
        for tile, x in _tiles_of(direction, fold, box, limit, inputs, buffer):
            scaled = np.ascontiguousarray(x * factors[tile[1]][:, None])
            file.write(scaled.reshape(-1).view(np.uint8).data, _first(tile, box) * working.itemsize)


def _tiles_of(
    tensor: SourceTensor | Folded,
    fold: Fold,
    box: tuple[int, int, int],
    limit: int,
    inputs: Inputs,
    buffer: Array,
) -> Iterator[tuple[Tile, Array]]:
    file, begin = inputs.of(tensor, buffer)
    dtype = inputs.spec(tensor)[0]
    width = dtype.bits // 8
    for tile in tiles(box, limit):
        shape = [part.stop - part.start for part in tile]
        raw = buffer[: prod(shape) * width]
        file.read_into(raw.data, begin + _first(tile, box) * width)
        x = cast(raw.view(numpy_dtype(dtype)), dtype, fold.dtype)
        yield tile, x.reshape(shape)


def tiles(box: tuple[int, int, int], limit: int) -> Iterator[Tile]:
    """A row-major box in order, by tiles of at most ``limit`` elements that lie in one piece each.

    >>> [tuple((s.start, s.stop) for s in tile) for tile in tiles((1, 3, 4), 8)]
    [((0, 1), (0, 2), (0, 4)), ((0, 1), (2, 3), (0, 4))]
    """
    outer, rows, inner = box
    if 0 in box:
        return
    steps = (
        max(1, limit // (rows * inner)),
        min(rows, max(1, limit // inner)),
        min(inner, limit),
    )
    for a in range(0, outer, steps[0]):
        for b in range(0, rows, steps[1]):
            for c in range(0, inner, steps[2]):
                starts = zip((a, b, c), steps, box, strict=True)
                first, second, third = (slice(at, min(at + step, end)) for at, step, end in starts)
                yield first, second, third


def _first(tile: Tile, box: tuple[int, int, int]) -> int:
    first: int = (tile[0].start * box[1] + tile[1].start) * box[2] + tile[2].start
    return first


def _whole(tensor: SourceTensor | Folded, fold: Fold, inputs: Inputs, buffer: Array) -> Array:
    file, begin = inputs.of(tensor, buffer)
    dtype, shape = inputs.spec(tensor)
    raw = np.empty(prod(shape) * dtype.bits // 8, np.uint8)
    file.read_into(raw.data, begin)
    return cast(raw.view(numpy_dtype(dtype)), dtype, fold.dtype)
