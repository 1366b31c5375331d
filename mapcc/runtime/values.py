"""The arithmetic of value operations on numpy arrays.

Precision. A chain of steps computes in F32, or in F64 if what it takes is F64, and rounds only where
a cast says so and at its end; so ``| scale 0.5 | add 1`` on BF16 rounds once.

Casts.

- To a floating-point type: to nearest, ties to even, once. A NaN stays a NaN, but not always with the
  same bits. What is too large becomes an infinity, or NaN in the types without one (F8_E4M3 and the
  FNUZ types); it is never clamped. F8_E8M0 has neither zero nor sign: these become NaN.
- To an integer type: towards zero. What does not fit, or is NaN, is an error: no bits are made up.
- To BOOL: whether it is not 0. From BOOL: 0 or 1.

These are torch's results but for the following [torch 2.13.0]: torch clamps to the largest F8_E4M3; it
drops the sign and makes 2**-127 of 0 in F8_E8M0; it rounds F64 twice (by way of F32) on the way to
types of 16 and 8 bits; it wraps integers that do not fit.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mapcc.ir.values import Step
from mapcc.runtime.arrays import Array, numpy_dtype
from mapcc.tensors.dtypes import DTYPES, Dtype

_F32, _F64 = DTYPES["F32"], DTYPES["F64"]


class Unrepresentable(ValueError):
    """A number that the integer type of a cast does not have."""


def transform(x: Array, dtype: Dtype, steps: tuple[Step, ...], target: Dtype) -> Array:
    """``x``, whose elements are of ``dtype``, through ``steps``, as elements of ``target``.

    Raises:
        Unrepresentable: for a cast of a number to an integer type that does not have it.
    """
    with np.errstate(all="ignore"):  # overflow to infinity is what the table above says
        for step in steps:
            if step.dtype is not None:
                x, dtype = cast(x, dtype, step.dtype), step.dtype
            else:
                x, dtype = widened(x, dtype)
                x = KERNELS[step.op.name](x, step)
        return cast(x, dtype, target)


def widened(x: Array, dtype: Dtype) -> tuple[Array, Dtype]:
    """Floating-point numbers in the type in which they are computed with. No value changes."""
    working = _F64 if dtype == _F64 else _F32
    return cast(x, dtype, working), working


# Each takes and gives an array of F32 or F64. A Python number takes the array's type.
KERNELS: dict[str, Callable[[Array, Step], Array]] = {
    "scale": lambda x, step: x * step.number("factor"),
    "add": lambda x, step: x + step.number("number"),
    "neg_exp": lambda x, step: -np.exp(x),
}


def cast(x: Array, source: Dtype, target: Dtype) -> Array:
    """Elements of one type as elements of another; the array itself if the types are the same."""
    if source == target:
        return x
    if "bool" in (source.kind, target.kind):
        is_true: Array = x != 0
        return is_true.astype(numpy_dtype(target))
    if target.kind in ("int", "uint"):
        return _to_integer(x, source, target)
    return _to_float(x, source, target)


def filled(value: int | float, dtype: Dtype) -> Array:
    """One element of ``dtype`` with this value, as bytes; of types smaller than a byte, a whole byte."""
    if value == 0 and dtype.bits < 8:
        return np.zeros(1, np.uint8)  # of F6 too, whose bits nobody else knows
    if dtype.kind in ("float", "complex"):
        one = cast(np.array([float(value)]), _F64, dtype).view(np.uint8)
    else:
        one = np.array([int(value)]).astype(numpy_dtype(dtype)).view(np.uint8)
    return one | one << 4 if dtype.bits == 4 else one


def _to_float(x: Array, source: Dtype, target: Dtype) -> Array:
    """To a narrow type, by way of F32: ``ml_dtypes`` would round F64 and integers twice."""
    if target.bits >= 32:  # numpy rounds integers to F32 and F64 once
        return x.astype(numpy_dtype(target))
    if source.kind in ("int", "uint"):
        x = _integers_to_odd(x) if source.bits == 64 else x.astype(np.float64)
        source = _F64
    x = _to_odd(x) if source == _F64 else x.astype(np.float32)
    return x.astype(numpy_dtype(target))


def _to_odd(x: Array) -> Array:
    """F64 to F32, where what is not exact becomes the neighbour whose last bit is 1.

    It is on the same side of every number and every middle that a narrower type has, so that rounding
    it once more gives what rounding ``x`` once would.
    """
    nearest = x.astype(np.float32)
    bits = nearest.view(np.uint32)
    exact = (nearest == x) | ~np.isfinite(nearest) | (bits & 1 == 1)
    # The even neighbour was taken: the odd one on the other side of x is one step away.
    away = (np.abs(nearest.astype(np.float64)) < np.abs(x)).astype(np.uint32)
    moved = np.where(away == 1, bits + np.uint32(1), bits - np.uint32(1))
    return np.where(exact, bits, moved).view(np.float32)


def _integers_to_odd(x: Array) -> Array:
    """64-bit integers to F64 in the same way: the bits below the 53rd only say that they are there."""
    low = x & x.dtype.type(0x7FF)
    high = x - low
    folded = high | ((low != 0).astype(x.dtype) << 11)
    is_small = (x < 2**53) & (x > -(2**53) if x.dtype.kind == "i" else True)
    return np.where(is_small, x, folded).astype(np.float64)


def _to_integer(x: Array, source: Dtype, target: Dtype) -> Array:
    low = 0 if target.kind == "uint" else -(2 ** (target.bits - 1))
    high = 2 ** (target.bits - (target.kind == "int"))
    if source.kind == "float":
        x = np.trunc(x.astype(np.float64))
        fits = (x >= float(low)) & (x < float(high))  # both are exact; False for NaN
    else:
        # numpy compares integers of any type with a Python number by value.
        fits = (x >= low) & (x < high)
    if not fits.all():
        raise Unrepresentable(f"{x[~fits].flat[0]} is not a value of {target.name}")
    return x.astype(numpy_dtype(target))
