"""Folded names: few lines, and never a lie."""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.fold import fold
from tests.work import assert_grows_with_its_input


def unfold(template: str) -> list[str]:
    """The names that a template stands for, by the reading that its look suggests."""
    parts = re.split(r"\{([^{}]*)\}", template)
    choices = [[part] if at % 2 == 0 else members(part) for at, part in enumerate(parts)]
    return ["".join(choice) for choice in itertools.product(*choices)]


def members(braced: str) -> list[str]:
    found: list[str] = []
    for item in braced.split(","):
        start, dots, end = item.partition("..")
        found += [str(i) for i in range(int(start), int(end) + 1)] if dots else [item]
    return found


def exactly(names: list[str]) -> list[str]:
    """The folded names, after a proof that they stand for each name once."""
    folded = fold(names)
    assert sorted(itertools.chain.from_iterable(map(unfold, folded))) == sorted(set(names))
    return folded


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ([], []),
        (["a.weight"], ["a.weight"]),
        ([f"blocks.{i}.attn.q.weight" for i in range(40)], ["blocks.{0..39}.attn.q.weight"]),
        (["a.0.w", "a.1.w"], ["a.{0,1}.w"]),
        ([f"a.{i}.w" for i in (7, 6, 5, 2, 0)], ["a.{0,2,5..7}.w"]),
        (
            [f"layers.{i}.experts.{e}.w" for i in range(4) for e in range(8)],
            ["layers.{0..3}.experts.{0..7}.w"],
        ),
        (
            [f"layers.{i}.experts.{e}.w" for i in range(3) for e in range(8 if i < 2 else 4)],
            ["layers.{0,1}.experts.{0..7}.w", "layers.2.experts.{0..3}.w"],
        ),
        ([f"q.{p}" for p in ("weight", "bias", "scale")], ["q.{weight,bias,scale}"]),
        ([f"b.{i}.{p}" for p in ("weight", "bias") for i in range(3)], ["b.{0..2}.{weight,bias}"]),
        (
            ["b.0.weight", "b.1.weight", "b.0.bias"],
            ["b.{0,1}.weight", "b.0.bias"],
        ),
        (
            [f"bert/layer_{i}/dense/{p}" for i in range(3) for p in ("kernel", "bias")],
            ["bert/layer_{0..2}/dense/{kernel,bias}"],
        ),
        (["norm1.w", "norm2.w", "z", "norm3.w"], ["norm{1..3}.w", "z"]),
        (["a.007.w", "a.008.w"], ["a.007.w", "a.008.w"]),
        (["a.0", "a.weight"], ["a.{0,weight}"]),
        ([f"a.{10**30 + i}" for i in range(2)], [f"a.{{{10**30},{10**30 + 1}}}"]),
        (["b.x", "a.x", "b.y"], ["b.{x,y}", "a.x"]),
        (["a.x,y", "a.z"], ["a.x,y", "a.z"]),
        (["same.w", "same.w"], ["same.w"]),
    ],
)
def test_fold(names: list[str], folded: list[str]) -> None:
    assert exactly(names) == folded


def test_names_with_braces_are_left_alone() -> None:
    names = ["a.{0,1}.w", "a.0.w", "a.1.w", "b{.x", "b{.y"]
    assert fold(names) == ["a.{0,1}.w", "a.{0,1}.w", "b{.x", "b{.y"]


def test_limit_counts_the_rest() -> None:
    assert fold(["a.x", "b.x", "c.x", "d.x"], limit=2) == ["a.x", "b.x", "... and 2 more"]
    assert fold(["a.x", "b.x"], limit=2) == ["a.x", "b.x"]


SEGMENT = st.sampled_from(
    ["0", "1", "2", "3", "10", "11", "007", "a", "weight", "bias", "q1", "q2", "1b2", "x,y"]
)
NAME = st.lists(SEGMENT, min_size=1, max_size=4).map(".".join) | st.text(
    st.characters(exclude_characters="{}"), max_size=8
)


@given(st.lists(NAME, max_size=60))
def test_folded_names_stand_for_exactly_the_names(names: list[str]) -> None:
    folded = exactly(names)
    assert len(folded) <= len(set(names))


@given(st.sets(st.tuples(*[st.integers(0, 4)] * 3)))
def test_ragged_products_are_split_into_exact_pieces(indices: set[tuple[int, int, int]]) -> None:
    exactly([f"l.{i}.e{j}.x.{k}.w" for i, j, k in indices])


@given(st.lists(NAME, max_size=30))
def test_the_order_is_that_of_first_sight(names: list[str]) -> None:
    first = [min(names.index(name) for name in unfold(template)) for template in exactly(names)]
    assert first == sorted(first)


@pytest.mark.slow
def test_the_work_of_folding_grows_with_the_names() -> None:
    def folding(layers: int, left_out: int) -> Callable[[], object]:
        names = [
            f"model.layers.{i}.mlp.experts.{e}.{p}_proj.{s}"
            for i in range(layers)
            for e in range(256)
            for p in ("gate", "up", "down")
            for s in ("weight", "weight_scale_inv")
        ]
        random.Random(0).shuffle(names)
        return lambda: fold(names[left_out:])

    hundred_thousand = folding(65, 0)()
    assert isinstance(hundred_thousand, list)
    assert len(hundred_thousand) == 3
    ragged = folding(65, 500)()
    assert isinstance(ragged, list)
    assert len(ragged) < 1000
    assert_grows_with_its_input(lambda layers: folding(layers, 0), 2)
    assert_grows_with_its_input(lambda layers: folding(layers, 50 * layers), 2)
