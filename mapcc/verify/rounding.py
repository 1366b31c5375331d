"""Numbers to the nearest element of a format, in whole numbers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mapcc.tensors.dtypes import Dtype
from mapcc.verify.formats import FORMATS, Codes, Flags, Format, Ints, Numbers


def encode(x: Numbers, dtype: Dtype, saturate: bool = False) -> tuple[Codes, Flags]:
    """The nearest elements of a type, ties to even, and which numbers the type does not have.

    Integers have no number with a fraction. What is too large is infinite, or NaN where there is no
    infinity; where ``saturate`` is set, it is the largest of its sign.
    """
    everything = np.ones(len(x.nan), bool)
    if dtype.kind == "bool":
        true = (x.mantissa != 0) | x.infinite | x.nan
        return true.astype(np.uint64), everything
    if dtype.kind in ("int", "uint"):
        return _encode_whole(x, dtype, saturate)
    form = FORMATS[dtype.name]
    too_large = np.uint64(form.largest if saturate else form.infinity)
    codes = _rounded(x, form)
    codes = np.where(x.infinite | (codes > form.largest), too_large, codes)
    if form.special == "power":
        below = x.negative | ((x.mantissa == 0) & ~x.infinite)
        codes = np.where(below, np.uint64(0 if saturate else form.nan), codes)
        return np.where(x.nan, np.uint64(form.nan), codes), everything
    codes = np.where(x.nan, _not_a_number(x, form), codes)
    signed = x.negative & (codes > 0) if form.special == "fnuz" else x.negative
    codes = np.where(signed, codes | np.uint64(form.sign), codes)
    return codes, ~x.nan if form.special == "finite" else everything


def _not_a_number(x: Numbers, form: Format) -> Codes:
    """NaN without its sign: as much of its mantissa as the format has, or the first bit of it."""
    if form.special != "ieee":
        return np.full(len(x.nan), form.nan, np.uint64)
    payload = x.mantissa >> np.uint64(52 - form.mantissa) & np.uint64((1 << form.mantissa) - 1)
    return np.uint64(form.infinity) + np.where(payload == 0, np.uint64(1 << (form.mantissa - 1)), payload)


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


def to_whole(x: Numbers) -> Numbers:
    """The nearest whole numbers, ties to even."""
    whole = np.where(x.nan | x.infinite | (x.exponent >= 0), x.mantissa, _shifted(x.mantissa, -x.exponent))
    return replace(x, mantissa=whole, exponent=np.maximum(x.exponent, 0))


def _encode_whole(x: Numbers, dtype: Dtype, saturate: bool) -> tuple[Codes, Flags]:
    one = np.uint64(1)
    right = np.clip(-x.exponent, 0, 63).astype(np.uint64)
    left = np.clip(x.exponent, 0, 63).astype(np.uint64)
    value = np.where(x.exponent > 0, x.mantissa << left, x.mantissa >> right)
    has_fraction = (x.exponent < 0) & ((x.mantissa & ((one << right) - one)) != 0)
    has_fraction |= (x.exponent < -63) & (x.mantissa != 0)
    fits = (x.exponent <= 0) | (bit_length(x.mantissa) + x.exponent <= 64)
    fits &= ~x.infinite
    most, least = np.uint64((1 << dtype.bits) - 1), np.uint64(0)
    if dtype.kind == "int":
        most, least = most >> one, np.uint64(1 << (dtype.bits - 1))
    edge = np.where(x.negative, least, most)
    if saturate:
        # Cut to the number below it, what lies beyond the edge by a fraction alone would seem to fit.
        beyond = ~fits | (value > edge) | ((value == edge) & has_fraction)
        value = np.where(beyond, edge, value)
        fits, has_fraction = np.ones(len(x.nan), bool), has_fraction & ~beyond
    else:
        fits &= value <= edge
    every = np.uint64((1 << dtype.bits) - 1)
    codes = np.where(x.negative, (~value + one) & every, value)
    return codes, fits & ~x.nan & ~has_fraction
