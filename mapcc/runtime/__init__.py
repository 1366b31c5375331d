"""Floor 7: plans carried out."""

from mapcc.runtime.local import MOST_WORKERS, Options, execute

__all__ = ["MOST_WORKERS", "Options", "execute"]
