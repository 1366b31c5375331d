"""What a chain of operations makes of an element, computed a second time.

A result is two numbers, the lowest and the highest that are right: the same but behind ``neg_exp``
and ``weight_norm``, whose last bits depend on a polynomial and on the order of a sum, which are not
looked at here. Every operation is monotone, so what follows is done to both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from mapcc.ir.values import Step
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.verify.formats import FORMATS, Codes, Flags, codes_of, decode, doubles
from mapcc.verify.rounding import encode, to_whole

Doubles = npt.NDArray[np.float64]

_F32, _F64 = DTYPES["F32"], DTYPES["F64"]
EXP_ULPS = 2  # one of the conversion's, and one of the C library's


@dataclass(frozen=True, slots=True)
class Wanted:
    """The lowest and highest codes of a type; ``exists`` is False for what the type does not have."""

    low: Codes
    high: Codes
    dtype: Dtype
    exists: Flags


def exactly(codes: Codes, dtype: Dtype) -> Wanted:
    return Wanted(codes, codes, dtype, np.ones(len(codes), bool))


def computed(x: Wanted, steps: Sequence[Step], target: Dtype) -> Wanted:
    """``x`` through the steps, in the type of the target."""
    saturate = False
    with np.errstate(all="ignore"):
        for step in steps:
            if step.is_saturating:
                saturate = True
            elif step.dtype is not None:
                x, saturate = cast(x, step.dtype, saturate), False
            else:
                x = _apply(cast(x, working_type(x.dtype)), step)
        return cast(x, target, saturate)


def moves_bits(dtype: Dtype, steps: Sequence[Step], target: Dtype) -> bool:
    """Whether nothing is computed: a cast to the type that the elements have leaves them alone."""
    return dtype == target and all(step.dtype == dtype for step in steps)


def working_type(dtype: Dtype) -> Dtype:
    return _F64 if dtype == _F64 else _F32


def cast(x: Wanted, dtype: Dtype, saturate: bool = False) -> Wanted:
    if x.dtype == dtype and not saturate:
        return x
    low, exists = encode(decode(x.low, x.dtype), dtype, saturate)
    if x.high is x.low:
        return Wanted(low, low, dtype, x.exists & exists)
    high, also = encode(decode(x.high, x.dtype), dtype, saturate)
    return Wanted(low, high, dtype, x.exists & exists & also)


def rounded(values: Doubles, dtype: Dtype) -> Codes:
    """F64 numbers to codes.

    For the sum, product and quotient of two F32 that F64 has rounded before, it is as if they were
    rounded once: F64 has more than twice the bits, and two (Figueroa, 1995).
    """
    values = np.where(np.isnan(values), np.nan, values)  # what is computed to be NaN is one NaN
    return encode(decode(_bits(values), _F64), dtype)[0]


def constant(value: int | float, dtype: Dtype) -> npt.NDArray[np.uint8]:
    """The bytes of an element that a number fills; of elements that share bytes, all of them.

    >>> constant(1.5, DTYPES["BF16"]).tobytes().hex()
    'c03f'
    """
    if dtype.bits == 6:
        return np.zeros(3, np.uint8)  # no other number is created in it
    part = _F32 if dtype.kind == "complex" else dtype
    if isinstance(value, int) and abs(value) < 2**64:
        whole = decode(np.array([abs(value)], np.uint64), DTYPES["U64"])
        code = encode(replace(whole, negative=np.array([value < 0])), part)[0]
    else:
        code = encode(decode(_bits(np.array([float(value)])), _F64), part)[0]
    if dtype.bits == 4:
        code |= code << np.uint64(4)
    return code.astype("<u8").view(np.uint8)[: max(1, dtype.bits // 8)]


def _apply(x: Wanted, step: Step) -> Wanted:
    low, high = doubles(x.low, x.dtype), doubles(x.high, x.dtype)
    match step.op.name:
        case "scale":
            factor = _number(step.number("factor"), x.dtype)
            return _between(low * factor, high * factor, x)
        case "add":
            number = _number(step.number("number"), x.dtype)
            return _between(low + number, high + number, x)
        case "clamp":
            bottom, top = (_number(step.number(name), x.dtype) for name in ("low", "high"))
            return _between(_clamped(low, bottom, top), _clamped(high, bottom, top), x)
        case "round":
            whole = _rounded_whole(x.low, x.dtype)
            other = whole if x.high is x.low else _rounded_whole(x.high, x.dtype)
            return Wanted(whole, other, x.dtype, x.exists)
        case "neg_exp":
            return _spread(_neg_exp(high), _neg_exp(low), x)
        case name:
            raise NotImplementedError(f"no second way to compute {name!r}")


def _rounded_whole(codes: Codes, dtype: Dtype) -> Codes:
    x = decode(codes, dtype)
    quiet = np.uint64(1 << 51)
    x = replace(x, negative=x.negative & ~x.nan, mantissa=np.where(x.nan, quiet, x.mantissa))
    return encode(to_whole(x), dtype)[0]


def _clamped(values: Doubles, bottom: Doubles, top: Doubles) -> Doubles:
    return np.where(values < bottom, bottom, np.where(values > top, top, values))


def _number(value: int | float, dtype: Dtype) -> Doubles:
    return doubles(rounded(np.array([float(value)]), dtype), dtype)


def _between(one: Doubles, other: Doubles, x: Wanted) -> Wanted:
    if x.high is x.low:
        codes = rounded(one, x.dtype)
        return Wanted(codes, codes, x.dtype, x.exists)
    low, high = rounded(np.minimum(one, other), x.dtype), rounded(np.maximum(one, other), x.dtype)
    return Wanted(low, high, x.dtype, x.exists)


def _neg_exp(values: Doubles) -> Doubles:
    return np.array([-_exp(value) for value in values.tolist()])


def _exp(value: float) -> float:
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def _spread(low: Doubles, high: Doubles, x: Wanted) -> Wanted:
    """Some units in the last place to both sides; the numbers are not above 0."""
    form = FORMATS[x.dtype.name]
    sign, ulps = np.uint64(form.sign), np.uint64(EXP_ULPS)
    below, above = rounded(low, x.dtype), rounded(high, x.dtype)
    down = np.minimum((below & ~sign) + ulps, np.uint64(form.infinity)) | sign
    up = (np.maximum(above & ~sign, ulps) - ulps) | sign
    nan = np.isnan(low) | np.isnan(high)
    return Wanted(np.where(nan, below, down), np.where(nan, above, up), x.dtype, x.exists)


def weight_norm(g: Codes, v: Codes, norm: tuple[Doubles, Doubles], dtype: Dtype) -> Wanted:
    """``v * (g / norm)`` in the working type ``dtype``, for the bounds of the norm."""
    with np.errstate(all="ignore"):
        ends = []
        for bound in norm:
            rounded_norm = doubles(rounded(bound, dtype), dtype)
            factor = doubles(rounded(doubles(g, dtype) / rounded_norm, dtype), dtype)
            ends.append(doubles(v, dtype) * factor)
        low, high = np.minimum(*ends), np.maximum(*ends)
    return Wanted(rounded(low, dtype), rounded(high, dtype), dtype, np.ones(len(v), bool))


def norm_bounds(row: Doubles) -> tuple[float, float]:
    """The Euclidean norm, as far as the order of a sum in F64 leaves it open."""
    with np.errstate(all="ignore"):
        squares = row * row
    if not np.isfinite(squares).all():
        total = float(squares.sum())
        return math.sqrt(total) if total == total else total, math.sqrt(total) if total == total else total
    norm = math.sqrt(math.fsum(squares.tolist()))
    slack = (len(row) + 8) * 2.0**-53
    return norm * (1 - slack), norm * (1 + slack)


def agrees(found: Codes, wanted: Wanted) -> Flags:
    """Which elements are right, to the last bit of a NaN."""
    dtype = wanted.dtype
    same = (found == wanted.low) | (found == wanted.high)
    if dtype.kind == "float":
        if wanted.high is not wanted.low:
            value = doubles(found, dtype)
            same |= (value >= doubles(wanted.low, dtype)) & (value <= doubles(wanted.high, dtype))
    elif wanted.high is not wanted.low:
        value = _whole(found, dtype)
        same |= (value >= _whole(wanted.low, dtype)) & (value <= _whole(wanted.high, dtype))
    right: Flags = same & wanted.exists
    return right


def _whole(codes: Codes, dtype: Dtype) -> Doubles:
    x = decode(codes, dtype)
    return np.where(x.negative, -1.0, 1.0) * x.mantissa


def _bits(values: Doubles) -> Codes:
    return codes_of(np.ascontiguousarray(values, "<f8").view(np.uint8).reshape(-1, 8))
