"""A plan carried out on this machine, in one thread: window by window, file by file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from pathlib import Path

import numpy as np

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir.bound import Move
from mapcc.plan.make import folds_of, last_uses
from mapcc.plan.memory import BLOCK, SPAN, WINDOW
from mapcc.plan.model import Fill, Folded, OutputFile, OutputTensor, Plan, SourceTensor, Transfer
from mapcc.plan.moves import clip, extent
from mapcc.runtime.arrays import Array, numpy_dtype
from mapcc.runtime.folds import write_fold
from mapcc.runtime.fs import NewFile, Staging, staging
from mapcc.runtime.gather import UNSIGNED, Gatherer, strided
from mapcc.runtime.sources import InputFile, opened
from mapcc.runtime.values import Unrepresentable, filled, transform

Progress = Callable[[int, int], None]


def execute(
    plan: Plan, out: Path, progress: Progress | None = None, *, window: int = WINDOW, span: int = SPAN
) -> None:
    """Write the output folder ``out``. It appears complete, or not at all.

    Args:
        out: absent, or an empty folder. Folders above it are made.
        progress: called with the bytes written and the bytes to write, from first to last.
        window, span: sizes of the buffers in bytes: of the target, and of what is read for it.

    Raises:
        MappingError: MC001 if a source cannot be read, MC002 if one is not, or does not stay, what the
            plan was made from, MC005 if the output cannot be written (it is there, a source is in it,
            the disk is full), MC502 if a number cannot be cast to its integer type.
    """
    paths = [file.path for file in plan.sources]
    with opened(plan.sources) as inputs, staging(out, paths) as stage:
        stage.require(plan.bytes_written + plan.scratch)
        stamps = [file.stamp for file in inputs]
        run = _Run(plan, inputs, stage, progress, window, span)
        run.files()
        for file, stamp in zip(inputs, stamps, strict=True):
            file.check_unchanged(stamp)
        stage.commit()


@dataclass(slots=True)
class _Run:
    plan: Plan
    inputs: list[InputFile]
    stage: Staging
    progress: Progress | None
    window: int
    span: int
    done: int = 0
    folds: dict[int, InputFile] = field(default_factory=dict)
    last_uses: dict[int, str] = field(default_factory=dict)
    gatherer: Gatherer = field(init=False)
    made: Array = field(init=False)
    taken: Array = field(init=False)

    def __post_init__(self) -> None:
        self.last_uses = last_uses(self.plan.files)
        # Memory that is never touched costs nothing. A window holds an element of any type.
        self.window, self.span = max(8, self.window), max(8, self.span)
        self.gatherer = Gatherer(np.empty(self.span, np.uint8))
        self.made = np.empty(self.window, np.uint8)
        self.taken = np.empty(self.window, np.uint8)

    def files(self) -> None:
        self._advance(0)
        try:
            for output in self.plan.files:
                self._file(output)
        finally:
            for fold in self.folds.values():
                fold.close()
        # Last, so that what it names is there.
        if self.plan.index is not None:
            with self.stage.file(self.plan.index.name) as file:
                file.write(self.plan.index.content, 0)
            self._advance(len(self.plan.index.content))

    def _file(self, output: OutputFile) -> None:
        with self.stage.file(output.name) as file:
            file.write(output.header, 0)
            self._advance(len(output.header))
            for tensor in output.tensors:
                with self._folds_for(tensor):
                    self._tensor(tensor, file)

    def _advance(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(self.done, self.plan.bytes_written)

    # --- one tensor

    def _tensor(self, tensor: OutputTensor, file: NewFile) -> None:
        width = max(8, tensor.dtype.bits) // 8
        widest = max([width, *(t.source.bits // 8 for t in tensor.transfers)])
        step = self.window // widest
        for low, high, transfers in windows(tensor, width, step):
            for transfer in transfers:
                for part in clip(transfer.move, low, high):
                    self._part(tensor, transfer, part, width, low)
            size = (high - low) * width
            file.write(self.made.data[:size], tensor.begin + low * width)
            self._advance(size)

    def _part(self, tensor: OutputTensor, transfer: Transfer, part: Move, width: int, low: int) -> None:
        if isinstance(transfer.origin, Fill):
            value = filled(transfer.origin.value, transfer.target).view(UNSIGNED[width])
            strided(self.made, part.target_offset - low, part.dims, width)[...] = value[0]
            return
        file, begin = self._origin(transfer.origin)
        if transfer.is_plain:
            self.gatherer.gather(file, begin, part, width, self.made, low)
            return
        try:
            self._computed(file, begin, transfer, part, width, low)
        except Unrepresentable as error:
            message = f"a value cannot be cast: {error}"
            raise MappingError([Diagnostic("MC502", message, names=(tensor.name,))]) from None

    def _computed(
        self, file: InputFile, begin: int, transfer: Transfer, part: Move, width: int, low: int
    ) -> None:
        """Gather in the order of the target, compute block by block, and put the result in place."""
        own = transfer.source.bits // 8
        self.gatherer.gather(file, begin, _compact(part), own, self.taken, 0)
        count = part.numel
        source = self.taken[: count * own].view(numpy_dtype(transfer.source))
        result = np.empty(count, UNSIGNED[width])
        for at in range(0, count, BLOCK):
            block = transform(source[at : at + BLOCK], transfer.source, transfer.steps, transfer.target)
            result[at : at + BLOCK] = block.view(UNSIGNED[width])
        sizes = [size for size, _, _ in part.dims]
        strided(self.made, part.target_offset - low, part.dims, width)[...] = result.reshape(sizes)

    def _origin(self, origin: SourceTensor | Folded) -> tuple[InputFile, int]:
        if isinstance(origin, Folded):
            return self.folds[origin.number], 0
        return self.inputs[origin.file], origin.begin

    # --- folds

    @contextmanager
    def _folds_for(self, tensor: OutputTensor) -> Iterator[None]:
        """The folds that a tensor takes from are on disk while it is written, and until their last use."""
        for number in folds_of(tensor):
            if number not in self.folds:
                with self.stage.file(_scratch_name(number), durable=False) as file:
                    write_fold(self.plan.folds[number], self.inputs, file, self.gatherer.span)
                self.folds[number] = InputFile(self.stage.folder / _scratch_name(number))
        yield
        for number in folds_of(tensor):
            if self.last_uses[number] == tensor.name:
                self.folds.pop(number).close()
                self.stage.remove(_scratch_name(number))


def windows(tensor: OutputTensor, width: int, step: int) -> Iterator[tuple[int, int, list[Transfer]]]:
    """A tensor in pieces of ``step`` elements, each with the transfers that touch it."""
    count = (tensor.end - tensor.begin) // width
    extents = [extent(transfer.move) for transfer in tensor.transfers]
    at, live = 0, list[int]()
    for low in range(0, count, step):
        high = min(low + step, count)
        while at < len(extents) and extents[at][0] < high:
            live.append(at)
            at += 1
        yield low, high, [tensor.transfers[k] for k in live]
        live = [k for k in live if extents[k][1] > high]


def _compact(part: Move) -> Move:
    """The same elements, one behind the other in the order of the target."""
    stride = prod(size for size, _, _ in part.dims)
    dims = []
    for size, across, _ in part.dims:
        stride //= size
        dims.append((size, across, stride))
    return Move(part.source, part.source_offset, part.target, 0, tuple(dims))


def _scratch_name(number: int) -> str:
    return f".fold-{number}"
