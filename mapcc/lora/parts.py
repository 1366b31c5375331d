"""The rows and columns of a move: what of a source's factors goes where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.lora.model import Factors
from mapcc.lora.values import Array, scaled


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


Loop = tuple[int, int, int]


def parts_of(
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
