"""Small adapters, and what is to become of them."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

import mapcc

PEFT = "base_model.model."
Tensors = dict[str, np.ndarray]

TEXT = """
blocks.{i}.qkv.* : (t d) ... -> layers.{i}.attn.[t=q,k,v].* : d ...
blocks.{i}.out.* -> layers.{i}.out.*
blocks.{i}.norm.* -> layers.{i}.norm.*
blocks.{i}.modulation -> layers.{i}.table
conv.* -> stem.*
wte.weight -> embed_tokens.weight, lm_head.weight
head.* -> classifier.*
"""
MODEL = {
    "conv.weight": [4, 3, 3, 3],
    "conv.bias": [4],
    "wte.weight": [10, 4],
    "head.weight": [2, 4],
    "head.bias": [2],
    **{f"blocks.{i}.qkv.weight": [12, 4] for i in (0, 1)},
    **{f"blocks.{i}.qkv.bias": [12] for i in (0, 1)},
    **{f"blocks.{i}.out.weight": [4, 4] for i in (0, 1)},
    **{f"blocks.{i}.norm.weight": [4] for i in (0, 1)},
    **{f"blocks.{i}.modulation": [1, 6, 4] for i in (0, 1)},
}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Whole numbers, so that products are exact."""
    return np.random.default_rng(seed + sum(shape)).integers(-8, 8, shape).astype("f4")


def factors(module: str, shape: tuple[int, ...], rank: int = 2) -> Tensors:
    ones = (1,) * (len(shape) - 2)
    return {
        f"{module}.lora_down.weight": numbers(rank, *shape[1:]),
        f"{module}.lora_up.weight": numbers(shape[0], rank, *ones, seed=1),
    }


def product(tensors: Tensors, module: str, down: str = "lora_A", up: str = "lora_B") -> np.ndarray:
    a, b = tensors[f"{module}.{down}.weight"], tensors[f"{module}.{up}.weight"]
    alpha = tensors.get(f"{module}.alpha")
    scale = 1.0 if alpha is None else float(alpha) / a.shape[0]
    out: np.ndarray = (b.reshape(len(b), -1) @ a.reshape(len(a), -1) * scale).reshape(len(b), *a.shape[1:])
    return out


def lora(folder: Path, tensors: Tensors, config: dict[str, Any] | None = None, **options: Any) -> Tensors:
    return load_file(written(folder, tensors, config, **options).path)


def written(
    folder: Path, tensors: Tensors, config: dict[str, Any] | None = None, **options: Any
) -> mapcc.ConvertedLora:
    text, model = options.pop("text", TEXT), options.pop("model", MODEL)
    (folder / "m.mapcc").write_text(text, "utf-8")
    (folder / "keys.json").write_text(json.dumps(model), "utf-8")
    (folder / "in").mkdir(exist_ok=True)
    save_file(tensors, folder / "in" / "adapter_model.safetensors")
    if config is not None:
        (folder / "in" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return mapcc.convert_lora(
        folder / "m.mapcc", folder / "in", folder / "out", folder / "keys.json", **options
    )


def skips(help: str) -> list[str]:
    """The patterns of ``--skip`` in a help."""
    words = shlex.split(help.partition("out: ")[2])
    return [word for before, word in pairwise(words) if before == "--skip"]


def scale_of(folder: Path, module: str) -> float:
    """As PEFT tells it."""
    config = json.loads((folder / "out" / "adapter_config.json").read_text("utf-8"))
    rank, alpha = config["r"], config["lora_alpha"]
    for pattern, value in config["rank_pattern"].items():
        rank = value if re.match(rf"(.*\.)?({pattern})$", module) else rank
    for pattern, value in config["alpha_pattern"].items():
        alpha = value if re.match(rf"(.*\.)?({pattern})$", module) else alpha
    return float(alpha / (rank**0.5 if config["use_rslora"] else rank))
