"""The verbs of ``mapcc port``: each says how it is used, and bad input ends in a diagnostic."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.port.conftest import TWINS_PORT, Workspace, official_twin, with_twins

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


def test_what_is_not_installed(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from tests.port.test_pictures import picture

    picture(Path("a.png"))
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    ran = workspace.port("compare", "a.png", "a.png")
    assert ran.code == 2
    assert "pip install 'mapcc[port]'" in ran.err
    assert "Traceback" not in ran.err


WITHOUT_TORCH = """
import sys
from mapcc.cli import main

for verb in ("inspect", "keys", "check", "convert", "status", "report"):
    sys.argv = ["mapcc", "port", verb]
    try:
        code = main()
    except SystemExit as end:
        code = end.code
    if code or "torch" in sys.modules:
        sys.exit(f"{verb}: {code}, {'torch' in sys.modules}")
"""


def test_what_needs_no_torch_does_not_import_it(workspace: Workspace) -> None:
    from safetensors.numpy import save_file

    Path("w").mkdir()
    save_file({"a": np.zeros((2, 2), "f4")}, "w/model.safetensors")
    workspace.write("keys.json", '{"a": [2, 2]}')
    workspace.write("m.mapcc", "keep **\n")
    component = "{source: model.safetensors, mapping: m.mapcc, keys: keys.json}"
    port = f"model: m\nweights: {{path: w}}\ntarget: {{kind: python}}\ncomponents:\n  a: {component}\n"
    workspace.write("port.yaml", port)
    command = [sys.executable, "-c", WITHOUT_TORCH]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


MISSING = """\
model: m
weights: {path: .}
target: {kind: python}
components:
  a:
    source: keys.json
    mapping: m.mapcc
    keys: target.json
    missing: %s
"""


@pytest.mark.parametrize(
    ("missing", "code", "told"),
    [
        ('[{names: "b*", because: "a \\"quoted\\" reason \u2013 \u00e9"}]', 0, "pass_with"),
        ('[{names: "b[", because: "x"}]', 1, "port.yaml:9:"),
        ('[{names: "c", because: "x"}]', 1, "MC401"),
    ],
)
def test_what_is_missing_on_purpose(missing: str, code: int, told: str, workspace: Workspace) -> None:
    workspace.write("keys.json", '{"a": [2]}')
    workspace.write("target.json", '{"a": [2], "bias": [2]}')
    workspace.write("m.mapcc", "keep **\n")
    workspace.write("port.yaml", MISSING % missing)
    ran = workspace.port("check")
    assert ran.code == code, ran.out + ran.err
    if code:
        assert told in ran.out
    else:
        assert "skipped: 1: bias" in ran.out


def test_fastvideo_s_conditioner_is_one_file(workspace: Workspace) -> None:
    from safetensors.numpy import save_file

    Path("w").mkdir()
    save_file({f"{at}.w": np.zeros((64, 64), "f4") for at in range(4)}, "w/model.safetensors")
    workspace.write("keys.json", json.dumps({f"{at}.w": [64, 64] for at in range(4)}))
    workspace.write("m.mapcc", "keep **\n")
    port = {
        "model": "m",
        "weights": {"path": "w"},
        "target": {"kind": "fastvideo", "pipeline": "P", "version": "0.42.1"},
        "components": {
            name: {
                "source": "model.safetensors",
                "mapping": "m.mapcc",
                "keys": "keys.json",
                "class": f"{library}.C",
                "config": {"n": 1},
            }
            for name, library in (("conditioner", "fastvideo"), ("transformer", "diffusers"))
        },
    }
    workspace.write("port.yaml", json.dumps(port))
    workspace.good("convert", "--max-shard-size", "20KB")
    out = Path("converted_weights/m")
    assert [p.name for p in (out / "conditioner").glob("*.safetensors")] == [
        "diffusion_pytorch_model.safetensors"
    ]
    assert len(list((out / "transformer").glob("*.safetensors"))) == 4
    index = json.loads((out / "model_index.json").read_text("utf-8"))
    assert index["conditioner"] == ["fastvideo", "C"]


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


@pytest.mark.slow
@pytest.mark.converts
def test_an_archive_of_torch_rounded_but_for_norms(workspace: Workspace) -> None:
    """One dictionary of several, a prefix, a type with exceptions: both sides get what the port rounds."""
    import torch

    with_twins(workspace)
    state = {f"model.{name}": tensor * 0.5 for name, tensor in official_twin(workspace).state_dict().items()}
    torch.save({"state_dict": state, "ema": dict(state), "epoch": 3}, "official_weights/twins/last.pt")
    more = [
        "select: state_dict",
        "prefix: model.",
        "dtype: bf16",
        'keep: {f32: ["**.norm1.*", "**.norm2.*"]}',
    ]
    fields = "\n".join(f"    {line}" for line in ("source: last.pt", *more))
    text = TWINS_PORT.replace("    source: model.safetensors", fields)
    workspace.write("port.yaml", text)
    Path("official_weights/twins/model.safetensors").unlink()
    assert "layout: raw_official" in workspace.good("inspect")
    workspace.good("convert")
    assert "agrees" in workspace.good("parity")
    assert "no divergence" in workspace.good("trace")
