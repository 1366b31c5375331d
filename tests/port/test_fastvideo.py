"""The real consumer: FastVideo's own Wan from its wheel, on the CPU, beside the one of Diffusers."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

import mapcc as library
from mapcc.resources import mappings
from tests.conftest import FASTVIDEO
from tests.library.test_oracles import differences, loaded
from tests.port.conftest import Workspace
from tests.port.fastvideo_models import MODELS, PORT

RIGHT = "attn1.{to_q,to_k,to_v,to_out.0}.* -> {to_q,to_k,to_v,to_out}.*"
WRONG = "attn1.{to_q,to_k,to_v,to_out.0}.* -> {to_k,to_q,to_v,to_out}.*"

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.network, pytest.mark.converts]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        return int(taken.getsockname()[1])


@pytest.fixture
def wan(workspace: Workspace, wheel: Callable[..., Path]) -> Workspace:
    import torch
    from diffusers import WanTransformer3DModel

    shutil.copy(Path(__file__).with_name("stubs.py"), workspace.folder)
    workspace.write("models.py", MODELS.format(wheel=str(wheel(*FASTVIDEO)), socket=free_port()))
    workspace.write("port.yaml", PORT)
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "in_channels": 4, "out_channels": 4}
    more = {"text_dim": 10, "freq_dim": 8, "ffn_dim": 16, "num_layers": 2, "rope_max_seq_len": 32}
    state = WanTransformer3DModel(**sizes, **more).state_dict()
    tensors = {name: torch.randn_like(value) * 0.2 for name, value in state.items()}
    workspace.weights("official_weights/wan/diffusion_pytorch_model.safetensors", tensors)
    return workspace


def test_no_conversion_is_needed_and_its_loader_takes_the_emitted_dict(wan: Workspace) -> None:
    said = wan.run("-m", "mapcc", "port", "inspect")
    assert "transformer: needs_conversion: no" in said
    assert "every rule can be said in param_names_mapping" in said
    source = "official_weights/wan/diffusion_pytorch_model.safetensors"
    wan.write("emitted.py", library.emit_config("wan/diffusers_to_fastvideo", source))
    (wan.folder / "loaded").mkdir()
    wan.run("models.py", "emitted.py", "loaded/model.safetensors")
    out = library.convert("wan/diffusers_to_fastvideo", source, wan.folder / "out")
    assert differences(loaded(wan.folder / "loaded"), loaded(out), 0) == []


def test_parity_with_diffusers(wan: Workspace) -> None:
    """Both forward passes, with weights converted by mapcc and loaded strictly into FastVideo's class."""
    wan.run("-m", "mapcc", "port", "check")
    wan.run("-m", "mapcc", "port", "convert")
    said = wan.run("-m", "mapcc", "port", "parity")
    assert "transformer out: agrees" in said
    assert wan.evidence("parity-transformer")["figures"]["outputs"][0]["max_abs"] < 1e-5
    assert "no divergence" in wan.run("-m", "mapcc", "port", "trace")
    assert "strict_load: pass" in wan.run("-m", "mapcc", "port", "check")


def test_a_fault_is_found_in_its_module(wan: Workspace) -> None:
    """q and k exchanged in one layer: same shapes, and its loader says nothing."""
    part = mappings() / "wan/parts/diffusers_to_fastvideo.mapcc"
    head = (
        "condition_embedder.text_embedder.linear_{1,2}.* -> condition_embedder.text_embedder.{fc_in,fc_out}.*"
    )
    text = part.read_text("utf-8") + head + "\n"
    assert RIGHT in text
    wan.write("wan.mapcc", text.replace(RIGHT, f"{RIGHT}   where i != 1\n    {WRONG}   where i == 1"))
    wan.write("port.yaml", PORT.replace("wan/diffusers_to_fastvideo", "wan.mapcc"))
    wan.run("-m", "mapcc", "port", "convert")
    said = wan.run("-m", "mapcc", "port", "trace", code=1)
    assert "fault: mapping: blocks.1.to_q and blocks.1.to_k have each other's weights" in said
    assert "rule at wan.mapcc:" in said


def test_its_own_activation_trace_is_read(wan: Workspace) -> None:
    """One side from FastVideo's hooks, the other from Diffusers' module here."""
    wan.run("-m", "mapcc", "port", "convert")
    wan.run("models.py", "trace", "fastvideo.jsonl")
    said = wan.run("-m", "mapcc", "port", "trace", "--ported", "fastvideo.jsonl")
    assert int(said.partition("the traces agree in ")[2].split()[0]) > 20
