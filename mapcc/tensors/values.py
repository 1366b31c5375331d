"""What a pickle may become here: containers, records of tensors, and inert stand-ins for all else.

A record is what the pickle's own call said of a tensor; nothing that comes after it can change it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, eq=False)
class Named:
    """A class or a function that a pickle names. It is never looked up."""

    name: str


@dataclass(slots=True, eq=False)
class StandIn:
    """What stands for an object of any class but the few that are known.

    Attributes:
        state: what the pickle would have given to its ``__setstate__``.
        items: what it would have put into it by key.
    """

    name: str
    args: object = ()
    state: object = None
    items: dict[object, object] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Storage:
    """Bytes of the file, by the key under which they lie.

    Attributes:
        dtype: torch's name of the type of its elements; ``uint8`` of an untyped one.
        first: the element with which a view of it begins (of files from before torch 0.4).
    """

    key: str
    dtype: str
    count: int
    first: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A tensor: where it begins in its storage, its shape and strides in elements.

    Attributes:
        kind: what it is, if it is no plain block of numbers; the rest says nothing then.
        advice: how it is made one.
    """

    storage: Storage | None = None
    dtype: str = ""
    offset: int = 0
    shape: tuple[int, ...] = ()
    strides: tuple[int, ...] = ()
    kind: str = ""
    advice: str = ""


def mapping_of(value: object) -> Mapping[object, object] | None:
    """The entries of a dictionary, or of what stands for an object: its items, or else its attributes."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, StandIn):
        return None
    if value.items is not None:
        return value.items
    state = value.state
    if isinstance(state, tuple) and len(state) == 2:  # attributes, and those of slots
        state = state[0]
    return state if isinstance(state, dict) else None
