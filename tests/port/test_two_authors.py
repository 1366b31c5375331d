"""A whole port between two libraries of PyPI: transformers' Llama into LitGPT's GPT, from init to the gate.

LitGPT's own code runs from its wheel; of what it imports, Lightning is stubbed, and its download and
conversion helpers, which its model does not use.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.library.test_litgpt import LITGPT
from tests.port.conftest import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.network, pytest.mark.converts]

MODELS = '''
"""Both modules: transformers' Llama, LitGPT's GPT."""

import sys
from types import ModuleType

WHEEL = {wheel!r}
LLAMA = dict(
    vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, tie_word_embeddings=False, rms_norm_eps={official_eps}, max_position_embeddings=64,
)
STUBS = {{
    "lightning.fabric.utilities.load": ["_NotYetLoadedTensor"],
    "litgpt.utils": ["extend_checkpoint_dir", "incremental_save", "lazy_load", "save_config"],
}}


def official():
    import transformers

    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**LLAMA))


def ported():
    for name, members in STUBS.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            sys.modules.setdefault(".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        for member in members:
            setattr(sys.modules[name], member, type(member, (), {{}}))
    for name in ("litgpt", "litgpt.scripts"):
        package = sys.modules.setdefault(name, ModuleType(name))
        package.__path__ = [WHEEL + "/" + name.replace(".", "/")]
    from litgpt.config import Config
    from litgpt.model import GPT

    return GPT(Config(
        block_size=64, vocab_size=32, padded_vocab_size=32, n_layer=3, n_head=4, n_embd=16, n_query_groups=2,
        rotary_percentage=1.0, parallel_residual=False, bias=False, norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP", intermediate_size=24, norm_eps=1e-5,
    ))


def words(logits):
    """Greedy decoding: what the pipeline around such a model does."""
    import torch

    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        for _ in range(5):
            ids = torch.cat([ids, logits(ids)[:, -1:].argmax(-1)], 1)
    return ids, logits(ids)


def official_words():
    from safetensors.torch import load_file

    model = official().eval()
    model.load_state_dict(load_file("official_weights/llama/model.safetensors"))
    return words(lambda ids: model(ids).logits)


def ported_words():
    from safetensors.torch import load_file

    model = ported().eval()
    model.load_state_dict(load_file("converted_weights/llama/transformer/model.safetensors"))
    return words(model)
'''
EXAMPLE = """
import models

ids, _ = models.ported_words()
open("words.txt", "w").write(str(ids.tolist()))
"""
FILLED = """\
model: llama
family: llama
official: {repository: "https://github.com/huggingface/transformers"}
weights: {path: official_weights/llama}
target: {kind: python}
components:
  transformer:
    source: model.safetensors
    mapping: llama/hf_to_litgpt
    official: {module: "py:models.py:official", output: logits}
    ported: {module: "py:models.py:ported", arguments: {idx: input_ids}}
    inputs: {input_ids: {shape: [1, 9], dtype: int, high: 32}}
pipeline: {official: "py:models.py:official_words", ported: "py:models.py:ported_words"}
example: {run: "EXE example.py", produces: words.txt}
docs: [README.md]
not_applicable: {ssim: "a language model draws nothing"}
"""


def prepare(workspace: Workspace, wheel: Path, official_eps: float = 1e-5) -> None:
    import sys

    import torch
    import transformers

    workspace.write("models.py", MODELS.format(wheel=str(wheel), official_eps=official_eps))
    torch.manual_seed(0)
    sizes = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False}
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**sizes, **heads))
    state = {name: torch.randn_like(tensor) * 0.3 for name, tensor in model.state_dict().items()}
    workspace.weights("official_weights/llama/model.safetensors", state)
    workspace.write("README.md", "# Llama in LitGPT\n")
    workspace.write("example.py", EXAMPLE)
    workspace.write("filled.yaml", FILLED.replace("EXE", sys.executable))


def test_from_init_to_the_gate(workspace: Workspace, wheel: Callable[..., Path]) -> None:
    prepare(workspace, wheel(*LITGPT))
    said = workspace.good("init", "llama", "--weights", "official_weights/llama", "--target", "python")
    assert "layout: raw_official" in said
    plan = workspace.folder / "PLAN.md"
    boxes = plan.read_text("utf-8")
    assert [line[3] for line in boxes.splitlines() if line.startswith("## ")] == list("1234567")
    assert "[x]" not in boxes
    # What a person fills in: the mapping, the modules, the pipeline.
    (workspace.folder / "port.yaml").write_text(
        (workspace.folder / "filled.yaml").read_text("utf-8"), "utf-8"
    )

    assert workspace.port("gate").code == 1
    workspace.good("fetch")
    assert "transformer: needs_conversion: yes" in workspace.good("inspect")
    workspace.good("keys")
    assert "strict_load: not_run" in workspace.good("check")
    assert "transformer: 24 tensors" in workspace.good("convert")
    assert "agrees" in workspace.good("parity", "transformer", "--write-test")
    assert "strict_load: pass" in workspace.good("check")
    assert "agrees" in workspace.good("parity", "pipeline")
    assert "no divergence" in workspace.good("trace")
    workspace.good("review", "--by", "a reviewer")
    workspace.good("example")
    assert "gate: passed" in workspace.good("gate")

    workspace.good("status")
    ticked = [line for line in plan.read_text("utf-8").splitlines() if "- [x]" in line]
    open_ = [line for line in plan.read_text("utf-8").splitlines() if "- [ ]" in line]
    assert len(ticked) > 10
    assert ["test transformer" in line for line in open_] == [True]  # pytest has not run it yet

    report = json.loads(workspace.good("report", "--format", "json"))
    assert report["parity"]["transformer"]["passed"]
    assert report["conversion_state"]["strict_load_status"] == {"transformer": "pass"}
    assert "ssim is left out of the gate: a language model draws nothing" in report["residual_risks"]


def test_the_generated_test_runs_and_ticks_its_box(workspace: Workspace, wheel: Callable[..., Path]) -> None:
    import os
    import subprocess
    import sys

    prepare(workspace, wheel(*LITGPT))
    (workspace.folder / "port.yaml").write_text(
        (workspace.folder / "filled.yaml").read_text("utf-8"), "utf-8"
    )
    workspace.good("convert")
    workspace.good("parity", "--write-test")
    command = [sys.executable, "-m", "pytest", "-q", "tests/local_tests/llama/test_transformer_parity.py"]
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST")}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings)
    assert done.returncode == 0, done.stdout + done.stderr
    workspace.good("status")
    assert "- [x] transformer: the parity test passes" in (workspace.folder / "PLAN.md").read_text("utf-8")


def test_a_wrong_epsilon_of_one_author(workspace: Workspace, wheel: Callable[..., Path]) -> None:
    prepare(workspace, wheel(*LITGPT), official_eps=1e-1)
    (workspace.folder / "port.yaml").write_text(
        (workspace.folder / "filled.yaml").read_text("utf-8"), "utf-8"
    )
    workspace.good("convert")
    ran = workspace.port("parity", "transformer")
    assert ran.code == 1
    assert "MC916" in ran.err
    ran = workspace.port("trace")
    assert ran.code == 1
    assert "first divergence in transformer.h.0.norm_1" in ran.out
    assert "variance_epsilon is 0.1 in the official module, eps is 1e-05 in the port" in ran.out
    assert workspace.port("gate").code == 1


# Planted in the library's own mapping: text, other text, the module, what is found, the rule's beginning.
PLANTED = {
    "gate and up": (
        "mlp.{gate,up,down}_proj.*",
        "mlp.{up,gate,down}_proj.*",
        "transformer.h.0.mlp",
        "fc_1 and transformer.h.0.mlp.fc_2 have each other's weights",
        "mlp.{up",
    ),
    "two norms": (
        "norm_{1,2}.*",
        "norm_{2,1}.*",
        "transformer.h.0.norm_1",
        "its weights are those of `model.layers.0.post_attention_layernorm`",
        "{input",
    ),
    "k and v, of a fused projection": (
        "self_attn.k_proj.* : k ..., self_attn.v_proj.* : v ...",
        "self_attn.v_proj.* : k ..., self_attn.k_proj.* : v ...",
        "transformer.h.0.attn.qkv",
        "parts 2 and 3 of 4",
        "self_attn.q_proj",
    ),
    "a square matrix": (
        "self_attn.o_proj.* ",
        "self_attn.o_proj.weight : a b -> attn.proj.weight : b a  #",
        "transformer.h.0.attn.proj",
        "transposed",
        "self_attn.o_proj",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_faults_in_the_mapping(name: str, workspace: Workspace, wheel: Callable[..., Path]) -> None:
    from mapcc.resources import library_mapping

    right, wrong, module, finding, rule = PLANTED[name]
    prepare(workspace, wheel(*LITGPT))
    path = library_mapping("llama/hf_to_litgpt")
    assert path is not None
    lines = path.read_text("utf-8").splitlines()
    text = "\n".join(line for line in lines if not line.startswith("about")) + "\n"
    assert right in text
    workspace.write("llama.mapcc", text.replace(right, wrong))
    filled = (workspace.folder / "filled.yaml").read_text("utf-8")
    workspace.write("port.yaml", filled.replace("llama/hf_to_litgpt", "llama.mapcc"))
    workspace.good("convert")
    assert workspace.port("parity", "transformer").code == 1
    ran = workspace.port("trace")
    assert f"first divergence in {module}\n" in ran.out
    assert "fault: mapping: " in ran.out
    assert finding in ran.out
    assert f": {rule}" in ran.out.partition("rule at")[2]
