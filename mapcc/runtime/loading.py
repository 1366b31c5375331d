"""A plan carried out into memory: tensors of torch, one at a time, without a file."""

from __future__ import annotations

import warnings
from bisect import bisect_right
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.numeric.fault import Unrepresentable
from mapcc.plan.memory import buffers
from mapcc.plan.model import OutputFile, OutputTensor, Plan, Run, Segment
from mapcc.plan.parts import covered, parts
from mapcc.runtime.faults import unrepresentable
from mapcc.runtime.folds import write_fold
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.local import Options
from mapcc.runtime.losses import Tally, ValuesLost, by_rule
from mapcc.runtime.sources import opened
from mapcc.runtime.twins import check_twins
from mapcc.runtime.worker import Copy, Elsewhere, Worker
from mapcc.tensors.dtypes import Dtype, torch_name

if TYPE_CHECKING:
    import torch
    from torch import Tensor as Tensor  # for who annotates without importing torch
    from torch.nn import Module as Module

    from mapcc.runtime.arrays import Array


def loaded(
    plan: Plan, device: str, module: torch.nn.Module | None, options: Options | None
) -> Iterator[tuple[str, torch.Tensor]]:
    """See :func:`mapcc.load`. What is wrong is told at once, not when the first tensor is asked for."""
    tensors = [(file, tensor) for file in plan.files for tensor in file.tensors]
    for _, tensor in tensors:
        _torch_dtype(tensor.dtype, tensor.name)
    _check_pairs([tensor for _, tensor in tensors])
    if module is not None:
        _check_module(module, [tensor for _, tensor in tensors])
    return _each(plan, tensors, device, module, options or Options())


def _each(
    plan: Plan,
    tensors: list[tuple[OutputFile, OutputTensor]],
    device: str,
    module: torch.nn.Module | None,
    options: Options,
) -> Iterator[tuple[str, torch.Tensor]]:
    import torch

    with opened(plan.sources) as files:
        inputs = Inputs(plan, files, fold_in_memory)
        worker = Worker(inputs, buffers(plan, 1, options.memory), Copy.WINDOW, hashes=False)
        tally = Tally()
        try:
            check_twins(plan, inputs)
            for file, tensor in tensors:
                dtype, shape = _torch_dtype(tensor.dtype, tensor.name), _torch_shape(tensor)
                if tensor.begin == tensor.end:
                    value = torch.empty(shape, dtype=dtype, device=device)
                else:
                    raw = torch.from_numpy(_made(worker, file, tensor, tally))
                    value = raw.view(dtype).reshape(shape).to(device)
                if module is not None:
                    _assign(module, tensor.name, value)
                yield tensor.name, value
        except Unrepresentable as error:
            raise MappingError(unrepresentable(plan, inputs, worker.sizes, error)) from None
        finally:
            inputs.close()
        for read, source in zip(files, plan.sources, strict=True):
            read.check_unchanged(source.stamp or read.stamp)
    for lost in by_rule(plan, tally.counts()):
        warnings.warn(f"{lost.rule}: {lost.words}", ValuesLost, stacklevel=2)


class _Memory:
    """A file that is none: what is written at an offset can be read there."""

    def __init__(self, data: Array) -> None:
        self.data = data

    def write(self, view: memoryview | bytes, offset: int) -> None:
        self.data.data[offset : offset + len(view)] = view

    def read_into(self, view: memoryview, offset: int) -> None:
        view[:] = self.data.data[offset : offset + len(view)]

    def close(self) -> None:
        pass


def fold_in_memory(inputs: Inputs, number: int, buffer: Array) -> _Memory:
    """A fold without a file."""
    fold = inputs.plan.folds[number]
    made = _Memory(np.empty(fold.nbytes, np.uint8))
    write_fold(fold, inputs, made, buffer)
    return made


def _made(worker: Worker, file: OutputFile, tensor: OutputTensor, tally: Tally) -> Array:
    """The bytes of a tensor. There is one worker: its window holds what was read last, and nothing else."""
    size = tensor.end - tensor.begin
    alone = OutputFile(file.name, b"", size, (), tuple(_segments(file, tensor)))
    made = _Memory(np.empty(size, np.uint8))
    for part in parts(alone, worker.sizes.span):
        worker.make(Elsewhere(alone, made, tally=tally), part)
    return made.data


def _segments(file: OutputFile, tensor: OutputTensor) -> Iterator[Segment]:
    first = bisect_right(file.segments, tensor.begin, key=lambda segment: segment.end)
    for segment in covered(file.segments, first, tensor.begin, tensor.end):
        begin, end = max(segment.begin, tensor.begin), min(segment.end, tensor.end)
        if isinstance(segment, Run):
            offset = segment.offset + begin - segment.begin
            yield Run(begin - tensor.begin, end - tensor.begin, segment.file, offset)
        else:
            yield segment._replace(begin=begin - tensor.begin, end=end - tensor.begin)


def _torch_dtype(dtype: Dtype, name: str) -> torch.dtype:
    import torch

    found: torch.dtype | None = getattr(torch, torch_name(dtype) or "", None)
    if found is None:
        message = f"torch has no type {dtype.name}"
        help = "cast it, or convert to files: they can have it"
        raise MappingError([Diagnostic("MC502", message, help=help, names=(name,))])
    return found


def _check_pairs(tensors: list[OutputTensor]) -> None:
    """MC502 where a type of half a byte has rows that end within a byte: torch counts whole bytes."""
    odd = [
        t.name for t in tensors if t.dtype.bits == 4 and t.begin < t.end and t.shape[-1:] and t.shape[-1] % 2
    ]
    if odd:
        message = "torch counts pairs of F4 along the last dimension, which has an odd number of elements"
        help = "convert to files: they can have it"
        raise MappingError([Diagnostic("MC502", message, help=help, names=tuple(fold(odd)))])


def _torch_shape(tensor: OutputTensor) -> tuple[int, ...]:
    if tensor.dtype.bits != 4:
        return tensor.shape
    *outer, last = tensor.shape or (0,)
    return (*outer, last // 2)  # torch counts pairs


def _check_module(module: torch.nn.Module, tensors: list[OutputTensor]) -> None:
    """All differences at once, before anything is read."""
    wanted = module.state_dict(keep_vars=True)
    given = {tensor.name: tensor for tensor in tensors}
    both = [name for name in given if name in wanted]
    shapes = [name for name in both if _torch_shape(given[name]) != tuple(wanted[name].shape)]
    types = [name for name in both if _torch_dtype(given[name].dtype, name) != wanted[name].dtype]
    faults = (
        (
            "MC401",
            [name for name in wanted if name not in given],
            "the mapping does not give all of the module",
        ),
        (
            "MC407",
            [name for name in given if name not in wanted],
            "the module does not have all that is given",
        ),
        ("MC408", shapes, "the module has tensors of other shapes"),
        ("MC409", types, "the module has tensors of other types"),
    )
    found = [Diagnostic(code, what, names=tuple(fold(names))) for code, names, what in faults if names]
    if found:
        raise MappingError(found)


def _assign(module: torch.nn.Module, name: str, value: torch.Tensor) -> None:
    import torch

    path, _, leaf = name.rpartition(".")
    owner = module.get_submodule(path)
    old = getattr(owner, leaf)
    if isinstance(old, torch.nn.Parameter):
        setattr(owner, leaf, torch.nn.Parameter(value, requires_grad=old.requires_grad))
    else:
        setattr(owner, leaf, value)
