"""Back ends: what a bound mapping is written as, for programs that are not mapcc."""

from mapcc.emit.emitted import Emitted
from mapcc.emit.fastvideo import emit_fastvideo

EMITTERS = {"fastvideo": emit_fastvideo}

__all__ = ["EMITTERS", "Emitted", "emit_fastvideo"]
