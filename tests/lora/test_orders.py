"""Layers that are stored as inputs x outputs, and fused experts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.lora.made import PEFT, lora, numbers, product, written


@pytest.mark.parametrize("told", [True, False])
def test_layers_stored_the_other_way_round(told: bool, tmp_path: Path) -> None:
    """GPT-2's: the config says so, or the shapes of the file do, for square ones too."""
    model = {"fc.weight": [4, 6], "proj.weight": [4, 4]}
    tensors = {}
    for module, inputs, outputs in (("fc", 4, 6), ("proj", 4, 4)):
        tensors[f"{PEFT}{module}.lora_A.weight"] = numbers(2, inputs, seed=3)
        tensors[f"{PEFT}{module}.lora_B.weight"] = numbers(outputs, 2)
    config = {"r": 2, "lora_alpha": 2, "fan_in_fan_out": told}
    out = lora(
        tmp_path, tensors, config, text="fc.weight : i o -> fc.weight : o i\nkeep proj.weight\n", model=model
    )
    np.testing.assert_array_equal(product(out, "fc"), product(tensors, f"{PEFT}fc"))
    np.testing.assert_array_equal(product(out, "proj"), product(tensors, f"{PEFT}proj").T)
    peft = lora(tmp_path, tensors, config, text="keep **\n", model=model, to="peft")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(peft[name], tensor)
    assert json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))["fan_in_fan_out"]


def test_square_experts_are_read_as_their_class_has_them(tmp_path: Path) -> None:
    tensors = {
        f"{PEFT}experts.lora_A.weight": numbers(4, 4),
        f"{PEFT}experts.lora_B.weight": numbers(4, 4, seed=2),
    }
    config = {"r": 2, "lora_alpha": 2, "target_parameters": ["experts.up"]}
    down = tensors[f"{PEFT}experts.lora_A.weight"].reshape(2, 2, 4)
    up = tensors[f"{PEFT}experts.lora_B.weight"].reshape(4, 2, 2)
    per_expert = [up[:, :, e] @ down[e] for e in (0, 1)]
    for biased in (False, True):
        model = {"experts.up": [2, 4, 4]} | ({"experts.up_bias": [2, 4]} if biased else {})
        text = "experts.up : e a b -> experts.[e].up.weight : a b\n" + (
            "keep experts.up_bias\n" if biased else ""
        )
        done = written(tmp_path, tensors, config, text=text, model=model)
        assert any("square experts" in note for note in done.notes)
        out = load_file(done.path)
        for e, wanted in enumerate(per_expert):
            np.testing.assert_array_equal(product(out, f"experts.{e}.up"), wanted.T if biased else wanted)


def test_experts_in_a_file_of_their_own_order(tmp_path: Path) -> None:
    """PEFT's outer wrapper is the parameter that is registered last; shapes tell, where they can."""
    model = {"experts.down_proj": [2, 4, 3], "experts.gate_up_proj": [2, 6, 4]}
    tensors = {
        f"{PEFT}experts.base_layer.lora_A.weight": numbers(4, 4),
        f"{PEFT}experts.base_layer.lora_B.weight": numbers(6, 4),
        f"{PEFT}experts.lora_A.weight": numbers(4, 3),
        f"{PEFT}experts.lora_B.weight": numbers(4, 4),
    }
    config = {"r": 2, "lora_alpha": 2, "alpha_pattern": {"experts.gate_up_proj": 8}}
    out = lora(tmp_path, tensors, config, text="keep **\n", model=model, to="peft")
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(out[name], tensor)
    said = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert said["target_parameters"] == ["experts.down_proj", "experts.gate_up_proj"]
    assert said["alpha_pattern"] == {"^experts\\.gate_up_proj": 8} or said["lora_alpha"] == 8
