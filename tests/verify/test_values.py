"""Outputs whose values are computed: right as mapcc makes them, and wrong with another rounding."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapcc.tensors.dtypes import DTYPES

Bench = Any

F32 = np.random.default_rng(3).standard_normal((6, 5)).astype("f4")


def tensor(values: np.ndarray, dtype: str) -> tuple[str, tuple[int, ...], bytes]:
    return dtype, values.shape, np.ascontiguousarray(values).tobytes()


def bf16(values: np.ndarray, how: str) -> np.ndarray:
    bits = values.astype("f4").view("u4")
    if how == "nearest":
        bits = bits + 0x7FFF + (bits >> 16 & 1)
    elif how == "half up":
        bits = bits + 0x8000
    return (bits >> 16).astype("u2")


def test_rounding_by_truncation_is_found(bench: Bench) -> None:
    rule, source = "a : m n | cast bf16 -> b : n m", {"a": tensor(F32, "F32")}
    assert bench.found(rule, source, {"b": tensor(bf16(F32, "nearest").T, "BF16")}) == ()
    (found,) = bench.found(rule, source, {"b": tensor(bf16(F32, "cut").T, "BF16")})
    assert found.code == "MC503"
    assert "made of `a`" in found.notes[0]


def test_ties_are_rounded_to_even(bench: Bench) -> None:
    ties = (np.arange(1, 9, dtype="u4") << 16 | 0x3F808000).view("f4")
    rule, source = "a | cast bf16 -> b", {"a": tensor(ties, "F32")}
    assert bench.found(rule, source, {"b": tensor(bf16(ties, "nearest"), "BF16")}) == ()
    assert len(bench.found(rule, source, {"b": tensor(bf16(ties, "half up"), "BF16")})) == 1


def test_one_unit_in_the_last_place_is_found(bench: Bench) -> None:
    right = (F32 * np.float32(0.1) + np.float32(0.3)).astype("f4")
    rule, source = "a | scale 0.1 | add 0.3 -> b", {"a": tensor(F32, "F32")}
    assert bench.found(rule, source, {"b": tensor(right, "F32")}) == ()
    right.view("u4")[2, 3] += 1
    (found,) = bench.found(rule, source, {"b": tensor(right, "F32")})
    assert found.notes[0].startswith("`b` [2, 3] ")


def test_a_step_that_was_left_out_is_found(bench: Bench) -> None:
    for rule in ("a | scale 0.5 -> b", "a | add 1 -> b", "a | neg_exp -> b", "a | add 1 | scale 2 -> b"):
        assert len(bench.found(rule, {"a": tensor(F32, "F32")}, {"b": tensor(F32, "F32")})) == 1


def test_created_elements(bench: Bench) -> None:
    rule = "a : q, create : k = 0.1 -> b : (q + k) where k = q"
    source = {"a": tensor(F32[0], "F32")}
    right = np.concatenate([F32[0], np.full(5, 0.1, "f4")])
    assert bench.found(rule, source, {"b": tensor(right, "F32")}) == ()
    (found,) = bench.found(rule, source, {"b": tensor(np.concatenate([F32[0], np.zeros(5, "f4")]), "F32")})
    assert "the number that is created" in found.notes[0]


@pytest.mark.parametrize(
    ("dtype", "value", "element"),
    [
        ("f4", "1.5", "33"),
        ("f6_e2m3", "0", "000000"),
        ("bf16", "1", "803f"),
        ("i64", "-2", "feffffffffffffff"),
        ("u8", "255", "ff"),
        ("bool", "1", "01"),
        ("c64", "1", "0000803f00000000"),
        ("f8_e8m0", "2", "80"),
    ],
)
def test_created_in_every_kind(bench: Bench, dtype: str, value: str, element: str) -> None:
    raw = bytes.fromhex(element)
    count = 8 * len(raw) // DTYPES[dtype.upper()].bits
    rule = f"create a : {4 * count} = {value} | cast {dtype}"
    out = {"a": (dtype.upper(), (4 * count,), raw * 4)}
    assert bench.found(rule, {}, out) == ()
    spoilt = raw * 3 + bytes([raw[0] ^ 1]) + raw[1:]
    assert len(bench.found(rule, {}, {"a": (dtype.upper(), (4 * count,), spoilt)})) == 1


@pytest.mark.parametrize(("dtype", "size"), [("F4", 1), ("F6_E3M2", 3)])
def test_smaller_than_a_byte(bench: Bench, dtype: str, size: int) -> None:
    raw = np.random.default_rng(2).integers(0, 256, (4, 3, size), "u1")
    columns = 3 * size * 8 // DTYPES[dtype].bits
    per = columns // 3
    rule = f"a : m (n p) -> b : n m p where p = {per}"
    source = {"a": (dtype, (4, columns), raw.tobytes())}
    out = raw.transpose(1, 0, 2).copy()
    assert bench.found(rule, source, {"b": (dtype, (3, 4, per), out.tobytes())}) == ()
    out[1, 2, size - 1] ^= 0x10
    assert len(bench.found(rule, source, {"b": (dtype, (3, 4, per), out.tobytes())})) == 1


# --- weight_norm


def by_norm(g: np.ndarray, v: np.ndarray, dim: int) -> np.ndarray:
    others = tuple(axis for axis in range(v.ndim) if axis != dim)
    norm = np.sqrt(np.square(v, dtype="f8").sum(axis=others, keepdims=True)).astype("f4")
    return (v * (g.reshape(norm.shape) / norm)).astype("f4")


@pytest.mark.parametrize(("shape", "dim"), [((6, 4, 3), 0), ((6, 4, 3), 1), ((6, 4, 3), -1), ((300, 500), 0)])
@pytest.mark.parametrize("flat", [False, True])
def test_weight_norm(bench: Bench, shape: tuple[int, ...], dim: int, flat: bool) -> None:
    generator = np.random.default_rng(4)
    at = dim % len(shape)
    v = generator.standard_normal(shape).astype("f4")
    one = tuple(extent if axis == at else 1 for axis, extent in enumerate(shape))
    g = generator.standard_normal((shape[at],) if flat else one).astype("f4")
    rule = f"(g, v) | weight_norm dim={dim} -> w"
    source = {"g": tensor(g, "F32"), "v": tensor(v, "F32")}
    right = by_norm(g, v, at)
    assert bench.found(rule, source, {"w": tensor(right, "F32")}, 64) == ()
    for wrong in (right * np.float32(1.001), v, np.roll(right, 1, at)):
        assert len(bench.found(rule, source, {"w": tensor(wrong.astype("f4"), "F32")}, 64)) == 1


RULES = """
(g, v) | weight_norm | cast f16 -> w
a.{i} : (p + q) n | neg_exp | add 1 -> b.{i} : n (q + p) where p = q
h | cast bf16 -> h
i | cast f32 -> i
t : m n | scale 0.3 | cast f8_e4m3 -> t : n m
create c : 3 4 = 0.1 | cast f16
"""


def test_what_mapcc_converts_is_right(bench: Bench, tmp_path: Path, tensors_of: Callable[..., Any]) -> None:
    from mapcc import convert
    from mapcc.api import parse
    from mapcc.tensors.keysets import open_keyset
    from mapcc.verify import compare

    generator = np.random.default_rng(6)
    draw = generator.standard_normal
    arrays = {
        "g": draw((6, 1)), "v": draw((6, 9)), "h": draw(40), "t": draw((7, 5)),
        **{f"a.{i}": draw((6, 4)) for i in range(3)},
    }  # fmt: skip
    tensors = tensors_of({name: value.astype("f4") for name, value in arrays.items()})
    tensors |= tensors_of({"i": generator.integers(-(2**62), 2**62, 50)})
    bound = bench.bound(RULES, tensors)
    out = convert(parse(RULES), bench.folder / "source.safetensors", tmp_path / "converted")
    assert compare(bound, open_keyset(out), samples=1 << 18) == ()
