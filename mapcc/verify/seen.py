"""Elements of a slice with the bytes that the output has for them, and how one is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mapcc.ir.program import Unit
from mapcc.tensors.spec import TensorSpec
from mapcc.verify.arithmetic import Wanted
from mapcc.verify.formats import Flags
from mapcc.verify.notation import Index
from mapcc.verify.origins import Origin
from mapcc.verify.reads import Raw
from mapcc.verify.report import Report, place, shown_bytes, shown_wanted
from mapcc.verify.work import Slice

Operands = tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """Elements that one unit gives. ``within`` tells those apart that share a byte."""

    part: Slice
    origin: Origin
    raw: Raw
    within: Index

    @property
    def unit(self) -> Unit:
        return self.part.group.equation.units[self.origin.unit]

    def only(self, which: Index) -> Seen:
        origin = self.origin
        at = tuple(one[which] for one in origin.at)
        chosen = Origin(origin.which[which], origin.unit, origin.operand[which], at)
        return Seen(self.part, chosen, self.raw[which], self.within[which])

    def source(self, k: int, specs: list[TensorSpec], which: Index) -> str:
        """The source element of the k-th element, in words."""
        word = "made of " if self.unit.steps else ""
        return word + place(specs[which[k]].name, [int(one[k]) for one in self.origin.at])

    def tell(self, report: Report, wrong: Flags, source: Callable[[int], str], wanted: Raw | Wanted) -> None:
        """Each tensor with the number of its wrong elements, the first of them as an example."""
        span, dtype = self.part.group.equation.span, self.part.group.dtype
        places = np.flatnonzero(wrong)
        tensors, firsts, counts = np.unique(
            self.part.tensor[self.origin.which[places]], return_index=True, return_counts=True
        )
        for tensor, first, count in zip(tensors.tolist(), firsts.tolist(), counts.tolist(), strict=True):
            name, example = self.part.tensors[tensor].spec.name, ""
            if report.wants_example(span, name):
                k = int(places[first])
                at = [int(one[self.origin.which[k]]) for one in self.part.at]
                should = (
                    shown_wanted(wanted, k) if isinstance(wanted, Wanted) else shown_bytes(wanted[k], dtype)
                )
                found = shown_bytes(self.raw[k], dtype)
                example = f"{place(name, at)} is {found}, and should be {should}: {source(k)}"
            report.wrong(span, name, count, example)
