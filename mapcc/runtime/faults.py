"""Numbers that no integer type has, all of them found in order once a conversion has met one.

Which thread meets one first is chance. So what is told does not come from there: every tensor that is cast to
integers is gone through once more, in the order of the output, and of each the first such number is told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir.bound import Move
from mapcc.numeric.fault import Unrepresentable
from mapcc.plan.memory import Buffers
from mapcc.plan.model import Fill, Gathered, Plan, Run, Segment, Transfer
from mapcc.plan.moves import clip
from mapcc.plan.segments import unit
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.maker import Maker


class _Fault(NamedTuple):
    name: str
    place: int
    error: Unrepresentable
    dtype: str


def unrepresentable(plan: Plan, inputs: Inputs, sizes: Buffers, met: Unrepresentable) -> list[Diagnostic]:
    """For each rule and kind of fault one diagnostic: MC505 for fractions, MC502 for what does not fit.

    ``met`` is told alone if nothing is found any more, which is so if the source has changed.
    """
    maker = Maker(inputs, sizes)
    rule_of = {name: rule for rule, names in plan.computing for name in names}
    shapes = {t.name: t.shape for file in plan.files for t in file.tensors}
    found: dict[tuple[str, bool], list[_Fault]] = {}
    for file in plan.files:
        for segment in file.segments:
            fault = None if isinstance(segment, Run) else _first(maker, segment)
            if fault is not None:
                found.setdefault((rule_of.get(fault.name, ""), fault.error.fraction), []).append(fault)
    if not found:
        return [Diagnostic("MC502", f"a value cannot be cast: {met}")]
    return [_diagnostic(rule, faults, shapes) for (rule, _), faults in found.items()]


def _first(maker: Maker, segment: Segment) -> _Fault | None:
    """The first fault of a tensor, window by window."""
    assert not isinstance(segment, Run)
    transfers = [t for t in segment.transfers if not t.is_plain and not isinstance(t.origin, Fill)]
    kinds = [d for t in transfers for d in (*(s.dtype for s in t.steps), t.target) if d is not None]
    if not any(dtype.kind in ("int", "uint") or dtype.bits < 8 for dtype in kinds):
        return None
    width = unit(transfers[0].target.bits)
    step = max(1, len(maker.made) // max(width, *(unit(t.source.bits) for t in transfers)))
    count = (segment.end - segment.begin) // width
    for at in range(0, count, step):
        faults = [f for t in transfers for f in _faults(maker, segment, t, at, min(at + step, count))]
        if faults:
            return min(faults, key=lambda fault: fault.place)
    return None


def _faults(maker: Maker, segment: Segment, transfer: Transfer, low: int, high: int) -> Iterator[_Fault]:
    assert not isinstance(segment, Run)
    alone = Gathered(segment.begin, segment.end, segment.name, (transfer,))
    for part in clip(transfer.move, low, high):
        try:
            maker.taken_through(alone, transfer, part)
        except Unrepresentable as error:
            yield _Fault(segment.name, _target_place(part, error.at), error, transfer.target.name)


def _target_place(part: Move, at: int) -> int:
    """The element of the target that is number ``at`` of a part in the order of its dimensions."""
    place = part.target_offset
    for size, _, along in reversed(part.dims):
        at, digit = divmod(at, size)
        place += digit * along
    return place


def _diagnostic(rule: str, faults: list[_Fault], shapes: dict[str, tuple[int, ...]]) -> Diagnostic:
    first = faults[0]
    index = [int(k) for k in np.unravel_index(first.place, shapes[first.name])]
    notes = (f"the first is `{first.name}` {index}", f"by the rule at {rule}")
    names = tuple(fold([fault.name for fault in faults]))
    if first.error.fraction:
        message = f"{first.error.value} is cast to {first.dtype}, and is no whole number"
        help = "'| round' before the cast takes the nearest whole number, of two the even one"
        return Diagnostic("MC505", message, notes=notes, help=help, names=names)
    message = f"a value cannot be cast: {first.error.value} is not a value of {first.dtype}"
    help = "'| clamp' before the cast takes the nearest number that the type has"
    if first.error.value == "nan":
        help = ""
    return Diagnostic("MC502", message, notes=notes, help=help, names=names)
