"""Operations on values: chains, what they lose, weight norm. Casts by themselves are in ``tests/numeric``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mapcc.errors import MappingError
from mapcc.ir.values import VALUE_OPS, Step
from mapcc.numeric.route import unsigned
from mapcc.runtime.losses import Losses
from mapcc.runtime.values import transform
from mapcc.tensors.dtypes import DTYPES
from tests.numeric.elements import numpy_dtype, samples

Lab = Any
Random = Callable[..., Any]


def kind_of(name: str) -> np.dtype[Any]:
    return numpy_dtype(name)


def same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Equal, down to the sign of zero; all NaNs are one."""
    with np.errstate(all="ignore"):
        a, b = a.astype(np.float64), b.astype(np.float64)
    return ((a == b) & (np.signbit(a) == np.signbit(b))) | (np.isnan(a) & np.isnan(b))


def computed(x: np.ndarray, source: str, steps: tuple[Step, ...], target: str) -> np.ndarray:
    """Numbers through steps, as numbers."""
    codes = np.ascontiguousarray(x.astype(kind_of(source))).view(unsigned(source))
    return transform(codes, DTYPES[source], steps, DTYPES[target]).view(kind_of(target))


def step(name: str, *numbers: float) -> Step:
    return Step(VALUE_OPS[name], tuple(zip(VALUE_OPS[name].arguments, numbers, strict=bool(numbers))))


def cast_to(name: str) -> Step:
    return Step(VALUE_OPS["cast"], (), DTYPES[name])


@pytest.mark.oracle
@pytest.mark.parametrize("name", ["BF16", "F16", "F32", "F64"])
def test_scale_and_add_are_those_of_torch(name: str) -> None:
    torch = pytest.importorskip("torch")
    x = samples(name)
    tensor = torch.from_numpy(x.copy()).view(
        {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32, "F64": torch.float64}[name]
    )
    wide = tensor.double() if name == "F64" else tensor.float()
    expected = (wide * 0.1 + 0.3).to(tensor.dtype).double().numpy()
    found = transform(x, DTYPES[name], (step("scale", 0.1), step("add", 0.3)), DTYPES[name])
    assert same(found.view(kind_of(name)), expected).all()


# --- chains


def test_a_chain_rounds_at_its_end_and_at_casts() -> None:
    third, three = step("scale", 1 / 3), step("scale", 3)
    x = np.arange(1, 200, dtype=np.float32).astype(kind_of("BF16"))
    once = computed(x, "BF16", (third, three), "BF16")
    assert same(once, x).all()
    rounded = (third, cast_to("BF16"), three)
    assert not same(computed(x, "BF16", rounded, "BF16"), x).all()
    # To a wider type nothing has been lost on the way.
    wide = computed(x, "BF16", (third,), "F32")
    assert wide.tobytes() == (x.astype(np.float32) * np.float32(1 / 3)).tobytes()


def test_neg_exp() -> None:
    x = np.array([0, 1, -2, 1000], np.float32)
    found = computed(x, "F32", (step("neg_exp"),), "F32")
    np.testing.assert_allclose(found, [-1, -math.e, -math.exp(-2), -np.inf], rtol=1e-7)


def test_round_takes_the_even_one_of_two() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -2.9996, 2.0**30 + 0.5, np.inf])
    found = computed(x, "F64", (step("round"),), "F64").tolist()
    assert found == [0.0, 2.0, 2.0, -0.0, -3.0, 2.0**30, np.inf]
    assert computed(x[:5], "F64", (step("round"), cast_to("I8")), "I8").tolist() == [0, 2, 2, 0, -3]


def test_clamp_between_two_numbers() -> None:
    x = np.array([-np.inf, -3, -1, -0.0, 0.25, 1.0, 7, np.inf, np.nan])
    for name in ("F64", "F32", "F16", "BF16"):
        found = computed(x, name, (step("clamp", -1, 0.5),), name).astype(np.float64)
        assert same(found, np.array([-1, -1, -1, -0.0, 0.25, 0.5, 0.5, 0.5, np.nan])).all()
    low_zero = computed(x[3:4], "F32", (step("clamp", 0, 1),), "F32")
    assert np.signbit(low_zero[0]), "-0 is not less than 0"


@pytest.mark.parametrize(
    ("source", "target", "largest"),
    [("F32", "F8_E4M3", 448), ("BF16", "F16", 65504), ("F32", "I8", 127), ("F64", "I64", 2**63 - 1)],
)
def test_clamp_before_a_cast(source: str, target: str, largest: int) -> None:
    x = np.array([1e30, 3, np.inf])
    for steps in ((step("clamp"), cast_to(target)), (step("clamp"),)):
        found = computed(x, source, steps, target)
        assert [int(value) for value in found] == [largest, 3, largest]
    least = computed(-x, source, (step("clamp"),), target)
    assert int(least[0]) == (-largest - 1 if target in ("I8", "I64") else -largest)


def test_what_is_lost_is_counted() -> None:
    losses = Losses()
    x = np.array([1e5, -1e5, np.inf, np.nan, 1e-9, 0.0, 2.5, -(2.0**-26)], "<f4").view("<u4")
    transform(x, DTYPES["F32"], (), DTYPES["F16"], losses)
    assert losses.counts == {"infinite": 2, "zero": 2}
    transform(x, DTYPES["F32"], (cast_to("F8_E4M3"),), DTYPES["F8_E4M3"], losses)
    assert losses.counts == {"infinite": 2, "nan": 3, "zero": 4}
    again = Losses()
    transform(x, DTYPES["F32"], (step("clamp"), cast_to("F8_E4M3")), DTYPES["F8_E4M3"], again)
    assert again.counts == {"clamped": 3, "zero": 0} or again.counts == {"clamped": 3}
    whole = Losses()
    transform(x[6:], DTYPES["F32"], (step("round"), cast_to("I8")), DTYPES["I8"], whole)
    assert whole.counts == {"rounded": 2}
    edges = Losses()
    transform(x[:2], DTYPES["F32"], (step("clamp", -1, 2.0**17),), DTYPES["F32"], edges)
    assert edges.counts == {"clamped": 1}


@pytest.mark.parametrize("window", [8, 100, 1 << 20])
def test_values_on_the_way(lab: Lab, random_tensors: Random, window: int) -> None:
    """Gathered in another order, computed, and put between other elements."""
    tensors = random_tensors({"a": ("BF16", (6, 10)), "b": ("F32", (6, 10))})
    rule = "a : r s | scale 0.5 | cast f64, b : r t | cast f64 -> c : s r, d : r t"
    found = lab.convert(rule, tensors, window=window)
    a = np.frombuffer(tensors["a"][2], kind_of("BF16")).reshape(6, 10).astype(np.float32)
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
    bf16 = kind_of("BF16")
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
    kind = kind_of(dtype)
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
    assert bf16[2] == wide.astype(kind_of("BF16")).tobytes()


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
