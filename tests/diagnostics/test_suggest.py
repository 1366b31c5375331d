"""Did you mean."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.suggest import Suggester, likeness, nearest
from tests.work import lines

WAN = [
    f"blocks.{i}.{rest}"
    for i in range(30)
    for rest in (
        "self_attn.q.weight",
        "self_attn.norm_q.weight",
        "cross_attn.q.weight",
        "cross_attn.k_img.weight",
        "ffn.0.weight",
        "ffn.2.weight",
        "modulation",
    )
] + ["patch_embedding.weight", "head.head.weight", "head.modulation"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ("blocks.7.self_attn.q.weigth", "blocks.7.self_attn.q.weight"),
        ("blocks.7.attn.norm_q.weight", "blocks.7.self_attn.norm_q.weight"),
        ("model.blocks.7.self_attn.q.weight", "blocks.7.self_attn.q.weight"),
        ("blocks.7.cross_attn.q.q.weight", "blocks.7.cross_attn.q.weight"),
        ("blocks.3.ffn.1.weight", "blocks.3.ffn.0.weight"),
        ("blocks.99.modulation", "blocks.29.modulation"),
        ("Head.Head.weight", "head.head.weight"),
        ("patch_embed.weight", "patch_embedding.weight"),
        ("optimizer.state", None),
        ("", None),
        ("x" * 100_000, None),
    ],
)
def test_nearest_on_templates(asked: str, found: str | None) -> None:
    assert Suggester(WAN).nearest(asked) == found


def test_nearest_orders_by_likeness() -> None:
    assert nearest("transpos", ["permute", "transpose", "transposed", "split"]) == ["transpose", "transposed"]
    assert nearest("a", []) == []


def test_names_with_braces_are_names() -> None:
    assert nearest("a.{i}.3", ["a.{i}.2", "a.{i}.4", "b"]) == ["a.{i}.2"]


@given(st.lists(st.text(max_size=20), max_size=20), st.text(max_size=20))
def test_suggestions_are_candidates(candidates: list[str], asked: str) -> None:
    found = nearest(asked, candidates)
    assert set(found) <= set(candidates)
    assert len(found) == len(set(found)) <= 3


@given(st.from_regex(r"[a-z_]{3,8}(\.[a-z0-9_]{1,8}){0,4}", fullmatch=True))
def test_a_name_is_nearest_to_itself(name: str) -> None:
    assert likeness(name, name) == 1
    assert nearest(name, [*WAN, name])[0] == name


@pytest.mark.slow
def test_an_answer_looks_at_few_of_many_names() -> None:
    names = [
        f"model.layers.{i}.mlp.experts.{e}.{p}_proj.{s}"
        for i in range(60)
        for e in range(256)
        for p in ("gate", "up", "down")
        for s in ("weight", "weight_scale_inv")
    ]
    suggester = Suggester(names)
    suggester.nearest("warm.up")
    asked, meant = (f"model.layers.5.{it}.9.up_proj.weight" for it in ("experts", "mlp.experts"))
    assert suggester.nearest(asked) == meant
    assert lines(lambda: suggester.nearest(asked)) < len(names) // 4
