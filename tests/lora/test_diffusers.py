"""LoRAs of published models through the library's mappings, against Diffusers' own converters of LoRAs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import mapcc
from tests.library.diffusers_models import with_constants

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.converts]

RANK = 6  # even, and a multiple of 3: so that what a converter takes for outputs can be cut


Shapes = dict[str, tuple[int, ...]]


def reduced(keys: str) -> Shapes:
    """A model's tensors with four blocks of each kind, a 128th as wide."""
    out = {}
    for name, spec in mapcc.keys(keys).tensors.items():
        numbers = re.findall(r"(?<=\.)[0-9]+(?=\.)", name)
        if not numbers or int(numbers[0]) < 4:
            out[name] = tuple(max(size // 128, 1) for size in spec.shape)
    return out


def matrices(shapes: Shapes) -> dict[str, tuple[int, int]]:
    return {n: (s[0], s[1]) for n, s in shapes.items() if len(s) == 2 and n.endswith(".weight")}


def adapter(shapes: Shapes, prefix: str = "") -> dict[str, Any]:
    import torch

    random = torch.Generator().manual_seed(0)
    out = {}
    for name, (outputs, inputs) in matrices(shapes).items():
        module = prefix + name.removesuffix(".weight")
        out[f"{module}.lora_A.weight"] = torch.randn(RANK, inputs, generator=random)
        out[f"{module}.lora_B.weight"] = torch.randn(outputs, RANK, generator=random)
    return out


def ours(mapping: str, shapes: Shapes, tensors: dict[str, Any], folder: Path) -> dict[str, Any]:
    import json

    from safetensors.torch import load_file, save_file

    (folder / "keys.json").write_text(json.dumps(shapes), "utf-8")
    save_file(tensors, folder / "lora.safetensors")
    done = mapcc.convert_lora(
        mapping, folder / "lora.safetensors", folder, folder / "keys.json", prefix="transformer."
    )
    return load_file(done.path)


def theirs(name: str, tensors: dict[str, Any], constants: dict[int, int]) -> dict[str, Any]:
    from diffusers.loaders import lora_conversion_utils

    convert: Callable[..., Any] = with_constants(getattr(lora_conversion_utils, name), constants)
    return dict(convert({name: tensor.clone() for name, tensor in tensors.items()}))


def wrong(expected: dict[str, Any], found: dict[str, Any]) -> Iterator[str]:
    import torch

    for name in sorted(expected.keys() | found.keys()):
        if name not in expected or name not in found or not torch.equal(expected[name], found[name]):
            yield name


def test_hunyuan_video(tmp_path: Path) -> None:
    """Theirs cuts and swaps lora_A as if it had the outputs: in the text's refiner, and at the end."""
    mapping = "hunyuan_video/official_to_diffusers"
    shapes = reduced(_keys("hunyuan_video/keys/official.json#t2v_distilled"))
    tensors = adapter(shapes, "diffusion_model.")
    expected = theirs("_convert_hunyuan_video_lora_to_diffusers", tensors, {3072: 24})
    found = ours(mapping, shapes, tensors, tmp_path)
    assert len(found) > 80
    different = set(wrong(expected, found))
    refiner = "transformer.context_embedder.token_refiner.refiner_blocks.{}.attn.to_{}.lora_A.weight"
    assert different == {refiner.format(block, part) for block in (0, 1) for part in "qkv"} | {
        "transformer.norm_out.linear.lora_A.weight"
    }


def test_wan(tmp_path: Path) -> None:
    mapping = "wan/official_to_diffusers"
    shapes = reduced(_keys("wan/keys/official.json#i2v_14b"))
    tensors = adapter(shapes, "diffusion_model.")
    expected = theirs("_convert_non_diffusers_wan_lora_to_diffusers", tensors, {})
    found = ours(mapping, shapes, tensors, tmp_path)
    assert len(found) > 40
    assert list(wrong(expected, found)) == []


def test_there_and_back_is_the_same_difference(tmp_path: Path) -> None:
    """To Diffusers' names and back: fused again, the ranks are threefold, and the product is what it was."""
    import torch

    shapes = reduced(_keys("flux/keys/official.json#dev"))
    tensors = adapter(shapes)
    (tmp_path / "there").mkdir()
    (tmp_path / "back").mkdir()
    there = ours("flux/official_to_diffusers", shapes, tensors, tmp_path / "there")
    there = {name.removeprefix("transformer."): tensor for name, tensor in there.items()}
    given = mapcc.show("flux/official_to_diffusers", tmp_path / "there" / "keys.json")
    target = {shown.name: tuple(shown.shape) for shown in given}
    back = ours("flux/diffusers_to_official", target, there, tmp_path / "back")
    fused = 0
    for name in matrices(shapes):
        module = name.removesuffix(".weight")
        old = tensors[f"{module}.lora_B.weight"] @ tensors[f"{module}.lora_A.weight"]
        down, up = (back[f"transformer.{module}.lora_{factor}.weight"] for factor in "AB")
        torch.testing.assert_close(up @ down, old)
        fused += len(down) > RANK
    assert fused >= 8


def _keys(name: str) -> str:
    return str(Path(__file__).resolve().parents[2] / "mappings" / name)


def test_kohya_flux_in_halves(tmp_path: Path) -> None:
    """Scales go into factors as Diffusers puts them there, bit for bit.

    Where it divides by the rank in halves, and the quotient is none, it is less exact; these here are.
    """
    import torch

    mapping = "flux/official_to_diffusers"
    shapes = reduced(_keys("flux/keys/official.json#dev"))
    blocks = {name: shape for name, shape in shapes.items() if name.startswith(("double_", "single_"))}
    tensors = {}
    for at, (name, tensor) in enumerate(adapter(blocks).items()):
        module, _, factor = name.removesuffix(".weight").rpartition(".")
        flat = f"lora_unet_{module.replace('.', '_')}"
        word = "lora_down" if factor == "lora_A" else "lora_up"
        tensors[f"{flat}.{word}.weight"] = tensor.half()
        if word == "lora_up" and at % 3:
            tensors[f"{flat}.alpha"] = torch.tensor([0.75, 3, 9, 2.25, 12][at % 5]).half()
    expected = theirs("_convert_kohya_flux_lora_to_diffusers", tensors, {3072: 24, 12288: 96})
    found = ours(mapping, shapes, tensors, tmp_path)
    assert len(found) > 80
    assert list(wrong(expected, found)) == []
