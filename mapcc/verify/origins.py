"""From an element of a target to the element that a rule makes it of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from math import prod

import numpy as np

from mapcc.ir.axes import Literal
from mapcc.ir.patterns import NameAxis, Pattern
from mapcc.ir.program import Equation, Target, Unit
from mapcc.verify.notation import Env, Index, Notation

_ONE = Literal(1)


@dataclass(frozen=True, slots=True)
class Origin:
    """Elements that one unit gives: which they are, the operand of each, and its coordinates there."""

    which: Index
    unit: int
    operand: Index
    at: tuple[Index, ...]


class Reading:
    """An equation with its sizes."""

    def __init__(self, equation: Equation, sizes: Mapping[str, int]) -> None:
        self.equation = equation
        self.notation = Notation(sizes)

    @cached_property
    def left_atoms(self) -> frozenset[str]:
        """Every atom that a source has; others stand on the right only, and repeat."""
        one = {name: np.zeros(1, np.int64) for name in self.notation.sizes}
        found: set[str] = set()
        for unit in self.equation.units:
            found.update(name_axes(unit))
            found.update(*(place.used for place in self.notation.put_together(unit.shape, one)))
        return frozenset(found)

    @cached_property
    def first_operands(self) -> list[int]:
        counts = [self.count(unit) for unit in self.equation.units]
        return [0, *accumulate(counts)][:-1]

    def count(self, term: Unit | Target) -> int:
        """How many tensors, or operands, a term stands for."""
        return prod(self.notation.sizes[axis] for axis in name_axes(term))

    def term_of(self, number: int) -> tuple[int, int]:
        """The term of an instance's target, and the position along the term's name axes."""
        for t, target in enumerate(self.equation.targets):
            if target.name is None:
                continue
            if number < self.count(target):
                return t, number
            number -= self.count(target)
        raise IndexError("the rule has fewer targets")

    def origins(self, term: int, positions: Index, at: Sequence[Index]) -> Iterator[Origin]:
        """Where elements come from; ``positions`` are those of their tensors along the name axes.

        Raises:
            ValueError: the axes of the two sides do not say it.
        """
        target = self.equation.targets[term]
        named: Env = {}
        for axis in reversed(name_axes(target)):
            named[axis] = positions % self.notation.sizes[axis]
            positions = positions // self.notation.sizes[axis]
        scalar = np.zeros(len(positions), np.int64)
        # A coordinate that says nothing, so that a scalar has a count too.
        for part in self.notation.take_apart((*target.shape, _ONE), [*at, scalar]):
            atoms = part.atoms | {axis: named[axis][part.which] for axis in named}
            yield self._origin(part.which, {k: v for k, v in atoms.items() if k in self.left_atoms})

    def _origin(self, which: Index, atoms: Env) -> Origin:
        found = []
        for u, unit in enumerate(self.equation.units):
            axes = name_axes(unit)
            if not atoms.keys() >= set(axes):
                continue
            for place in self.notation.put_together(unit.shape, atoms):
                if place.used | set(axes) == atoms.keys():
                    found.append((u, axes, place.at))
        if len(found) != 1:
            raise ValueError(f"{len(found)} places of the sources have the axes {' '.join(sorted(atoms))}")
        ((u, axes, at),) = found
        operand = np.zeros(len(which), np.int64)
        for axis in axes:
            operand = operand * self.notation.sizes[axis] + atoms[axis]
        spread = tuple(np.broadcast_to(one, len(which)) for one in at)
        return Origin(which, u, operand + self.first_operands[u], spread)


def name_axes(term: Unit | Target) -> tuple[str, ...]:
    """The axes that live in a term's names, the slowest first."""
    names: tuple[Pattern | None, ...] = term.names if isinstance(term, Unit) else (term.name,)
    if not names or names[0] is None:
        return ()
    return tuple(part.atom for part in names[0].parts if isinstance(part, NameAxis))
