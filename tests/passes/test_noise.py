"""What follows from one fault is not told as another."""

from __future__ import annotations

import pytest

from mapcc.api import check, parse
from mapcc.cli import main
from mapcc.diagnostics.model import Diagnostic
from tests.passes.test_lint import Shapes, manifest


def found(text: str, source: Shapes, target: Shapes | None = None) -> list[Diagnostic]:
    return list(
        check(parse(text), manifest(source), None if target is None else manifest(target)).diagnostics
    )


DEFAULT = "default { keep ** }\n"


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("a.{i}.* -> b.{j}.*", "MC204"),
        ("a.{i}.* -> b.{i}.* where i = 2", "MC104"),
        ("a.{i}.* -> b.{i}.* where k < 2", "MC104"),
        ("a.{i}.w : p q -> b.{i}.w : q", "MC301"),
        ("a.{i}.w | transposed -> b.{i}.w", "MC501"),
        ('drop a.{i}.w because "x" where j == 1', "MC104"),
    ],
)
def test_tensors_of_a_rule_that_is_wrong_do_not_fall_into_the_default(text: str, code: str) -> None:
    source: Shapes = {"a.0.w": [4, 2], "a.1.w": [4, 2], "c": [1]}
    target: Shapes = {"b.0.w": [2, 4], "b.1.w": [2, 4], "c": [1]}
    if text.startswith("drop"):
        target = {"c": [1]}
    assert [d.code for d in found(DEFAULT + text, source, target)] == [code]


def test_a_default_that_lost_its_tensors_is_not_idle() -> None:
    text = 'default { drop a.* because "x" }\nkeep c\na.{i} -> b.{j}'
    assert [d.code for d in found(text, {"a.0": [1], "c": [1]})] == ["MC204"]


def test_what_is_on_both_sides_is_to_be_kept() -> None:
    names: Shapes = {f"{part}.{i}.w": [4] for i in range(3) for part in ("a", "b")}
    source: Shapes = {"x": [1], **names}
    told = found("x -> y", source, {"y": [1], **names})
    assert {d.code for d in told} == {"MC401", "MC402"}
    assert all("keep " in d.help for d in told)
    kept = {d.help.split("`")[1] for d in told}
    assert found("\n".join(["x -> y", *sorted(kept)]), source, {"y": [1], **names}) == []


@pytest.mark.parametrize("code", ["405", "mc405", "MC405"])
def test_a_code_is_explained_however_it_is_written(
    code: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["mapcc", "explain", code])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert capsys.readouterr().out.startswith("# MC405:")


VISION: Shapes = {
    f"vision.blocks.{i}.{name}": [4]
    for i in range(3)
    for name in ("q.w", "k.w", "v.w", "o.w", "norm", "mlp.up.w")
} | {"vision.patch.w": [4], "vision.patch.b": [4]}


def test_a_forgotten_component_is_one_finding() -> None:
    (told,) = found("x -> y", {"x": [1], **VISION})
    assert (told.code, told.message) == ("MC402", "no rule takes anything under `vision`: 7 kinds of tensors")
    assert "`drop vision.** because" in told.help
    assert len(told.names) == 7
    assert "vision.patch.{w,b}" in told.names
    both = found("x -> y", {"x": [1], **VISION}, {"y": [1], **VISION})
    assert [d.code for d in both] == ["MC402", "MC401"]
    assert all("`keep vision.**`" in d.help for d in both)
    assert found("x -> y\nkeep vision.**", {"x": [1], **VISION}, {"y": [1], **VISION}) == []


def test_a_module_of_each_layer_is_one_finding() -> None:
    source = {
        **VISION,
        **{f"vision.blocks.{i}.attn.{n}.w": [2] for i in range(3) for n in ("q", "k", "v", "o")},
    }
    text = "keep vision.blocks.{i}.{{q,k,v,o}.w,norm,mlp.up.w}, vision.patch.*"
    (told,) = found(text, source)
    assert told.message == "no rule takes anything under `vision.blocks.{i}.attn`: 4 kinds of tensors"
    assert found(f'{text}\ndrop vision.blocks.{{i}}.attn.** because "x"', source) == []


def test_what_is_taken_in_part_is_told_one_by_one() -> None:
    told = found("vision.blocks.0.** -> v.**\nkeep vision.patch.w", VISION)
    assert {d.code for d in told} == {"MC402"}
    assert len(told) == 7


def test_an_operation_that_does_not_fit_many_shapes_is_told_once() -> None:
    source: Shapes = {f"l.{i}.{p}": [3, 1] if p == "g" else [4 + i, 2] for i in range(4) for p in "gv"}
    (told,) = found("(l.{i}.g, l.{i}.v) | weight_norm -> l.{i}.w", source)
    assert told.code == "MC502"
    assert told.message == "weight_norm dim=0 does not fit its tensors"
    assert told.notes == ("the magnitude is [3, 1]; it should be [4, 1] for [4, 2]",)
    assert told.names == ("l.{0..3}.g",)
