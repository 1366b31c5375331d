"""Where a tensor comes from or goes to, in words: for ``mapcc show``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.ir.notation import print_expr
from mapcc.ir.program import Unit
from mapcc.passes.parts import describe_part
from mapcc.tensors.dtypes import Dtype
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Piece:
    """One side of a move: a tensor's name and the part of it ("" for all)."""

    names: tuple[str, ...]
    part: str
    here: str
    steps: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A tensor and its pieces on the other side; ``reason`` where there are none."""

    name: str
    dtype: Dtype | None
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]
    rule: Span | None
    reason: str = ""


def describe_targets(bound: BoundMapping) -> Iterator[Shown]:
    """Every target tensor, with what it is made of."""
    for name, (instance, number) in bound.given.items():
        shape = instance.layout.target_shapes[number]
        pieces = tuple(
            _source_piece(bound, instance, move) for move in instance.layout.moves if move.target == number
        )
        yield Shown(name, instance.dtypes[number], shape, pieces, instance.equation.span)
    if bound.target is not None:
        for name, spec in bound.target.tensors.items():
            if name in bound.given:
                continue
            listed = bound.external.get(name)
            reason = f"external: {listed.because}" if listed else "nothing gives it"
            yield Shown(name, spec.dtype, spec.shape, (), listed.span if listed else None, reason)


def describe_sources(bound: BoundMapping) -> Iterator[Shown]:
    """Every source tensor, with where it goes."""
    for name, spec in bound.source.tensors.items():
        instances = bound.taken.get(name)
        if not instances:
            listed = bound.dropped.get(name)
            reason = f"dropped: {listed.because}" if listed else "no rule takes it"
            yield Shown(name, spec.dtype, spec.shape, (), listed.span if listed else None, reason)
            continue
        pieces = tuple(
            _target_piece(bound, instance, move)
            for instance in instances
            for move in sorted(instance.layout.moves, key=lambda move: move.source_offset)
            if name in instance.sources[move.source]
        )
        yield Shown(name, spec.dtype, spec.shape, pieces, instances[0].equation.span)


def _source_piece(bound: BoundMapping, instance: Instance, move: Move) -> Piece:
    unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
    names = instance.sources[move.source]
    here = part_of(instance.layout.target_shapes[move.target], move, target=True)
    if not names:
        fill = print_expr(unit.fill) if unit.fill is not None else "0"
        return Piece((), f"filled with {fill}", here, "")
    source = bound.source.tensors[names[-1]]
    part = part_of(source.shape, move, target=False)
    return Piece(names, part, here, _steps(unit, source.dtype, instance.dtypes[move.target]))


def _target_piece(bound: BoundMapping, instance: Instance, move: Move) -> Piece:
    unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
    part = part_of(instance.layout.target_shapes[move.target], move, target=True)
    source = bound.source.tensors[instance.sources[move.source][-1]]
    here = part_of(source.shape, move, target=False)
    steps = _steps(unit, source.dtype, instance.dtypes[move.target])
    return Piece((instance.targets[move.target],), part, here, steps)


def _steps(unit: Unit, dtype: Dtype | None, final: Dtype | None) -> str:
    """The operations from a type to another, with the cast that the right side or ``dtype`` asks for."""
    words = []
    for step in unit.steps:
        numbers = " ".join(f"{key}={value}" for key, value in step.numbers)
        words.append(" ".join(filter(None, (step.op.name, step.dtype.short if step.dtype else "", numbers))))
        dtype = step.dtype or dtype
    if final is not None and final != dtype:
        words.append(f"cast {final.short}")
    return " | ".join(words)


def part_of(shape: tuple[int, ...], move: Move, target: bool) -> str:
    """Which part of a tensor a move reads or writes: "", ``rows 0:384``, or groups of rows.

    >>> part_of((6, 2), Move(0, 4, 0, 0, ((4, 1, 1),)), target=False)
    'rows 2:4'
    """
    offset = move.target_offset if target else move.source_offset
    dims = [(size, to if target else at) for size, at, to in move.dims]
    if not move.numel:
        return ""
    if is_row_major([d for d in dims if d[0] != 1]):
        if move.numel == prod(shape):
            return ""
        if (part := describe_part(shape, dims, offset)).startswith("strided"):
            return f"elements {offset}:{offset + move.numel}"
        return part
    return describe_part(shape, dims, offset)


def is_row_major(dims: list[tuple[int, int]]) -> bool:
    """Whether the axes, in the order given, cover one run of elements in order."""
    expected = 1
    for size, stride in reversed(dims):
        if stride != expected:
            return False
        expected *= size
    return True
