"""Ports that are laid out otherwise than their officials: sequence first, a residual inside.

What is laid out otherwise and gives the same is no divergence; a fault in it is found as anywhere.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mapcc.port.assembly import convert_port
from mapcc.port.parity import run_parity
from mapcc.port.read import read_port
from mapcc.port.trace import run_trace
from tests.port.conftest import Workspace

pytestmark = pytest.mark.converts

MODELS = """
import torch
from torch import nn
from torch.nn import functional as F

class OfficialHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 8)
        self.weight, self.bias = nn.Parameter(torch.randn(4, 8)), nn.Parameter(torch.randn(4))

    def forward(self, x):
        return F.linear(F.gelu(self.dense(x)), self.weight) + self.bias

class Official(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.fc, self.norm2, self.head = (
            nn.LayerNorm(8), nn.Linear(8, 8), nn.LayerNorm(8), OfficialHead()
        )

    def forward(self, x):
        return self.head(self.norm2(x + self.fc(self.norm1(x))))

class SequenceFirst(Official):
    def forward(self, x):
        return super().forward(x.transpose(0, 1)).transpose(0, 1)

class Flat(Official):
    def forward(self, x):
        rows = x.transpose(0, 1).reshape(-1, x.shape[-1])
        return super().forward(rows).reshape(x.shape[1], x.shape[0], -1).transpose(0, 1)

class Output(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense = nn.Linear(8, 8)

    def forward(self, x, residual):
        return self.dense(x) + residual

class Head(nn.Module):
    def __init__(self):
        super().__init__()
        self.dense, self.decoder = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.decoder(F.gelu(self.dense(x)))

class Ported(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.output, self.norm2, self.head = nn.LayerNorm(8), Output(), nn.LayerNorm(8), Head()

    def forward(self, x):
        return self.head(self.norm2(self.output(self.norm1(x), x)))

INSTANCE = Ported()

class NoModule:
    def state_dict(self):
        return Ported().state_dict()

class Picky(Ported):
    def __init__(self, size):
        super().__init__()
"""
RULES = """
{norm1,norm2}.*    -> {norm1,norm2}.*
fc.*               -> output.dense.*
head.dense.*       -> head.dense.*
head.{weight,bias} -> head.decoder.{weight,bias}
"""
CROSSED = RULES.replace("{norm1,norm2}.*    -> {norm1,norm2}.*", "norm1.* -> norm2.*\nnorm2.* -> norm1.*")
PORT = """\
model: wrap
weights: {{path: w}}
target: {{kind: python}}
components:
  t:
    source: model.safetensors
    mapping: m.mapcc
    official: {{module: "py:models.py:{official}"}}
    ported: {{module: "py:models.py:{ported}"}}
    inputs: {{x: {{shape: [2, 5, 8], dtype: {dtype}}}}}
"""
OFFICIALS = ("Official", "SequenceFirst", "Flat")


def prepare(
    workspace: Workspace, official: str, ported: str = "Ported", rules: str = RULES, dtype: str = "float"
) -> None:
    import torch

    from mapcc.tensors.factory import python_value

    workspace.write("models.py", MODELS)
    workspace.write("m.mapcc", rules)
    workspace.write("port.yaml", PORT.format(official=official, ported=ported, dtype=dtype))
    torch.manual_seed(5)
    state = python_value("py:models.py:Official").state_dict()  # type: ignore[attr-defined]
    workspace.weights("w/model.safetensors", {name: torch.randn_like(each) for name, each in state.items()})


@pytest.mark.parametrize("official", OFFICIALS)
def test_a_port_whose_outputs_agree_is_not_blamed(official: str, workspace: Workspace) -> None:
    prepare(workspace, official)
    port = read_port(Path("port.yaml"))
    convert_port(port)
    assert run_parity(port, port.components[0]).passed
    traced = run_trace(port, port.components[0])
    assert traced.divergence is None
    assert not traced.notes, "a different layout is understood, not only forgiven"
    assert traced.compared >= 6


@pytest.mark.parametrize("official", OFFICIALS)
def test_two_norms_of_a_layer_exchanged(official: str, workspace: Workspace) -> None:
    prepare(workspace, official, rules=CROSSED)
    port = read_port(Path("port.yaml"))
    convert_port(port)
    first = run_trace(port, port.components[0]).divergence
    assert first is not None
    assert (first.module, first.fault) == ("norm1", "mapping")
    assert "norm2" in first.finding
    assert first.rules


def test_a_weight_of_ones_own_is_given_wrong(workspace: Workspace) -> None:
    """What goes into the official head is not compared, and its output still tells."""
    doubled = RULES.replace("head.{weight,bias} ->", "head.{weight,bias} | scale 2 ->")
    prepare(workspace, "Official", rules=doubled)
    port = read_port(Path("port.yaml"))
    convert_port(port)
    first = run_trace(port, port.components[0]).divergence
    assert first is not None
    assert first.module in ("head", "head.decoder")
    assert "mapping" in first.fault


@pytest.mark.parametrize("ported", ["Ported", "INSTANCE"])
def test_factories_are_functions_classes_and_modules(ported: str, workspace: Workspace) -> None:
    prepare(workspace, "Official", ported)
    workspace.good("convert", "-q")
    assert "agrees" in workspace.good("parity")
    assert "no divergence" in workspace.good("trace")


@pytest.mark.parametrize(
    ("ported", "why"),
    [
        ("NoModule", "NoModule, not a module"),
        ("Picky", "missing 1 required positional argument"),
    ],
)
def test_what_builds_no_module_is_told(ported: str, why: str, workspace: Workspace) -> None:
    prepare(workspace, "Official")
    workspace.good("convert", "-q")
    workspace.write("port.yaml", PORT.format(official="Official", ported=ported, dtype="float"))
    for verb in ("parity", "trace"):
        ran = workspace.port(verb)
        assert ran.code == 2
        assert "error[MC004]" in ran.err
        assert why in ran.err


@pytest.mark.parametrize("dtype", ["float", "f32", "float32", "torch.float32"])
def test_types_have_the_names_of_the_language(dtype: str, workspace: Workspace) -> None:
    prepare(workspace, "Official", dtype=dtype)
    workspace.good("convert", "-q")
    assert "agrees" in workspace.good("parity")


@pytest.mark.parametrize(
    ("dtype", "type_"), [("int", "int64"), ("i64", "int64"), ("i32", "int32"), ("bool", "bool")]
)
def test_types_of_whole_numbers(dtype: str, type_: str, workspace: Workspace) -> None:
    prepare(workspace, "Official", dtype=dtype)
    [component] = read_port(Path("port.yaml")).components
    assert isinstance(component.inputs, dict)
    assert component.inputs["x"].dtype == type_


@pytest.mark.parametrize("dtype", ["i65", "f4", "q4_0"])
def test_a_type_that_no_input_can_have(dtype: str, workspace: Workspace) -> None:
    prepare(workspace, "Official", dtype=dtype)
    ran = workspace.port("check")
    assert ran.code == 1
    assert f"no type '{dtype}'" in ran.err


def test_status_names_what_works_when_typed(workspace: Workspace) -> None:
    prepare(workspace, "Official")
    test = "pytest tests/local_tests/wrap/test_t_parity.py"
    assert f"mapcc port parity t --write-test && {test}" in workspace.port("status").out
    workspace.good("convert", "-q")
    workspace.good("parity", "t", "--write-test")
    assert f"-> {test}" in workspace.port("status").out
    workspace.run("-m", "pytest", "-q", test.removeprefix("pytest "))


# --- the beginning, from archives of torch


@pytest.mark.parametrize(
    ("content", "select"),
    [
        ({"fc.weight": 1}, ""),
        ({"state_dict": {"fc.weight": 1}, "epoch": 3}, "state_dict"),
        ({"optimizer": {"a": 1}, "model": {"fc.weight": 1}}, "model"),
    ],
)
@pytest.mark.parametrize("named", ["w", "w/m.pt"])
def test_begin_with_an_archive(
    content: dict[str, object], select: str, named: str, workspace: Workspace
) -> None:
    import torch

    def filled(value: object) -> object:
        if isinstance(value, dict):
            return {key: filled(each) for key, each in value.items()}
        return torch.zeros(2, 2) if value == 1 else value

    (workspace.folder / "w").mkdir()
    torch.save(filled(content), workspace.folder / "w/m.pt")
    workspace.good("init", "m", "--weights", named)
    [component] = read_port(Path("port.yaml")).components
    assert component.sources == ("m.pt",)
    assert (component.select or "") == select
    assert "m.pt: 1 tensor" in workspace.port("inspect").out


@pytest.mark.oracle
def test_the_config_of_a_class_of_transformers_names_its_type(workspace: Workspace) -> None:
    import torch

    workspace.weights("w/model.safetensors", {"embeddings.word_embeddings.weight": torch.zeros(2, 2)})
    workspace.write("m.mapcc", "keep **")
    workspace.write("keys.json", json.dumps({"embeddings.word_embeddings.weight": [2, 2]}))
    port = PORT.partition("components:")[0].format() + (
        "components:\n  t: {source: model.safetensors, mapping: m.mapcc, class: transformers.BertModel,"
        " keys: keys.json, config: {hidden_size: 2, vocab_size: 2}}\n"
    )
    workspace.write("port.yaml", port)
    convert_port(read_port(Path("port.yaml")))
    config = json.loads((workspace.folder / "converted_weights/wrap/t/config.json").read_text("utf-8"))
    assert config == {
        "architectures": ["BertModel"],
        "model_type": "bert",
        "hidden_size": 2,
        "vocab_size": 2,
    }
