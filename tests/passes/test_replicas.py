"""Copies on ranks that are dropped without being compared are told, and other tensors are not."""

from __future__ import annotations

from pathlib import Path

import pytest

import mapcc
from mapcc.passes.lint import lint
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.fixes.promise import Case, broken_promises, key_set, spliced

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


def test_the_help_is_typed() -> None:
    """The statement that has them compared ends the warning, whatever the names are like."""
    for drop, wanted in {
        "r1.{std_scale,layer_scalar}": "r1.{std_scale,layer_scalar} same as r0.{std_scale,layer_scalar}",
        "r1.*": "r1.* same as r0.*",
        "r{i}.*": "r1.std_scale same as r0.std_scale",
    }.items():
        where = " where i > 0" if "{i}" in drop else ""
        (diagnostic,) = checked(f'{JOIN}{TAKE}drop {drop} because "copies"{where}').diagnostics
        statement = f"drop {wanted}"
        assert f'`{statement} because "..."`' in diagnostic.help
        rest = ' same as r0.layer_scalar because "x"\n' if where else ""
        rest = f"drop r1.layer_scalar{rest}" if rest else ""
        assert checked(f'{JOIN}{TAKE}{statement} because "..."\n{rest}').diagnostics == ()


def test_the_help_within_a_block() -> None:
    shapes = {f"all.r{rank}.{name}": shape for rank in (0, 1) for name, shape in SHAPES.items()}
    block = "all -> . {\n" + JOIN + TAKE + 'drop r1.{std_scale,layer_scalar} because "copies"\n}'
    result = checked(block, (), **shapes)
    (diagnostic,) = result.diagnostics
    assert "`drop r1.{std_scale,layer_scalar} same as r0.{std_scale,layer_scalar} because" in diagnostic.help
    typed = 'drop r1.{std_scale,layer_scalar} same as r0.{std_scale,layer_scalar} because "copies"'
    compared = block.replace('drop r1.{std_scale,layer_scalar} because "copies"', typed)
    assert checked(compared, (), **shapes).diagnostics == ()


def test_names_that_need_quotes() -> None:
    more = {"r0.a b": (4,), "r1.a b": (4,)}
    text = 'r0.{std_scale,layer_scalar,"a b"} -> {std_scale,layer_scalar,c}\n'
    drop = 'drop "r1.a b" because "x"\n'
    same = 'drop r1.{std_scale,layer_scalar} same as r0.{std_scale,layer_scalar} because "copies"\n'
    (diagnostic,) = checked(JOIN + text + same + drop, **more).diagnostics
    statement = 'drop "r1.a b" same as "r0.a b" because "..."'
    assert f"`{statement}`" in diagnostic.help
    assert checked(f"{JOIN}{text}{same}{statement}", **more).diagnostics == ()


@pytest.mark.parametrize(
    ("drop", "fixed"),
    [
        (
            "drop r1.{std_scale,layer_scalar}",
            "drop r1.{std_scale,layer_scalar} same as r0.{std_scale,layer_scalar}",
        ),
        ("drop r1.std_scale, r1.layer_scalar", None),  # it would be said of both
        ("default { drop r1.*", "default { drop r1.* same as r0.*"),
    ],
)
def test_the_fix_is_the_same_statement(drop: str, fixed: str | None, tmp_path: Path) -> None:
    end = " }\n" if "{ " in drop else "\n"
    source = key_set({f"{rank}.{name}": shape for rank in ("r0", "r1") for name, shape in SHAPES.items()})
    case = Case(tmp_path / "m.mapcc", f'{JOIN}{TAKE}{drop} because "copies"{end}', source, None)
    result = case.found()
    assert broken_promises(case, result) == []
    applied = {spliced(case.text, fix, str(case.path)) for each in result.diagnostics for fix in each.fixes}
    assert applied == ({case.text.replace(drop, fixed)} if fixed else set())


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
