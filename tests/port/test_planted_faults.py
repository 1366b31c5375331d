"""A fault is planted in a mapping or in the code, and the trace must name the module, and the rule."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from mapcc.port.assembly import convert_port
from mapcc.port.divergence import Traced
from mapcc.port.parity import run_parity
from mapcc.port.read import read_port
from mapcc.port.trace import run_trace
from tests.port.conftest import RIGHT, Workspace, with_twins

pytestmark = [pytest.mark.slow, pytest.mark.converts]

Q = "attn.wq.weight : (h d two) c -> attn1.to_q.weight : (h two d) c where h = heads, two = 2"
K = "attn.wk.weight : (h d two) c -> attn1.to_k.weight : (h two d) c where h = heads, two = 2"
HALVES = (
    "final.adaLN_modulation.1.* : (shift + scale) ... -> norm_out.linear.* : (scale + shift) ...   "
    "where shift = scale"
)
BLOCK = "blocks.{i} -> layers.{i} {"


@dataclass(frozen=True)
class Fault:
    """What is planted (text of the mapping for other text, or values for the code), and what must be found.

    Attributes:
        rule: what the text of the rules that are named begins with, for each; none for a fault of the code.
    """

    name: str
    module: str
    fault: str
    rules: tuple[str, ...] = ()
    mapping: tuple[tuple[str, str], ...] = ()
    code: dict[str, Any] = field(default_factory=dict)
    finding: str = ""


def exchanged(layer: int) -> tuple[tuple[str, str], ...]:
    apart, only = f", i != {layer}", f", i == {layer}"
    other = [Q.replace("to_q", "to_k") + only, K.replace("to_k", "to_q") + only]
    return ((Q, "\n  ".join([Q + apart, *other])), (K, K + apart))


FAULTS = [
    Fault(
        "q and k of one layer exchanged",
        "layers.1.attn1",
        "mapping",
        ("attn.wk.weight", "attn.wq.weight"),
        exchanged(1),
        finding="to_q and layers.1.attn1.to_k have each other's weights",
    ),
    Fault(
        "shift and scale not swapped",
        "norm_out.linear",
        "mapping",
        ("final.adaLN",),
        ((HALVES, "final.adaLN_modulation.1.* : a ... -> norm_out.linear.* : a ..."),),
        finding="parts 0 and 1 of 2",
    ),
    Fault(
        "gate and up exchanged",
        "layers.0.ff",
        "mapping",
        ("ffn.w13",),
        (("[n=gate_proj,up_proj]", "[n=up_proj,gate_proj]"),),
        finding="gate_proj and layers.0.ff.up_proj",
    ),
    Fault(
        "square matrix transposed",
        "layers.0.attn1.to_out.0",
        "mapping",
        ("attn.wo.weight",),
        (("attn.wo.weight -> attn1.to_out.0.weight", "attn.wo.weight : a b -> attn1.to_out.0.weight : b a"),),
        finding="is transposed",
    ),
    Fault(
        "another square matrix transposed",
        "layers.0.attn1.to_v",
        "mapping",
        ("attn.wv.weight",),
        (
            (
                "attn.wv.* -> attn1.to_v.*",
                "attn.wv.weight : a b -> attn1.to_v.weight : b a\n  attn.wv.bias -> attn1.to_v.bias",
            ),
        ),
        finding="is transposed",
    ),
    Fault(
        "wrong number of heads in the rotary permutation",
        "layers.0.attn1",
        "mapping",
        ("attn.wq.weight", "attn.wk.weight"),
        (("let heads = 2", "let heads = 4"),),
        finding="in heads of 8",
    ),
    Fault(
        "wrong number of heads in q alone",
        "layers.0.attn1.to_q",
        "mapping",
        ("attn.wq.weight",),
        ((Q, Q.replace("h = heads", "h = 1")),),
    ),
    Fault(
        "rotary permutation forgotten in k",
        "layers.0.attn1.to_k",
        "mapping",
        ("attn.wk.weight -> attn1.to_k.weight",),
        ((K, "attn.wk.weight -> attn1.to_k.weight"),),
        finding="in heads of 8",
    ),
    Fault(
        "bias dropped",
        "layers.0.attn1.to_out.0",
        "mapping",
        ("attn.wo.bias",),
        (("attn.wo.bias -> attn1.to_out.0.bias", 'drop attn.wo.bias because "not needed"'),),
        {"out_bias": False},
        "bias `blocks.0.attn.wo.bias` is not added",
    ),
    Fault(
        "bias replaced by zeros",
        "layers.0.attn1.to_out.0",
        "mapping",
        ("create", "attn.wo.bias"),
        (
            (
                "attn.wo.bias -> attn1.to_out.0.bias",
                'drop attn.wo.bias because "zero"\n'
                "  create attn1.to_out.0.bias : k = 0 where k = 16, i in 0..2",
            ),
        ),
        finding="bias `blocks.0.attn.wo.bias` is not added",
    ),
    Fault(
        "cast too early",
        "layers.0.ff.down_proj",
        "mapping",
        ("ffn.w2.weight",),
        (("ffn.w2.weight -> ", "ffn.w2.weight | cast bf16 | cast f32 -> "),),
        finding="right without `cast bf16",
    ),
    Fault(
        "two layers exchanged",
        "layers.1.norm1",
        "mapping",
        ("blocks.{i} -> layers.{3 - i}",),
        (
            (BLOCK, "blocks.{i} -> layers.{3 - i} where i > 0 {"),
            (
                "final.adaLN",
                RIGHT[RIGHT.index("blocks.{i}") : RIGHT.index("final.")].replace(
                    BLOCK, "blocks.{i} -> layers.{i} where i == 0 {"
                )
                + "final.adaLN",
            ),
        ),
        finding="weights are those of `blocks.2.norm1`",
    ),
    Fault(
        "two norms exchanged",
        "layers.0.norm1",
        "mapping",
        ("norm2.weight",),
        (
            ("norm1.weight | add 1 -> norm1.weight", "norm1.weight | add 1 -> @"),
            ("norm2.weight | add 1 -> norm2.weight", "norm2.weight | add 1 -> norm1.weight"),
            ("@", "norm2.weight"),
        ),
    ),
    Fault(
        "norm off by one",
        "layers.0.norm2",
        "mapping",
        ("norm2.weight",),
        (("norm2.weight | add 1", "norm2.weight"),),
        finding="lacks 1",
    ),
    Fault(
        "epsilon of the code",
        "layers.1.norm1",
        "code",
        code={"eps": {"1": 1e-2}},
        finding="eps is 1e-06 in the official module, variance_epsilon is 0.01",
    ),
    Fault("activation of the code", "layers.0.ff", "mapping or code", code={"act": "gelu"}),
    Fault("scale of attention in the code", "layers.0.attn1", "mapping or code", code={"scale": 0.25}),
    Fault("residual of the code", "layers.0", "mapping or code", code={"no_residual": True}),
]


def traced(workspace: Workspace) -> tuple[bool, Traced]:
    port = read_port(Path("port.yaml"))
    convert_port(port)
    return run_parity(port, port.components[0]).passed, run_trace(port, port.components[0])


def test_the_right_one_passes(workspace: Workspace) -> None:
    with_twins(workspace)
    passed, found = traced(workspace)
    assert passed
    assert found.divergence is None
    assert found.compared > 60


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_named(fault: Fault, workspace: Workspace) -> None:
    mapping = RIGHT
    for old, new in fault.mapping:
        assert old in mapping
        mapping = mapping.replace(old, new)
    with_twins(workspace, mapping, fault.code)
    passed, found = traced(workspace)
    assert not passed
    first = found.divergence
    assert first is not None
    assert (first.module, first.fault) == (fault.module, fault.fault)
    assert fault.finding in first.finding
    if fault.fault == "mapping":
        named = [rule.text for rule in first.rules]
        assert len(named) == len(fault.rules)
        for begin in fault.rules:
            assert any(text.startswith(begin) for text in named), named
