"""Which part of a tensor a move reads or writes, in rows, columns and groups instead of strides.

An axis of a move is a size and a stride over the whole tensor. Here each is put into the dimension that it
walks along, cut where it goes on into the next one. What is one set of indices there is said as a range, or
as the same range in each of several groups; what is left is the order.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod
from typing import NamedTuple

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


class Axis(NamedTuple):
    """``size`` indices of a dimension, ``step`` apart."""

    dim: int
    size: int
    step: int


def describe_part(shape: Sequence[int], dims: Sequence[tuple[int, int]], offset: int) -> str:
    """Sizes and strides from an offset, in words; "" for all of the tensor in its own order.

    >>> describe_part((9216, 64), [(8, 1152 * 64), (1024 * 64, 1)], 0)
    '8 times rows 0:1024 of each 1152'
    >>> describe_part((8, 6), [(6, 1), (8, 6)], 0)
    'transposed'
    """
    repeats = prod(size for size, stride in dims if stride == 0)
    moving = [(size, stride) for size, stride in dims if size != 1 and stride != 0]
    again = f"repeated {repeats} times" if repeats > 1 else ""
    axes = _placed(shape, moving, offset)
    if axes is None:
        steps = ", ".join(f"{size} by {stride}" for size, stride in moving)
        where = f"strided ({steps})" + (f" from {offset}" if offset else "")
        return ", ".join(filter(None, (where, again)))
    sets = [_indices(shape, axes, dim, start) for dim, start in enumerate(_starts(shape, offset))]
    return ", ".join(filter(None, (*sets, _order(axes), again)))


def _strides(shape: Sequence[int]) -> list[int]:
    return [*accumulate(reversed(shape[1:]), lambda a, b: a * b, initial=1)][::-1] if shape else []


def _starts(shape: Sequence[int], offset: int) -> list[int]:
    """The index of an element in each dimension."""
    return [offset // stride % size for size, stride in zip(shape, _strides(shape), strict=True)]


def _placed(shape: Sequence[int], dims: Sequence[tuple[int, int]], offset: int) -> list[Axis] | None:
    """The axes in their order, each within one dimension; None where one is not."""
    strides = _strides(shape)
    axes: list[Axis] = []
    for size, stride in dims:
        found = _cut(shape, strides, size, stride)
        if found is None:
            return None
        axes += found
    for dim, start in enumerate(_starts(shape, offset)):
        reach = sum(axis.step * (axis.size - 1) for axis in axes if axis.dim == dim)
        if start + reach >= shape[dim]:
            return None  # from the middle of one row into the next
    return axes


def _cut(shape: Sequence[int], strides: Sequence[int], size: int, stride: int) -> list[Axis] | None:
    """One axis as those of single dimensions, the outermost first."""
    dim = next((k for k in range(len(shape)) if shape[k] > 1 and strides[k] <= stride), None)
    if dim is None or stride % strides[dim]:
        return None
    step = stride // strides[dim]
    if step * size <= shape[dim] or not any(n > 1 for n in shape[:dim]):
        return [Axis(dim, size, step)]
    inner, rest = divmod(shape[dim], step)
    if rest or size % inner:
        return None
    outer = _cut(shape, strides, size // inner, stride * inner)
    return None if outer is None else [*outer, *([Axis(dim, inner, step)] if inner > 1 else [])]


# --- which indices of a dimension


def _indices(shape: Sequence[int], axes: Sequence[Axis], dim: int, start: int) -> str:
    """Those of one dimension, in words; "" for all of them."""
    own = _united([(axis.size, axis.step) for axis in axes if axis.dim == dim])
    if own == [(shape[dim], 1)] or shape[dim] == 1:
        return ""
    word = "rows" if dim == 0 else "columns" if len(shape) == 2 else f"dim {dim}"
    return _nested(own, start, shape[dim], word)


def _united(own: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Sizes and steps, the widest first; what one goes on where another ends is one."""
    out: list[tuple[int, int]] = []
    for size, step in sorted(own, key=lambda each: each[1], reverse=True):
        if out and out[-1][1] == size * step:
            out[-1] = (out[-1][0] * size, step)
        else:
            out.append((size, step))
    return out


def _nested(own: Sequence[tuple[int, int]], start: int, length: int, word: str) -> str:
    if not own:
        return f"{word} {start}:{start + 1}"
    (size, step), *inner = own
    if step == 1:
        return f"{word} {start}:{start + size}"
    group, within = divmod(start, step)
    text = f"{size} times {_nested(inner, within, step, word)} of each {step}"
    if group or -(-length // step) != size:
        text += f" from {group * step}"
    return text


# --- in which order


def _order(axes: Sequence[Axis]) -> str:
    """How the order of the move differs from that of the elements; "" if it does not."""
    stored = sorted(axes, key=lambda axis: (axis.dim, -axis.step))
    if list(axes) == stored:
        return ""
    walked = [axis.dim for axis in axes]
    by_dim = list(dict.fromkeys(walked))
    if [axis for dim in by_dim for axis in stored if axis.dim == dim] == list(axes):
        return "transposed" if len(by_dim) == 2 else f"permuted {' '.join(map(str, by_dim))}"
    names = {axis: _LETTERS[at % 26] * (1 + at // 26) for at, axis in enumerate(stored)}
    groups = [[names[axis] for axis in stored if axis.dim == dim] for dim in sorted(by_dim)]
    left = " ".join(f"({' '.join(group)})" if len(group) > 1 else group[0] for group in groups)
    sizes = ", ".join(f"{names[axis]} = {axis.size}" for axis in stored)
    return f"{left} read as {' '.join(names[axis] for axis in axes)}, {sizes}"
