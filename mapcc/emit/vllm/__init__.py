"""The back end for vLLM."""

from mapcc.emit.vllm.emitter import emit_vllm

__all__ = ["emit_vllm"]
