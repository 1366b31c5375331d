"""The operations of a rule on values, with numpy and ml_dtypes: a second way to compute them.

The numbers are tame, so that no cast overflows: what happens then, ``tests/numeric`` holds.
"""

from __future__ import annotations

from random import Random
from typing import Any

import numpy as np

from tests.language.naive import Codes
from tests.numeric.elements import numpy_dtype

# What each type is cast to by one rounding, here too: ml_dtypes takes F64 to short types through F32.
SHORT = ("F16", "BF16", "F8_E4M3", "F8_E5M2")
CASTS = {"F64": ("F32", "F16"), "F32": (*SHORT, "F64"), **dict.fromkeys(SHORT, (*SHORT, "F32", "F64"))}
SPELLED = {"F8_E4M3": "f8_e4m3", "F8_E5M2": "float8_e5m2", "BF16": "bfloat16", "F16": "f16"}


def drawn_numbers(draw: Random, dtype: str, shape: tuple[int, ...]) -> Codes:
    """Numbers of a size that every type has, with what lies half way between others."""
    count = int(np.prod(shape))
    numbers = [draw.choice((draw.gauss(0, 1), draw.randrange(-64, 64) / 16, 0.0)) for _ in range(count)]
    floats = np.array(numbers, "f8").astype(numpy_dtype(dtype))
    return codes_of(floats).reshape(shape)


def drawn_steps(draw: Random, dtype: str) -> tuple[list[tuple[str, float | str]], str]:
    """A chain of operations, and the type that it gives."""
    steps: list[tuple[str, float | str]] = []
    for _ in range(draw.choice((0, 1, 1, 2))):
        steps.append((draw.choice(("scale", "add")), draw.choice((0.5, -2, 0.3, 1, 1.5))))
    if not steps or draw.random() < 0.6:
        to = draw.choice(CASTS[dtype])
        return [*steps, ("cast", to)], to
    return steps, dtype


def written_steps(steps: list[tuple[str, float | str]]) -> str:
    words = [f"cast {SPELLED.get(x, x.lower())}" if isinstance(x, str) else f"{op} {x}" for op, x in steps]
    return "".join(f" | {word}" for word in words)


def computed(codes: Codes, dtype: str, steps: list[tuple[str, float | str]], to: str) -> Codes:
    """A chain computes in F32, or in F64 if it is given F64, and rounds once, at its end."""
    wide: Any = np.float64 if dtype == "F64" else np.float32
    numbers = codes.view(numpy_dtype(dtype)).astype(wide)
    for op, x in steps:
        if op == "scale":
            numbers = numbers * wide(x)
        elif op == "add":
            numbers = numbers + wide(x)
    return codes_of(numbers.astype(numpy_dtype(to)))


def filled(value: float, dtype: str) -> int:
    """The bits of a number in a type."""
    (code,) = codes_of(np.array([value], "f8").astype(numpy_dtype(dtype)))
    return int(code)


def codes_of(numbers: Any) -> Codes:
    return numbers.view(f"<u{numbers.dtype.itemsize}")
