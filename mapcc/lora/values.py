"""The four types of an adapter as arrays, and what is computed with them: by mapcc's own definitions alone.

BF16 is two bytes that numpy moves and cannot compute with: what would read them as a number fails.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mapcc.numeric import operations
from mapcc.numeric.route import code_of, route, unsigned

Array = np.ndarray[Any, np.dtype[Any]]
TYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("V2"),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}
_NAMES = {dtype: name for name, dtype in TYPES.items()}


def type_of(array: Array) -> str:
    """As in a header.

    >>> type_of(np.zeros(2, TYPES["BF16"]))
    'BF16'
    """
    return _NAMES[array.dtype]


def cast(array: Array, name: str) -> Array:
    """The numbers in another type, each rounded once: the array itself where it has that type."""
    source = type_of(array)
    if source == name:
        return array
    codes = codes_of(array)
    for call in route(source, name):
        codes = call(codes)
    return _of_codes(codes, name, array.shape)


def codes_of(array: Array) -> Array:
    """In a row, as they lie in a file."""
    return np.ascontiguousarray(array).reshape(-1).view(unsigned(type_of(array)))


def wide(array: Array) -> Array:
    """In the type that is computed in: F64 for F64, and F32 for the others."""
    return cast(array, _wide(array))


def alike(arrays: list[Array]) -> list[Array]:
    """In one type: their own, or F32 for a mixture of halves."""
    types = {type_of(array) for array in arrays}
    if len(types) == 1:
        return arrays
    return [cast(array, "F64" if "F64" in types else "F32") for array in arrays]


def scaled(array: Array, scale: float) -> Array:
    """``array * scale``, computed in F32 (F64 for F64) and rounded once to its type."""
    codes = operations.scaled_by(codes_of(wide(array)), scale)
    return cast(_of_codes(codes, _wide(array), array.shape), type_of(array))


def added(one: Array, other: Array) -> Array:
    """The sum, computed in F64 and rounded once to F32."""
    with np.errstate(all="ignore"):
        total = np.asarray(cast(one, "F64") + cast(other, "F64"))
    return cast(_of_codes(operations.as_codes(total.reshape(-1)), "F64", one.shape), "F32")


def contracted(mid: Array, down: Array) -> Array:
    """A kernel of rank x inner x ... with inner x inputs: rank x inputs x ..., in F64, in the order of inner.

    It is rounded once, to F32, unless the kernel is of F64.
    """
    kernel, inputs = cast(mid, "F64"), cast(down, "F64")
    ones = (1,) * (mid.ndim - 2)
    out = np.zeros((mid.shape[0], down.shape[1], *mid.shape[2:]), TYPES["F64"])
    with np.errstate(all="ignore"):
        for at in range(len(inputs)):
            out += kernel[:, at, None] * inputs[at].reshape(1, -1, *ones)
    codes = operations.as_codes(out.reshape(-1))
    return cast(_of_codes(codes, "F64", out.shape), _wide(mid))


def is_finite(array: Array) -> bool:
    return bool(np.isfinite(wide(array)).all())


def is_zero(array: Array) -> bool:
    """Whether all numbers are 0, or -0."""
    return not wide(array).any()


def number(array: Array) -> float:
    """Of an array of one."""
    return float(cast(array, "F64").reshape(()))


def scalar(value: float, name: str) -> Array:
    """An array without dimensions: the nearest number that a type has."""
    return _of_codes(np.array([code_of(float(value), name)], unsigned(name)), name, ())


def identity(size: int, name: str) -> Array:
    out = np.zeros((size, size), TYPES[name])
    np.fill_diagonal(out, scalar(1, name)[()])
    return out


def _wide(array: Array) -> str:
    return "F64" if type_of(array) == "F64" else "F32"


def _of_codes(codes: Array, name: str, shape: tuple[int, ...]) -> Array:
    return codes.view(TYPES[name]).reshape(shape)
