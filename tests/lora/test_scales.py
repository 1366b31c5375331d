"""What an adapter is multiplied by: told by its file, by a config, by metadata, or by who converts it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.errors import MappingError
from tests.lora.made import MODEL, PEFT, TEXT, factors, lora, numbers, product, scale_of, written

PATTERNS = {"r": 2, "lora_alpha": 6, "rank_pattern": {"0.out": 4}, "alpha_pattern": {"^blocks.0.out": 16}}
CONFIGS: dict[str, tuple[dict[str, Any], float, float]] = {
    "alpha": ({"r": 2, "lora_alpha": 8}, 4, 4),
    "rslora": ({"r": 2, "lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5, 8 / 2**0.5),
    "patterns": (PATTERNS, 4, 3),
    "an expression": ({"r": 2, "lora_alpha": 2, "alpha_pattern": {r"blocks\.[0]\..*": 8}}, 4, 1),
}


@pytest.mark.parametrize("to", ["", "diffusers", "peft", "kohya", "comfy"])
@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_peft_is_the_scale(case: str, to: str, tmp_path: Path) -> None:
    config, first, second = CONFIGS[case]
    rank = 4 if case == "patterns" else 2
    tensors = {
        f"{PEFT}blocks.{i}.out.lora_{ab}.weight": numbers(*shape, seed=i)
        for i, r in ((0, rank), (1, 2))
        for ab, shape in (("A", (r, 4)), ("B", (4, r)))
    }
    out = lora(tmp_path, tensors, {"peft_type": "LORA", **config}, to=to, prefix="")
    for i, scale in ((0, first), (1, second)):
        wanted = product(tensors, f"{PEFT}blocks.{i}.out") * scale
        if to == "peft":
            module = f"layers.{i}.out"
            found = product(out, module) * scale_of(tmp_path, module)
        elif to == "kohya":
            found = product(out, f"layers_{i}_out", "lora_down", "lora_up")
        else:
            found = product(out, f"layers.{i}.out")
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


BAD_CONFIGS: dict[str, tuple[dict[str, Any] | str | None, str]] = {
    "none": (None, "not told"),
    "no JSON": ("{", "adapter_config.json"),
    "a list": ("[]", "not an object"),
    "another kind": ({"peft_type": "LOHA"}, "'LOHA'"),
    "a model that changes": ({"r": 2, "init_lora_weights": "pissa_niter_16"}, "path_initial_model"),
    "no number": ({"r": 2, "lora_alpha": "16"}, 'lora_alpha is "16"'),
    "no rank": ({"r": 0, "lora_alpha": 16}, "natural number"),
    "another rank": ({"r": 4, "lora_alpha": 16}, "its rank is 2, and 4"),
    "a pattern": ({"r": 2, "alpha_pattern": {"(": 1}}, "has the pattern"),
    "a flag": ({"r": 2, "use_rslora": "yes"}, "true or false"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configs_that_do_not_tell_a_scale(case: str, tmp_path: Path) -> None:
    config, words = BAD_CONFIGS[case]
    module = f"{PEFT}blocks.0.out"
    tensors = {f"{module}.lora_A.weight": numbers(2, 4), f"{module}.lora_B.weight": numbers(4, 2)}
    if isinstance(config, str):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "adapter_config.json").write_text(config, "utf-8")
        config = None
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, config)
    [found] = caught.value.diagnostics
    assert found.code == "MC904"
    assert words in found.message + found.help


def test_a_pattern_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pattern: str, module: str) -> bool:
        raise TimeoutError

    monkeypatch.setattr("mapcc.lora.config.matches_to_end", slow)
    tensors = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, {"r": 2, "lora_alpha": 2, "alpha_pattern": {"(x+x+)+y": 1}})
    assert "takes too long" in caught.value.diagnostics[0].message


def test_a_scale_that_is_said(tmp_path: Path) -> None:
    tensors = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    out = lora(tmp_path, tensors, scale=4.0)
    np.testing.assert_array_equal(product(out, "classifier"), 4 * product(tensors, f"{PEFT}head"))


def test_diffusers_metadata_is_the_scale_and_is_not_carried(tmp_path: Path) -> None:
    """Its names and ranks are those of the source; read, and wrong behind the mapping."""
    tensors = {f"transformer.{n}": a for n, a in factors("blocks.0.qkv", (12, 4)).items()}
    said = {"transformer.r": 2, "transformer.lora_alpha": 8, "text_encoder.lora_alpha": 1}
    (tmp_path / "m.mapcc").write_text(TEXT, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    metadata = {"lora_adapter_metadata": json.dumps(said), "title": "x"}
    save_file(tensors, tmp_path / "in.safetensors", metadata)
    paths = [tmp_path / name for name in ("m.mapcc", "in.safetensors", "out.safetensors", "keys.json")]
    out = mapcc.convert_lora(*paths)
    wanted = 4 * product(tensors, "transformer.blocks.0.qkv", "lora_down", "lora_up")[:4]
    np.testing.assert_array_equal(product(load_file(out.path), "layers.0.attn.q"), wanted)
    assert mapcc.keys(out.path).metadata == {"format": "pt", "title": "x"}


def test_a_scale_is_shared_by_powers_of_two(tmp_path: Path) -> None:
    """As Diffusers does: lora_B stays what it is but for its exponent, lora_A is rounded once."""
    tensors = {n: a.astype("f2") for n, a in factors("head", (2, 4), 4).items()}
    tensors["head.alpha"] = np.array(0.3, "f2")
    done = written(tmp_path, tensors)
    out = load_file(done.path)
    scale = float(np.float16(0.3)) / 4
    np.testing.assert_array_equal(out["classifier.lora_B.weight"], tensors["head.lora_up.weight"] / 4)
    wanted = (tensors["head.lora_down.weight"].astype("f4") * np.float32(scale * 4)).astype("f2")
    np.testing.assert_array_equal(out["classifier.lora_A.weight"], wanted)
    assert done.notes == {"its scale is in lora_A, rounded to F16": ("classifier.weight",)}


def test_a_scale_too_large_for_halves(tmp_path: Path) -> None:
    tensors = {n: (a * 1000).astype("f2") for n, a in factors("head", (2, 4)).items()}
    tensors["head.alpha"] = np.array(4096, "f4")
    out = lora(tmp_path, tensors)
    wanted = 2048 * product(
        {n: a.astype("f4") for n, a in tensors.items() if "lora" in n}, "head", "lora_down", "lora_up"
    )
    np.testing.assert_array_equal(product(out, "classifier"), wanted)
