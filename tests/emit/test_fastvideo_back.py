"""The way back and the way of adapters, on a real model, with FastVideo's own functions forward."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from mapcc.api import bound_mapping, check, emit_config
from mapcc.emit.pysource import read_dict
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest, TensorSpec

pytestmark = [pytest.mark.oracle, pytest.mark.network]

SCALE = 64


def hunyuan(root: Path) -> dict[str, tuple[int, ...]]:
    """HunyuanVideo in Diffusers' names: three and four unequal tensors are one in FastVideo."""
    path = root / "mappings" / "hunyuan_video" / "keys" / "diffusers.json"
    return {
        name: tuple(n // SCALE if n % SCALE == 0 else n for n in spec.shape)
        for name, spec in open_keyset(path, select="t2v_distilled").tensors.items()
    }


@pytest.fixture(scope="module")
def emitted(root: Path) -> tuple[dict, dict, dict, dict]:
    """The source's tensors, and the three dicts."""
    shapes = hunyuan(root)
    specs = {name: TensorSpec(name, DTYPES["BF16"], shape) for name, shape in shapes.items()}
    source = Manifest(specs, (), "test", None, {})
    text = emit_config(root / "mappings" / "hunyuan_video" / "diffusers_to_fastvideo.mapcc", source)
    random = np.random.default_rng(0)
    tensors = {
        name: torch.from_numpy(random.integers(0, 2**16, shape, np.uint16)).view(torch.bfloat16)
        for name, shape in shapes.items()
    }
    tables = [dict(read_dict(text, f"{kind}param_names_mapping")) for kind in ("", "reverse_", "lora_")]
    return (tensors, *tables)


def split_and_rename(state_dict: dict, back: dict) -> dict:
    """What the page on FastVideo gives to be pasted."""
    out = {}
    for name, tensor in state_dict.items():
        for pattern, value in back.items():
            if re.match(pattern, name):
                parts = [(value, len(tensor))] if isinstance(value, str) else value
                pieces = tensor.split([rows for _, rows in parts]) if tensor.ndim else [tensor]
                out |= {re.sub(pattern, t, name): p for (t, _), p in zip(parts, pieces, strict=True)}
                break
        else:
            out[name] = tensor
    return out


def same(a: dict, b: dict) -> bool:
    return a.keys() == b.keys() and all(
        torch.equal(a[k].view(torch.int16), b[k].view(torch.int16)) for k in a
    )


def test_there_and_back(emitted, loader) -> None:
    tensors, table, back, _ = emitted
    state, _ = loader.hf_to_custom_state_dict(tensors, loader.get_param_names_mapping(table))
    assert len(state) < len(tensors)
    assert same(split_and_rename(state, back), tensors)


def test_what_fastvideo_loses_today(emitted, loader) -> None:
    """The reason for a dict of our own: theirs has one entry for each fused parameter."""
    tensors, table, _, _ = emitted
    _, theirs = loader.hf_to_custom_state_dict(tensors, loader.get_param_names_mapping(table))
    kept = {source for source, _, _ in theirs.values()}
    lost = tensors.keys() - kept
    assert any(name.endswith("attn.to_q.weight") for name in lost)
    assert any(name.endswith("attn.to_k.weight") for name in lost)


def test_adapters_arrive(emitted, loader) -> None:
    tensors, table, _, lora = emitted
    first, second = loader.get_param_names_mapping(lora), loader.get_param_names_mapping(table)
    arrived = 0
    for name, tensor in tensors.items():
        target, place, _ = second(name)
        if tensor.ndim < 2 or place is not None or not name.endswith(".weight"):
            continue
        module, ending = name.removesuffix(".weight"), target.removesuffix(".weight")
        for suffix in (".lora_A", ".lora_B", ""):
            assert second(first(module + suffix)[0]) == (ending + suffix, None, None)
        arrived += 1
    assert arrived > 200


def test_what_is_fused_is_named(root: Path, emitted) -> None:
    tensors = emitted[0]
    specs = {n: TensorSpec(n, DTYPES["BF16"], tuple(t.shape)) for n, t in tensors.items()}
    bound = bound_mapping(
        check(
            root / "mappings" / "hunyuan_video" / "diffusers_to_fastvideo.mapcc",
            Manifest(specs, (), "test", None, {}),
        )
    )
    assert bound.instances
    lora = emitted[3]
    assert not any(re.match(pattern, "transformer_blocks.0.attn.to_q") for pattern in lora)
