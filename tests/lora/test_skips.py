"""What cannot be taken along is told at once, and left out by what is typed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import save_file

from mapcc.errors import MappingError
from tests.lora.made import MODEL, TEXT, Tensors, factors, numbers, skips, written


def everything() -> Tensors:
    return {
        **factors("transformer.blocks.0.qkv", (12, 4)),
        **factors("transformer.blocks.1.out", (4, 4)),
        **factors("text_encoder.layers.0.q", (4, 4)),
        "transformer.blocks.0.norm.diff": numbers(4),
        "transformer.blocks.1.norm.diff": numbers(4),
        "transformer.blocks.0.diff_m": numbers(1, 6, 4),
        "transformer.blocks.0.out.lora_down.weight": numbers(2, 4),
        "transformer.blocks.1.qkv.lora_down.weight": numbers(2, 7),
        "transformer.blocks.1.qkv.lora_up.weight": numbers(12, 2),
        "transformer.odd name.lora_down.weight": numbers(2, 4),
        "transformer.conv.lokr_w1": numbers(2, 3),
        "transformer.conv.lokr_w2": numbers(2, 9),
        "transformer.head.lora_down.weight": numbers(2, 4).astype("i4"),
        "transformer.head.lora_up.weight": numbers(2, 2).astype("i4"),
    }


@pytest.mark.parametrize("to", ["", "diffusers", "peft", "kohya", "comfy"])
def test_all_is_told_at_once_and_what_is_typed_works(to: str, tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text(TEXT, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    save_file(everything(), tmp_path / "lora.safetensors")
    command = ["lora", tmp_path / "m.mapcc", "--source", tmp_path / "lora.safetensors",
               "--model", tmp_path / "keys.json", "--out", tmp_path / "out"]  # fmt: skip
    command += ["--to", to] if to else []
    ran = mapcc(*command)
    assert ran.code == 1
    assert not (tmp_path / "out").exists()
    typed = [word for line in ran.err.splitlines() if "out: " in line for word in skips(line)]
    again = mapcc(*command, *(word for pattern in typed for word in ("--skip", pattern)))
    assert again.code == 0, again.err
    for pattern in typed:
        assert f"skipped, as {pattern} says: " in again.out
    assert "adapters of" in again.out


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    tensors = (
        factors("blocks.0.qkv", (12, 4)) | factors("text.q", (4, 4)) | {"blocks.0.norm.diff": numbers(4)}
    )
    done = written(tmp_path, tensors, skip=["text.**", "**.{diff,diff_b}"])
    assert done.skipped == {
        "text.**": ("text.q.lora_down.weight", "text.q.lora_up.weight"),
        "**.{diff,diff_b}": ("blocks.0.norm.diff",),
    }


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("nothing.**", "matches no tensor"), ("a -> b", "no pattern"), ("**.a.**", "no pattern")],
)
def test_patterns_that_skip_nothing(pattern: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MappingError) as caught:
        written(tmp_path, factors("blocks.0.out", (4, 4)), skip=[pattern])
    assert caught.value.diagnostics[0].code == "MC906"
    assert words in caught.value.diagnostics[0].message


def test_an_ip_adapter_is_told_for_what_it_is(tmp_path: Path) -> None:
    tensors = {"image_proj.proj.weight": numbers(4, 4), "ip_adapter.1.to_k_ip.weight": numbers(4, 4)}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors)
    assert "IP-Adapter" in caught.value.diagnostics[0].help
