"""The verbs of ``mapcc port``: each says how it is used, and bad input ends in a diagnostic."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.port.conftest import TWINS_PORT, Workspace, with_twins

VERBS = [
    *("init", "fetch", "inspect", "keys", "check", "convert", "parity", "trace", "review", "compare"),
    *("example", "status", "gate", "report"),
]
NEED_A_PORT = [verb for verb in VERBS if verb not in ("init", "compare")]


def test_the_verbs(workspace: Workspace) -> None:
    listed = workspace.good("--help").partition("Commands:\n")[2].splitlines()
    assert [line.split()[0] for line in listed if line.strip() and "Example" not in line] == VERBS


@pytest.mark.parametrize("verb", VERBS)
def test_each_has_an_example(verb: str, workspace: Workspace) -> None:
    assert workspace.good(verb, "--help").count(f"Example: mapcc port {verb}") == 1


@pytest.mark.parametrize("verb", NEED_A_PORT)
@pytest.mark.parametrize(
    ("content", "code"),
    [(None, "MC001"), (b"\xff\xfe", "MC001"), (b"a: [", "MC101"), (b"model: m", "MC102"), (b"\0", "MC101")],
)
def test_a_port_that_is_none(verb: str, content: bytes | None, code: str, workspace: Workspace) -> None:
    if content is not None:
        Path("port.yaml").write_bytes(content)
    arguments = ("--by", "me") if verb == "review" else ()
    ran = workspace.port(verb, *arguments)
    assert ran.code in (1, 2)
    assert code in ran.err
    assert "Traceback" not in ran.err
    assert [entry.name for entry in Path().iterdir()] == ([] if content is None else ["port.yaml"])


@pytest.mark.parametrize("verb", ["check", "convert", "inspect", "keys", "parity", "trace", "fetch"])
def test_weights_and_a_mapping_that_are_not_there(verb: str, workspace: Workspace) -> None:
    workspace.write("port.yaml", TWINS_PORT)
    ran = workspace.port(verb)
    assert ran.code in (1, 2)
    assert "Traceback" not in ran.err + ran.out
    assert "error[MC" in ran.err + ran.out


def test_evidence_that_is_none(workspace: Workspace) -> None:
    workspace.write("port.yaml", TWINS_PORT)
    workspace.write("evidence/convert-transformer.json", "{}")
    ran = workspace.port("gate")
    assert ran.code == 1
    assert "MC003" in ran.err
    assert "remove it, and measure again" in ran.err


def test_a_component_that_is_not_there(workspace: Workspace) -> None:
    workspace.write("port.yaml", TWINS_PORT)
    ran = workspace.port("parity", "transfomer")
    assert ran.code == 2
    assert "did you mean `transformer`?" in ran.err


@pytest.mark.slow
@pytest.mark.converts
def test_check_as_json(workspace: Workspace) -> None:
    with_twins(workspace)
    found = json.loads(workspace.good("check", "--format", "json"))
    assert found["ok"]
    words = found["components"]["transformer"]
    assert list(words) == [
        *("missing", "unexpected", "skipped", "unchanged", "renamed", "shape-mismatched", "strict_load")
    ]
    assert words["renamed"] == 40


@pytest.mark.slow
@pytest.mark.converts
def test_the_trace_of_a_model_whose_last_step_differs(workspace: Workspace) -> None:
    """Nothing before the output differs: that is said, and nobody is blamed."""
    with_twins(workspace)
    code = Path("models.py").read_text("utf-8")
    old = 'return {"sample": self.proj_out(self.norm_out(hidden_states, self.condition(condition)))}'
    assert old in code
    workspace.write("models.py", code.replace(old, old.replace(")))}", "))) * 2}")))
    workspace.good("convert")
    ran = workspace.port("trace")
    assert ran.code == 1
    assert "first divergence in the model itself" in ran.out
    assert "every activation before it that could be compared agrees" in ran.out


@pytest.mark.slow
@pytest.mark.converts
def test_an_official_side_that_has_the_ports_own_names(workspace: Workspace) -> None:
    """Loaded by its factory through another converter: modules correspond by their names."""
    with_twins(workspace)
    workspace.good("convert")
    code = Path("models.py").read_text("utf-8")
    workspace.write(
        "models.py",
        code
        + "\n\ndef converted():\n    from safetensors.torch import load_file\n\n    model = Ported()\n"
        + "    model.load_state_dict(load_file('converted_weights/twins/transformer/model.safetensors'))\n"
        + "    model.layers[1].attn1.to_q.weight.data *= 2\n    return model\n",
    )
    side = 'official: {module: "py:models.py:converted", loads: true}'
    lines = TWINS_PORT.splitlines()
    text = "\n".join(f"    {side}" if "official:" in line else line for line in lines)
    workspace.write("port.yaml", text)
    ran = workspace.port("trace")
    assert ran.code == 1
    assert "first divergence in layers.1.attn1.to_q" in ran.out
