"""Which functions make a cast: called by ``runtime``, spelt out by ``emit-script``."""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np

from mapcc.numeric import casts, formats
from mapcc.numeric.formats import Format

FORMATS: dict[str, Format] = {
    "F64": formats.F64,
    "F32": formats.F32,
    "BF16": formats.BF16,
    "F16": formats.F16,
    "F8_E5M2": formats.E5M2,
    "F8_E4M3": formats.E4M3,
    "F8_E4M3FNUZ": formats.E4M3FNUZ,
    "F8_E5M2FNUZ": formats.E5M2FNUZ,
    "F8_E8M0": formats.E8M0,
    "F6_E2M3": formats.E2M3,
    "F6_E3M2": formats.E3M2,
    "F4": formats.E2M1,
}
INTEGERS = {f"{kind}{8 * size}": f"<{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)}
NAMES = {form: word for word, form in vars(formats).items() if isinstance(form, Format)}

Argument = Format | str | int | bool


class Call(NamedTuple):
    """``function(x, *arguments)``; codes go in and come out."""

    function: str
    arguments: tuple[Argument, ...] = ()

    def text(self, x: str) -> str:
        """As Python.

        >>> Call("narrow", (formats.F32, formats.E4M3)).text("x")
        'narrow(x, F32, E4M3)'
        """
        words = [NAMES[a] if isinstance(a, Format) else _quoted(a) for a in self.arguments]
        return f"{self.function}({', '.join([x, *words])})"

    def __call__(self, x: Any) -> Any:
        return getattr(casts, self.function)(x, *self.arguments)

    def with_(self, x: Any, before: Any) -> Any:
        return getattr(casts, self.function)(x, before, *self.arguments)


def _quoted(argument: str | int) -> str:
    return f'"{argument}"' if isinstance(argument, str) else repr(argument)


@cache
def route(source: str, target: str, saturate: bool = False) -> tuple[Call, ...]:
    """The calls of a cast, one after the other; none where the types are the same.

    KeyError for C64, of which there are no casts. Of floating-point types ``saturate`` is the caller's,
    by :func:`saturation`, as it has to know what was there before.

    >>> [call.text("x") for call in route("BF16", "I32")]
    ['lookup(x, BF16, F64)', 'to_integers(x, "<i4", False)']
    """
    if source == target:
        return ()
    if target == "BOOL":
        return (Call("truth", (_magnitude(source),)),)
    if source == "BOOL":
        zero = formats.E8M0.infinity if target == "F8_E8M0" else 0  # it has none
        return (Call("from_truth", (code_of_one(target), zero, unsigned(target))),)
    if source in INTEGERS:
        if target in INTEGERS:
            return (Call("between_integers", (INTEGERS[source], INTEGERS[target], saturate)),)
        return (Call("from_integers", (INTEGERS[source], FORMATS[target])),)
    if target in INTEGERS:
        return (*route(source, "F64"), Call("to_integers", (INTEGERS[target], saturate)))
    return (_between_floats(FORMATS[source], FORMATS[target]),)


def _between_floats(source: Format, target: Format) -> Call:
    match NAMES[source], NAMES[target]:
        case "BF16", "F32":
            return Call("from_bf16")
        case "F32", "BF16":
            return Call("to_bf16")
        case "F32", "F64":
            return Call("widened")
        case "F64", "F32":
            return Call("to_single")
    return Call("lookup" if source.bits <= 16 else "narrow", (source, target))


def saturation(source: str, target: str) -> Call | None:
    """What is called with the result of a cast and, second, with what was cast; None if the route does it."""
    if target not in FORMATS or source == "BOOL":
        return None
    if source in INTEGERS:
        return Call("saturated_integers", (INTEGERS[source], FORMATS[target]))
    return Call("saturated", (FORMATS[source], FORMATS[target]))


def unsigned(name: str) -> str:
    """The numpy type of the codes of a type."""
    if name in FORMATS:
        return FORMATS[name].unsigned
    return f"<u{INTEGERS[name][2:]}" if name in INTEGERS else "<u1"


def _magnitude(source: str) -> int:
    if source in INTEGERS:
        return (1 << (8 * int(INTEGERS[source][2:]))) - 1
    form = FORMATS[source]
    # What would be -0 of the FNUZ types is NaN, which is not 0; a power of two never is.
    return {"fnuz": form.mask | form.sign, "power": 0}.get(form.kind, form.mask)


def code_of(value: int | float, name: str) -> int:
    """The code of the element of a type that is nearest to a number.

    >>> hex(code_of(1, "BF16")), code_of(-1, "I8"), hex(code_of(-6, "F4"))
    ('0x3f80', 255, '0xf')
    """
    if isinstance(value, int) and -(2**63) <= value < 2**64:
        source = "U64" if value >= 0 else "I64"
        codes = np.array([value], INTEGERS[source]).view("<u8")
    else:
        source, codes = "F64", np.array([float(value)], "<f8").view("<u8")
    for call in route(source, name):
        codes = call(codes)
    return int(codes[0])


def code_of_one(name: str) -> int:
    """The code of the number 1."""
    return 1 if name in INTEGERS or name == "BOOL" else FORMATS[name].bias << FORMATS[name].mantissa
