"""Tensors that lie in a file with strides: which bytes they have, and whether the strides say anything."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec


def placed(
    name: str,
    dtype: Dtype,
    shape: Sequence[int],
    strides: Sequence[int],
    file: int | None,
    begin: int,
) -> TensorSpec:
    """The tensor whose element with index 0 is at byte ``begin``, without strides that are row-major.

    Args:
        dtype: of whole bytes.
        strides: one for each dimension, in elements, none negative.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> spec = placed("a", DTYPES["F32"], (3, 2), (1, 3), 0, 100)
    >>> spec.strides, spec.begin, spec.end
    ((1, 3), 100, 124)
    >>> placed("a", DTYPES["F32"], (3, 2), (2, 1), 0, 100).strides
    """
    shape, strides = tuple(shape), tuple(strides)
    end = begin + reach(shape, strides) * (dtype.bits // 8)
    return TensorSpec(name, dtype, shape, file, begin, end, None if is_row_major(shape, strides) else strides)


def reach(shape: Sequence[int], strides: Sequence[int]) -> int:
    """How many elements lie from the first to the last, both counted.

    >>> reach((3, 2), (1, 3)), reach((4, 4), (0, 1)), reach((2, 0), (9, 9)), reach((), ())
    (6, 4, 0, 1)
    """
    if 0 in shape:
        return 0
    return 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))


def is_row_major(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie in the order of their indices, without gaps; the stride of one element is none."""
    if 0 in shape:
        return True
    wanted = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size != 1 and stride != wanted:
            return False
        wanted *= size
    return True


def column_major(shape: Sequence[int]) -> tuple[int, ...]:
    """The strides of the order of Fortran.

    >>> column_major((3, 2, 5))
    (1, 3, 6)
    """
    return tuple(prod(shape[:dim]) for dim in range(len(shape)))
