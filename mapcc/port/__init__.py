"""Floor 10: a model carried from its official weights to a passed gate, and the evidence kept."""

from mapcc.port.read import read_port

__all__ = ["assert_parity", "read_port"]


def __getattr__(name: str) -> object:
    """``assert_parity`` for generated tests; it imports torch, so not before it is asked for."""
    if name == "assert_parity":
        from mapcc.port.generated import assert_parity

        return assert_parity
    raise AttributeError(name)
