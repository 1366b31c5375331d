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
from mapcc.lora.adapter import Array, Factors


class Unfollowable(Exception):
    """Why factors cannot follow."""


@dataclass(frozen=True, slots=True)
class Part:
    """Rows and columns of a source, and where they go; ``turned``: the source is transposed first."""

    source: str
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


def follow(bound: BoundMapping, target: str, adapter: Mapping[str, Factors]) -> Factors:
    """The factors of a target weight.

    Raises:
        Unfollowable: a rule computes, mixes rows with columns, or makes something that is no weight.
    """
    instance, number = bound.given[target]
    shape = instance.layout.target_shapes[number]
    if len(shape) < 2:
        raise Unfollowable("it is no matrix")
    parts = [
        _part(bound, instance, move, shape)
        for move in instance.layout.moves
        if move.target == number and any(name in adapter for name in instance.sources[move.source])
    ]
    blocks = [_block(group, shape, adapter[group[0].source]) for group in _grouped(parts)]
    return _stacked(blocks)


def moved(bound: BoundMapping, target: str, arrays: Mapping[str, Array]) -> Array:
    """A difference of a whole tensor, moved as the tensor is; zero where there is none.

    Raises:
        Unfollowable: a rule computes.
    """
    instance, number = bound.given[target]
    present = [a for name, a in arrays.items() if instance in bound.taken.get(name, ())]
    out = np.zeros(prod(instance.layout.target_shapes[number]), _alike(present)[0].dtype)
    for move in instance.layout.moves:
        names = instance.sources[move.source]
        if move.target != number or not any(name in arrays for name in names):
            continue
        _plain(instance, move)
        source = np.ascontiguousarray(arrays[names[0]]).reshape(-1)
        sizes = [size for size, _, _ in move.dims]
        taken = _indices([(n, s) for n, s, _ in move.dims], move.source_offset)
        given = _indices([(n, t) for n, _, t in move.dims], move.target_offset)
        assert len(taken) == prod(sizes)
        out[given] = source[taken]
    return out.reshape(instance.layout.target_shapes[number])


def _plain(instance: Instance, move: Move) -> None:
    unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
    steps = [step.op.name for step in unit.steps if step.op.name != "cast"]
    if steps or len(instance.sources[move.source]) != 1:
        raise Unfollowable(f"{', '.join(steps) or 'an operation'} computes values")
    if any(not source for _, source, _ in move.dims):
        raise Unfollowable("it repeats elements")


# --- rows and columns


Loop = tuple[int, int, int]


def _part(bound: BoundMapping, instance: Instance, move: Move, shape: tuple[int, ...]) -> Part:
    _plain(instance, move)
    [name] = instance.sources[move.source]
    source = bound.source.tensors[name].shape
    if len(source) < 2:
        raise Unfollowable(f"{name} is no matrix")
    width, to_width = prod(source[1:]), prod(shape[1:])
    loops = [loop for dim in move.dims for loop in _at_borders(dim, width, to_width)]
    rows = [loop for loop in loops if loop[1] % width == 0 and loop[2] % to_width == 0]
    columns = [loop for loop in loops if loop[1] < width and loop[2] < to_width]
    turned = [loop for loop in loops if loop not in rows and loop not in columns]
    at, to = divmod(move.source_offset, width), divmod(move.target_offset, to_width)
    if turned and (rows or columns):
        raise Unfollowable("it mixes rows with columns")
    if turned:
        rows = [(n, s, t // to_width) for n, s, t in turned if s < width]
        columns = [(n, s // width, t) for n, s, t in turned if s >= width]
        return Part(name, True, *_ends(rows, at[1], to[0]), *_ends(columns, at[0], to[1]))
    rows = [(n, s // width, t // to_width) for n, s, t in rows]
    return Part(name, False, *_ends(rows, at[0], to[0]), *_ends(columns, at[1], to[1]))


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
    return _indices([(n, s) for n, s, _ in loops], source), _indices([(n, t) for n, _, t in loops], target)


def _indices(loops: Sequence[tuple[int, int]], start: int) -> Array:
    found = np.array([start])
    for size, step in loops:
        found = np.add.outer(found, np.arange(size) * step).reshape(-1)
    return found


# --- blocks of the rank


def _grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that share a block of the rank: of one source, with the same columns, or the same rows."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        key = (part.source, part.turned, part.columns.tobytes(), part.to_columns.tobytes())
        groups.setdefault(key, []).append(part)
    merged: dict[tuple[object, ...], list[Part]] = {}
    for group in groups.values():
        rows = sorted((p.rows.tobytes(), p.to_rows.tobytes()) for p in group)
        merged.setdefault((group[0].source, group[0].turned, *rows), []).extend(group)
    return list(merged.values())


def _block(parts: Sequence[Part], shape: tuple[int, ...], factors: Factors) -> Factors:
    down, up = (factors.up.T, factors.down.T) if parts[0].turned else (factors.down, factors.up)
    new_down = np.zeros((factors.rank, prod(shape[1:])), down.dtype)
    new_up = np.zeros((shape[0], factors.rank), up.dtype)
    for part in parts:
        new_down[:, part.to_columns] = down[:, part.columns]
        new_up[part.to_rows] = up[part.rows]
    return replace(factors, down=new_down, up=new_up)


def _stacked(blocks: Sequence[Factors]) -> Factors:
    if len(blocks) == 1:
        return blocks[0]
    rank = sum(block.rank for block in blocks)
    scale = blocks[0].scale
    if not all(isclose(block.scale, scale) for block in blocks):
        # One alpha cannot say several scales: they go into the factors.
        blocks = [replace(block, up=_scaled(block.up, block.scale)) for block in blocks]
        scale = 1.0
    told = any(block.alpha is not None for block in blocks)
    down = np.concatenate(_alike([block.down for block in blocks]))
    up = np.concatenate(_alike([block.up for block in blocks]), axis=1)
    return Factors(down, up, scale * rank if told else None)


def _alike(arrays: Sequence[Array]) -> list[Array]:
    """In one type: their own, or float32 for a mixture of halves."""
    types = {array.dtype for array in arrays}
    if len(types) == 1:
        return list(arrays)
    widest = np.dtype("<f8") if np.dtype("<f8") in types else np.dtype("<f4")
    return [array.astype(widest) for array in arrays]


def _scaled(array: Array, scale: float) -> Array:
    scaled: Array = np.multiply(array, scale, dtype=np.float64).astype(array.dtype)
    return scaled
