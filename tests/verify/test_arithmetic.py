"""Arithmetic written a second time: it agrees with the runtime's, and with fractions."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.ir.values import VALUE_OPS, Step
from mapcc.numeric.fault import Unrepresentable
from mapcc.runtime.arrays import codes_dtype
from mapcc.runtime.values import cast as runtime_cast
from mapcc.runtime.values import transform
from mapcc.tensors.dtypes import DTYPES
from mapcc.verify.arithmetic import agrees, cast, computed, exactly
from mapcc.verify.formats import FORMATS, Codes, codes_of, decode, doubles

FLOATS = [name for name in FORMATS if DTYPES[name].bits >= 8]
WHOLE = [name for name, dtype in DTYPES.items() if dtype.kind in ("int", "uint", "bool")]


def codes(name: str, count: int = 20_000) -> Codes:
    """All elements of types of up to 16 bits; of larger ones random bits, and what is near to ties."""
    bits = DTYPES[name].bits
    if bits <= 16:
        return np.arange(1 << bits, dtype=np.uint64)
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, 1 << bits, count, dtype=np.uint64, endpoint=False)
    head = generator.integers(0, 1 << 16, count, dtype=np.uint64) << np.uint64(bits - 16)
    low = generator.choice(np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0x1000, 0x2000], np.uint64), count)
    return np.concatenate([drawn, head | low, head | low << np.uint64(bits - 32)])


def array(found: Codes, name: str) -> np.ndarray:
    return found.astype(codes_dtype(DTYPES[name]))


def back(found: np.ndarray) -> Codes:
    return codes_of(np.ascontiguousarray(found).view(np.uint8).reshape(len(found), -1))


@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", [*FLOATS, *WHOLE])
def test_casts_are_those_of_the_runtime(source: str, target: str) -> None:
    x = codes(source)
    with np.errstate(all="ignore"):
        found = back(runtime_cast(array(x, source), DTYPES[source], DTYPES[target]))
    right = agrees(found, cast(exactly(x, DTYPES[source]), DTYPES[target]))
    assert right.all(), [hex(code) for code in x[~right][:5]]


@pytest.mark.parametrize("target", WHOLE)
@pytest.mark.parametrize("source", [*FLOATS, *WHOLE])
def test_integers_are_those_of_the_runtime(source: str, target: str) -> None:
    x = codes(source)
    wanted = cast(exactly(x, DTYPES[source]), DTYPES[target])
    with np.errstate(all="ignore"):
        if not wanted.exists.all():
            with pytest.raises(Unrepresentable):
                runtime_cast(array(x[~wanted.exists][:1], source), DTYPES[source], DTYPES[target])
        x = x[wanted.exists]
        if not len(x):
            return
        found = back(runtime_cast(array(x, source), DTYPES[source], DTYPES[target]))
    assert agrees(found, cast(exactly(x, DTYPES[source]), DTYPES[target])).all()


CHAINS = [
    (("scale", -0.1), ("add", 0.3)),
    (("neg_exp", None),),
    (("neg_exp", None), ("scale", -3.0), ("add", -1.0)),
    (("cast", "BF16"), ("add", 0.1), ("cast", "F16"), ("scale", 7)),
    (("round", None),),
    (("clamp", (-0.3, 1e4)), ("scale", 3)),
    (("scale", 1e6), ("clamp", None), ("cast", "F8_E4M3")),
    (("clamp", None), ("cast", "I8"), ("cast", "F32"), ("scale", 2)),
    (("neg_exp", None), ("clamp", None), ("cast", "F8_E8M0")),
    (("add", 0.25), ("round", None), ("clamp", (-100, 100)), ("cast", "I16")),
    (("clamp", None),),
]


def numbers(value: Any) -> tuple[float, ...]:
    if value is None:
        return ()
    return value if isinstance(value, tuple) else (value,)


def chain(words: Any) -> tuple[Step, ...]:
    return tuple(
        Step(VALUE_OPS[op], dtype=DTYPES[value])
        if op == "cast"
        else Step(
            VALUE_OPS[op], tuple(zip(VALUE_OPS[op].arguments, numbers(value), strict=value is not None))
        )
        for op, value in words
    )


@pytest.mark.parametrize("words", CHAINS)
@pytest.mark.parametrize("name", ["F8_E4M3", "BF16", "F16", "F32", "F64"])
def test_chains_are_those_of_the_runtime(name: str, words: Any) -> None:
    x, steps = codes(name), chain(words)
    for target in (name, "BF16"):
        wanted = computed(exactly(x, DTYPES[name]), steps, DTYPES[target])
        x = x[wanted.exists]  # NaN is no integer
        found = back(transform(array(x, name), DTYPES[name], steps, DTYPES[target]))
        assert agrees(found, computed(exactly(x, DTYPES[name]), steps, DTYPES[target])).all()


# --- without the runtime


def nearest(value: Fraction, target: str) -> float:
    """The value of a type that is nearest, ties to the even mantissa, by its definition."""
    form = FORMATS[target]
    if value == 0:
        return 0.0
    exponent = max(math.floor(math.log2(abs(value))), 1 - form.bias)
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - form.mantissa)
    return float(round(value / unit) * unit)  # Python rounds fractions half to even


@given(
    st.sampled_from(["BF16", "F16", "F32", "F8_E5M2", "F8_E4M3", "F8_E4M3FNUZ"]),
    st.integers(1, 2**12),
    st.integers(-20, -5),
    st.sampled_from([0, 1, -1]),
    st.integers(20, 40),
)
def test_rounding_against_fractions(target: str, head: int, scale: int, nudge: int, distance: int) -> None:
    value = (Fraction(head) + nudge * Fraction(2) ** -distance) * Fraction(2) ** scale
    x = back(np.array([float(value)]))
    found = cast(exactly(x, DTYPES["F64"]), DTYPES[target]).low
    assert doubles(found, DTYPES[target]).item() == nearest(value, target)


@pytest.mark.parametrize("name", FLOATS)
def test_elements_stay_what_they_are(name: str) -> None:
    """Read and written again, every number has its own code; to F64 and back too."""
    x = codes(name)
    wide = cast(exactly(x, DTYPES[name]), DTYPES["F64"])
    again = cast(wide, DTYPES[name]).low
    number = ~decode(x, DTYPES[name]).nan
    assert (again[number] == x[number]).all()
    assert decode(again[~number], DTYPES[name]).nan.all()
