"""Numbers by the definitions of their formats: sign, exponent, mantissa, bias.

What a conversion computes with (``numeric``) is not asked here. A number in between is
``sign * mantissa * 2**exponent`` with whole mantissas, so nothing rounds but ``rounding.encode``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mapcc.tensors.dtypes import Dtype

Codes = npt.NDArray[np.uint64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format; ``special`` says what it has for infinity and NaN.

    ``ieee``: both, under the largest exponent. ``fn``: no infinity, NaN is all ones. ``fnuz``: no
    infinity, NaN is what -0 would be. ``power``: powers of two alone, NaN is all ones. ``finite``: neither.
    """

    exponent: int
    mantissa: int
    bias: int
    special: str = "ieee"

    @property
    def sign(self) -> int:
        return 0 if self.special == "power" else 1 << (self.exponent + self.mantissa)

    @property
    def largest(self) -> int:
        """The code of the largest finite number."""
        every = (1 << (self.exponent + self.mantissa)) - 1
        match self.special:
            case "ieee":
                return every - (1 << self.mantissa)
            case "fnuz" | "finite":
                return every
            case _:
                return every - 1

    @property
    def nan(self) -> int:
        match self.special:
            case "ieee":
                return self.largest + 1 + (1 << (self.mantissa - 1))
            case "fnuz":
                return self.sign
            case _:
                return self.largest + 1

    @property
    def infinity(self) -> int:
        return self.largest + 1 if self.special == "ieee" else self.nan


FORMATS = {
    "F4": Format(2, 1, 1, "finite"),
    "F8_E4M3": Format(4, 3, 7, "fn"),
    "F8_E5M2": Format(5, 2, 15),
    "F8_E4M3FNUZ": Format(4, 3, 8, "fnuz"),
    "F8_E5M2FNUZ": Format(5, 2, 16, "fnuz"),
    "F8_E8M0": Format(8, 0, 127, "power"),
    "F16": Format(5, 10, 15),
    "BF16": Format(8, 7, 127),
    "F32": Format(8, 23, 127),
    "F64": Format(11, 52, 1023),
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """``(-1)**negative * mantissa * 2**exponent``, or an infinity, or NaN.

    Of NaN the mantissa is what its format has behind the exponent, as the first of 52 bits.
    """

    negative: Flags
    mantissa: Codes
    exponent: Ints
    infinite: Flags
    nan: Flags


def codes_of(raw: npt.NDArray[np.uint8]) -> Codes:
    """Little-endian elements, one row each, as numbers."""
    padded = np.zeros((len(raw), 8), np.uint8)
    padded[:, : raw.shape[1]] = raw
    return padded.view("<u8")[:, 0].astype(np.uint64)


def decode(codes: Codes, dtype: Dtype) -> Numbers:
    """The numbers that elements stand for.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> x = decode(np.array([0xC0], np.uint64), DTYPES["F8_E5M2"])
    >>> x.negative.item(), x.mantissa.item(), x.exponent.item()
    (True, 4, -1)
    """
    no = np.zeros(len(codes), bool)
    if dtype.kind not in ("float", "complex"):
        return _decode_whole(codes, dtype, no)
    form = FORMATS[dtype.name]
    magnitude = codes & np.uint64(form.sign - 1) if form.sign else codes
    negative = (codes & np.uint64(form.sign)) != 0
    nan = codes == form.nan if form.special == "fnuz" else magnitude > form.largest
    infinite = no
    if form.special == "ieee":
        infinite, nan = magnitude == form.infinity, magnitude > form.infinity
    if form.special == "power":
        return Numbers(no, (~nan).astype(np.uint64), magnitude.astype(np.int64) - form.bias, no, nan)
    stored = (magnitude >> np.uint64(form.mantissa)).astype(np.int64)
    fraction = magnitude & np.uint64((1 << form.mantissa) - 1)
    mantissa = np.where(stored > 0, fraction | np.uint64(1 << form.mantissa), fraction)
    exponent = np.maximum(stored, 1) - form.bias - form.mantissa
    payload = fraction << np.uint64(52 - form.mantissa) if form.special == "ieee" else np.zeros_like(codes)
    mantissa = np.where(nan, payload, mantissa)
    return Numbers(negative, mantissa, exponent, infinite, nan)


def _decode_whole(codes: Codes, dtype: Dtype, no: Flags) -> Numbers:
    exponent = np.zeros(len(codes), np.int64)
    if dtype.kind == "bool":
        return Numbers(no, (codes != 0).astype(np.uint64), exponent, no, no)
    negative, mantissa = no, codes
    if dtype.kind == "int":
        negative = (codes >> np.uint64(dtype.bits - 1)) == 1
        every = np.uint64((1 << dtype.bits) - 1)
        mantissa = np.where(negative, (~codes & every) + np.uint64(1), codes)
    return Numbers(negative, mantissa, exponent, no, no)


def doubles(codes: Codes, dtype: Dtype) -> npt.NDArray[np.float64]:
    """Elements of a floating-point type as F64, which has every number that they have."""
    x = decode(codes, dtype)
    with np.errstate(over="ignore"):  # where the largest exponent stands for infinity and NaN
        value = np.ldexp(x.mantissa.astype(np.float64), x.exponent)
    value = np.where(x.infinite, np.inf, np.where(x.nan, np.nan, value))
    return np.where(x.negative, -value, value)
