"""Casts: arrays of codes of one type to arrays of codes of another.

Numbers are rounded to nearest, ties to even, once, whatever the two types are. What is too large becomes
infinite, or NaN where the type has no infinity. A NaN keeps its sign, and of its other bits as many as the
narrower type has; where none of these is set, the first is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapcc.numeric.fault import Unrepresentable
from mapcc.numeric.formats import BF16, E8M0, F32, F64, Format

# In a table: what no code of a small type is.
NO_CODE = 0xFF

# --- between floating-point types


def narrow(x: Any, wide: Format, to: Format) -> Any:
    """F32 or F64 in a format that has no number which that type does not have."""
    if to.kind == "power":
        return to_power(x, wide)
    unsigned = x.dtype.type
    magnitude = x & unsigned(wide.mask)
    shift, rebias = wide.mantissa - to.mantissa, (wide.bias - to.bias) << wide.mantissa
    codes = x >> unsigned(shift)
    codes &= unsigned(1)
    codes += magnitude
    # Less than 0, that is, very large, where the exponent is too small: these numbers follow.
    codes += unsigned(((1 << (shift - 1)) - 1 - rebias) % (1 << wide.bits))
    codes >>= unsigned(shift)
    if rebias:
        small = magnitude < unsigned(rebias + (1 << wide.mantissa))
        count = np.count_nonzero(small)
        if 0 < count * 32 < x.size:
            some = np.flatnonzero(small)
            codes[some] = subnormal(magnitude[some], wide, to)
        elif count:
            # Bit by bit: a copy under a mask takes ten times as long.
            codes ^= (codes ^ subnormal(magnitude, wide, to)) & np.negative(small.astype(x.dtype))
    # Few blocks have anything that is too large, infinite or NaN.
    if x.size and int(magnitude.max()) > (to.largest << shift) + rebias:
        codes[codes > unsigned(to.largest)] = to.infinity
        nan = np.flatnonzero(magnitude > unsigned(wide.infinity))
        if nan.size and to.kind == "finite":
            raise Unrepresentable("nan", int(nan[0]), False, f"a type of {to.bits} bits")
        if nan.size:
            codes[nan] = quieted(magnitude[nan], wide, to)
    signs = x >> unsigned(wide.bits - to.bits)
    signs &= unsigned(to.sign)
    if not to.has_negative_zero:
        signs[codes == 0] = 0
    codes |= signs
    return codes.astype(to.unsigned)


def to_bf16(x: Any) -> Any:
    """BF16 of F32, which has the same exponents: what is too large is infinite by itself."""
    codes = x >> np.uint32(16)
    codes &= np.uint32(1)
    codes += np.uint32(0x7FFF)
    codes += x
    codes >>= np.uint32(16)
    magnitude = x & np.uint32(F32.mask)
    if x.size and int(magnitude.max()) > F32.infinity:
        nan = np.flatnonzero(magnitude > np.uint32(F32.infinity))
        codes[nan] = quieted(magnitude[nan], F32, BF16) | (x[nan] >> np.uint32(16) & np.uint32(0x8000))
    return codes.astype("<u2")


def subnormal(magnitude: Any, wide: Format, to: Format) -> Any:
    """Codes of numbers below the smallest normal one.

    The type's last bit is the last bit that F32, or F64, has of ``base`` and what is near it: the sum rounds.
    """
    exponent = 1 - to.bias - to.mantissa + wide.mantissa
    base = np.array((exponent + wide.bias) << wide.mantissa, magnitude.dtype)
    floats = f"<f{wide.bits // 8}"
    with np.errstate(all="ignore"):
        return (magnitude.view(floats) + base.view(floats)).view(magnitude.dtype) - base


def to_single(x: Any) -> Any:
    """F32 of F64."""
    with np.errstate(all="ignore"):
        out = x.view("<f8").astype("<f4").view("<u4")
    magnitude = x & np.uint64(F64.mask)
    nan = np.flatnonzero(magnitude > np.uint64(F64.infinity))
    if nan.size:
        signs = (x[nan] >> np.uint64(63)) << np.uint64(31)
        out[nan] = (quieted(magnitude[nan], F64, F32) | signs).astype("<u4")
    return out


def quieted(magnitude: Any, wide: Format, to: Format) -> Any:
    """Codes of NaNs, without the sign."""
    if to.kind != "ieee":
        return magnitude.dtype.type(to.infinity)
    payload = (magnitude >> magnitude.dtype.type(wide.mantissa - to.mantissa)) & magnitude.dtype.type(
        (1 << to.mantissa) - 1
    )
    payload[payload == 0] = 1 << (to.mantissa - 1)
    return payload | magnitude.dtype.type(to.infinity)


def to_power(x: Any, wide: Format) -> Any:
    """F32 or F64 to the nearest power of two, ties to the larger one; NaN for 0 and below."""
    lowest = (wide.bias - E8M0.bias) << wide.mantissa
    half = 1 << (wide.mantissa - 1)
    if wide.bias == E8M0.bias:  # 2**-127 is a subnormal of F32
        codes = (x + x.dtype.type(half)) >> x.dtype.type(wide.mantissa)
        codes[x < x.dtype.type(3 << (wide.mantissa - 2))] = 0
    else:
        codes = np.maximum(x, x.dtype.type(lowest)) - x.dtype.type(lowest) + x.dtype.type(half)
        codes >>= x.dtype.type(wide.mantissa)
    codes[(codes > E8M0.largest) | (x == 0) | (x > x.dtype.type(wide.infinity))] = E8M0.infinity
    return codes.astype(np.uint8)


def widened(x: Any) -> Any:
    """F64 of F32, which has every number of it."""
    with np.errstate(invalid="ignore"):
        out = x.view("<f4").astype("<f8").view("<u8")
    nan = np.flatnonzero((x & np.uint32(F32.mask)) > np.uint32(F32.infinity))
    if nan.size:
        bits = x[nan].astype("<u8")
        out[nan] = (
            (bits >> np.uint64(31)) << np.uint64(63)
            | np.uint64(F64.infinity)
            | (bits & np.uint64((1 << F32.mantissa) - 1)) << np.uint64(29)
        )
    return out


def from_bf16(x: Any) -> Any:
    """F32 of BF16: its upper half."""
    return x.astype("<u4") << np.uint32(16)


def lookup(x: Any, small: Format, to: Format) -> Any:
    """Any format of a type of up to 16 bits: every code has its place in a table."""
    codes = table(small, to).take(x, mode="clip")  # none is out of bounds: that is the fastest mode
    if to.kind == "finite" and (codes == NO_CODE).any():
        at = int(np.flatnonzero(codes == NO_CODE)[0])
        raise Unrepresentable("nan", at, False, f"a type of {to.bits} bits")
    return codes


# Made when first needed.
TABLES: dict[tuple[Format, Format], Any] = {}


def table(small: Format, to: Format) -> Any:
    """The codes that the codes of a type of up to 16 bits become."""
    if (small, to) not in TABLES:
        TABLES[small, to] = made_table(small, to)
    return TABLES[small, to]


def made_table(small: Format, to: Format) -> Any:
    codes = np.arange(1 << small.bits, dtype="<u8")
    magnitude = codes & np.uint64(small.mask)
    exponent = (magnitude >> np.uint64(small.mantissa)).astype(np.int64)
    significand = (magnitude & np.uint64((1 << small.mantissa) - 1)).astype("<f8")
    if small.kind == "power":
        significand += 1.0
    else:
        significand += np.where(exponent > 0, float(1 << small.mantissa), 0.0)
        exponent = np.maximum(exponent, 1)
    # Powers of two that F64 has, by their own bits: a product with one is exact.
    power = ((exponent + (F64.bias - small.bias - small.mantissa)).astype("<u8") << np.uint64(52)).view("<f8")
    bits = (significand * power).view("<u8")
    nan = codes == (small.infinity if small.kind != "finite" else NO_CODE)
    if small.kind == "ieee":
        nan = magnitude > small.infinity
        bits[magnitude == small.infinity] = F64.infinity
    if small.kind != "finite":
        payload = codes & np.uint64((1 << small.mantissa) - 1)
        if small.kind != "ieee":
            nan |= (magnitude == small.infinity) & (small.kind == "fn")
            payload = np.full(codes.size, 1 << (small.mantissa - 1) if small.mantissa else 0, "<u8")
        payload = payload << np.uint64(52 - small.mantissa) if small.mantissa else payload
        payload[payload == 0] = 1 << 51
        bits[nan] = (np.uint64(F64.infinity) | payload)[nan]
    bits |= ((codes & np.uint64(small.sign)) != 0).astype("<u8") << np.uint64(63)
    if to.bits == 64:
        return bits
    if to.kind != "finite":
        return narrow(bits, F64, to)
    bits[nan] = 0
    return np.where(nan, np.uint8(NO_CODE), narrow(bits, F64, to))


# --- integers


def to_odd(x: Any) -> Any:
    """F64 of integers. What is not exact gets a last bit of 1: to round it once more is to round once."""
    if x.dtype.itemsize < 8:
        return x.astype("<f8").view("<u8")
    low = x & x.dtype.type(0x7FF)
    folded = (x - low) | ((low != 0).astype(x.dtype) << x.dtype.type(11))
    is_small = x < 2**53
    if x.dtype.kind == "i":
        is_small &= x > -(2**53)
    return by_halves(np.where(is_small, x, folded))


def by_halves(x: Any) -> Any:
    """F64 of integers of 64 bits, rounded once: the sum of two numbers that F64 has."""
    high = (x >> x.dtype.type(32)).astype("<f8") * 4294967296.0
    return (high + (x & x.dtype.type(0xFFFFFFFF)).astype("<f8")).view("<u8")


def from_integers(x: Any, dtype: str, to: Format) -> Any:
    """A floating-point type of integers of the numpy type ``dtype``."""
    x = x.view(dtype)
    if to.bits < 64:
        return narrow(to_odd(x), F64, to)
    return by_halves(x) if x.dtype.itemsize == 8 else x.astype("<f8").view("<u8")


def to_integers(x: Any, dtype: str, saturate: bool = False) -> Any:
    """Integers of F64. A number with a fraction, or that the type does not have, is an error."""
    x = x.view("<f8")
    limits = np.iinfo(dtype)
    low, high = float(limits.min), float(int(limits.max) + 1)  # both are exact
    with np.errstate(invalid="ignore"):
        whole = np.rint(x)
        # Of 64 bits the largest is none of F64's; what F64 has below 2**63 is whole.
        below, above = x < low, (x >= high) | (x > float(limits.max))
    wrong = whole != x  # NaN too
    if saturate:
        wrong &= ~(below | above)
    else:
        wrong |= below | above
    if wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        fraction = bool(whole[at] != x[at] and x[at] == x[at])
        raise Unrepresentable(in_words(x[at]), at, fraction, np.dtype(dtype).name)
    kept = np.where(below | above, 0.0, x)
    # By halves: both are small enough for any machine's own cast.
    top = np.floor(kept * 2.0**-32)
    rest = (kept - top * 2.0**32).astype("<i8")
    found = ((top.astype("<i8") << np.int64(32)) | rest).astype(dtype)
    if saturate:
        found[below], found[above] = limits.min, limits.max
    return found.view(f"<u{found.itemsize}")


def in_words(value: Any) -> str:
    """F64 in the digits that F32 needs, where it is F32."""
    value = float(value)
    with np.errstate(all="ignore"):
        for digits in (6, 7, 8, 9) if np.float32(value) == value else ():
            if np.float32(f"{value:.{digits}g}") == np.float32(value):
                return repr(float(f"{value:.{digits}g}"))
    return repr(value)


def between_integers(x: Any, source: str, dtype: str, saturate: bool = False) -> Any:
    """Integers of another type. A number that it does not have is an error."""
    x = x.view(source)
    limits = np.iinfo(dtype)
    below, above = x < int(limits.min), x > int(limits.max)
    wrong = below | above
    if not saturate and wrong.any():
        at = int(np.flatnonzero(wrong)[0])
        raise Unrepresentable(str(x[at]), at, False, np.dtype(dtype).name)
    found = x.astype(dtype)
    if saturate:
        found[below], found[above] = limits.min, limits.max
    return found.view(f"<u{found.itemsize}")


# --- BOOL: what is not 0 is true


def truth(x: Any, mask: int) -> Any:
    """Whether a magnitude is not 0; without a mask everything is."""
    return ((x & x.dtype.type(mask)) != 0).astype(np.uint8) if mask else np.ones(x.shape, np.uint8)


def from_truth(x: Any, one: int, zero: int, dtype: str) -> Any:
    """The codes of 1 and of 0."""
    kind = np.dtype(dtype).type
    return np.where(x != 0, kind(one), kind(zero))


# --- saturation: what a cast had no number for


def saturated(x: Any, before: Any, source: Format, to: Format) -> Any:
    """What was a number, or infinite, and is infinite or NaN in ``x``, is the largest of its sign instead."""
    negative = (before & before.dtype.type(source.sign)) != 0
    return replaced(x, negative, is_nan(before, source), (before & before.dtype.type(source.mask)) == 0, to)


def saturated_integers(x: Any, before: Any, dtype: str, to: Format) -> Any:
    """The same of integers."""
    before = before.view(dtype)
    return replaced(x, before < 0, np.zeros(x.shape, bool), before == 0, to)


def replaced(x: Any, negative: Any, nan: Any, zero: Any, to: Format) -> Any:
    kind = x.dtype.type
    lost = ~nan & ((x & kind(to.mask)) > kind(to.largest))
    if to.kind == "power":  # its smallest number is for 0 and below
        return np.where(lost, np.where(negative | zero, kind(0), kind(to.largest)), x)
    if to.kind == "fnuz":
        lost = ~nan & (x == kind(to.infinity))
    return np.where(lost, negative.astype(x.dtype) * kind(to.sign) | kind(to.largest), x)


def is_nan(x: Any, form: Format) -> Any:
    """Which codes are NaN."""
    if form.kind == "fnuz":
        return x == x.dtype.type(form.infinity)
    top = form.infinity if form.kind in ("ieee", "finite") else form.largest
    return (x & x.dtype.type(form.mask)) > x.dtype.type(top)
