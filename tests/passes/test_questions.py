"""``exists`` and ``count`` that nothing answers are told, unless absence is what a variant is about."""

from __future__ import annotations

import pytest

from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostic
from mapcc.passes.lint import lint
from tests.passes.test_lint import Shapes, manifest

SOURCE: Shapes = {
    "lm_head.weight": [4],
    "model.wte.weight": [4],
    **{f"model.h.{i}.{name}": [4] for i in range(2) for name in ("attn.q.w", "attn.gate.w", "mlp.w")},
}
REST = 'default { drop ** because "x" }\n'


def found(text: str, source: Shapes = SOURCE) -> list[Diagnostic]:
    return [d for d in check(parse(REST + text), manifest(source)).diagnostics if d.code == "MC816"]


@pytest.mark.parametrize(
    ("text", "whole", "near"),
    [
        # A slip of the pen.
        (
            "keep model.wte.weight where exists(lm_haed.weight)",
            "lm_haed.weight",
            "did you mean lm_head.weight",
        ),
        ("keep model.wte.weight where not exists(lm_haed)", "lm_haed", "did you mean lm_head"),
        (
            "keep model.h.{i}.mlp.w where exists(model.h.{i}.atn.gate)",
            "model.h.{i}.atn.gate",
            "did you mean model.h.{i}.attn.gate?",
        ),
        ("keep model.h.{i}.mlp.w where i < count(model.hh.{j})", "model.hh.{j}", "did you mean model.h.{j}?"),
        (
            "keep model.h.{i}.mlp.w where i < n - 1, n = count(modle.h.{j})",
            "modle.h.{j}",
            "did you mean model.h.{j}?",
        ),
        # The prefix.
        (
            "model -> m { keep wte.weight where exists(lm_head.weight) }",
            "model.lm_head.weight",
            "lm_head.weight is",
        ),
        (
            "model -> m { keep wte.weight where exists(model.h.0) }",
            "model.model.h.0",
            "model.h.0 is there, outside",
        ),
        (
            "model.h.{i} -> h.{i} { keep mlp.w where exists(model.h.{i}.attn.gate) }",
            "model.h.{i}.model.h.{i}.attn.gate",
            "model.h.{i}.attn.gate is there, outside of the block",
        ),
        (
            "model.h.{i} -> h.{i} { keep mlp.w where i < count(model.h.{j}) }",
            "model.h.{i}.model.h.{j}",
            "outside",
        ),
        (
            "model -> m { h.{i} -> h.{i} { keep mlp.w where exists(self.attn.gate) } }",
            "model.h.{i}.self.attn.gate",
            "",
        ),
        ("model.h.{i} -> h.{i} where exists(attn.gate) { keep mlp.w }", "attn.gate", ""),
        (
            "model.h.{i} -> h.{i} { keep mlp.w where not exists(model.h.{i}.attn.nogate) }",
            "model.h.{i}.model.h.{i}.attn.nogate",
            "the block's prefix stands before it already: exists(attn.nogate)",
        ),
        (
            "model.h.{i} -> h.{i} { keep mlp.w where exists(atn.gate) }",
            "model.h.{i}.atn.gate",
            "did you mean attn.gate?",
        ),
        # On every statement, and where its names are not there either.
        ('drop lm_head.bias because "x" where exists(lm_haed)', "lm_haed", "did you mean lm_head?"),
        ("keep model.h.{i}.mlp.w where i < count(zzz.bias)", "zzz.bias", "`mapcc keys SRC` lists the names"),
        ('drop model.h.{i}.mlp.w because "x" where exists(lm_haed)', "lm_haed", "lm_head"),
        ("create x : 4 = 0 where exists(lm_haed)", "lm_haed", "lm_head"),
        ("{model.wte,lm_head}.weight -> {a,b} where exists(modell.{wte,h})", "modell.{wte,h}", "model"),
    ],
)
def test_what_nothing_answers_is_told(text: str, whole: str, near: str) -> None:
    (told,) = found(text)
    assert told.names == (whole,)
    assert f"`{whole}`" in told.message
    assert near in told.help
    assert told.span is not None


@pytest.mark.parametrize(
    "text",
    [
        "keep model.wte.weight where exists(lm_head)",
        "keep model.wte.weight where not exists(lm_head.weight)\nkeep lm_head.weight",
        # A variant's: some rule takes it, when it is there.
        "keep model.wte.weight where not exists(visual)\nkeep visual.** optional",
        "keep model.wte.weight where not exists(visual.b.0)\nvisual.b.{i} -> v.{i} { keep w optional }",
        "model.h.{i} -> h.{i} { keep mlp.w where not exists(attn.bias)\n attn.bias -> b optional }",
        'keep model.wte.weight where not exists(rope.freqs)\ndrop rope.{freqs,inv} because "x" optional',
        "model.h.{i} -> h.{i} { keep mlp.w where exists(attn.{q,k}) }",
        # A wildcard may take it, and nothing is there that it could be.
        "keep model.h.{i}.mlp.** where exists(model.h.{i}.mlp.experts)",
        # One of several copies has it.
        "{model,lm_head}.** -> {a,b}.** where exists(weight)",
        "{model.h.{i},lm_head} -> {h.{i},l} { keep ** where exists(attn.gate) }",
        # Nothing is asked.
        "vision.w -> v.w optional where exists(visin.b)",
        'keep model.wte.weight where exists(lm_haed) allow MC816 because "other checkpoints"',
    ],
)
def test_what_may_be_absent_is_not_told(text: str) -> None:
    assert found(text) == []


def test_a_slip_is_told_though_a_wildcard_would_take_it() -> None:
    text = "keep model.** where not exists(lm_haed.weight)\ndefault { keep ** }"
    told = [d for d in check(parse(text), manifest(SOURCE)).diagnostics if d.code == "MC816"]
    assert ["did you mean lm_head.weight" in d.help for d in told] == [True]


def test_an_allow_of_it_has_its_use() -> None:
    text = REST + 'keep lm_head.weight where not exists(lm_haed) allow MC816 because "older files"'
    bound = check(parse(text), manifest(SOURCE)).bound
    assert bound is not None
    assert [d.code for d in lint(bound)] == []
