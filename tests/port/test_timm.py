"""timm's own VisionTransformer, from its wheel, into transformers' ViT: two libraries, two authors.

timm imports torchvision, whose builds of PyPI do not go with torch for the CPU: it is stubbed, and timm's
packages are taken without their ``__init__``, which import all of its models. Its network uses none of that.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.port.conftest import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.network, pytest.mark.converts]

TIMM = ("timm", "1.0.31", "5bd50f7d0fe6d09bf9285ac2523234a1b7e6bf075c0be3e7aed09139fcb617c7")
MODELS = """
import sys
import types

from stubs import stub

WHEEL = {wheel!r}
EPS = {eps}


def official():
    from transformers import ViTModel  # before torchvision seems to be there

    if "timm" not in sys.modules:
        stub("torchvision")
        for name in ("timm", "timm.data", "timm.models"):
            package = types.ModuleType(name)
            package.__path__ = [WHEEL + "/" + name.replace(".", "/")]
            sys.modules[name] = package
        sys.modules["timm"].__version__ = "1.0.31"
        constants = __import__("timm.data.constants", fromlist=["constants"])
        for name in dir(constants):
            if name.isupper():
                setattr(sys.modules["timm.data"], name, getattr(constants, name))
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=16, patch_size=8, embed_dim=16, depth=3, num_heads=2, mlp_ratio=2, num_classes=5
    )


def ported():
    from transformers import ViTConfig, ViTForImageClassification

    config = ViTConfig(
        hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32, image_size=16,
        patch_size=8, num_labels=5, layer_norm_eps=EPS, hidden_dropout_prob=0.0,
    )
    return ViTForImageClassification(config)


if __name__ == "__main__":
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    state = {{name: torch.randn_like(tensor) * 0.3 for name, tensor in official().state_dict().items()}}
    save_file(state, sys.argv[1])
"""
MAPPING = """\
cls_token          -> vit.embeddings.cls_token
pos_embed          -> vit.embeddings.position_embeddings
patch_embed.proj.* -> vit.embeddings.patch_embeddings.projection.*
blocks.{i} -> vit.layers.{i} {
    norm{1,2}.*            -> layernorm_{before,after}.*
    attn.qkv.* : (t d) ... -> attention.[t=q_proj,k_proj,v_proj].* : d ...
    attn.proj.*            -> attention.o_proj.*
    mlp.*.*                -> mlp.*.*
}
norm.* -> vit.layernorm.*
head.* -> classifier.*
"""
PORT = """\
model: vit
weights: {path: weights}
target: {kind: python}
components:
  vit:
    source: model.safetensors
    mapping: vit.mapcc
    official: {module: "py:models.py:official", arguments: {x: pixel_values}}
    ported: {module: "py:models.py:ported", output: logits}
"""


@pytest.fixture
def vit(workspace: Workspace, wheel: Callable[..., Path]) -> Callable[..., Workspace]:
    """The port; ``vit(eps=...)``, or with a text of the mapping replaced."""

    def prepare(old: str = "", new: str = "", eps: float = 1e-6) -> Workspace:
        shutil.copy(Path(__file__).with_name("stubs.py"), workspace.folder)
        workspace.write("models.py", MODELS.format(wheel=str(wheel(*TIMM)), eps=eps))
        assert old in MAPPING
        workspace.write("vit.mapcc", MAPPING.replace(old, new) if old else MAPPING)
        workspace.write("port.yaml", PORT)
        (workspace.folder / "weights").mkdir()
        workspace.run("models.py", "weights/model.safetensors")
        workspace.run("-m", "mapcc", "port", "convert")
        return workspace

    return prepare


def test_parity(vit: Callable[..., Workspace]) -> None:
    """Inputs are derived from the config of transformers' model."""
    workspace = vit()
    assert "vit out: agrees" in workspace.run("-m", "mapcc", "port", "parity")
    assert "no divergence" in workspace.run("-m", "mapcc", "port", "trace")


@pytest.mark.parametrize(
    ("old", "new", "eps", "told"),
    [
        ("", "", 1e-2, "eps is 1e-06 in the official module, eps is 0.01 in the port"),
        ("[t=q_proj,k_proj,v_proj]", "[t=k_proj,q_proj,v_proj]", 1e-6, "rule at vit.mapcc:6: attn.qkv"),
        (
            "attn.proj.*            -> attention.o_proj.*",
            "attn.proj.weight | scale 2 -> attention.o_proj.weight\n"
            "    attn.proj.bias -> attention.o_proj.bias",
            1e-6,
            "vit.layers.0.attention.o_proj.weight is right without `scale",
        ),
    ],
    ids=["epsilon", "q and k", "a scale"],
)
def test_faults(vit: Callable[..., Workspace], old: str, new: str, eps: float, told: str) -> None:
    workspace = vit(old, new, eps)
    said = workspace.run("-m", "mapcc", "port", "trace", code=1)
    assert told in said
