"""Factors along a weight's moves.

A move takes rows and columns of a source weight to rows and columns of a target weight. Rows are the rows
of ``up``, columns the columns of ``down``: what a rule splits or joins at its outputs acts on ``up`` alone,
at its inputs on ``down`` alone. Several sources of one target stand one behind the other in the rank.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isclose, prod

import numpy as np

from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.lora.model import Array, Factors, alike, balanced, scaled


class Unfollowable(Exception):
    """Why factors cannot follow."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows and columns of a source, and where they go; ``turned``: the source is transposed first."""

    source: str
    factors: Factors
    turned: bool
    rows: Array
    to_rows: Array
    columns: Array
    to_columns: Array


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
        for part in _parts(bound, instance, move, shape[1], experts, adapter[name])
    ]
    if not parts:
        return ()
    magnitude = _magnitude(parts, shape)
    if experts != 1 and magnitude[0] is not None:
        raise Unfollowable("fused experts have no magnitudes of DoRA")
    rows = shape[0] // experts
    reaching: dict[int, list[Part]] = {}
    for part in parts:
        for expert in range(int(part.to_rows.min()) // rows, int(part.to_rows.max()) // rows + 1):
            reaching.setdefault(expert, []).append(part)
    out = []
    for expert in sorted(reaching):
        own = parts if experts == 1 else list(_within(reaching[expert], expert * rows, rows))
        if own:
            blocks = [_block(group, (rows, shape[1])) for group in _grouped(own)]
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


def linear(instance: Instance, move: Move, *, is_difference: bool = True) -> float:
    """The number that a rule multiplies a difference by: what it adds to both sides is no difference.

    Raises:
        Unfollowable: it computes something else, or repeats elements.
    """
    unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
    factor, others = 1.0, []
    for step in unit.steps:
        match step.op.name:
            case "cast":
                pass
            case "scale" if is_difference:
                factor *= float(step.number("factor"))
            case "add" if is_difference:
                pass
            case _:
                others.append(step.op.name)
    if others or len(instance.sources[move.source]) != 1:
        raise Unfollowable(f"{', '.join(others) or 'an operation'} computes values")
    if any(not source for _, source, _ in move.dims):
        raise Unfollowable("it repeats elements")
    return factor


# --- rows and columns


Loop = tuple[int, int, int]


def _parts(
    bound: BoundMapping,
    instance: Instance,
    move: Move,
    to_width: int,
    experts: int,
    blocks: Sequence[Factors],
) -> Iterator[Part]:
    factor = linear(instance, move)
    [name] = instance.sources[move.source]
    source = bound.source.tensors[name].shape
    if len(source) < 2:
        raise Unfollowable(f"{name} is no matrix")
    width = int(blocks[0].down.shape[1])
    for turned, ends in _ways(move, width, to_width, max(len(blocks), experts)):
        stored = ends[2] if turned else ends[0]
        for block in _reached(blocks, stored):
            own = replace(block, scale=block.scale * factor)
            if own.magnitude is not None and factor != 1.0:
                own = replace(own, magnitude=scaled(own.magnitude, abs(factor)))
            if (part := _of_block(Part(name, own, turned, *ends))) is not None:
                yield part


def _ways(
    move: Move, width: int, to_width: int, blocks: int
) -> Iterator[tuple[bool, tuple[Array, Array, Array, Array]]]:
    """The rows and columns of a move; of a transpose within each of several blocks, for each of these."""
    loops = [loop for dim in move.dims for loop in _at_borders(dim, width, to_width)]
    rows = [loop for loop in loops if loop[1] % width == 0 and loop[2] % to_width == 0]
    columns = [loop for loop in loops if loop[1] < width and loop[2] < to_width]
    turned = [loop for loop in loops if loop not in rows and loop not in columns]
    at, to = divmod(move.source_offset, width), divmod(move.target_offset, to_width)
    if not turned:
        rows = [(n, s // width, t // to_width) for n, s, t in rows]
        yield False, (*_ends(rows, at[0], to[0]), *_ends(columns, at[1], to[1]))
        return
    if columns or prod(size for size, _, _ in rows) > blocks:
        raise Unfollowable("it mixes rows with columns")
    outer = [(n, s // width, t // to_width) for n, s, t in rows]
    rows = [(n, s, t // to_width) for n, s, t in turned if s < width]
    columns = [(n, s // width, t) for n, s, t in turned if s >= width]
    for row, to_row in zip(*_ends(outer, at[0], to[0]), strict=True):
        yield True, (*_ends(rows, at[1], int(to_row)), *_ends(columns, int(row), to[1]))


def _reached(blocks: Sequence[Factors], stored: Array) -> Sequence[Factors]:
    """The blocks that may have some of these rows: they are of one size, in order."""
    if len(blocks) == 1:
        return blocks
    count = blocks[0].up.shape[0]
    return blocks[int(stored.min()) // count : int(stored.max()) // count + 1]


def _of_block(part: Part) -> Part | None:
    """What of a part is in the rows that its factors are for."""
    first, count = part.factors.first, part.factors.up.shape[0]
    stored = part.columns if part.turned else part.rows
    inside = (stored >= first) & (stored < first + count)
    if not inside.any():
        return None
    if part.turned:
        return replace(part, columns=part.columns[inside] - first, to_columns=part.to_columns[inside])
    return replace(part, rows=part.rows[inside] - first, to_rows=part.to_rows[inside])


def _within(parts: Sequence[Part], first: int, count: int) -> Iterator[Part]:
    """What of parts goes into these rows."""
    for part in parts:
        inside = (part.to_rows >= first) & (part.to_rows < first + count)
        if inside.any():
            yield replace(part, rows=part.rows[inside], to_rows=part.to_rows[inside] - first)


def _at_borders(loop: Loop, width: int, to_width: int) -> Iterator[Loop]:
    """A loop in two where it runs over the end of a row on either side."""
    size, source, target = loop
    for stride, row in ((source, width), (target, to_width)):
        if stride < row and size * stride > row:
            inner = row // stride
            if row % stride or size % inner:
                raise Unfollowable("it takes rows apart unevenly")
            yield from _at_borders((size // inner, source * inner, target * inner), width, to_width)
            yield from _at_borders((inner, source, target), width, to_width)
            return
    if size > 1:
        yield loop


def _ends(loops: Sequence[Loop], source: int, target: int) -> tuple[Array, Array]:
    return indices([(n, s) for n, s, _ in loops], source), indices([(n, t) for n, _, t in loops], target)


def indices(loops: Sequence[tuple[int, int]], start: int) -> Array:
    """Where the elements of nested loops lie: each loop a size and a step."""
    found = np.array([start])
    for size, step in loops:
        found = np.add.outer(found, np.arange(size) * step).reshape(-1)
    return found


# --- magnitudes


def _magnitude(parts: Sequence[Part], shape: tuple[int, int]) -> tuple[Array | None, bool]:
    """The norms of a target's rows: those of its sources' rows, where rows stay whole.

    Raises:
        Unfollowable: a row loses columns, or some rows have no norm.
    """
    if all(part.factors.magnitude is None for part in parts):
        return None, False
    sides = {part.factors.by_column != part.turned for part in parts}
    if len(sides) != 1 or any(part.factors.magnitude is None for part in parts):
        raise Unfollowable("DoRA's magnitudes are of some of its parts only")
    [by_column] = sides
    out = np.zeros(shape[1] if by_column else shape[0], alike([_norms(part) for part in parts])[0].dtype)
    given = np.zeros(out.shape, bool)
    for part in parts:
        rows, columns = (part.rows, part.to_rows), (part.columns, part.to_columns)
        along, across = (columns, rows) if by_column else (rows, columns)
        own = part.factors.up.shape[0] if part.factors.by_column else part.factors.down.shape[1]
        if len(across[0]) != own or len(across[1]) != (shape[0] if by_column else shape[1]):
            raise Unfollowable("DoRA's magnitudes are norms of whole rows, and it cuts or joins these")
        out[along[1]] = _norms(part)[along[0]]
        given[along[1]] = True
    if not given.all():
        raise Unfollowable("DoRA's magnitudes are of some of its parts only")
    return out, by_column


def _norms(part: Part) -> Array:
    assert part.factors.magnitude is not None
    return part.factors.magnitude


# --- blocks of the rank


def _grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that share a block of the rank: of one source, with the same columns, or the same rows."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        columns = part.columns.tobytes(), part.to_columns.tobytes()
        groups.setdefault((*_block_of(part), *columns), []).append(part)
    merged: dict[tuple[object, ...], list[Part]] = {}
    for group in groups.values():
        rows = sorted((p.rows.tobytes(), p.to_rows.tobytes()) for p in group)
        merged.setdefault((*_block_of(group[0]), *rows), []).extend(group)
    return list(merged.values())


def _block_of(part: Part) -> tuple[object, ...]:
    return part.source, part.factors.first, part.factors.scale, part.turned


def _block(parts: Sequence[Part], shape: tuple[int, int]) -> Factors:
    first = parts[0]
    factors = first.factors
    down, up = (factors.up.T, factors.down.T) if first.turned else (factors.down, factors.up)
    new_down = np.zeros((factors.rank, shape[1]), down.dtype)
    new_up = np.zeros((shape[0], factors.rank), up.dtype)
    for part in parts:
        new_down[:, part.to_columns] = down[:, part.columns]
        new_up[part.to_rows] = up[part.rows]
    turned = None if factors.turned is None else factors.turned != first.turned
    embedding = factors.embedding and not first.turned
    return replace(
        factors, down=new_down, up=new_up, first=0, turned=turned, embedding=embedding, magnitude=None
    )


def stacked(blocks: Sequence[Factors]) -> Factors:
    if len(blocks) == 1:
        return blocks[0]
    if not all(isclose(block.scale, blocks[0].scale) for block in blocks):
        # One alpha cannot say several scales: they go into the factors.
        blocks = [balanced(block) for block in blocks]
    down = np.concatenate(alike([block.down for block in blocks]))
    up = np.concatenate(alike([block.up for block in blocks]), axis=1)
    turned = {block.turned for block in blocks}
    return replace(blocks[0], down=down, up=up, turned=turned.pop() if len(turned) == 1 else None)
