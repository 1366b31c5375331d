"""What a conversion reads: the files of the source, and folds, which are computed when first needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import TYPE_CHECKING

from mapcc.plan.model import Folded, Plan, SourceTensor
from mapcc.runtime.sources import InputFile, Readable
from mapcc.tensors.dtypes import Dtype

if TYPE_CHECKING:
    from mapcc.runtime.arrays import Array


class Inputs:
    """Shared by all threads."""

    def __init__(
        self, plan: Plan, files: Sequence[InputFile], fold: Callable[[Inputs, int, Array], Readable]
    ) -> None:
        self.plan, self.files = plan, files
        self._fold = fold
        self._folds: dict[int, Readable] = {}
        self._locks = [Lock() for _ in plan.folds]

    def of(self, origin: SourceTensor | Folded, buffer: Array) -> tuple[Readable, int]:
        """The file in which an origin lies, and its first byte there."""
        if isinstance(origin, Folded):
            return self.fold(origin.number, buffer), 0
        return self.files[origin.file], origin.begin

    def spec(self, origin: SourceTensor | Folded) -> tuple[Dtype, tuple[int, ...]]:
        """The type and the shape of an origin."""
        if isinstance(origin, Folded):
            fold = self.plan.folds[origin.number]
            return fold.dtype, fold.shape
        return origin.dtype, origin.shape

    def fold(self, number: int, buffer: Array) -> Readable:
        """Computed once, with ``buffer`` for what is read."""
        with self._locks[number]:
            if number not in self._folds:
                self._folds[number] = self._fold(self, number, buffer)
            return self._folds[number]

    def close(self) -> None:
        for file in self._folds.values():
            file.close()
