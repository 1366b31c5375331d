"""Whether a plan that was read from a file can be carried out: anybody may have written it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import prod

from mapcc.ir.bound import Move
from mapcc.ir.values import Step
from mapcc.plan.model import (
    Fill,
    Fold,
    Folded,
    OutputFile,
    OutputTensor,
    Plan,
    Run,
    SourceTensor,
    Transfer,
    Turned,
    Twins,
)
from mapcc.plan.moves import extent
from mapcc.plan.segments import unit
from mapcc.tensors.dtypes import Dtype

_MOST = 1 << 62
# What stands for itself in the record beside an output.
_RECORD = {"mapping", "options", "source"}


def plan_fault(plan: Plan) -> str | None:
    """The first thing that is wrong with a plan; None if nothing is."""
    return next(_faults(plan), None)


def _faults(plan: Plan) -> Iterator[str]:
    if not all(_is_path(source.path) for source in plan.sources):
        yield "a source has no path"
    if not _are_naturals(
        [plan.bytes_read, plan.bytes_written, plan.scratch, *(n for s in plan.sources for n in s.stamp or ())]
    ):
        yield "a size is no natural number"
    if not set(plan.origin) <= _RECORD:
        yield "its origin is none"
    names = [file.name for file in plan.files] + ([plan.index.name] if plan.index else [])
    if not plan.files or len(set(names)) != len(names):
        yield "a file is there twice, or none is"
    if not all(isinstance(word, str) for rule, names in plan.computing for word in (rule, *names)):
        yield "a rule is no text"
    for number, fold in enumerate(plan.folds):
        yield from _fold_faults(plan, number, fold)
    for file in plan.files:
        yield from _file_faults(plan, file)
    for twins in plan.twins:
        yield from _twins_faults(plan, twins)


def _twins_faults(plan: Plan, twins: Twins) -> Iterator[str]:
    where = f"the copy {twins.name!r}"
    for origin in (twins.first, twins.second):
        if found := list(_origin_faults(plan, origin, len(plan.folds), where)):
            yield from found
            return
        if isinstance(origin, SourceTensor):
            size = prod(origin.shape) * origin.dtype.bits // 8
            if origin.begin + size > _size(plan, origin.file):
                yield f"{where}: the source is shorter than that"
    kinds = [
        (origin.dtype, origin.shape) if isinstance(origin, SourceTensor) else _laid_out(plan, origin.number)
        for origin in (twins.first, twins.second)
    ]
    if kinds[0] != kinds[1]:
        yield f"{where} is of another type or shape"


def _laid_out(plan: Plan, number: int) -> tuple[Dtype, tuple[int, ...]]:
    return plan.folds[number].dtype, plan.folds[number].shape


def _is_path(text: object) -> bool:
    return isinstance(text, str) and "\0" not in text


def _are_naturals(numbers: Iterable[object]) -> bool:
    return all(type(number) is int and 0 <= number < _MOST for number in numbers)


def _fold_faults(plan: Plan, number: int, fold: Fold) -> Iterator[str]:
    where = f"fold {number}"
    if not _are_naturals(fold.shape) or not fold.inputs:
        yield f"{where} has no shape, or no input"
        return
    for origin in fold.inputs:
        yield from _origin_faults(plan, origin, number, where)
    if (fold.step is None) == (fold.move is None):
        yield f"{where} is neither an operation nor laid out"
    elif fold.move is not None:
        yield from _move_faults(fold.move, fold.nbytes // unit(fold.dtype.bits), where)
    elif fold.step is not None:
        dim = dict(fold.step.numbers).get("dim")
        if fold.step.op.name != "weight_norm" or len(fold.inputs) != 2 or type(dim) is not int:
            yield f"{where} is an operation that mapcc does not have"
        elif fold.dtype.name not in ("F32", "F64") or not -len(fold.shape) <= dim < len(fold.shape):
            yield f"{where} has a type or a dimension that it cannot have"
        elif not all(_can_compute(_dtype_of(plan, origin)) for origin in fold.inputs):
            yield f"{where} computes with a type that has no arithmetic"


def _can_compute(dtype: Dtype | None) -> bool:
    return dtype is not None and dtype.bits >= 8


def _dtype_of(plan: Plan, origin: SourceTensor | Folded) -> Dtype:
    return plan.folds[origin.number].dtype if isinstance(origin, Folded) else origin.dtype


def _origin_faults(plan: Plan, origin: object, folds: int, where: str) -> Iterator[str]:
    """``folds``: how many there are before this; a fold takes from earlier ones alone."""
    match origin:
        case SourceTensor(file, begin, _, shape):
            if not _are_naturals([file, begin, *shape]) or file >= len(plan.sources):
                yield f"{where} is of a source that is not there"
        case Folded(number):
            if not _are_naturals([number]) or number >= folds:
                yield f"{where} takes from a fold that is not there before it"
        case Fill(value):
            if type(value) not in (int, float):
                yield f"{where} is filled with no number"


def _file_faults(plan: Plan, file: OutputFile) -> Iterator[str]:
    tensors = {tensor.name: tensor for tensor in file.tensors}
    for segment in file.segments:
        where = f"bytes {segment.begin} to {segment.end} of {file.name!r}"
        if not _are_naturals(segment[:2]) or segment.begin >= segment.end:
            yield f"{where} are no range"
        elif isinstance(segment, Run):
            yield from _run_faults(plan, segment, where)
        else:
            tensor = tensors.get(segment.name)
            if tensor is None or (tensor.begin, tensor.end) != (segment.begin, segment.end):
                yield f"{where} are not those of a tensor"
            elif isinstance(segment, Turned) and any(isinstance(t.origin, Fill) for t in segment.transfers):
                yield f"{where} are turned, and filled"
            else:
                yield from _tensor_faults(plan, tensor, segment.transfers, where)


def _run_faults(plan: Plan, run: Run, where: str) -> Iterator[str]:
    count = len(plan.folds) if type(run.file) is int and run.file < 0 else len(plan.sources)
    number = ~run.file if type(run.file) is int and run.file < 0 else run.file
    if not _are_naturals([number, run.offset]) or number >= count:
        yield f"{where} are of a source that is not there"
        return
    size = plan.folds[number].nbytes if run.file < 0 else _size(plan, number)
    if run.offset + run.end - run.begin > size:
        yield f"{where} are behind the end of their source"


def _size(plan: Plan, file: int) -> int:
    stamp = plan.sources[file].stamp
    return stamp.size if stamp else _MOST


def _tensor_faults(
    plan: Plan, tensor: OutputTensor, transfers: Sequence[Transfer], where: str
) -> Iterator[str]:
    width = unit(tensor.dtype.bits)
    count, given = (tensor.end - tensor.begin) // width, 0
    before = 0
    for transfer in transfers:
        found = [
            *_origin_faults(plan, transfer.origin, len(plan.folds), where),
            *_move_faults(transfer.move, count, where),
            *_step_faults(transfer, tensor.dtype, where),
        ]
        if found:
            yield from found
            return
        given += transfer.move.numel
        first = transfer.move.target_offset
        if first < before:
            yield f"{where}: the moves are not in their order"
        before = first
        yield from _reach_faults(plan, transfer, where)
    if given != count:
        yield f"{where}: the moves do not give each element once"


def _move_faults(move: Move, count: int, where: str) -> Iterator[str]:
    numbers = [move.source_offset, move.target_offset, *(n for dim in move.dims for n in dim)]
    if not _are_naturals(numbers) or any(size < 1 or not along for size, _, along in move.dims):
        yield f"{where}: a move has an impossible number"
        return
    inner = 1
    for size, _, along in reversed(move.dims):
        if along < inner:
            yield f"{where}: a move writes an element twice"
            return
        inner = along * size
    if extent(move)[1] > count:
        yield f"{where}: a move writes behind the end"


def _step_faults(transfer: Transfer, dtype: Dtype, where: str) -> Iterator[str]:
    if transfer.target != dtype:
        yield f"{where}: a move gives another type than the tensor has"
    if not transfer.is_plain and not (_can_compute(transfer.source) and _can_compute(dtype)):
        yield f"{where}: there is no arithmetic of this type"
    if not all(_is_elementwise(step) for step in transfer.steps):
        yield f"{where}: an operation is none, or lacks its numbers"


def _is_elementwise(step: Step) -> bool:
    if step.op.name == "cast":
        return _can_compute(step.dtype)
    given = dict(step.numbers)
    if step.is_saturating:
        return True
    wanted = step.op.arguments
    return step.op.elementwise and all(isinstance(given.get(name), int | float) for name in wanted)


def _reach_faults(plan: Plan, transfer: Transfer, where: str) -> Iterator[str]:
    """Whether a move reads within its source."""
    move, origin = transfer.move, transfer.origin
    if isinstance(origin, Fill):
        return
    last = move.source_offset + sum((size - 1) * across for size, across, _ in move.dims)
    dtype = _dtype_of(plan, origin)
    if dtype != transfer.source:
        yield f"{where}: a move reads another type than its source has"
        return
    shape = plan.folds[origin.number].shape if isinstance(origin, Folded) else origin.shape
    size = prod(shape) * dtype.bits // 8
    if (last + 1) * unit(dtype.bits) > size:
        yield f"{where}: a move reads behind the end of its source"
    elif isinstance(origin, SourceTensor) and origin.begin + size > _size(plan, origin.file):
        yield f"{where}: the source is shorter than that"
