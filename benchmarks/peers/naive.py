"""The plain script that one would write: load all, rearrange with torch, save all.

python naive.py WORK SOURCE OUT [--sync]
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

Weights = dict[str, torch.Tensor]

LAYERS, HEADS, KV_HEADS = 16, 32, 8
PARTS = (
    "input_layernorm",
    "post_attention_layernorm",
    *(f"self_attn.{name}_proj" for name in "qkvo"),
    *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
)


def rename(w: Weights) -> Weights:
    return {f"language_model.{name}": x for name, x in w.items()}


def small(w: Weights) -> Weights:
    return {name.replace("model.blocks.", "decoder.layers."): x for name, x in w.items()}


def pieces(w: Weights) -> Weights:
    return {"experts.weight": torch.stack([w[f"experts.{e}.weight"] for e in range(len(w))])}


def reshape(w: Weights) -> Weights:
    return {name: x.reshape(8, -1, x.shape[1]) if "_proj" in name else x for name, x in w.items()}


def transpose(w: Weights) -> Weights:
    return {name: x.T if x.dim() == 2 else x for name, x in w.items()}


def cast(w: Weights) -> Weights:
    return {name: x.bfloat16() for name, x in w.items()}


def cut(w: Weights) -> Weights:
    return {name: x[: len(x) // 2] if "_proj" in name else x for name, x in w.items()}


def split(w: Weights) -> Weights:
    for i in range(LAYERS):
        attention, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
        fused = w.pop(f"{attention}.qkv_proj.weight")
        kv = len(fused) // 6
        for name, x in zip("qkv", fused.tensor_split((4 * kv, 5 * kv)), strict=True):
            w[f"{attention}.{name}_proj.weight"] = x
        gate_up = w.pop(f"{mlp}.gate_up_proj.weight")
        w[f"{mlp}.gate_proj.weight"], w[f"{mlp}.up_proj.weight"] = gate_up.chunk(2)
    return w


def _members(w: Weights, i: int) -> Iterable[tuple[str, list[torch.Tensor]]]:
    """What is fused in a layer, taken out of the weights."""
    attention, mlp = f"model.layers.{i}.self_attn", f"model.layers.{i}.mlp"
    yield f"{attention}.qkv_proj.weight", [w.pop(f"{attention}.{name}_proj.weight") for name in "qkv"]
    yield f"{mlp}.gate_up_proj.weight", [w.pop(f"{mlp}.{name}_proj.weight") for name in ("gate", "up")]


def fuse(w: Weights) -> Weights:
    for i in range(LAYERS):
        for name, members in _members(w, i):
            w[name] = torch.cat(members)
    return w


def gqa(w: Weights) -> Weights:
    """By groups of heads: four queries, a key, a value; and gate and up row by row."""
    for i in range(LAYERS):
        for name, members in _members(w, i):
            columns = members[0].shape[1]
            groups = KV_HEADS if "qkv" in name else len(members[0])
            grouped = [x.reshape(groups, -1, columns) for x in members]
            w[name] = torch.cat(grouped, 1).reshape(-1, columns)
    return w


def stack(w: Weights) -> Weights:
    for part in PARTS:
        layers = [w.pop(f"model.layers.{i}.{part}.weight") for i in range(LAYERS)]
        w[f"model.layers.{part}.weight"] = torch.stack(layers)
    return w


def unstack(w: Weights) -> Weights:
    for part in PARTS:
        for i, x in enumerate(w.pop(f"model.layers.{part}.weight")):
            w[f"model.layers.{i}.{part}.weight"] = x
    return w


def rope(w: Weights) -> Weights:
    """Rotary halves to rotary pairs, head by head."""
    for i in range(LAYERS):
        for name, heads in (("q", HEADS), ("k", KV_HEADS)):
            full = f"model.layers.{i}.self_attn.{name}_proj.weight"
            x = w[full]
            w[full] = x.reshape(heads, 2, -1, x.shape[1]).transpose(1, 2).reshape(x.shape)
    return w


WORK: Mapping[str, Callable[[Weights], Weights]] = {
    "rename": rename,
    "reshape": reshape,
    "split": split,
    "unstack": unstack,
    "fuse": fuse,
    "slice": cut,
    "stack": stack,
    "small": small,
    "pieces": pieces,
    "rope": rope,
    "gqa": gqa,
    "transpose": transpose,
    "cast": cast,
}


def main() -> None:
    work, source, out, *options = sys.argv[1:]
    run(work, Path(source), Path(out), sync="--sync" in options)


def run(work: str, source: Path, out: Path, *, sync: bool = False) -> None:
    weights: Weights = {}
    for path in sorted(source.glob("*.safetensors")):
        weights |= load_file(path)
    done = {name: x.contiguous() for name, x in WORK[work](weights).items()}
    out.mkdir()
    written = out / "model.safetensors"
    save_file(done, written, metadata={"format": "pt"})
    if sync:
        with written.open("rb+") as file:
            os.fsync(file.fileno())


if __name__ == "__main__":
    main()
