"""Copies on ranks that are dropped without being compared are told, and other tensors are not."""

from __future__ import annotations

import pytest

import mapcc
from mapcc.passes.lint import lint
from mapcc.tensors.spec import Manifest, TensorSpec

SHAPES = {"proj.weight": (4, 4), "norm.weight": (3,), "std_scale": (4,), "layer_scalar": ()}
JOIN = (
    "[r=r0,r1].proj.weight : d c -> proj.weight : (r d) c\n[r=r0,r1].norm.weight : d -> norm.weight : (r d)\n"
)
TAKE = "r0.{std_scale,layer_scalar} -> {std_scale,layer_scalar}\n"


def checked(text: str, ranks: tuple[str, ...] = ("r0", "r1"), **more: tuple[int, ...]) -> mapcc.Checked:
    shapes = {f"{rank}.{name}": shape for rank in ranks for name, shape in SHAPES.items()} | more
    tensors = {name: TensorSpec(name, None, shape) for name, shape in shapes.items()}
    return mapcc.check(mapcc.parse(text), Manifest(tensors, (), "x", None, {}))


def test_copies_that_are_dropped() -> None:
    result = checked(JOIN + TAKE + 'drop r1.{std_scale,layer_scalar} because "copies"')
    (diagnostic,) = result.diagnostics
    assert diagnostic.code == "MC821"
    assert result.ok
    assert diagnostic.names == ("r1.{std_scale,layer_scalar}",)
    assert "`r0.std_scale` and `r1.std_scale`" in diagnostic.notes[0]


def test_ranks_by_number() -> None:
    text = (JOIN + TAKE).replace("r=r0,r1", "r=00,01").replace("r0.", "00.")
    result = checked(text + 'drop 01.{std_scale,layer_scalar} because "copies"', ("00", "01"))
    assert [diagnostic.code for diagnostic in result.diagnostics] == ["MC821"]


def test_what_is_allowed_has_its_use() -> None:
    because = 'because "copies" allow MC821 because "compared"'
    result = checked(JOIN + TAKE + f"drop r1.{{std_scale,layer_scalar}} {because}")
    assert result.diagnostics == ()
    assert result.bound is not None
    assert "MC813" not in {diagnostic.code for diagnostic in lint(result.bound)}


OTHERS = (
    # Both are dropped.
    JOIN + 'drop r{i}.{std_scale,layer_scalar} because "unused"',
    # All are taken.
    JOIN + "[r=r0,r1].std_scale : d -> std_scale : (r d)\n[r=r0,r1].layer_scalar : () -> layer_scalar : r",
)


@pytest.mark.parametrize("text", OTHERS)
def test_no_copies(text: str) -> None:
    assert checked(text).diagnostics == ()


def test_a_bias_that_is_dropped_beside_others_is_no_copy() -> None:
    shapes = {f"{part}.{name}": (4,) for part in ("q", "k", "v") for name in ("weight", "bias")}
    tensors = {name: TensorSpec(name, None, shape) for name, shape in shapes.items()}
    text = '[t=q,k,v].weight : d -> qkv : (t d)\n{q,v}.bias -> {q,v}.bias\ndrop k.bias because "no effect"'
    assert mapcc.check(mapcc.parse(text), Manifest(tensors, (), "x", None, {})).diagnostics == ()
