"""The back end for transformers."""

from mapcc.emit.transformers.emitter import emit_transformers

__all__ = ["emit_transformers"]
