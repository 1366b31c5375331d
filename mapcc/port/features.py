"""Which features of an official module are which of the ported one: read off the mapping's moves.

A weight of a linear layer has a row for each feature that comes out, and a column for each that goes in. If a
mapping fuses, splits or reorders rows, it says so of the activations too: rows 0:d of ``qkv`` are ``q``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mapcc.ir.bound import Instance, Move

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.nn import Module

    Indices = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """Features of a ported module, and those of one official module that they are, one for one.

    ``..._channels``: whether that side has its features behind the batch, as images do, and not last.
    """

    official: str
    ported_index: Indices
    official_index: Indices
    ported_channels: bool = False
    official_channels: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """Of a parameter: which dimension counts the features that come out, and which those that go in."""

    out: int
    into: int


def axes_of(module: Module, shape: Sequence[int]) -> Axes:
    """As torch's layers have them, and those that are built like them."""
    name = type(module).__name__
    if len(shape) < 2:
        return Axes(0, 0)
    if "ConvTranspose" in name or name == "Conv1D":  # the latter is GPT-2's, which multiplies from the left
        return Axes(1, 0)
    if "Embedding" in name:
        return Axes(1, 1)
    if set(shape[1:]) == {1} and "Conv" not in name:  # a scale of channels: (C, 1, 1)
        return Axes(0, 0)
    if "Norm" in name:
        return Axes(len(shape) - 1, len(shape) - 1)
    return Axes(0, 1)


def has_channels(module: Module, shape: Sequence[int]) -> bool:
    """Whether a module's features stand behind the batch, with their positions after them."""
    name = type(module).__name__
    if name == "Conv1D":
        return False
    return any(kind in name for kind in ("Conv", "GroupNorm", "BatchNorm")) or (
        len(shape) > 1 and set(shape[1:]) == {1}
    )


def correspondence(
    instance: Instance,
    number: int,
    shapes: Sequence[tuple[int, ...]],
    axis: int,
    official_axes: Sequence[int],
) -> list[tuple[int, Indices, Indices]] | None:
    """Along one axis of a target tensor: each source operand, with the indices here and there.

    Args:
        number: which target of the instance.
        shapes: of the source operands.
        axis: of the target.
        official_axes: of each source operand, the axis that should be the same.

    Returns:
        None where an index of the target's axis is not one index of the source's.
    """
    shape = instance.layout.target_shapes[number]
    found: list[tuple[int, Indices, Indices]] = []
    for move in instance.layout.moves:
        if move.target != number:
            continue
        if not instance.sources[move.source]:
            continue  # a constant: no activation of the official module
        along = _along(move, shape, axis, shapes[move.source], official_axes[move.source])
        if along is None:
            return None
        found.append((move.source, *along))
    return _distinct(found)


def _distinct(
    found: list[tuple[int, Indices, Indices]],
) -> list[tuple[int, Indices, Indices]] | None:
    """Several moves may say the same of an axis that they do not divide."""
    out: dict[tuple[int, bytes, bytes], tuple[int, Indices, Indices]] = {}
    for source, here, there in found:
        out[source, here.tobytes(), there.tobytes()] = (source, here, there)
    return list(out.values()) or None


class _Step(NamedTuple):
    """Part of a move along one axis of the target: ``by`` is how far the index goes there."""

    size: int
    source_stride: int
    by: int
    axis: int


def _along(
    move: Move, shape: tuple[int, ...], axis: int, source_shape: tuple[int, ...], source_axis: int
) -> tuple[Indices, Indices] | None:
    if axis >= len(shape) or source_axis >= len(source_shape):
        return None
    steps = _steps(move, shape)
    if steps is None:
        return None
    here = np.array([_coordinate(move.target_offset, shape, axis)], np.int64)
    flat = np.array([move.source_offset], np.int64)
    for step in steps:
        if step.axis == axis:
            count = np.arange(step.size)
            here = (here[:, None] + count * step.by).reshape(-1)
            flat = (flat[:, None] + count * step.source_stride).reshape(-1)
    there = _coordinates(flat, source_shape, source_axis)
    # What runs along the other axes must not leave the source's index.
    for step in steps:
        if step.axis != axis:
            last = _coordinates(flat + (step.size - 1) * step.source_stride, source_shape, source_axis)
            if not np.array_equal(last, there):
                return None
    return here, there


def _coordinate(flat: int, shape: tuple[int, ...], axis: int) -> int:
    return flat // prod(shape[axis + 1 :]) % shape[axis]


def _coordinates(flat: Indices, shape: tuple[int, ...], axis: int) -> Indices:
    return flat // prod(shape[axis + 1 :]) % shape[axis]


def _steps(move: Move, shape: tuple[int, ...]) -> list[_Step] | None:
    """The move's dimensions, cut where the target's axes end; None if one crosses an end elsewhere."""
    strides = [prod(shape[at + 1 :]) for at in range(len(shape))]
    out: list[_Step] = []
    for size, source_stride, stride in move.dims:
        while size > 1:
            axis = next((at for at, own in enumerate(strides) if own <= stride), None)
            if axis is None or stride % strides[axis]:
                return None
            by = stride // strides[axis]
            first = _coordinate(move.target_offset, shape, axis)
            count = min(size, -(-(shape[axis] - first) // by))
            if size % count or (count < size and first):
                return None
            if count == 1:
                return None
            out.append(_Step(count, source_stride, by, axis))
            size, source_stride, stride = size // count, source_stride * count, stride * count
    return out
