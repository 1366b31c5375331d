"""Whether an output that is there already was made from this very source: some of it is made again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mapcc.numeric.fault import Unrepresentable
from mapcc.plan.memory import Buffers
from mapcc.plan.model import OutputFile, Plan
from mapcc.plan.parts import Part, parts
from mapcc.runtime.fs import cannot_write
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.sources import InputFile, opened
from mapcc.runtime.worker import Copy, Elsewhere, Worker

# Parts of each file that are compared: the first, the last, and some between.
_PARTS = 4


def check_values(out: Path, place: Path, plan: Plan, sizes: Buffers) -> None:
    """MC005 if the output at ``place`` has other values than the plan would give.

    Two checkpoints of one model have the same names, shapes and sizes, so the plan does not tell them
    apart. What is computed from several tensors is not compared: it would have to be made first.
    """
    with opened(plan.sources) as files:
        inputs = Inputs(plan, files, _no_fold)
        worker = Worker(inputs, sizes, Copy.WINDOW, hashes=False)
        for file in plan.files:
            if not _is_same(worker, file, place / file.name):
                note = f"`{file.name}` has other values: it was made from another source"
                help = "choose another --out, or remove it first"
                raise cannot_write(out, "it is there already, and not what this would give", note, help=help)


class _Folded(Exception):
    """A part needs what is not there."""


def _no_fold(inputs: Inputs, number: int, buffer: object) -> InputFile:
    raise _Folded


@dataclass(slots=True)
class _Comparison:
    """Takes what would be written, and compares it with what is there."""

    there: InputFile
    is_same: bool = True

    def write(self, data: memoryview | bytes, offset: int) -> None:
        found = bytearray(len(data))
        self.there.read_into(memoryview(found), offset)
        self.is_same = self.is_same and found == bytearray(data)


def _is_same(worker: Worker, file: OutputFile, path: Path) -> bool:
    there = InputFile(path)
    try:
        comparison = _Comparison(there)
        for part in _some(list(parts(file, worker.sizes.span))):
            try:
                worker.make(Elsewhere(file, comparison), part)
            except _Folded:
                continue
            except Unrepresentable:
                return False
        return comparison.is_same
    finally:
        there.close()


def _some(found: list[Part]) -> list[Part]:
    step = max(1, (len(found) - 1) // (_PARTS - 1))
    return [*found[:-1:step], *found[-1:]]
