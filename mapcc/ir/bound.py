"""The bound mapping: concrete names, solved sizes, moves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from mapcc.ir.program import Equation, Listed, Program
from mapcc.ir.rules import Allow
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import Manifest


class Move(NamedTuple):
    """A strided copy, in elements.

    ``dims`` holds (size, source stride, target stride), outermost in the target first; adjacent
    dimensions that continue each other on both sides are one. A source stride of 0 repeats.
    ``source`` and ``target`` number the operands of an :class:`Instance`.
    """

    source: int
    source_offset: int
    target: int
    target_offset: int
    dims: tuple[tuple[int, int, int], ...]

    @property
    def numel(self) -> int:
        n = 1
        for size, _, _ in self.dims:
            n *= size
        return n


class Layout(NamedTuple):
    """What all instances of an equation with the same shapes share."""

    sizes: dict[str, int]
    target_shapes: tuple[tuple[int, ...], ...]
    moves: tuple[Move, ...]
    unit_of_source: tuple[int, ...]
    term_of_target: tuple[int, ...]


@dataclass(slots=True, eq=False)
class Instance:
    """An equation for concrete tensors.

    Attributes:
        values: of the equation's variables, in their order.
        sources: one operand each; an operand is the tensors of a unit (several for a value
            operation, none for a constant).
        targets: the names given, one an operand.
        dtypes: of the targets; None where a source's type is not known.
        losses: what casts of this instance lose.
    """

    equation: Equation
    values: tuple[int | str, ...]
    sources: tuple[tuple[str, ...], ...]
    targets: tuple[str, ...]
    layout: Layout
    dtypes: tuple[Dtype | None, ...] = ()
    losses: tuple[str, ...] = ()


@dataclass(slots=True, eq=False)
class BoundMapping:
    """A program held against its key sets. Only complete if there was no error."""

    program: Program
    source: Manifest
    target: Manifest | None
    instances: list[Instance] = field(default_factory=list)
    given: dict[str, tuple[Instance, int]] = field(default_factory=dict)
    taken: dict[str, list[Instance]] = field(default_factory=dict)
    dropped: dict[str, Listed] = field(default_factory=dict)
    external: dict[str, Listed] = field(default_factory=dict)
    # Dropped tensors that are said to be copies, and what of.
    copies: dict[str, str] = field(default_factory=dict)
    # What says that an ``exists`` or ``count`` may ask for what is not there: it has its use.
    unanswered: list[Allow] = field(default_factory=list)
    # What was said to be meant, and the code that would have been given there.
    allowed: list[tuple[Allow, str]] = field(default_factory=list)

    def target_names(self) -> Iterator[str]:
        yield from self.given
