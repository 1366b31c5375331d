"""Back ends: what a bound mapping is written as, for programs that are not mapcc."""

from mapcc.emit.emitted import Emitted
from mapcc.emit.fastvideo import emit_fastvideo, emit_sglang

EMITTERS = {"fastvideo": emit_fastvideo, "sglang": emit_sglang}

__all__ = ["EMITTERS", "Emitted", "emit_fastvideo", "emit_sglang"]
