"""Operations on F32 and F64, as codes. What is computed to be NaN is one NaN, whatever it came from."""

from __future__ import annotations

from typing import Any

import numpy as np

from mapcc.numeric.casts import to_single, widened
from mapcc.numeric.formats import F32, F64


def scaled_by(x: Any, factor: float) -> Any:
    """``x * factor``, the factor rounded to the type of ``x``."""
    floats = as_floats(x)
    with np.errstate(all="ignore"):
        return as_codes(floats * constant(factor, floats))


def shifted_by(x: Any, number: float) -> Any:
    """``x + number``, the number rounded to the type of ``x``."""
    floats = as_floats(x)
    with np.errstate(all="ignore"):
        return as_codes(floats + constant(number, floats))


def nearest_whole(x: Any) -> Any:
    """The nearest whole number, ties to even."""
    with np.errstate(all="ignore"):
        return as_codes(np.rint(as_floats(x)))


def kept_between(x: Any, low: float, high: float) -> Any:
    """``low`` where ``x`` is less, ``high`` where it is more. -0 is not less than 0."""
    floats = as_floats(x)
    with np.errstate(all="ignore"):
        bottom, top = constant(low, floats), constant(high, floats)
        return as_codes(np.where(floats < bottom, bottom, np.where(floats > top, top, floats)))


def neg_exp(x: Any) -> Any:
    """``-exp(x)``: of F32 rounded once from F64; of F64 to within a unit in the last place."""
    if x.itemsize == 8:
        return as_codes(-exp(x.view("<f8")))
    wide = -exp(widened(x).view("<f8"))
    return as_codes(to_single(wide.view("<u8")).view("<f4"))


# exp(r) - 1 - r over r * r for -0.35 < r < 0.35, from the highest power down: 1/14! ... 1/2!
EXP = (
    1.1470745597729725e-11,
    1.6059043836821613e-10,
    2.08767569878681e-09,
    2.505210838544172e-08,
    2.755731922398589e-07,
    2.7557319223985893e-06,
    2.48015873015873e-05,
    0.0001984126984126984,
    0.001388888888888889,
    0.008333333333333333,
    0.041666666666666664,
    0.16666666666666666,
    0.5,
)
LOG2_E = 1.4426950408889634
# The logarithm of 2 in two parts: the first has 32 bits, so that its product with a whole number is exact.
LN2_HIGH, LN2_LOW = 0.6931471803691238, 1.9082149292705877e-10


def exp(x: Any) -> Any:
    """e to the power of F64, by a polynomial: ``+ - *`` in a fixed order, and powers of two."""
    with np.errstate(all="ignore"):
        bounded = np.where(x > -800.0, np.where(x < 800.0, x, 800.0), -800.0)  # of NaN: -800
        power = np.rint(bounded * LOG2_E)
        rest = (bounded - power * LN2_HIGH) - power * LN2_LOW
        total = np.full_like(rest, EXP[0])
        for coefficient in EXP[1:]:
            total = total * rest + coefficient
        total = (total * (rest * rest) + rest) + 1.0
        # In two steps, as the power itself may be none of F64's.
        half = np.floor(power * 0.5)
        found = (total * two_to(half)) * two_to(power - half)
        return np.where(x == x, found, x)


def two_to(power: Any) -> Any:
    """Powers of two, by their bits; between -1000 and 1000."""
    return ((power.astype("<i8") + np.int64(1023)) << np.int64(52)).view("<f8")


def as_floats(x: Any) -> Any:
    return x.view(f"<f{x.itemsize}")


def as_codes(floats: Any) -> Any:
    """Codes of F32 or F64, every NaN the same."""
    codes = floats.view(f"<u{floats.itemsize}")
    nan = np.isnan(floats)
    if nan.any():
        form = F32 if floats.itemsize == 4 else F64
        codes[nan] = form.infinity + (1 << (form.mantissa - 1))
    return codes


def constant(number: float, like: Any) -> Any:
    """A number in the type of an array."""
    wide = np.array([float(number)], "<f8")
    return wide if like.itemsize == 8 else to_single(wide.view("<u8")).view("<f4")
