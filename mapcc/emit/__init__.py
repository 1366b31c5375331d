"""Back ends: what a bound mapping is written as, for programs that are not mapcc."""

from mapcc.emit.bound_json import emit_json
from mapcc.emit.emitted import Emitted
from mapcc.emit.fastvideo import emit_fastvideo, emit_sglang
from mapcc.emit.torchtitan import emit_torchtitan
from mapcc.emit.transformers import emit_transformers
from mapcc.emit.vllm import emit_vllm

EMITTERS = {
    "fastvideo": emit_fastvideo,
    "sglang": emit_sglang,
    "transformers": emit_transformers,
    "vllm": emit_vllm,
    "torchtitan": emit_torchtitan,
    "json": emit_json,
}

__all__ = [
    "EMITTERS",
    "Emitted",
    "emit_fastvideo",
    "emit_json",
    "emit_sglang",
    "emit_torchtitan",
    "emit_transformers",
    "emit_vllm",
]
