"""The key sets of a model of 92,000 tensors, for row 10 and for the tests.

DeepSeek-V3's (61 layers, 256 routed experts, a scale beside each FP8 weight, the multi-token-prediction
layer: 91,991 names, as in its index on the hub), that of DeepSeek's own inference code, and stacked
experts as in transformers 5.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
MAPPING = ROOT / "mappings" / "moe" / "deepseek_v3_to_original.mapcc"

STACKED = """\
mapping deepseek_v3_stacked "DeepSeek-V3: one tensor an expert -> stacked and fused, as in transformers 5"

let layers = 61

keep model.embed_tokens.*, model.norm.*, lm_head.*

model.layers.{i} -> model.layers.{i} where i < layers {
    keep input_layernorm.*, post_attention_layernorm.*, self_attn.**
    keep mlp.{gate,down,up}_proj.*, mlp.gate.*, mlp.shared_experts.**

    mlp.experts.[e].[p=gate_proj,up_proj].weight{,_scale_inv} : o c
        -> mlp.experts.gate_up_proj{,_scale_inv} : e (p o) c
    mlp.experts.[e].down_proj.weight{,_scale_inv} : o c -> mlp.experts.down_proj{,_scale_inv} : e o c
}

drop model.layers.{i}.** because "multi-token prediction" where i >= layers
"""

Keys = dict[str, dict[str, object]]
Weights = Iterator[tuple[str, tuple[int, ...]]]

HIDDEN, DENSE_WIDTH, EXPERT_WIDTH, VOCABULARY, BLOCK = 7168, 18432, 2048, 129280, 128
Q_RANK, KV_RANK, HEADS, NOPE, ROPE, VALUE = 1536, 512, 128, 128, 64, 128


def source_keys(layers: int = 61, dense: int = 3, experts: int = 256) -> Keys:
    """As on the hub; layer number ``layers`` is the multi-token-prediction module."""
    out: Keys = {}
    _plain(out, "model.embed_tokens.weight", (VOCABULARY, HIDDEN))
    for i in range(layers + 1):
        prefix = f"model.layers.{i}"
        _layer(out, prefix, 0 if i < dense else experts)
        if i == layers:
            for name, shape in _prediction():
                _plain(out, f"{prefix}.{name}", shape)
    _plain(out, "model.norm.weight", (HIDDEN,))
    _plain(out, "lm_head.weight", (VOCABULARY, HIDDEN))
    return out


def _layer(out: Keys, prefix: str, experts: int) -> None:
    for name in ("input_layernorm", "post_attention_layernorm"):
        _plain(out, f"{prefix}.{name}.weight", (HIDDEN,))
    for name, shape in _attention():
        _quantized(out, f"{prefix}.self_attn.{name}", shape)
    _plain(out, f"{prefix}.self_attn.q_a_layernorm.weight", (Q_RANK,))
    _plain(out, f"{prefix}.self_attn.kv_a_layernorm.weight", (KV_RANK,))
    if not experts:
        _ffn(out, f"{prefix}.mlp", DENSE_WIDTH)
        return
    _plain(out, f"{prefix}.mlp.gate.weight", (experts, HIDDEN))
    _plain(out, f"{prefix}.mlp.gate.e_score_correction_bias", (experts,), "F32")
    _ffn(out, f"{prefix}.mlp.shared_experts", EXPERT_WIDTH)
    for e in range(experts):
        _ffn(out, f"{prefix}.mlp.experts.{e}", EXPERT_WIDTH)


def _attention() -> Weights:
    yield "q_a_proj", (Q_RANK, HIDDEN)
    yield "q_b_proj", (HEADS * (NOPE + ROPE), Q_RANK)
    yield "kv_a_proj_with_mqa", (KV_RANK + ROPE, HIDDEN)
    yield "kv_b_proj", (HEADS * (NOPE + VALUE), KV_RANK)
    yield "o_proj", (HIDDEN, HEADS * VALUE)


def _prediction() -> Weights:
    yield "embed_tokens.weight", (VOCABULARY, HIDDEN)
    yield "enorm.weight", (HIDDEN,)
    yield "hnorm.weight", (HIDDEN,)
    yield "eh_proj.weight", (HIDDEN, 2 * HIDDEN)
    yield "shared_head.norm.weight", (HIDDEN,)
    yield "shared_head.head.weight", (VOCABULARY, HIDDEN)


def _ffn(out: Keys, prefix: str, width: int) -> None:
    for name, shape in (
        ("gate_proj", (width, HIDDEN)),
        ("down_proj", (HIDDEN, width)),
        ("up_proj", (width, HIDDEN)),
    ):
        _quantized(out, f"{prefix}.{name}", shape)


def _quantized(out: Keys, prefix: str, shape: tuple[int, ...]) -> None:
    _plain(out, f"{prefix}.weight", shape, "F8_E4M3")
    _plain(out, f"{prefix}.weight_scale_inv", tuple(-(-n // BLOCK) for n in shape), "F32")


def _plain(out: Keys, name: str, shape: tuple[int, ...], dtype: str = "BF16") -> None:
    out[name] = {"dtype": dtype, "shape": list(shape)}


_RENAMED = {
    "embed_tokens": "embed",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_a_proj": "wq_a",
    "q_a_layernorm": "q_norm",
    "q_b_proj": "wq_b",
    "kv_a_proj_with_mqa": "wkv_a",
    "kv_a_layernorm": "kv_norm",
    "kv_b_proj": "wkv_b",
    "o_proj": "wo",
    "gate": "gate",
    "gate_proj": "w1",
    "down_proj": "w2",
    "up_proj": "w3",
    "norm": "norm",
    "lm_head": "head",
}


def original_name(name: str) -> str:
    """A name as ``inference/convert.py`` of deepseek-ai/DeepSeek-V3 renames it."""
    *path, key, last = name.removeprefix("model.").split(".")
    path = [{"self_attn": "attn", "mlp": "ffn"}.get(part, part) for part in path]
    last = {"weight_scale_inv": "scale", "e_score_correction_bias": "bias"}.get(last, last)
    return ".".join([*path, _RENAMED[key], last])


def original_keys(source: Keys, layers: int = 61) -> Keys:
    prediction = f"model.layers.{layers}."
    return {original_name(name): spec for name, spec in source.items() if not name.startswith(prediction)}


def stacked_keys(source: Keys, layers: int = 61, experts: int = 256) -> Keys:
    """All routed experts of a layer in one tensor, gate and up fused in it."""
    out: Keys = {}
    for name, spec in source.items():
        head, routed, tail = name.partition(".mlp.experts.")
        if name.startswith(f"model.layers.{layers}."):
            continue
        if not routed:
            out[name] = spec
        elif tail.startswith("0.") and ".up_proj." not in tail:
            _, projection, last = tail.split(".")
            rows, columns = spec["shape"]  # type: ignore[misc]
            fused = projection == "gate_proj"
            stacked = ("gate_up_proj" if fused else projection) + last.removeprefix("weight")
            shape = (experts, 2 * rows if fused else rows, columns)  # type: ignore[has-type]
            _plain(out, f"{head}.mlp.experts.{stacked}", shape, str(spec["dtype"]))
    return out
