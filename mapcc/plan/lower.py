"""Lowering of a bound mapping: each target tensor with the transfers that give it."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf, prod
from pathlib import PurePath

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir.bound import BoundMapping, Instance, Layout, Move
from mapcc.ir.program import Unit
from mapcc.ir.values import Step
from mapcc.passes.fills import fill_value
from mapcc.passes.moves import in_bytes, simplify_dims
from mapcc.plan.model import (
    Computing,
    Fill,
    Fold,
    Folded,
    Origin,
    Shape,
    SourceTensor,
    Transfer,
    Twins,
)
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.text import Span

Place = tuple[float, int]
_NOWHERE: Place = (inf, 0)


@dataclass(frozen=True, slots=True)
class Lowered:
    """A target tensor; ``place`` is the file and the byte of its first element that has a source."""

    name: str
    dtype: Dtype
    shape: Shape
    transfers: tuple[Transfer, ...]
    place: Place


@dataclass(slots=True)
class Lowering:
    """Goes through the instances; what is wrong goes to ``found``, what is folded to ``folds``."""

    bound: BoundMapping
    found: Diagnostics
    folds: list[Fold] = field(default_factory=list)
    _fold_of: dict[tuple[int, int], int] = field(default_factory=dict)
    _laid_out: dict[str, int] = field(default_factory=dict)
    _layouts: dict[int, list[list[Move]]] = field(default_factory=dict)
    _computing: dict[tuple[str, int, int], tuple[Span, list[str]]] = field(default_factory=dict)

    def run(self) -> list[Lowered]:
        lowered = []
        for name, (instance, number) in self.bound.given.items():
            tensor = self._tensor(name, instance, number)
            if tensor is not None:
                lowered.append(tensor)
        return lowered

    def computing(self) -> tuple[Computing, ...]:
        """The rules that compute, in their order; the copies of one are one."""
        found = sorted(self._computing.items())
        return tuple(Computing(_words(span), tuple(names)) for _, (span, names) in found)

    def twins(self) -> list[Twins]:
        """What is dropped as a copy, unless it is the same bytes of the same file."""
        tensors = self.bound.source.tensors
        out = []
        for name, other in sorted(self.bound.copies.items()):
            a, b = tensors[name], tensors[other]
            if (a.file, a.begin, a.strides) != (b.file, b.begin, b.strides):
                out.append(Twins(name, other, self._source(name), self._source(other)))
        return out

    def _tensor(self, name: str, instance: Instance, number: int) -> Lowered | None:
        dtype = instance.dtypes[number]
        if dtype is None:
            raise ValueError(f"{name!r} has no type: the mapping is not complete")
        shape = instance.layout.target_shapes[number]
        transfers = []
        place = _NOWHERE
        for move in self._moves(instance.layout)[number]:
            transfer = self._transfer(name, instance, move, dtype)
            if transfer is None:
                return None
            if place is _NOWHERE:
                place = self._place(transfer.origin, move.source_offset)
            transfers.append(transfer)
        if not all(transfer.is_plain for transfer in transfers):
            span = instance.equation.span
            self._computing.setdefault((span.source.name, span.start, span.end), (span, []))[1].append(name)
        return Lowered(name, dtype, shape, tuple(transfers), place)

    def _moves(self, layout: Layout) -> list[list[Move]]:
        """By target, in target order; checked once a layout, so that no byte is left unwritten."""
        moves = self._layouts.get(id(layout))
        if moves is None:
            moves = self._layouts[id(layout)] = [[] for _ in layout.target_shapes]
            for move in sorted(layout.moves, key=lambda m: m.target_offset):
                moves[move.target].append(move)
            for shape, own in zip(layout.target_shapes, moves, strict=True):
                if sum(move.numel for move in own) != prod(shape):
                    raise ValueError(f"the moves do not give each element of {list(shape)} once")
        return moves

    def _transfer(self, name: str, instance: Instance, move: Move, dtype: Dtype) -> Transfer | None:
        unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
        origin: Origin
        steps: tuple[Step, ...]
        if unit.is_created:
            value = fill_value(unit, instance.equation, dtype, self.found)
            if value is None:
                return None
            origin, source, steps = Fill(value), dtype, ()
        else:
            origin, source, steps = self._origin(unit, instance, move)
        if source.bits % 8:
            move = in_bytes(move, source.bits)
        return Transfer(origin, move, steps, source, dtype)

    def _origin(self, unit: Unit, instance: Instance, move: Move) -> tuple[Origin, Dtype, tuple[Step, ...]]:
        names = instance.sources[move.source]
        if len(names) == 1:
            dtype = _known(self.bound.source.tensors[names[0]].dtype)
            return self._source(names[0]), dtype, effective_steps(dtype, unit.steps)
        key = (id(instance), move.source)
        number = self._fold_of.get(key)
        if number is None:
            specs = [self.bound.source.tensors[name] for name in names]
            wide = any(_known(spec.dtype).name == "F64" for spec in specs)
            dtype = DTYPES["F64" if wide else "F32"]
            inputs = tuple(self._source(name) for name in names)
            # Of several tensors, the last is the one whose shape the result has.
            number = self._fold_of[key] = len(self.folds)
            self.folds.append(Fold(unit.steps[0], inputs, dtype, specs[-1].shape))
        dtype = self.folds[number].dtype
        return Folded(number), dtype, effective_steps(dtype, unit.steps[1:])

    def _source(self, name: str) -> SourceTensor | Folded:
        spec = self.bound.source.tensors[name]
        assert spec.file is not None
        tensor = SourceTensor(spec.file, spec.begin, _known(spec.dtype), spec.shape)
        if spec.strides is None:
            return tensor
        if name not in self._laid_out:
            self._laid_out[name] = len(self.folds)
            move = _layout_move(spec.shape, spec.strides)
            if tensor.dtype.bits % 8:
                move = in_bytes(move, tensor.dtype.bits)
            self.folds.append(Fold(None, (tensor,), tensor.dtype, spec.shape, move))
        return Folded(self._laid_out[name])

    def _place(self, origin: Origin, offset: int) -> Place:
        match origin:
            case SourceTensor(file, begin, dtype, _):
                return (file, begin * 8 + offset * dtype.bits)
            case Folded(number):
                return self._place(self.folds[number].inputs[-1], 0)
            case Fill():
                return _NOWHERE


def _words(span: Span) -> str:
    return f"{PurePath(span.source.name).name}:{span.line}: {' '.join(span.text.split())}"


def _known(dtype: Dtype | None) -> Dtype:
    assert dtype is not None
    return dtype


def _layout_move(shape: Shape, strides: tuple[int, ...]) -> Move:
    """From where the elements lie to row-major order."""
    dims = []
    along = 1
    for size, across in zip(reversed(shape), reversed(strides), strict=True):
        dims.append((size, across, along))
        along *= size
    return Move(0, 0, 0, 0, simplify_dims(dims))


def effective_steps(dtype: Dtype, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps without casts to the type that the elements have: these must move bits, not compute."""
    kept: list[Step] = []
    for step in steps:
        exact = not kept or kept[-1].dtype is not None
        if step.dtype is not None and step.dtype == dtype and exact:
            continue
        kept.append(step)
        dtype = step.dtype or dtype
    return tuple(kept)
