"""Operations on values as lines of a script: from the bits of one type to those of another."""

from __future__ import annotations

from collections.abc import Callable
from math import isfinite

import numpy as np

from mapcc.emit.layout import Expr
from mapcc.emit.script_words import NotSaid
from mapcc.emit.standalone import values
from mapcc.ir.values import Step
from mapcc.tensors.dtypes import DTYPES, Dtype

_NATIVE = {
    "BOOL": "<u1",
    "F16": "<f2",
    "F32": "<f4",
    "F64": "<f8",
    **{f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}
_SMALL = {"F8_E4M3": "E4M3", "F8_E5M2": "E5M2", "F8_E4M3FNUZ": "E4M3FNUZ", "F8_E5M2FNUZ": "E5M2FNUZ"}


def unsigned(dtype: Dtype) -> str:
    """The numpy type in which a script has the bits of a type."""
    return f"<u{max(8, dtype.bits) // 8}"


def numbers(dtype: Dtype, x: str = "x") -> str:
    """The numbers that bits stand for.

    >>> numbers(DTYPES["BF16"]), numbers(DTYPES["F32"])
    ('from_bf16(x)', 'x.view("<f4")')
    """
    if dtype.name in _NATIVE:
        return f'{x}.view("{_NATIVE[dtype.name]}")'
    if dtype.name in _SMALL:
        return f"from_small({x}, {_SMALL[dtype.name]})"
    if dtype.name in ("BF16", "F8_E8M0"):
        return f"from_{dtype.name.removeprefix('F8_').lower()}({x})"
    raise NotSaid(f"compute with {dtype.name}")


def computed(source: Dtype, steps: tuple[Step, ...], target: Dtype) -> list[Expr]:
    """The lines of a function of ``x``: what ``mapcc convert`` computes, operation by operation.

    Raises:
        NotSaid: a type or a number that a script cannot compute with.

    >>> computed(DTYPES["F64"], (), DTYPES["BF16"])
    ['x.view("<f8")', 'to_odd(x)', 'to_bf16(x)']
    """
    lines = _Lines(source)
    for step in steps:
        if step.dtype is not None:
            lines.cast(step.dtype)
        else:
            lines.cast(DTYPES["F64" if lines.dtype.name == "F64" else "F32"])
            lines.read()
            lines.out.append(_KERNELS[step.op.name](step))
    lines.cast(target)
    return list(lines.out) or ["x"]


def _number(step: Step, name: str) -> str:
    number = step.number(name)
    if not isfinite(number):
        raise NotSaid(f"compute with {number}")
    return repr(number)


_KERNELS: dict[str, Callable[[Step], str]] = {
    "scale": lambda step: f"x * {_number(step, 'factor')}",
    "add": lambda step: f"x + {_number(step, 'number')}",
    "neg_exp": lambda step: "-np.exp(x)",
}


class _Lines:
    """Lines so far, the type of what they give, and whether these are bits."""

    def __init__(self, dtype: Dtype) -> None:
        self.out: list[str] = []
        self.dtype = dtype
        self.is_bits = True

    def read(self) -> None:
        if self.is_bits:
            self.out.append(numbers(self.dtype))
            self.is_bits = False

    def cast(self, to: Dtype) -> None:
        if to == self.dtype:
            return
        self.read()
        if "bool" in (to.kind, self.dtype.kind):
            self._boolean(to)
        elif to.kind in ("int", "uint"):
            self.out.append(f'to_integer(x, "{_NATIVE[to.name]}")')
        elif to.name in ("F32", "F64"):
            self._plain(to)
        else:
            self._narrow(to)
        self.dtype = to

    def _plain(self, to: Dtype) -> None:
        # What stands for BF16 and F8 is F32 already.
        if not (to.name == "F32" and self.dtype.name not in _NATIVE):
            self.out.append(f'x.astype("{_NATIVE[to.name]}")')

    def _boolean(self, to: Dtype) -> None:
        self.out.append("x != 0")
        if to.name in _NATIVE:
            self.out[-1] = f'(x != 0).astype("{_NATIVE[to.name]}")'
        else:
            self.out[-1] = '(x != 0).astype("<f4")'
            self._round(to)

    def _narrow(self, to: Dtype) -> None:
        """By way of F32: what is wider first becomes F32 in a way that rounding once more does no harm."""
        is_wide = self.dtype.name == "F64"
        if self.dtype.kind in ("int", "uint"):
            self.out.append("integers_to_odd(x)" if self.dtype.bits == 64 else 'x.astype("<f8")')
            is_wide = True
        if is_wide:
            self.out.append("to_odd(x)")
        else:
            self._plain(DTYPES["F32"]) if self.dtype.name == "F16" else None
        self._round(to)

    def _round(self, to: Dtype) -> None:
        if to.name == "F16":
            self.out.append('x.astype("<f2")')
            return
        if to.name in _SMALL:
            self.out.append(f"to_small(x, {_SMALL[to.name]})")
        elif to.name in ("BF16", "F8_E8M0"):
            self.out.append(f"to_{to.name.removeprefix('F8_').lower()}(x)")
        else:
            raise NotSaid(f"compute with {to.name}")
        self.is_bits = True


def fill_bits(value: int | float, dtype: Dtype) -> int:
    """The bits of one element with this value; of types smaller than a byte, a whole byte.

    >>> hex(fill_bits(1, DTYPES["BF16"])), hex(fill_bits(1, DTYPES["F4"])), fill_bits(-1, DTYPES["I8"])
    ('0x3f80', '0x22', 255)
    """
    if value == 0 and dtype.bits < 8:
        return 0
    with np.errstate(all="ignore"):
        one = _encoded(value, dtype)
    bits = int.from_bytes(one.tobytes(), "little")
    return bits | bits << 4 if dtype.bits == 4 else bits


def _encoded(value: int | float, dtype: Dtype) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    if dtype.kind not in ("float", "complex"):
        return np.array([int(value)]).astype(_NATIVE[dtype.name])
    if dtype.name in ("F32", "F64"):
        return np.array([float(value)], _NATIVE[dtype.name])
    if dtype.name == "C64":
        return np.array([float(value)], "<c8")
    single = values.to_odd(np.array([float(value)]))
    match dtype.name:
        case "F16":
            bits = single.astype("<f2")
        case "BF16":
            bits = values.to_bf16(single)
        case "F8_E8M0":
            bits = values.to_e8m0(single)
        case "F4":
            codes = values.to_small(single, values.E2M1)
            bits = codes & 0x0F | codes >> 4  # the sign stands behind three bits, not behind seven
        case _:
            bits = values.to_small(single, getattr(values, _SMALL[dtype.name]))
    found: np.ndarray[tuple[int, ...], np.dtype[np.generic]] = bits
    return found
