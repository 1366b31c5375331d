"""What an oracle is: a tiny model of a published kind, and what the peer's own code makes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Tensors = Mapping[str, Any]  # torch tensors; a test must not import torch to be collected


@dataclass(frozen=True)
class Pair:
    """A checkpoint, and what it shall become.

    Attributes:
        source: random weights under the source's names.
        expected: the peer's result, under the target's names.
        config: the ``config.json`` that lies beside the source, where the mapping asks for one.
        settings: what ``--set`` says, where nothing else tells it of a tiny model.
    """

    source: Tensors
    expected: Tensors
    config: Mapping[str, object] | None = None
    settings: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Oracle:
    """One comparison.

    Attributes:
        mapping: of the library: ``wan/official_to_diffusers``.
        variant: which of its models: ``t2v``.
        peer: whose code: ``diffusers convert_wan_transformer_to_diffusers``.
        make: runs that code on tiny random weights.
        inverse: the oracle goes the other way: ``source`` is what the mapping gives.
        tolerance: 0 for bytes; above for what is computed, in float32.
    """

    mapping: str
    variant: str
    peer: str
    make: Callable[[], Pair]
    inverse: bool = False
    tolerance: float = 0.0

    @property
    def name(self) -> str:
        return f"{self.mapping}-{self.variant}"
