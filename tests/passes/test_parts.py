"""What ``show`` says of a part of a tensor, read back and held against the elements of the move."""

from __future__ import annotations

import re
from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapcc
from mapcc.api import bound_mapping
from mapcc.passes.describe import part_of
from mapcc.passes.moves import simplify_dims
from mapcc.passes.parts import describe_part
from mapcc.resources import mappings
from mapcc.tensors.spec import Manifest, TensorSpec

_GROUPS = re.compile(r"(\d+) times (.*) of each (\d+)(?: from (\d+))?")
_RANGE = re.compile(r"(\d+):(\d+)")


def indices(text: str) -> list[int]:
    """``2 times 0:3 of each 8 from 16`` as numbers."""
    groups = _GROUPS.fullmatch(text)
    if groups is None:
        found = _RANGE.fullmatch(text)
        assert found is not None, text
        return list(range(int(found[1]), int(found[2])))
    first = int(groups[4] or 0)
    return [first + k * int(groups[3]) + at for k in range(int(groups[1])) for at in indices(groups[2])]


def elements(text: str, shape: tuple[int, ...]) -> list[int]:
    """The elements that a text speaks of, in its order."""
    chosen = [list(range(size)) for size in shape]
    order = ""
    whole, _, sizes = text.partition(" read as ")
    parts = whole.split(", ")
    if sizes:
        order = f"{parts.pop()} read as {sizes}"
    for part in filter(None, parts):
        word = re.search(r"rows|columns|dim (\d+)", part)
        if word is None:
            order = part
            continue
        dim = int(word[1]) if word[1] else ("rows", "columns").index(word[0])
        chosen[dim] = indices(part.replace(f"{word[0]} ", ""))
    box = np.arange(prod(shape)).reshape(shape)[np.ix_(*chosen)]
    return [int(at) for at in ordered(box, order).reshape(-1)]


def ordered(box: Any, order: str) -> Any:
    if not order:
        return box
    if order == "transposed":
        return box.reshape([size for size in box.shape if size > 1]).T
    if order.startswith("permuted "):
        dims = [int(word) for word in order.split()[1:]]
        rest = [dim for dim in range(box.ndim) if dim not in dims]
        return box.transpose([*rest, *dims])
    stored, _, read = order.partition(" read as ")
    walked, *said = read.split(", ")
    sizes = dict(each.split(" = ") for each in said)
    names = re.findall(r"\w+", stored)
    box = box.reshape([int(sizes[name]) for name in names])
    return box.transpose([names.index(name) for name in walked.split()])


def walked(dims: Any, offset: int) -> list[int]:
    return [
        offset + sum(at * stride for at, (_, stride) in zip(place, dims, strict=True))
        for place in product(*(range(size) for size, _ in dims))
    ]


@st.composite
def boxes(draw: st.DrawFn) -> tuple[tuple[int, ...], list[tuple[int, int]], int]:
    """A tensor whose dimensions are products, a range of each of their atoms, and an order of these."""
    factors = draw(st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=3))
    shape = tuple(map(prod, factors))
    axes: list[tuple[int, int]] = []
    offset, stride = 0, 1
    for size in reversed([size for atoms in factors for size in atoms]):
        first = draw(st.integers(0, size - 1)) if draw(st.booleans()) else 0
        count = draw(st.integers(1, size - first)) if first or draw(st.booleans()) else size
        axes.insert(0, (count, stride))
        offset, stride = offset + first * stride, stride * size
    if draw(st.booleans()):
        axes = draw(st.permutations(axes))
    simple = simplify_dims((size, at, 0 if size == 1 else k) for k, (size, at) in enumerate(axes))
    return shape, [(size, at) for size, at, _ in simple] if draw(st.booleans()) else axes, offset


@given(boxes())
def test_it_is_what_moves(box: tuple[tuple[int, ...], list[tuple[int, int]], int]) -> None:
    shape, dims, offset = box
    text = describe_part(shape, dims, offset)
    assert not text.startswith("strided")
    assert elements(text, shape) == walked(dims, offset), text


@pytest.mark.parametrize(
    ("shape", "dims", "offset", "text"),
    [
        ((9216, 8192), [(8, 9437184), (1024 * 8192, 1)], 0, "8 times rows 0:1024 of each 1152"),
        ((9216, 8192), [(8, 9437184), (64 * 8192, 1)], 1024 * 8192, "8 times rows 1024:1088 of each 1152"),
        (
            (8, 4),
            [(2, 16), (2, 4), (2, 8), (4, 1)],
            0,
            "(a b c) d read as a c b d, a = 2, b = 2, c = 2, d = 4",
        ),
        ((4, 6, 5), [(6, 5), (5, 1)], 60, "rows 2:3"),
        ((4, 6, 5), [(3, 5), (5, 1)], 75, "rows 2:3, dim 1 3:6"),
        ((5, 8), [(5, 8), (3, 1)], 0, "columns 0:3"),
        ((12,), [(2, 6), (3, 2)], 1, "6 times rows 1:2 of each 2"),
        ((3, 4), [(4, 1), (3, 4)], 0, "transposed"),
        ((2, 3, 4), [(4, 1), (2, 12), (3, 4)], 0, "permuted 2 0 1"),
        ((), [(3, 0)], 0, "repeated 3 times"),
        ((2, 4), [(4, 1)], 2, "strided (4 by 1) from 2"),
        ((10, 2), [(2, 6), (2, 1)], 4, "2 times rows 2:3 of each 3 from 0"),
    ],
)
def test_in_words(shape: tuple[int, ...], dims: list[tuple[int, int]], offset: int, text: str) -> None:
    assert describe_part(shape, dims, offset) == text


RULES = """\
qkv.w : (g (r + k + v) e) c -> q.w : (g r e) c, k.w : (g k e) c, v.w : (g v e) c
    where k = v = 1, g = 2, e = 4
rope : (h f 2) c -> halves : (h 2 f) c   where f = 4
e.[e].[p=w1,w3] : o c -> gate_up : e (p o) c
ada : (half n d) ... -> [n=n1,n2] : (half d) ...   where half = 6
conv : o i k -> turned : k o i
"""


def test_rules_on_both_sides() -> None:
    shapes = {"qkv.w": (32, 3), "rope": (16, 3), "ada": (24, 2), "conv": (2, 3, 4)}
    shapes |= {f"e.{e}.{p}": (3, 2) for e in (0, 1) for p in ("w1", "w3")}
    source = Manifest({n: TensorSpec(n, None, shape) for n, shape in shapes.items()}, (), "s", None, {})
    assert held(bound_mapping(mapcc.check(mapcc.parse(RULES), source))) == 11


@pytest.mark.parametrize(
    ("name", "keys"),
    [("llama/meta_to_hf", "llama/keys/meta.json#2_7b"), ("bert/tf_to_hf", "bert/keys/tf.json#base")],
)
def test_no_strides_in_the_library(name: str, keys: str) -> None:
    bound = bound_mapping(mapcc.check(name, f"{mappings()}/{keys}"))
    for instance in bound.instances:
        for move in instance.layout.moves:
            shape = bound.source.tensors[instance.sources[move.source][-1]].shape
            assert "strided" not in part_of(shape, move, target=False)


def held(bound: Any) -> int:
    """How many moves were read back, of both sides."""
    count = 0
    for instance in bound.instances:
        for move in instance.layout.moves:
            source = bound.source.tensors[instance.sources[move.source][-1]].shape
            target = instance.layout.target_shapes[move.target]
            dims = [(size, at) for size, at, _ in move.dims], [(size, to) for size, _, to in move.dims]
            assert elements(part_of(source, move, target=False), source) == walked(
                dims[0], move.source_offset
            )
            assert elements(part_of(target, move, target=True), target) == walked(dims[1], move.target_offset)
            count += 1
    return count
