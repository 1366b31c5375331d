"""Types that numpy does not have, and casts that round once.

What is read and written here are the bits of elements; what is computed with are numpy's F32 and F64.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np


class Small(NamedTuple):
    """A type of 8 bits: sign, exponent, mantissa. ``too_large`` is what an overflow becomes."""

    exponent: int
    mantissa: int
    bias: int
    largest: int
    too_large: int
    nan: int
    negative_zero: bool = True


E4M3 = Small(4, 3, 7, 0x7E, 0x7F, 0x7F)
E5M2 = Small(5, 2, 15, 0x7B, 0x7C, 0x7E)
E4M3FNUZ = Small(4, 3, 8, 0x7F, 0x80, 0x80, negative_zero=False)
E5M2FNUZ = Small(5, 2, 16, 0x7F, 0x80, 0x80, negative_zero=False)
E2M1 = Small(2, 1, 1, 0x07, 0x07, 0x07)


def magnitudes(kind: Small, codes: Any) -> Any:
    """The numbers of codes without a sign; of one too many, what would come next."""
    exponent, mantissa = codes >> kind.mantissa, codes & ((1 << kind.mantissa) - 1)
    fraction = mantissa / (1 << kind.mantissa) + (exponent > 0)
    return np.ldexp(fraction, np.maximum(exponent, 1) - kind.bias)


def from_small(bits: Any, kind: Small) -> Any:
    """F32 of a type of 8 bits."""
    codes = np.arange(128)
    half = magnitudes(kind, codes)
    half[codes > kind.largest] = np.nan
    if kind.too_large == 0x7C:
        half[0x7C] = np.inf
    table = np.concatenate([half, -half]).astype("<f4")
    if not kind.negative_zero:
        table[0x80] = -np.nan
    return table[bits]


def to_small(x: Any, kind: Small) -> Any:
    """Of F32, to nearest, ties to even; too large is infinite, or NaN where there is no infinity."""
    values = magnitudes(kind, np.arange(kind.largest + 2))
    middles = (values[:-1] + values[1:]) / 2
    size = np.abs(x).astype("<f8")
    low, high = np.searchsorted(middles, size, "left"), np.searchsorted(middles, size, "right")
    codes = np.where(low % 2 == 0, low, high)
    codes = np.where(codes > kind.largest, kind.too_large, codes)
    codes = np.where(np.isnan(x), kind.nan, codes)
    signs = np.signbit(x) & (kind.negative_zero | (codes != 0))
    return (codes | signs * 0x80).astype(np.uint8)


def from_e8m0(bits: Any) -> Any:
    """F32 of F8_E8M0: powers of two."""
    table = np.ldexp(1.0, np.arange(256) - 127).astype("<f4")
    table[255] = np.nan
    return table[bits]


def to_e8m0(x: Any) -> Any:
    """The nearest power of two of F32, ties up; NaN for what has none: 0 and below, and too large."""
    values = np.ldexp(1.0, np.arange(256) - 127)
    middles = (values[:-1] + values[1:]) / 2
    middles[0] = np.nextafter(values[0], 1)  # as ml_dtypes has it: the smallest is for what is not larger
    codes = np.searchsorted(middles, x.astype("<f8"), "right")
    return np.where((x > 0) & (codes < 255), codes, 255).astype(np.uint8)


def from_bf16(bits: Any) -> Any:
    """F32 of BF16: its upper half."""
    return (bits.astype("<u4") << 16).view("<f4")


def to_bf16(x: Any) -> Any:
    """Of F32, to nearest, ties to even."""
    bits = x.view("<u4")
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    nan = 0x7FC0 | bits >> 16 & 0x8000
    return np.where(np.isnan(x), nan, rounded).astype("<u2")


def to_odd(x: Any) -> Any:
    """F64 to F32, where what is not exact gets a last bit of 1: rounding it once more is rounding once."""
    nearest = x.astype("<f4")
    bits = nearest.view("<u4")
    exact = (nearest == x) | ~np.isfinite(nearest) | (bits & 1 == 1)
    away = np.abs(nearest.astype("<f8")) < np.abs(x)
    other = np.where(away, bits + np.uint32(1), bits - np.uint32(1))
    return np.where(exact, bits, other).view("<f4")


def integers_to_odd(x: Any) -> Any:
    """64-bit integers to F64 in the same way."""
    low = x & x.dtype.type(0x7FF)
    folded = (x - low) | ((low != 0).astype(x.dtype) << 11)
    is_small = (x < 2**53) & (x > -(2**53) if x.dtype.kind == "i" else True)
    return np.where(is_small, x, folded).astype("<f8")


def to_integer(x: Any, dtype: str) -> Any:
    """Towards zero; ValueError for a number that the type does not have."""
    limits = np.iinfo(dtype)
    if x.dtype.kind == "f":
        x = np.trunc(x.astype("<f8"))
        fits = (x >= float(limits.min)) & (x < float(limits.max + 1))
    else:
        fits = (x >= int(limits.min)) & (x <= int(limits.max))
    if not fits.all():
        raise ValueError(f"{x[~fits].flat[0]} is not a value of {np.dtype(dtype).name}")
    return x.astype(dtype)
