"""Operations on values as lines of a script: from the codes of one type to those of another."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

from mapcc.emit.layout import Expr
from mapcc.emit.script_words import NotSaid
from mapcc.ir.values import Step
from mapcc.numeric.route import code_of, route, saturation
from mapcc.tensors.dtypes import DTYPES, Dtype


def unsigned(dtype: Dtype) -> str:
    """The numpy type in which a script has the codes of a type."""
    return f"<u{max(8, dtype.bits) // 8}"


def computed(source: Dtype, steps: tuple[Step, ...], target: Dtype) -> list[Expr]:
    """The lines of a function of ``x``: what ``mapcc convert`` computes, operation by operation.

    Raises:
        NotSaid: a number that a script cannot compute with.

    >>> computed(DTYPES["F64"], (), DTYPES["BF16"])
    ['narrow(x, F64, BF16)']
    """
    lines: list[Expr] = []
    dtype, saturate = source, False
    for step in (*steps, None):
        if step is not None and step.is_saturating:
            saturate = True
        elif step is None or step.dtype is not None:
            to = target if step is None else step.dtype
            assert to is not None
            lines += _cast(dtype, to, saturate)
            dtype, saturate = to, False
        else:
            wide = DTYPES["F64" if dtype.name == "F64" else "F32"]
            lines += [*_cast(dtype, wide, False), _KERNELS[step.op.name](step)]
            dtype = wide
    return lines or ["x"]


def _cast(source: Dtype, target: Dtype, saturate: bool) -> list[Expr]:
    calls = route(source.name, target.name, saturate)
    last = saturation(source.name, target.name) if saturate else None
    if last is None:
        return [call.text("x") for call in calls]
    x = "x"
    for call in calls:
        x = call.text(x)
    return [last.text(f"{x}, x")]


def _number(step: Step, name: str) -> str:
    number = step.number(name)
    if not isfinite(number):
        raise NotSaid(f"compute with {number}")
    return repr(number)


_KERNELS: dict[str, Callable[[Step], str]] = {
    "scale": lambda step: f"scaled_by(x, {_number(step, 'factor')})",
    "add": lambda step: f"shifted_by(x, {_number(step, 'number')})",
    "neg_exp": lambda step: "neg_exp(x)",
    "round": lambda step: "nearest_whole(x)",
    "clamp": lambda step: f"kept_between(x, {_number(step, 'low')}, {_number(step, 'high')})",
}


def fill_bits(value: int | float, dtype: Dtype) -> int:
    """The bits of one element with this value; of types smaller than a byte, a whole byte.

    >>> hex(fill_bits(1, DTYPES["BF16"])), hex(fill_bits(1, DTYPES["F4"])), fill_bits(-1, DTYPES["I8"])
    ('0x3f80', '0x22', 255)
    """
    if value == 0 and dtype.bits < 8:
        return 0
    code = code_of(value, "F32" if dtype.kind == "complex" else dtype.name)
    return code | code << 4 if dtype.bits == 4 else code
