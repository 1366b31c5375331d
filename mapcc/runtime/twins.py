"""Tensors that a mapping drops as copies: compared with what stays, before anything is written."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import numpy as np

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan.model import Folded, Plan, SourceTensor, Twins
from mapcc.runtime.inputs import Inputs
from mapcc.tensors.dtypes import Dtype

if TYPE_CHECKING:
    from mapcc.runtime.arrays import Array

_WINDOW = 1 << 19
_NOTES = 8


def differing_twins(plan: Plan, inputs: Inputs) -> list[Diagnostic]:
    """MC414 for those that differ, with the first element of each that does; nothing if they are copies."""
    windows = [np.empty(_WINDOW, np.uint8) for _ in range(2)]
    places = {twins: at for twins in plan.twins if (at := _first(twins, inputs, windows)) is not None}
    if not places:
        return []
    notes = [_note(twins, inputs, at) for twins, at in list(places.items())[:_NOTES]]
    message = "the mapping drops these as copies, and they differ from what they are to be the same as"
    help = "give them rules of their own; if one of the two is right, drop the other without 'same as'"
    names = tuple(fold(twins.name for twins in places))
    return [Diagnostic("MC414", message, notes=tuple(notes), help=help, names=names)]


def check_twins(plan: Plan, inputs: Inputs) -> None:
    """Raises:
    MappingError: MC414, where two differ.
    """
    if plan.twins and (found := differing_twins(plan, inputs)):
        raise MappingError(found)


def _first(twins: Twins, inputs: Inputs, windows: list[Array]) -> int | None:
    """The first byte that differs."""
    dtype, shape = inputs.spec(twins.first)
    size = prod(shape) * dtype.bits // 8
    for begin in range(0, size, _WINDOW):
        count = min(_WINDOW, size - begin)
        for window, origin in zip(windows, (twins.first, twins.second), strict=True):
            file, at = inputs.of(origin, np.empty(_WINDOW, np.uint8))
            file.read_into(memoryview(window.data)[:count], at + begin)
        unlike = windows[0][:count] != windows[1][:count]
        if unlike.any():
            return begin + int(unlike.argmax())
    return None


def _note(twins: Twins, inputs: Inputs, byte: int) -> str:
    dtype, shape = inputs.spec(twins.first)
    index = [int(n) for n in np.unravel_index(byte * 8 // dtype.bits, shape)] if shape else []
    shown = [_bits(inputs, origin, dtype, byte) for origin in (twins.first, twins.second)]
    return f"{twins.name}{index} is {shown[0]}, {twins.other}{index} is {shown[1]}"


def _bits(inputs: Inputs, origin: SourceTensor | Folded, dtype: Dtype, byte: int) -> str:
    """One element as its bits, which tell two NaNs apart too; of types smaller than a byte, a whole byte."""
    width = max(1, dtype.bits // 8)
    raw = np.empty(width, np.uint8)
    file, at = inputs.of(origin, np.empty(_WINDOW, np.uint8))
    file.read_into(memoryview(raw.data), at + byte // width * width)
    return f"0x{raw.tobytes()[::-1].hex()}"
