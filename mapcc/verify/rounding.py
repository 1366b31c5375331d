"""Numbers to the nearest element of a format, in whole numbers."""

from __future__ import annotations

import numpy as np

from mapcc.tensors.dtypes import Dtype
from mapcc.verify.formats import FORMATS, Codes, Flags, Format, Ints, Numbers


def encode(x: Numbers, dtype: Dtype) -> tuple[Codes, Flags]:
    """The nearest elements of a type, ties to even, and which numbers the type does not have.

    Integers are cut towards zero. What is too large is infinite, or NaN where there is no infinity.
    """
    everything = np.ones(len(x.nan), bool)
    if dtype.kind == "bool":
        true = (x.mantissa != 0) | x.infinite | x.nan
        return true.astype(np.uint64), everything
    if dtype.kind in ("int", "uint"):
        return _encode_whole(x, dtype)
    form = FORMATS[dtype.name]
    codes = _rounded(x, form)
    codes = np.where(x.infinite | (codes > form.largest), np.uint64(form.infinity), codes)
    is_nan = x.nan
    if form.special == "power":
        is_nan = is_nan | x.negative | ((x.mantissa == 0) & ~x.infinite)
    elif form.special == "fnuz":
        is_nan = is_nan | (codes == form.nan)
        codes = np.where(x.negative & (codes > 0), codes | np.uint64(form.sign), codes)
    else:
        codes = np.where(x.negative, codes | np.uint64(form.sign), codes)
    return np.where(is_nan, np.uint64(form.nan), codes), everything


def _rounded(x: Numbers, form: Format) -> Codes:
    """Codes of the magnitudes; a carry out of the mantissa goes into the exponent by itself."""
    lowest = -form.bias if form.special == "power" else 1 - form.bias
    top = np.maximum(x.exponent + bit_length(x.mantissa) - 1, lowest)
    kept = _shifted(x.mantissa, top - form.mantissa - x.exponent)
    above = np.clip(top - lowest, 0, 1 << 12).astype(np.uint64) << np.uint64(form.mantissa)
    if form.special == "power":
        return np.where(above + kept > 0, above + kept - np.uint64(1), np.uint64(0))
    return np.where(x.mantissa == 0, np.uint64(0), above + kept)


def _shifted(mantissa: Codes, by: Ints) -> Codes:
    """``mantissa / 2**by``, to nearest, ties to even."""
    one = np.uint64(1)
    left = np.clip(-by, 0, 63).astype(np.uint64)
    right = np.clip(by - 1, 0, 63).astype(np.uint64)
    floor = (mantissa >> right) >> one
    half = (mantissa >> right) & one
    below = (mantissa & ((one << right) - one)) != 0
    up = (half == 1) & (below | (floor & one == 1))
    rounded = np.where(by > 64, np.uint64(0), floor + up.astype(np.uint64))
    return np.where(by > 0, rounded, mantissa << left)


def bit_length(x: Codes) -> Ints:
    """
    >>> bit_length(np.array([0, 1, 255, 2**64 - 1], np.uint64)).tolist()
    [0, 1, 8, 64]
    """
    length = np.zeros(len(x), np.int64)
    for step in (32, 16, 8, 4, 2, 1):
        big = x >> np.uint64(step) != 0
        length += np.where(big, step, 0)
        x = np.where(big, x >> np.uint64(step), x)
    total: Ints = length + (x != 0)
    return total


def _encode_whole(x: Numbers, dtype: Dtype) -> tuple[Codes, Flags]:
    right = np.clip(-x.exponent, 0, 63).astype(np.uint64)
    left = np.clip(x.exponent, 0, 63).astype(np.uint64)
    cut = np.where(x.exponent < -63, np.uint64(0), x.mantissa >> right)
    value = np.where(x.exponent > 0, x.mantissa << left, cut)
    fits = (x.exponent <= 0) | (bit_length(x.mantissa) + x.exponent <= 64)
    if dtype.kind == "uint":
        fits &= (value <= np.uint64((1 << dtype.bits) - 1)) & (~x.negative | (value == 0))
    else:
        edge = np.uint64(1 << (dtype.bits - 1))
        fits &= (value < edge) | (x.negative & (value == edge))
    every = np.uint64((1 << dtype.bits) - 1)
    codes = np.where(x.negative, (~value + np.uint64(1)) & every, value)
    return codes, fits & ~x.nan & ~x.infinite
