"""Floor 7: plans carried out."""

from mapcc.runtime.local import execute

__all__ = ["execute"]
