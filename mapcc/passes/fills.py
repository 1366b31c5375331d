"""The numbers of ``create``: evaluated, and held against the type that they fill."""

from __future__ import annotations

import sys

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir.expr import Value
from mapcc.ir.program import Equation, Unit
from mapcc.passes.scope import evaluated
from mapcc.tensors.dtypes import Dtype

# The largest finite value of each floating-point type.
_LARGEST = {
    "F4": 6.0,
    "F6_E2M3": 7.5,
    "F6_E3M2": 28.0,
    "F8_E4M3": 448.0,
    "F8_E5M2": 57344.0,
    "F8_E4M3FNUZ": 240.0,
    "F8_E5M2FNUZ": 57344.0,
    "F8_E8M0": 2.0**127,
    "F16": 65504.0,
    "BF16": (2 - 2.0**-7) * 2.0**127,
    "F32": (2 - 2.0**-23) * 2.0**127,
    "F64": sys.float_info.max,
    "C64": (2 - 2.0**-23) * 2.0**127,
}


def fill_value(unit: Unit, equation: Equation, dtype: Dtype, found: Diagnostics) -> int | float | None:
    """The number that a created unit is filled with; None, with a diagnostic, if it has none.

    MC104 and MC108 if the expression has no value, MC502 if the value is none of ``dtype``.
    """
    assert unit.fill is not None
    span = unit.span or equation.span
    value = evaluated(unit.fill, equation.scope, span, found)
    if value is None:
        return None
    fault = fill_fault(value, dtype)
    if fault is not None:
        found.add(Diagnostic("MC502", fault, span))
        return None
    assert not isinstance(value, str)
    return value


def fill_fault(value: Value, dtype: Dtype) -> str | None:
    """Why no element of this type is this number, or None. Rounding is no fault; overflow is.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> fill_fault(0.1, DTYPES["BF16"])
    >>> fill_fault(300, DTYPES["U8"])
    '300 is not a value of U8'
    """
    if isinstance(value, str):
        return f"a tensor is filled with a number, not with {value!r}"
    # Python refuses to print an integer of very many digits.
    shown = (
        f"a number of {len(hex(value)) * 4} bits"
        if isinstance(value, int) and abs(value) > 2**64
        else str(value)
    )
    return None if _fits(value, dtype) else f"{shown} is not a value of {dtype.name}"


def _fits(value: int | float, dtype: Dtype) -> bool:
    match dtype.kind:
        case "bool":
            return value in (0, 1)
        case "uint":
            return value == value // 1 and 0 <= value < 2**dtype.bits
        case "int":
            return value == value // 1 and -(2 ** (dtype.bits - 1)) <= value < 2 ** (dtype.bits - 1)
    if dtype.bits == 6:  # how the bits of four elements lie in three bytes, nobody says
        return value == 0
    if dtype.name == "F8_E8M0":  # powers of two alone: no sign, no zero
        return 2.0**-127 <= value <= _LARGEST[dtype.name]
    return abs(value) <= _LARGEST[dtype.name]
