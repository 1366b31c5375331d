"""Floor 7: plans carried out."""

from mapcc.runtime.local import Options, execute

__all__ = ["Options", "execute"]
