"""The elements of one slice, each against what its rule makes of the source."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir.bound import BoundMapping
from mapcc.passes.fills import fill_value
from mapcc.passes.findings import Findings
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec
from mapcc.verify.arithmetic import Wanted, agrees, computed, constant, exactly, moves_bits
from mapcc.verify.formats import codes_of
from mapcc.verify.norms import normed
from mapcc.verify.notation import Index
from mapcc.verify.places import Places, offsets
from mapcc.verify.reads import Reader
from mapcc.verify.report import Report
from mapcc.verify.seen import Operands, Seen
from mapcc.verify.work import Slice


@dataclass(frozen=True, slots=True)
class Elements:
    """Compares slices; what differs goes to ``report``, what cannot be compared to ``findings``."""

    bound: BoundMapping
    source: Reader
    output: Reader
    report: Report
    findings: Findings

    def compare(self, part: Slice) -> None:
        group = part.group
        specs = [wanted.spec for wanted in part.tensors]
        places = Places(specs, part.tensor, offsets(specs, part.tensor, part.at), group.dtype)
        raw, within = places.read(self.output), places.within()
        positions = np.array([wanted.position for wanted in part.tensors], np.int64)[part.tensor]
        self.report.looked_at(group.equation.span, len(raw))
        try:
            for origin in group.reading.origins(group.term, positions, part.at):
                self._origin(Seen(part, origin, raw[origin.which], within[origin.which]))
        except ValueError as error:
            message = f"the axes do not say where elements come from: {error}"
            self.findings.add("MC503", message, group.equation.span, specs[0].name)

    def _origin(self, seen: Seen) -> None:
        if seen.unit.is_created:
            self._created(seen)
            return
        tensor = seen.part.tensor[seen.origin.which]
        pairs, pair = np.unique(tensor << 32 | seen.origin.operand, return_inverse=True)
        operands = [self._operands(seen.part, code >> 32, code & (2**32 - 1)) for code in pairs.tolist()]
        for types, numbers in self._by_types(seen, operands):
            ours = np.flatnonzero(np.isin(pair, numbers))
            which = np.searchsorted(numbers, pair[ours])
            self._compare(seen.only(ours), [operands[number] for number in numbers], which, types)

    def _operands(self, part: Slice, tensor: int, operand: int) -> Operands:
        names = part.tensors[tensor].instance.sources[operand]
        return tuple(self.bound.source.tensors[name] for name in names)

    def _by_types(
        self, seen: Seen, operands: list[Operands]
    ) -> Iterator[tuple[tuple[Dtype, ...], list[int]]]:
        """The operands that can be compared together."""
        extents = seen.part.group.reading.notation.extents(seen.unit.shape)
        found: dict[tuple[Dtype, ...], list[int]] = {}
        for number, specs in enumerate(operands):
            if specs[-1].shape == extents:
                types = tuple(spec.dtype for spec in specs if spec.dtype is not None)
                found.setdefault(types, []).append(number)
            else:
                message = f"the rule's sizes are of {list(extents)}, its source is {list(specs[-1].shape)}"
                self.findings.add("MC503", message, seen.part.group.equation.span, specs[-1].name)
        yield from found.items()

    def _compare(self, seen: Seen, operands: list[Operands], which: Index, types: tuple[Dtype, ...]) -> None:
        specs, source, target = [one[-1] for one in operands], types[-1], seen.part.group.dtype
        if len(types) > 1:
            first, *others = seen.unit.steps
            kept, result = normed(first, operands, which, seen.origin.at, self.source)
            self.report.looked_at(seen.part.group.equation.span, len(kept) - len(which))
            seen, which = seen.only(kept), which[kept]
            self._values(seen, specs, which, computed(result, others, target))
            return
        places = Places(specs, which, offsets(specs, which, seen.origin.at), source)
        raw = places.read(self.source)
        if not moves_bits(source, seen.unit.steps, target):
            self._values(
                seen, specs, which, computed(exactly(codes_of(raw), source), seen.unit.steps, target)
            )
            return
        wrong = (raw != seen.raw).any(axis=1) | (places.within() != seen.within)
        if wrong.any():
            seen.tell(self.report, wrong, lambda k: seen.source(k, specs, which), raw)

    def _values(self, seen: Seen, specs: list[TensorSpec], which: Index, wanted: Wanted) -> None:
        wrong = ~agrees(codes_of(seen.raw), wanted)
        if wrong.any():
            seen.tell(self.report, wrong, lambda k: seen.source(k, specs, which), wanted)

    def _created(self, seen: Seen) -> None:
        group, found = seen.part.group, Diagnostics()
        value = fill_value(seen.unit, group.equation, group.dtype, found)
        if value is None:
            for d in found:
                self.findings.add(d.code, d.message, d.span, notes=d.notes, help=d.help)
            return
        raw = np.broadcast_to(constant(value, group.dtype), seen.raw.shape)
        wrong = (raw != seen.raw).any(axis=1)
        if wrong.any():
            seen.tell(self.report, wrong, lambda k: "the number that is created", raw)
