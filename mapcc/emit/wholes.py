"""Which bound rules move whole tensors only: renames, and concatenations along dimension 0.

A rule is judged by its moves, not by its notation: a name axis, a sum of pieces and ``| cat`` that
give the same bytes are the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from mapcc.ir.bound import Instance, Move
from mapcc.passes.moves import simplify_dims
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec

Shape = tuple[int, ...]


class Row(NamedTuple):
    """A source operand and the target operand that it becomes, or is the ``place``-th of ``of`` pieces of."""

    source: int
    target: int
    place: int | None = None
    of: int | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an instance is more than that: ``reason`` ends a sentence that begins with 'cannot'."""

    reason: str
    help: str = ""
    note: str = ""


_CAST = "leave the cast out: the loader casts every tensor to the precision that it runs in"
_SCALARS = "write a rule of its own for the tensors without dimensions"


def rows_of(instance: Instance, tensors: dict[str, TensorSpec]) -> tuple[Row, ...] | Refusal:
    """What becomes of every operand of an instance, or why that cannot be said."""
    equation = instance.equation
    if any(unit.is_created for unit in equation.units):
        whole = all(unit.is_created for unit in equation.units)
        return Refusal("create a tensor" if whole else "fill in elements that have no source")
    operands = [tensors[names[-1]] for names in instance.sources]
    refusal = _values(instance, operands)
    if refusal:
        return refusal
    for target in equation.targets:
        if target.name is None:
            return Refusal("leave out a part of a tensor")
    refusal = _scattered(instance, operands)
    if refusal:
        return refusal
    rows: list[Row] = []
    for number in range(len(instance.targets)):
        gathered = _gathered(instance, number, operands)
        if isinstance(gathered, Refusal):
            return gathered
        rows += gathered
    if len(rows) < len(operands):
        return Refusal("concatenate tensors of no elements")
    return tuple(rows)


# --- values


def _values(instance: Instance, operands: Sequence[TensorSpec]) -> Refusal | None:
    units = instance.equation.units
    for spec, number in zip(operands, instance.layout.unit_of_source, strict=True):
        for step in units[number].steps:
            if step.dtype is None:
                return Refusal(f"compute values ({step.op.name})")
            if step.dtype != spec.dtype:
                return _cast(spec, step.dtype)
    for move in instance.layout.moves:
        after = instance.dtypes[move.target] if instance.dtypes else None
        if after is not None and after != operands[move.source].dtype:
            return _cast(operands[move.source], after)
    return None


def _cast(spec: TensorSpec, after: Dtype) -> Refusal:
    before = "a type that the key set does not tell" if spec.dtype is None else spec.dtype.name
    return Refusal("cast to another type", _CAST, f"cast from {before} to {after.name}")


# --- one source, several targets


def _scattered(instance: Instance, operands: Sequence[TensorSpec]) -> Refusal | None:
    """Sources whose elements go to more than one place."""
    reached: dict[int, dict[int, int]] = {}
    for move in instance.layout.moves:
        if any(size > 1 and stride == 0 for size, stride, _ in move.dims):
            return Refusal("repeat elements of a tensor")
        counts = reached.setdefault(move.source, {})
        counts[move.target] = counts.get(move.target, 0) + move.numel
    for source, counts in reached.items():
        if len(counts) > 1:
            if all(count == operands[source].numel for count in counts.values()):
                return Refusal("give one tensor to two targets")
            return Refusal("split a tensor into parts")
    return None


# --- one target


def _gathered(instance: Instance, number: int, operands: Sequence[TensorSpec]) -> list[Row] | Refusal:
    """The rows of one target: its operands in the order in which they lie in it."""
    moves: dict[int, list[Move]] = {}
    for move in instance.layout.moves:
        if move.target == number:
            moves.setdefault(move.source, []).append(move)
    if not moves and len(operands) == len(instance.targets) == 1:
        moves = {0: []}  # a tensor of no elements
    shape = instance.layout.target_shapes[number]
    if len(moves) == 1:
        ((source, own),) = moves.items()
        return _renamed(operands[source], own, shape) or [Row(source, number)]
    # Moves lie in the order of the target, so the operands do, if each is one piece of it.
    adjacent = all(_is_whole(own, operands[source]) for source, own in moves.items())
    refusal = _concatenated({operands[source]: own for source, own in moves.items()}, shape, adjacent)
    if refusal:
        return refusal
    return [Row(source, number, place, len(moves)) for place, source in enumerate(moves)]


def _renamed(spec: TensorSpec, moves: Sequence[Move], shape: Shape) -> Refusal | None:
    if not _is_whole(moves, spec):
        reason = "reorder the elements of a tensor (transpose, permute, swap of pieces)"
        return Refusal(reason, note=f"{list(spec.shape)} becomes {list(shape)}")
    if spec.shape != shape:
        return Refusal("give a tensor another shape", note=f"{list(spec.shape)} becomes {list(shape)}")
    return None


def _is_whole(moves: Iterable[Move], spec: TensorSpec) -> bool:
    """Whether a source lies in its target in one piece, in its own order.

    Axes may keep such a move from being one run, so each is asked whether it only shifts.
    """
    shifts: set[int] = set()
    numel = 0
    for move in moves:
        if any(source != target for _, source, target in move.dims):
            return False
        shifts.add(move.target_offset - move.source_offset)
        numel += move.numel
    return len(shifts) <= 1 and numel == spec.numel


def _concatenated(moves: dict[TensorSpec, list[Move]], shape: Shape, adjacent: bool) -> Refusal | None:
    """Why tensors that fill one target are not ``torch.cat(parts, dim=0)``; None if they are."""
    parts = list(moves)
    note = f"{', '.join(str(list(part.shape)) for part in parts[:4])} become {list(shape)}"
    if not parts or any(part.numel == 0 for part in parts):
        return Refusal("concatenate tensors of no elements", note=note)
    if any(not part.shape for part in parts):
        return Refusal("concatenate tensors without dimensions: torch.cat refuses them", _SCALARS, note)
    dims = [k for k in range(len(shape)) if _sums_to(parts, shape, k)]
    if adjacent and 0 in dims:
        return None
    if any(len(shape) == len(part.shape) + 1 for part in parts):
        return Refusal("stack tensors on a new axis: it concatenates along dimension 0", note=note)
    for k in dims:
        if k and all(_is_cat(part, shape, k, own) for part, own in moves.items()):
            return Refusal(f"concatenate along dimension {k}: it does so along dimension 0", note=note)
    if adjacent:
        return Refusal("concatenate and give another shape", note=note)
    return Refusal("interleave tensors: it puts one after the other", note=note)


def _sums_to(parts: Sequence[TensorSpec], shape: Shape, dim: int) -> bool:
    rest = shape[:dim] + shape[dim + 1 :]
    if any(len(p.shape) != len(shape) or p.shape[:dim] + p.shape[dim + 1 :] != rest for p in parts):
        return False
    return sum(p.shape[dim] for p in parts) == shape[dim]


def _is_cat(part: TensorSpec, shape: Shape, dim: int, moves: Sequence[Move]) -> bool:
    inner = prod(shape[dim + 1 :])
    run = part.shape[dim] * inner
    dims = simplify_dims(((prod(shape[:dim]), run, shape[dim] * inner), (run, 1, 1)))
    return len(moves) == 1 and moves[0].source_offset == 0 and moves[0].dims == dims
