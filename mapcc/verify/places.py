"""Where elements lie in files, and reading them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import lcm

import numpy as np

from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec
from mapcc.verify.notation import Index
from mapcc.verify.reads import Raw, Reader


@dataclass(frozen=True, slots=True)
class Places:
    """Elements of some tensors of one type: of which tensor each is, and how far from its first."""

    specs: list[TensorSpec]
    tensor: Index
    offset: Index
    dtype: Dtype

    def read(self, reader: Reader) -> Raw:
        """One row for each element; of types smaller than a byte, all elements that share its bytes."""
        unit = lcm(self.dtype.bits, 8)
        begins = np.array([spec.begin for spec in self.specs], np.int64)[self.tensor]
        files = np.array([spec.file for spec in self.specs], np.int64)[self.tensor]
        return reader.gather(files, begins + self.offset * self.dtype.bits // unit * (unit // 8), unit // 8)

    def within(self) -> Index:
        """Which of the elements that share bytes it is: 0 for types of whole bytes."""
        return self.offset % (lcm(self.dtype.bits, 8) // self.dtype.bits)


def strides_of(spec: TensorSpec) -> tuple[int, ...]:
    """How far apart neighbours along each dimension lie, in elements; row-major if nothing else is said.

    >>> strides_of(TensorSpec("x", None, (2, 3, 4)))
    (12, 4, 1)
    """
    # Tensors of torch's archives may lie in another order.
    known: tuple[int, ...] | None = getattr(spec, "strides", None)
    if known is not None:
        return known
    return tuple(accumulate(spec.shape[:0:-1], int.__mul__, initial=1))[::-1] if spec.shape else ()


def offsets(specs: Sequence[TensorSpec], tensor: Index, at: Sequence[Index]) -> Index:
    """How far each element lies from the first of its tensor, in elements."""
    total = np.zeros(len(tensor), np.int64)
    if at:
        table = np.array([strides_of(spec) for spec in specs], np.int64)[tensor]
        for k, one in enumerate(at):
            total += one * table[:, k]
    return total
