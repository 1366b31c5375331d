"""What is the same for all instances of an equation: looked up once, asked for every tensor."""

from __future__ import annotations

from dataclasses import dataclass

from mapcc.ir import rules
from mapcc.ir.expr import Count, Name, leaves
from mapcc.ir.patterns import NameAxis
from mapcc.ir.program import Equation
from mapcc.passes.indices import domain_conditions
from mapcc.passes.segments import name_axes


@dataclass(frozen=True, slots=True)
class Facts:
    """``axes``: those of each unit's names. ``ranged``: variables that have a domain.

    ``takes_one``: an instance is one tensor. ``creates``: some of it comes from nowhere.
    """

    axes: tuple[tuple[NameAxis, ...], ...]
    has_index_axes: bool
    takes_one: bool
    creates: bool
    ranged: frozenset[str]
    depends_on_values: bool


def facts_of(equation: Equation) -> Facts:
    axes = tuple(name_axes(unit.names[0]) if unit.names else () for unit in equation.units)
    return Facts(
        axes,
        any(axis.labels is None for every in axes for axis in every),
        len(equation.units) == 1 and len(equation.units[0].names) == 1 and not axes[0],
        any(unit.is_created for unit in equation.units),
        frozenset(domain_conditions(equation.conditions, equation.indices)),
        _depends_on_values(equation),
    )


def _depends_on_values(equation: Equation) -> bool:
    """Whether sizes may differ between instances of the same shapes."""
    for condition in equation.conditions:
        if isinstance(condition, rules.Compare) and condition.is_equation:
            for operand in condition.operands:
                for leaf in leaves(operand):
                    if isinstance(leaf, Count) or (isinstance(leaf, Name) and leaf.name in equation.indices):
                        return True
    return False
