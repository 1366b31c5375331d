"""Arithmetic: exact rounding against fractions, and torch as an oracle with its exceptions told."""

from __future__ import annotations

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.errors import MappingError
from mapcc.ir.values import VALUE_OPS, Step
from mapcc.runtime.arrays import numpy_dtype
from mapcc.runtime.values import Unrepresentable, cast, transform
from mapcc.tensors.dtypes import DTYPES

FLOATS = [name for name, dtype in DTYPES.items() if dtype.kind == "float" and dtype.bits >= 8]
INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in ("int", "uint")]
Lab = Any
Random = Callable[..., Any]


def samples(name: str) -> np.ndarray:
    """All values of types of up to 16 bits; of larger ones random bits, and what is near to ties."""
    dtype = numpy_dtype(DTYPES[name])
    size = dtype.itemsize
    if size <= 2:
        return np.arange(256**size, dtype=f"u{size}").view(dtype)
    generator = np.random.default_rng(0)
    high = np.arange(1 << 16, dtype=np.uint32) << 16
    ties = [high | low for low in (0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF, 0x1000)]
    single = np.concatenate([*ties, generator.integers(0, 2**32, 100_000, dtype=np.uint32)]).view(np.float32)
    if size == 4:
        return single
    with np.errstate(all="ignore"):
        wide = single.astype(np.float64)
        near = [wide, np.nextafter(wide, np.inf), np.nextafter(wide, -np.inf)]
    return np.concatenate([*near, generator.integers(0, 2**64, 100_000, dtype=np.uint64).view(np.float64)])


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal, down to the sign of zero; all NaNs are one."""
    with np.errstate(all="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def casted(x: np.ndarray, source: str, target: str) -> np.ndarray:
    with np.errstate(all="ignore"):
        return cast(x, DTYPES[source], DTYPES[target])


# --- torch


TORCH = {
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E8M0": "float8_e8m0fnu",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
}


def by_torch(x: np.ndarray, source: str, target: str) -> np.ndarray:
    torch = pytest.importorskip("torch")
    bits = torch.from_numpy(x.view(f"u{x.dtype.itemsize}").copy())
    result = bits.view(getattr(torch, TORCH[source])).to(getattr(torch, TORCH[target]))
    raw = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}[result.element_size()]
    return result.view(raw).numpy().view(numpy_dtype(DTYPES[target]))


@pytest.mark.oracle
@pytest.mark.parametrize("target", FLOATS)
@pytest.mark.parametrize("source", FLOATS)
def test_casts_are_those_of_torch(source: str, target: str) -> None:
    x = samples(source)
    if source == "F64" and DTYPES[target].bits <= 16:
        x = x[same(casted(x, "F64", "F32"), x)]  # torch rounds the others twice
    ours, theirs = casted(x, source, target), by_torch(x, source, target)
    expected = same(ours, theirs)
    with np.errstate(all="ignore"):
        values = x.astype(np.float64)
    if target == "F8_E4M3":  # torch clamps
        expected |= (np.abs(values) > 448) & np.isnan(ours.astype(np.float64))
    if target == "F8_E8M0":  # torch drops the sign, and has 2**-127 for 0
        expected |= (values <= 0) & np.isnan(ours.astype(np.float64))
    assert expected.all(), x[~expected][:5]


@pytest.mark.oracle
def test_f32_to_bf16_is_torch_bit_for_bit() -> None:
    x = samples("F32")
    x = x[~np.isnan(x)]
    ours, theirs = casted(x, "F32", "BF16"), by_torch(x, "F32", "BF16")
    assert ours.tobytes() == theirs.tobytes()


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["BF16", "F16", "F32", "F64"])
def test_scale_and_add_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = samples(name)
    steps = (Step(VALUE_OPS["scale"], (("factor", 0.1),)), Step(VALUE_OPS["add"], (("number", 0.3),)))
    tensor = torch.from_numpy(x.view(f"u{x.dtype.itemsize}").copy()).view(getattr(torch, TORCH[name]))
    wide = tensor.double() if name == "F64" else tensor.float()
    expected = (wide * 0.1 + 0.3).to(tensor.dtype).double().numpy()
    assert same(transform(x, DTYPES[name], steps, DTYPES[name]), expected).all()


# --- rounding, without an oracle


def nearest(value: Fraction, target: str) -> float:
    """The value of a type that is nearest, ties to the even mantissa, by its definition."""
    mantissa, lowest = {"BF16": (7, -126), "F16": (10, -14), "F8_E5M2": (2, -14), "F8_E4M3": (3, -6)}[target]
    if value == 0:
        return 0.0
    exponent = max(math.floor(math.log2(abs(value))), lowest)
    while abs(value) >= Fraction(2) ** (exponent + 1):
        exponent += 1
    unit = Fraction(2) ** (exponent - mantissa)
    return float(round(value / unit) * unit)  # Python rounds fractions half to even


@given(
    st.sampled_from(["BF16", "F16", "F8_E5M2", "F8_E4M3"]),
    st.integers(1, 2**12),
    st.integers(-20, -4),
    st.sampled_from([0, 1, -1]),
    st.integers(20, 45),
    st.sampled_from([1, -1]),
)
def test_f64_is_rounded_once(
    target: str, head: int, scale: int, nudge: int, distance: int, sign: int
) -> None:
    """Values at and beside a tie: F32 does not see on which side they are."""
    value = sign * (Fraction(head) + nudge * Fraction(2) ** -distance) * Fraction(2) ** scale
    x = np.array([float(value)])
    assert float(casted(x, "F64", target)[0]) == nearest(Fraction(x[0]), target)


@given(
    st.sampled_from(["I64", "U64"]),
    st.integers(1, 2**12 - 1),
    st.integers(1, 50),
    st.integers(-2, 2),
    st.booleans(),
)
def test_integers_are_rounded_once(source: str, head: int, shift: int, nudge: int, negative: bool) -> None:
    value = (head << shift) + nudge
    value = -value if negative and source == "I64" else value
    x = np.array([max(value, 0) if source == "U64" else value], numpy_dtype(DTYPES[source]))
    assert float(casted(x, source, "BF16")[0]) == nearest(Fraction(int(x[0])), "BF16")


@pytest.mark.parametrize("target", FLOATS)
def test_what_is_too_large_shows(target: str) -> None:
    found = casted(np.array([1e300, -1e300, np.inf, np.nan]), "F64", target).astype(np.float64)
    if target == "F64":
        assert found[:3].tolist() == [1e300, -1e300, np.inf]
    elif target in ("F8_E4M3", "F8_E8M0", "F8_E4M3FNUZ", "F8_E5M2FNUZ"):
        assert np.isnan(found[:3]).all()
    else:
        assert found[:3].tolist() == [np.inf, -np.inf, np.inf]
    assert np.isnan(found[3])


@pytest.mark.parametrize("wide", ["BF16", "F16", "F32", "F64"])
@pytest.mark.parametrize("narrow", ["F8_E4M3", "F8_E5M2", "BF16", "F16"])
def test_widening_and_back(narrow: str, wide: str) -> None:
    if {narrow, wide} == {"BF16", "F16"}:
        return
    x = samples(narrow)
    back = casted(casted(x, narrow, wide), wide, narrow)
    assert same(x, back).all()


# --- integers and BOOL


@pytest.mark.parametrize("target", INTEGERS)
@pytest.mark.parametrize("source", [*INTEGERS, "F32", "F64", "BF16", "F8_E4M3"])
def test_to_integers(source: str, target: str) -> None:
    """What both types have is kept; everything else is an error."""
    is_float = DTYPES[source].kind == "float"
    for value in (0, 1, 100, -1, 127, 128, 255, 256, -128, -129, 2**31, 2**32, 2**63, -(2**63), 2**64):
        try:
            x = np.array([float(value) if is_float else value]).astype(numpy_dtype(DTYPES[source]))
        except OverflowError:
            continue
        if not is_float and int(x[0]) != value:
            continue  # numpy has wrapped it
        exact = float(x[0]) if is_float else int(x[0])
        bits = np.iinfo(numpy_dtype(DTYPES[target]))
        if math.isfinite(exact) and bits.min <= exact <= bits.max:
            assert int(casted(x, source, target)[0]) == int(exact)
        else:
            with pytest.raises(Unrepresentable):
                casted(x, source, target)


def test_fractions_go_towards_zero() -> None:
    x = np.array([1.9, -1.9, -0.5, 255.9])
    assert casted(x[:3], "F64", "I8").tolist() == [1, -1, 0]
    assert casted(x[2:], "F64", "U8").tolist() == [0, 255]
    with pytest.raises(Unrepresentable, match="nan is not a value of I64"):
        casted(np.array([np.nan]), "F64", "I64")
    with pytest.raises(Unrepresentable):
        casted(np.array([2.0**63]), "F64", "I64")


@pytest.mark.parametrize("name", [n for n in [*FLOATS, *INTEGERS] if n != "F8_E8M0"])
def test_bool(name: str) -> None:
    raw = np.array([0, 1, 2, 255], np.uint8)
    assert casted(raw, "BOOL", name).astype(np.float64).tolist() == [0, 1, 1, 1]
    back = casted(np.array([0, 1, 3]).astype(numpy_dtype(DTYPES[name])), name, "BOOL")
    assert back.tolist() == [0, 1, 1]


# --- chains


def test_a_chain_rounds_at_its_end_and_at_casts() -> None:
    bf16, third = DTYPES["BF16"], Step(VALUE_OPS["scale"], (("factor", 1 / 3),))
    three = Step(VALUE_OPS["scale"], (("factor", 3),))
    x = np.arange(1, 200, dtype=np.float32).astype(numpy_dtype(bf16))
    once = transform(x, bf16, (third, three), bf16)
    assert same(once, x).all()
    rounded = (third, Step(VALUE_OPS["cast"], (), bf16), three)
    assert not same(transform(x, bf16, rounded, bf16), x).all()
    # To a wider type nothing has been lost on the way.
    wide = transform(x, bf16, (third,), DTYPES["F32"])
    assert wide.tobytes() == (x.astype(np.float32) * np.float32(1 / 3)).tobytes()


def test_neg_exp() -> None:
    x = np.array([0, 1, -2, 1000], np.float32)
    found = transform(x, DTYPES["F32"], (Step(VALUE_OPS["neg_exp"]),), DTYPES["F32"])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, [-1, -math.e, -math.exp(-2), -np.inf], rtol=1e-6)


@pytest.mark.parametrize("window", [8, 100, 1 << 20])
def test_values_on_the_way(lab: Lab, random_tensors: Random, window: int) -> None:
    """Gathered in another order, computed, and put between other elements."""
    tensors = random_tensors({"a": ("BF16", (6, 10)), "b": ("F32", (6, 10))})
    rule = "a : r s | scale 0.5 | cast f64, b : r t | cast f64 -> c : s r, d : r t"
    found = lab.convert(rule, tensors, window=window)
    a = np.frombuffer(tensors["a"][2], numpy_dtype(DTYPES["BF16"])).reshape(6, 10).astype(np.float32)
    b = np.frombuffer(tensors["b"][2], np.float32).reshape(6, 10)
    c = np.frombuffer(found["c"][2], np.float64).reshape(10, 6)
    with np.errstate(all="ignore"):
        assert same(c, (a * np.float32(0.5)).T).all()
    assert same(np.frombuffer(found["d"][2], np.float64), b.reshape(-1)).all()
    assert (found["c"][0], found["d"][0]) == ("F64", "F64")


def test_statement_and_right_hand_casts(lab: Lab) -> None:
    x = np.random.default_rng(0).normal(size=12).astype(np.float32)
    tensors = {name: ("F32", (3, 4), x.tobytes()) for name in ("a", "b", "c")}
    rules = "a -> a\nb : x y -> b : y x | cast f16\nc -> norm.c\ndtype bf16 { keep f32 : norm.** }"
    found = lab.convert(rules, tensors)
    bf16 = numpy_dtype(DTYPES["BF16"])
    assert found["a"] == ("BF16", (3, 4), x.astype(bf16).tobytes())
    assert found["b"] == ("F16", (4, 3), x.reshape(3, 4).T.astype(np.float16).tobytes())
    assert found["norm.c"] == tensors["c"]


def test_a_cast_that_fails_leaves_nothing(lab: Lab) -> None:
    x = np.array([1, 2, 300], np.float32)
    with pytest.raises(MappingError) as error:
        lab.convert("a -> b | cast u8", {"a": ("F32", (3,), x.tobytes())})
    (found,) = error.value.diagnostics
    assert (found.code, found.names) == ("MC502", ("b",))
    assert "300" in found.message
    assert lab.names() == {"source.safetensors"}


# --- weight_norm


@pytest.mark.parametrize("span", [8, 64, 1 << 16])
@pytest.mark.parametrize("dtype", ["F32", "F64", "BF16"])
@pytest.mark.parametrize("dim", [0, 1, 2, -1])
def test_weight_norm(lab: Lab, dtype: str, dim: int, span: int) -> None:
    generator = np.random.default_rng(0)
    kind = numpy_dtype(DTYPES[dtype])
    v = generator.normal(size=(4, 5, 6)).astype(kind)
    g = generator.normal(size=[n if at == dim % 3 else 1 for at, n in enumerate(v.shape)]).astype(kind)
    tensors = {"g": (dtype, g.shape, g.tobytes()), "v": (dtype, v.shape, v.tobytes())}
    rule = f"(g, v) : a b c | weight_norm dim={dim} -> w : c a b, u : a b c"
    found = lab.convert(rule, tensors, window=64, span=span)
    axes = tuple(at for at in range(3) if at != dim % 3)
    wide_g, wide_v = g.astype(np.float64), v.astype(np.float64)
    expected = wide_g * wide_v / np.sqrt((wide_v**2).sum(axis=axes, keepdims=True))
    assert {name: entry[0] for name, entry in found.items()} == {"w": dtype, "u": dtype}
    tolerance = {"F32": 3e-7, "F64": 1e-15, "BF16": 4e-3}[dtype]
    u = np.frombuffer(found["u"][2], kind).reshape(4, 5, 6)
    w = np.frombuffer(found["w"][2], kind).reshape(6, 4, 5)
    np.testing.assert_allclose(u.astype(np.float64), expected, rtol=tolerance)
    assert (w == u.transpose(2, 0, 1)).all()


def test_weight_norm_is_folded_wide_and_then_cast(lab: Lab) -> None:
    generator = np.random.default_rng(0)
    v = generator.normal(size=(8, 30)).astype(np.float32)
    g = generator.normal(size=8).astype(np.float32)
    tensors = {"g": ("F32", (8,), g.tobytes()), "v": ("F32", (8, 30), v.tobytes())}
    rule = "(g, v) | weight_norm dim=0 -> w"
    wide = np.frombuffer(lab.convert(rule, tensors)["w"][2], np.float32)
    bf16 = lab.convert(f"{rule}\ndtype bf16", tensors)["w"]
    assert bf16[2] == wide.astype(numpy_dtype(DTYPES["BF16"])).tobytes()


@pytest.mark.oracle
def test_weight_norm_is_that_of_torch(lab: Lab) -> None:
    torch = pytest.importorskip("torch")
    with pytest.warns(FutureWarning, match="deprecated"):
        layer = torch.nn.utils.weight_norm(torch.nn.ConvTranspose1d(16, 8, 5))
    state = layer.state_dict()
    tensors = {
        key: ("F32", tuple(state[f"weight_{key}"].shape), state[f"weight_{key}"].numpy().tobytes())
        for key in "gv"
    }
    found = lab.convert("(g, v) | weight_norm dim=0 -> w", tensors)["w"]
    torch.nn.utils.remove_weight_norm(layer)
    expected = layer.weight.detach().numpy()
    np.testing.assert_allclose(
        np.frombuffer(found[2], np.float32).reshape(expected.shape), expected, rtol=5e-7
    )
