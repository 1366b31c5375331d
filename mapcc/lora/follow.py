"""Factors along a weight's moves.

A move takes rows and columns of a source weight to rows and columns of a target weight. Rows are the rows
of ``up``, columns the columns of ``down``: what a rule splits or joins at its outputs acts on ``up`` alone,
at its inputs on ``down`` alone. Several sources of one target stand one behind the other in the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.lora.blocks import block_of, grouped, magnitude_of, stacked, within
from mapcc.lora.model import Factors
from mapcc.lora.parts import Part, Unfollowable, parts_of


def adapted(bound: BoundMapping, names: Mapping[str, object]) -> Iterator[str]:
    """The targets that tensors of these names go into."""
    found = {
        instance.targets[move.target]
        for name in names
        for instance in bound.taken.get(name, ())
        for move in instance.layout.moves
        if name in instance.sources[move.source]
    }
    yield from (name for name in bound.given if name in found)


def follow(
    bound: BoundMapping, target: str, adapter: Mapping[str, tuple[Factors, ...]]
) -> tuple[Factors, ...]:
    """The factors of a target weight: one, or one for each expert that has any; none where they are for
    other rows of a source.

    Raises:
        Unfollowable: a rule computes, mixes rows with columns, or makes something that is no weight.
    """
    instance, number = bound.given[target]
    shape = instance.layout.target_shapes[number]
    if len(shape) < 2:
        raise Unfollowable("it is no matrix")
    # Rows of a convolution are its outputs; those of fused experts, the outputs of each in turn.
    widths = dict.fromkeys((prod(shape[1:]), shape[-1]))
    why: Unfollowable | None = None
    for width in widths:
        try:
            return _followed(bound, instance, number, (prod(shape) // max(width, 1), width), adapter)
        except Unfollowable as error:
            why = why or error
    raise why or Unfollowable("it is empty")


def _followed(
    bound: BoundMapping,
    instance: Instance,
    number: int,
    shape: tuple[int, int],
    adapter: Mapping[str, tuple[Factors, ...]],
) -> tuple[Factors, ...]:
    full = instance.layout.target_shapes[number]
    experts = full[0] if shape[1] != prod(full[1:]) else 1
    parts = [
        part
        for move in instance.layout.moves
        if move.target == number
        for name in instance.sources[move.source]
        if name in adapter
        for part in parts_of(bound, instance, move, shape[1], experts, adapter[name])
    ]
    if not parts:
        return ()
    magnitude = magnitude_of(parts, shape)
    if experts != 1 and magnitude[0] is not None:
        raise Unfollowable("fused experts have no magnitudes of DoRA")
    rows = shape[0] // experts
    reaching: dict[int, list[Part]] = {}
    for part in parts:
        for expert in range(int(part.to_rows.min()) // rows, int(part.to_rows.max()) // rows + 1):
            reaching.setdefault(expert, []).append(part)
    out = []
    for expert in sorted(reaching):
        own = parts if experts == 1 else list(within(reaching[expert], expert * rows, rows))
        if own:
            blocks = [block_of(group, (rows, shape[1])) for group in grouped(own)]
            norms, by_column = magnitude
            factors = replace(stacked(blocks), first=expert * rows, magnitude=norms, by_column=by_column)
            out.append(factors)
    return tuple(out)


def plain(bound: BoundMapping, target: str, source: str) -> bool:
    """Whether a target is one source, element by element: what another kind of adapter may follow."""
    instance, number = bound.given[target]
    shape = instance.layout.target_shapes[number]
    moves = [move for move in instance.layout.moves if move.target == number]
    if len(moves) != 1 or instance.sources[moves[0].source] != (source,) or _steps(instance, moves[0]):
        return False
    [move] = moves
    whole = bound.source.tensors[source].numel == prod(shape) == move.numel
    same = bound.source.tensors[source].shape == shape
    return whole and same and all(s == t for _, s, t in move.dims)


def is_computed(bound: BoundMapping, target: str) -> bool:
    """Whether some rule computes values on the way to a target."""
    instance, number = bound.given[target]
    return any(_steps(instance, move) for move in instance.layout.moves if move.target == number)


def _steps(instance: Instance, move: Move) -> list[str]:
    unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
    return [step.op.name for step in unit.steps if step.op.name != "cast"]
