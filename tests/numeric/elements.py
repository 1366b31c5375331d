"""Elements of every type for the tests of casts: codes, the same for all versions of all libraries."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from typing import Any

import numpy as np

from mapcc.numeric.route import FORMATS, INTEGERS, route, unsigned

FLOATS = tuple(FORMATS)
# Where every code is looked at.
SHORT = tuple(name for name, form in FORMATS.items() if form.bits <= 16)
ML_DTYPES = {
    "BF16": "bfloat16",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
    "F6_E2M3": "float6_e2m3fn",
    "F6_E3M2": "float6_e3m2fn",
    "F4": "float4_e2m1fn",
}
_NUMPY = {"F16": "<f2", "F32": "<f4", "F64": "<f8", "BOOL": "u1", **INTEGERS}

Codes = Any


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy type of ``ml_dtypes`` with the same bits; of F4 and F6 one in each byte."""
    if name in _NUMPY:
        return np.dtype(_NUMPY[name])
    import ml_dtypes

    return np.dtype(getattr(ml_dtypes, ML_DTYPES[name]))


@cache
def samples(name: str) -> Codes:
    """All codes of types of up to 16 bits; of larger ones what is at ties, beside them, and random bits."""
    if name == "BOOL" or (name in INTEGERS and INTEGERS[name][2:] == "1"):
        return np.arange(256, dtype="u1")
    bits = FORMATS[name].bits if name in FORMATS else 8 * int(INTEGERS[name][2:])
    if bits <= 16:
        return np.arange(1 << bits, dtype=unsigned(name))
    # A generator whose numbers no version changes.
    noise = np.frombuffer(
        b"".join(sha256(f"{name} {k}".encode()).digest() for k in range(1 << 12)), unsigned(name)
    )
    if bits == 32:
        heads = np.arange(1 << 16, dtype="<u4") << np.uint32(16)
        lows = (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1000, 0x0FFF, 0x1001)
        return np.concatenate([*(heads | np.uint32(low) for low in lows), noise])
    heads = np.arange(1 << 16, dtype="<u8") << np.uint64(48)
    lows = (
        0,
        1,
        (1 << 48) - 1,
        1 << 47,
        (1 << 47) + 1,
        1 << 28,
        (1 << 28) + 1,
        1 << 41,
        (1 << 42) - 1,
        1 << 46,
    )
    # Exponents that F32 has, with the bits of ties of narrower types and what is beside them.
    own = np.arange(1 << 13, dtype="<u8") << np.uint64(45)
    near = [
        (np.uint64((1023 + power) << 52) + (own & np.uint64((1 << 52) - 1)) + np.uint64(low % (1 << 64)))
        for power in range(-30, 18, 3)
        for low in (0, 1, (1 << 64) - 1)
    ]
    with np.errstate(over="ignore"):
        return np.concatenate([*(heads | np.uint64(low) for low in lows), *near, noise])


def cast(x: Codes, source: str, target: str) -> Codes:
    for call in route(source, target):
        x = call(x)
    return x


def is_nan(x: Codes, name: str) -> Any:
    """By the definition of the formats, not by the code that casts."""
    form = FORMATS[name]
    magnitude = x & x.dtype.type(form.mask)
    match form.kind:
        case "finite":
            return np.zeros(x.shape, bool)
        case "fnuz":
            return x == 0x80
        case "ieee":
            return magnitude > form.infinity
        case _:
            return magnitude == form.infinity


def numbers(x: Codes, name: str) -> Codes:
    """Without the codes that are NaN."""
    return x[~is_nan(x, name)]


def one_nan(x: Codes, name: str) -> Codes:
    """Every NaN with the payload that casts of libraries give: the first bit. Its sign stays."""
    form = FORMATS[name]
    if form.kind != "ieee":
        return x
    signs = x & x.dtype.type(form.sign)
    return np.where(is_nan(x, name), signs | x.dtype.type(form.infinity | 1 << (form.mantissa - 1)), x)


def digest(x: Codes) -> str:
    return sha256(np.ascontiguousarray(x).tobytes()).hexdigest()[:16]
