"""A finished conversion, held against its mapping a second time, by another way than it was made."""

from mapcc.verify.compare import compare

__all__ = ["compare"]
