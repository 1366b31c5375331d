"""``exists`` and ``count`` ask under a prefix: that of the block which a condition stands in.

A condition *on* a block stands outside it. In a block with groups, each copy of a rule asks under
its own copy of the prefix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from mapcc.ir import rules
from mapcc.ir.expr import Binary, Count, Expr, Negative
from mapcc.ir.patterns import Group, Pattern, first_group, merge_texts

Move = Callable[[Pattern | None], Pattern | None]


def anchored(modifiers: rules.Modifiers, prefix: Pattern) -> rules.Modifiers:
    """The same, each question with the prefix that it is asked under."""
    where = tuple(
        _moved(condition, lambda old: prefix if old is None else old) for condition in modifiers.where
    )
    return replace(modifiers, where=where)


def for_copy(conditions: Sequence[rules.Condition], numbers: Sequence[int]) -> tuple[rules.Condition, ...]:
    """The conditions of one copy: ``numbers`` are the members that it takes of its groups."""
    return tuple(
        _moved(condition, lambda old: None if old is None else chosen(old, numbers))
        for condition in conditions
    )


def chosen(prefix: Pattern, numbers: Sequence[int]) -> Pattern:
    """A prefix with its groups, in order of writing, replaced by these members."""
    for number in numbers:
        at = first_group(prefix)
        if at is None:
            break
        group = prefix.parts[at]
        assert isinstance(group, Group)
        if number >= len(group.members):
            break  # groups that do not pair: told where the block is read
        parts = (*prefix.parts[:at], *group.members[number], *prefix.parts[at + 1 :])
        prefix = Pattern(merge_texts(parts), prefix.span)
    return prefix


def _moved(condition: rules.Condition, move: Move) -> rules.Condition:
    match condition:
        case rules.Exists():
            return replace(condition, prefix=move(condition.prefix))
        case rules.InRange(index, low, high):
            return replace(condition, index=_expr(index, move), low=_expr(low, move), high=_expr(high, move))
        case rules.Compare(operands, _):
            return replace(condition, operands=tuple(_expr(operand, move) for operand in operands))


def _expr(expr: Expr, move: Move) -> Expr:
    match expr:
        case Count():
            return replace(expr, prefix=move(expr.prefix))
        case Binary(op, left, right):
            return Binary(op, _expr(left, move), _expr(right, move))
        case Negative(operand):
            return Negative(_expr(operand, move))
        case _:
            return expr
