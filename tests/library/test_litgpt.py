"""The mappings to LitGPT against its own conversion, taken from its wheel."""

from __future__ import annotations

import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

import mapcc
from tests.library.test_oracles import differences, loaded, saved

pytestmark = [pytest.mark.oracle, pytest.mark.network, pytest.mark.converts]

LITGPT = ("litgpt", "0.5.13", "da044b76c52cd44fc0564f6177ed6cf186dde24f711ce8e71e1fd9e9da5f02b2")
SCRIPT = "litgpt/scripts/convert_hf_checkpoint.py"
# What the script imports, and its functions do not use.
STUBS = {
    "lightning.fabric.utilities.load": ["_NotYetLoadedTensor"],
    "litgpt.config": ["Config"],
    "litgpt.utils": ["extend_checkpoint_dir", "incremental_save", "lazy_load", "save_config"],
}
MAPPINGS = {"llama/hf_to_litgpt", "llama/phi_hf_to_litgpt", "gpt/neox_hf_to_litgpt"}
SMALL = {"vocab_size": 16, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2}


@pytest.fixture(scope="module")
def litgpt(wheel: Callable[..., Path]) -> dict[str, Any]:
    """The functions of LitGPT's script."""
    patch = pytest.MonkeyPatch()
    for name, members in STUBS.items():
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            patch.setitem(sys.modules, ".".join(parts[:end]), ModuleType(".".join(parts[:end])))
        for member in members:
            setattr(sys.modules[name], member, type(member, (), {}))
    with zipfile.ZipFile(wheel(*LITGPT)) as archive:
        code = compile(archive.read(SCRIPT), SCRIPT, "exec")
    namespace: dict[str, Any] = {"__name__": "convert_hf_checkpoint"}
    exec(code, namespace)
    patch.undo()
    return namespace


def weights(model: str, config: dict[str, Any]) -> dict[str, Any]:
    import torch
    import transformers

    kind = getattr(transformers, model)
    torch.manual_seed(0)
    state = kind(kind.config_class(**config)).state_dict()
    return {name: torch.randn_like(tensor) for name, tensor in state.items()}


def agree(mapping: str, source: Any, expected: Any, folder: Path, **options: Any) -> None:
    out = mapcc.convert(mapping, saved(source, folder / "source"), folder / "out", **options)
    assert differences(expected, loaded(out), 0) == []


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("groups", [4, 2], ids=["llama 2", "llama 3"])
def test_llama(litgpt: Any, groups: int, tied: bool, tmp_path: Path) -> None:
    heads = {"num_attention_heads": 4, "num_key_value_heads": groups, "tie_word_embeddings": False}
    source = weights("LlamaForCausalLM", SMALL | heads)
    if tied:
        del source["lm_head.weight"]
    expected: dict[str, Any] = {}
    litgpt["copy_weights_hf_llama"](SimpleNamespace(mlp_class_name="LLaMAMLP"), {}, expected, dict(source))
    agree("llama/hf_to_litgpt", source, expected, tmp_path)


@pytest.mark.parametrize("name", ["Phi-3-mini", "Phi-4-mini"])
def test_phi(litgpt: Any, name: str, tmp_path: Path) -> None:
    heads = {
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "tie_word_embeddings": False,
        "pad_token_id": 0,
    }
    source = weights("Phi3ForCausalLM", SMALL | heads)
    if name == "Phi-4-mini":
        del source["lm_head.weight"]
    expected: dict[str, Any] = {}
    litgpt["copy_weights_phi"](SimpleNamespace(name=name), {}, expected, dict(source))
    agree("llama/phi_hf_to_litgpt", source, expected, tmp_path)


def test_neox(litgpt: Any, tmp_path: Path) -> None:
    import torch

    source = weights("GPTNeoXForCausalLM", SMALL | {"num_attention_heads": 4})
    source["embed_out.weight"] = source.pop("lm_head.weight")  # as in the published files, and so the rest
    for layer in range(2):
        attention = f"gpt_neox.layers.{layer}.attention"
        source |= {
            f"{attention}.bias": torch.ones(1, 1, 4, 4, dtype=torch.uint8),
            f"{attention}.masked_bias": torch.tensor(-1e9),
            f"{attention}.rotary_emb.inv_freq": torch.ones(2),
        }
    expected: dict[str, Any] = {}
    config = SimpleNamespace(n_head=4, n_query_groups=4, head_size=4)
    litgpt["copy_weights_gpt_neox"](config, expected, dict(source))
    agree("gpt/neox_hf_to_litgpt", source, expected, tmp_path, settings={"heads": 4})
