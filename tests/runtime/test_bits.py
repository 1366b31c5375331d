"""Moves of every type, bit for bit, through tiny windows, against numpy and against single bits."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapcc.tensors.dtypes import DTYPES

Random = Callable[..., Any]


def bits_of(data: bytes) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")


def elements(data: bytes, dtype: str, shape: tuple[int, ...]) -> np.ndarray:
    """An array of the shape, each of whose elements is a row of bits."""
    return bits_of(data).reshape(*shape, DTYPES[dtype].bits)


RULES = {
    "x -> y": lambda x: x,
    "x : a b c -> y : (a b) c": lambda x: x,
    "x : a b c -> y : b a c": lambda x: x.transpose(1, 0, 2, 3),
    "x : a (h 2) c -> y : (2 h) a c": lambda x: (
        x.reshape(4, 3, 2, 8, -1).transpose(2, 1, 0, 3, 4).reshape(6, 4, 8, -1)
    ),
    "x : a b (s + t) -> y : a b (t + s) where s = t": lambda x: np.concatenate(
        [x[:, :, 4:], x[:, :, :4]], axis=2
    ),
    "x : a b c -> y : r a b c where r = 3": lambda x: np.stack([x] * 3),
}
# These take a byte of small elements apart.
WITHIN_ROWS = {
    "x : a b c -> y : c b a": lambda x: x.transpose(2, 1, 0, 3),
    "x : a b (h 2) -> y : a b (2 h)": lambda x: (
        x.reshape(4, 6, 4, 2, -1).transpose(0, 1, 3, 2, 4).reshape(4, 6, 8, -1)
    ),
}
CASES = [
    (name, rule)
    for name, dtype in DTYPES.items()
    for rule in (RULES if dtype.bits < 8 else RULES | WITHIN_ROWS)
]


@pytest.mark.parametrize("window", [8, 24, 64, 1 << 20])
@pytest.mark.parametrize(("dtype", "rule"), CASES)
def test_all_types(shared_lab: Any, random_tensors: Random, dtype: str, rule: str, window: int) -> None:
    tensors = random_tensors({"x": (dtype, (4, 6, 8))}, seed=window)
    ((name, (kept, shape, data)),) = shared_lab.convert(rule, tensors, window=window, span=48).items()
    expected = (RULES | WITHIN_ROWS)[rule](elements(tensors["x"][2], dtype, (4, 6, 8)))
    assert (name, kept) == ("y", dtype)
    assert np.prod(shape) == np.prod(expected.shape[:-1])
    assert (bits_of(data) == expected.reshape(-1)).all()


@st.composite
def regroupings(draw: st.DrawFn) -> tuple[list[int], list[int], list[int]]:
    """Sizes of atoms, an order of them, and where the target's dimensions end."""
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    order = draw(st.permutations(range(len(sizes))))
    cuts = draw(st.lists(st.integers(0, len(sizes)), max_size=3))
    return sizes, list(order), sorted(cuts)


@pytest.mark.slow
@settings(max_examples=100)
@given(regroupings(), st.sampled_from(["U8", "BF16", "F32", "C64"]), st.integers(8, 200), st.integers(8, 400))
def test_random_axes(
    shared_lab: Any,
    random_tensors: Random,
    case: tuple[list[int], list[int], list[int]],
    dtype: str,
    window: int,
    span: int,
) -> None:
    sizes, order, cuts = case
    atoms = [f"a{k}" for k in range(len(sizes))]
    ends = [0, *cuts, len(order)]
    groups = [order[a:b] for a, b in pairwise(ends) if a < b]
    right = " ".join(f"({' '.join(atoms[k] for k in group)})" for group in groups)
    tensors = random_tensors({"x": (dtype, tuple(sizes))}, seed=span)
    rule = f"x : {' '.join(atoms)} -> y : {right}"
    _, shape, data = shared_lab.convert(rule, tensors, window=window, span=span)["y"]
    expected = elements(tensors["x"][2], dtype, tuple(sizes)).transpose(*order, len(sizes))
    assert shape == tuple(int(np.prod([sizes[k] for k in group])) for group in groups)
    assert (bits_of(data) == expected.reshape(-1)).all()


@pytest.mark.slow
@settings(max_examples=50)
@given(
    st.lists(st.integers(1, 4), min_size=2, max_size=4),
    st.integers(1, 5),
    st.sampled_from(["U8", "F16", "F64"]),
    st.integers(8, 100),
    st.booleans(),
)
def test_pieces_along_both_dimensions(
    shared_lab: Any, random_tensors: Random, widths: list[int], rows: int, dtype: str, window: int, down: bool
) -> None:
    """Several tensors to one, whose elements interleave in it, and back to several."""
    names = [f"p{k}" for k in range(len(widths))]
    shapes = {n: (dtype, (rows, w) if not down else (w, rows)) for n, w in zip(names, widths, strict=True)}
    dims = "r {0}" if not down else "{0} r"
    left = ", ".join(f"{n} : {dims.format(n)}" for n in names)
    total = "(" + " + ".join(reversed(names)) + ")"
    tensors = random_tensors(shapes, seed=window)
    fused = shared_lab.convert(f"{left} -> y : r {total}", tensors, window=window)
    arrays = [elements(tensors[n][2], dtype, tensors[n][1]) for n in reversed(names)]
    expected = np.concatenate([a.transpose(1, 0, 2) if down else a for a in arrays], axis=1)
    assert (bits_of(fused["y"][2]) == expected.reshape(-1)).all()
    sizes = ", ".join(f"{n} = {w}" for n, w in zip(names, widths, strict=True))
    back = shared_lab.convert(f"y : r {total} -> {left} where {sizes}", fused, window=window)
    assert back == {name: tensors[name] for name in back}
    assert len(back) == len(names)


def test_stack_and_unstack(shared_lab: Any, random_tensors: Random) -> None:
    tensors = random_tensors({f"e.{k}.w": ("BF16", (3, 5)) for k in range(11)})
    stacked = shared_lab.convert("e.[e].w : o c -> w : c e o", tensors)
    assert stacked["w"][1] == (5, 11, 3)
    assert shared_lab.convert("w : c e o -> e.[e].w : o c where e = 11", stacked) == tensors


def test_copies(shared_lab: Any, random_tensors: Random) -> None:
    tensors = random_tensors({"a": ("F32", (7,))})
    assert shared_lab.convert("a -> b, c", tensors) == {"b": tensors["a"], "c": tensors["a"]}


@pytest.mark.parametrize("dtype", DTYPES)
def test_zeros_and_ones_of_all_types(shared_lab: Any, random_tensors: Random, dtype: str) -> None:
    value = 0 if DTYPES[dtype].bits == 6 or dtype == "I8" else 1
    if dtype == "F8_E8M0":
        value = 2
    tensors = random_tensors({"q": (dtype, (4, 8))})
    rule = f"q : r a, create : r b = {value} -> t : r (a + b) where b = 4"
    _, shape, data = shared_lab.convert(rule, tensors, window=8)["t"]
    assert shape == (4, 12)
    found = elements(data, dtype, (4, 12))
    assert (found[:, :8] == elements(tensors["q"][2], dtype, (4, 8))).all()
    created = {found[r, c].tobytes() for r, c in product(range(4), range(8, 12))}
    assert created == {
        bits_of(ONES[dtype])[: DTYPES[dtype].bits].tobytes() if value else bytes(DTYPES[dtype].bits)
    }


ONES = {
    **{f"{kind}{bits}": (1).to_bytes(bits // 8, "little") for kind in "IU" for bits in (8, 16, 32, 64)},
    "BOOL": b"\1",
    "F4": b"\2",
    "F8_E5M2": b"\x3c",
    "F8_E4M3": b"\x38",
    "F8_E8M0": b"\x80",  # 2
    "F8_E4M3FNUZ": b"\x40",
    "F8_E5M2FNUZ": b"\x40",
    "F16": b"\x00\x3c",
    "BF16": b"\x80\x3f",
    "F32": b"\x00\x00\x80\x3f",
    "F64": b"\x00\x00\x00\x00\x00\x00\xf0\x3f",
    "C64": b"\x00\x00\x80\x3f\x00\x00\x00\x00",
}
