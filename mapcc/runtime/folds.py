"""Operations that are not elementwise, computed to a file by tiles."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

import numpy as np

from mapcc.ir.values import Step
from mapcc.numeric import norms
from mapcc.plan.model import Fold, Folded, SourceTensor
from mapcc.plan.moves import clip
from mapcc.plan.segments import unit
from mapcc.runtime.arrays import Array, codes_dtype
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
    """``v * (g / norm(v))``, the norm over all dimensions but one: ``numeric.norms``, by tiles of a file.

    Squares are added up in F64, in an order that only the shape gives, whatever the memory.
    """
    magnitude, direction = fold.inputs
    dim = int(step.number("dim")) % len(fold.shape)
    rows = fold.shape[dim]
    box = (prod(fold.shape[:dim]), rows, prod(fold.shape[dim + 1 :]))
    width = fold.dtype.bits // 8
    buffer = buffer if buffer.nbytes >= norms.TILE * 8 else np.empty(norms.TILE * 8, np.uint8)
    squares = np.zeros(rows)
    for tile, x in _tiles_of(direction, fold, box, inputs, buffer):
        squares[tile[1]] += norms.row_squares(x)
    factors = norms.row_factors(_whole(magnitude, fold, inputs, buffer), squares)
    for tile, x in _tiles_of(direction, fold, box, inputs, buffer):
        scaled = norms.scaled(x, factors[tile[1]])
        file.write(scaled.reshape(-1).view(np.uint8).data, _first(tile, box) * width)


def _tiles_of(
    tensor: SourceTensor | Folded,
    fold: Fold,
    box: tuple[int, int, int],
    inputs: Inputs,
    buffer: Array,
) -> Iterator[tuple[Tile, Array]]:
    file, begin = inputs.of(tensor, buffer)
    dtype = inputs.spec(tensor)[0]
    width = dtype.bits // 8
    for tile in norms.tiles(box):
        shape = [part.stop - part.start for part in tile]
        raw = buffer[: prod(shape) * width]
        file.read_into(raw.data, begin + _first(tile, box) * width)
        x = cast(raw.view(codes_dtype(dtype)), dtype, fold.dtype)
        yield tile, x.view(f"<f{x.itemsize}").reshape(shape)


def _first(tile: Tile, box: tuple[int, int, int]) -> int:
    first: int = (tile[0].start * box[1] + tile[1].start) * box[2] + tile[2].start
    return first


def _whole(tensor: SourceTensor | Folded, fold: Fold, inputs: Inputs, buffer: Array) -> Array:
    file, begin = inputs.of(tensor, buffer)
    dtype, shape = inputs.spec(tensor)
    raw = np.empty(prod(shape) * dtype.bits // 8, np.uint8)
    file.read_into(raw.data, begin)
    return cast(raw.view(codes_dtype(dtype)), dtype, fold.dtype)
