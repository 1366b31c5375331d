"""What is said of quantised weights, and where rules that were written for plain ones take them."""

from __future__ import annotations

import re

from mapcc.ir.bound import Instance
from mapcc.tensors.quantised.model import Found, Quantised
from mapcc.tensors.quantised.words import told

# Pieces that are called by number only are cut where their writer liked; a query and a key are cut by rows.
_RANK = re.compile(r"(?:r|rank|tp|mp|shard|part)?[-_]?[0-9]+")


def reason(found: Found, weight: Quantised) -> str:
    """What a tensor is, and what its true value is."""
    return told(found, weight)


def meant(weight: Quantised) -> str:
    """The way out."""
    return f'{weight.container.way_out}; if it is meant: allow MC416 because "..."'


def not_by_cast(found: Found, name: str) -> str:
    """Instead of a help that says "cast"; nothing for a tensor that is no quantised weight."""
    weight = found.of(name)
    if weight is None:
        return ""
    is_main = weight.main.name == name
    what = "a cast does not give its values" if is_main else "it belongs to a quantised weight"
    return f"{what} ({told(found, weight)}): {weight.container.way_out}"


def not_by_drop(found: Found, name: str) -> str:
    """Instead of a help that says "drop"; nothing for a tensor that belongs to no quantised weight."""
    weight = found.of(name)
    if weight is None:
        return ""
    if weight.main.name == name:
        first = "it is quantised: give it and its companions rules by the same axes, or drop them all"
    else:
        first = "a quantised weight has no values without it: give it a rule by the same axes, or drop both"
    return f"{first}; {told(found, weight)}; {weight.container.way_out}"


def joined_inputs(instance: Instance, operand: int, number: int, weight: Quantised) -> bool:
    """Whether a weight kept as [in, out] is joined or cut along its inputs: of a plain one, that is rows."""
    layout, shape = instance.layout, weight.main.shape
    target = layout.target_shapes[number]
    if len(target) != len(shape) or len(shape) < 2:
        return False
    differing = [at for at, (a, b) in enumerate(zip(shape, target, strict=True)) if a != b]
    if differing != [len(shape) - 2]:
        return False
    joined = {instance.sources[move.source][-1] for move in layout.moves if move.target == number}
    cut = {instance.targets[move.target] for move in layout.moves if move.source == operand}
    return not all(_RANK.fullmatch(label) for names in (joined, cut) for label in _labels(sorted(names)))


def _labels(names: list[str]) -> list[str]:
    """The segments in which names differ.

    >>> _labels(["a.q.w", "a.k.w"])
    ['q', 'k']
    """
    rows = [name.split(".") for name in names]
    if len({len(row) for row in rows}) != 1:
        return names
    columns = [column for column in zip(*rows, strict=True) if len(set(column)) > 1]
    return [label for column in columns for label in column]
