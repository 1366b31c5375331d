"""What differs, told rule by rule with a few elements of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.tensors.dtypes import Dtype
from mapcc.text import Span
from mapcc.verify.arithmetic import Wanted
from mapcc.verify.formats import Codes, decode, doubles
from mapcc.verify.reads import Raw

EXAMPLES = 3


@dataclass(slots=True)
class _Entry:
    span: Span
    looked_at: int = 0
    wrong: int = 0
    names: dict[str, None] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


class Report:
    """Gathers by the rule's place, so that the copies of a rule are one finding."""

    def __init__(self) -> None:
        self._rules: dict[tuple[str, int, int], _Entry] = {}

    def looked_at(self, span: Span, count: int) -> None:
        self._entry(span).looked_at += count

    def wants_example(self, span: Span, name: str) -> bool:
        entry = self._entry(span)
        return len(entry.examples) < EXAMPLES and name not in entry.names

    def wrong(self, span: Span, name: str, count: int, example: str = "") -> None:
        entry = self._entry(span)
        entry.wrong += count
        entry.names[name] = None
        if example:
            entry.examples.append(example)

    def flush(self, found: Diagnostics) -> None:
        for entry in self._rules.values():
            if entry.wrong:
                found.add(_diagnostic(entry))

    def _entry(self, span: Span) -> _Entry:
        return self._rules.setdefault((span.source.name, span.start, span.end), _Entry(span))


def _diagnostic(entry: _Entry) -> Diagnostic:
    count = f"{entry.wrong:,} of {entry.looked_at:,} elements that were looked at differ"
    return Diagnostic(
        "MC503",
        "values of the output are not what this rule says",
        entry.span,
        notes=(*entry.examples, count),
        help="was it made with this mapping, of this source? convert it again",
        names=tuple(fold(entry.names)),
    )


def place(name: str, at: Sequence[int]) -> str:
    """
    >>> place("a.w", (2, 3))
    '`a.w` [2, 3]'
    """
    return f"`{name}` {list(at)}"


def shown_bytes(raw: Raw, dtype: Dtype) -> str:
    """An element as it lies in the file, and what it is.

    >>> import numpy as np
    >>> from mapcc.tensors.dtypes import DTYPES
    >>> shown_bytes(np.array([0, 0, 0x80, 0x3F], np.uint8), DTYPES["F32"])
    '0x3f800000 (1.0)'
    """
    bits = f"0x{raw[::-1].tobytes().hex()}"
    if dtype.bits < 8 or dtype.kind == "complex":
        return bits
    code = np.zeros(8, np.uint8)
    code[: len(raw)] = raw
    return f"{bits} ({_value(code.view('<u8').astype(np.uint64), dtype)})"


def shown_wanted(wanted: Wanted, k: int) -> str:
    if not wanted.exists[k]:
        return f"a number that {wanted.dtype.name} does not have"
    low, high = (_shown(codes[k : k + 1], wanted.dtype) for codes in (wanted.low, wanted.high))
    return low if low == high else f"from {low} to {high}"


def _shown(code: Codes, dtype: Dtype) -> str:
    return shown_bytes(code.astype("<u8").view(np.uint8)[: dtype.bits // 8], dtype)


def _value(code: Codes, dtype: Dtype) -> str:
    if dtype.kind == "float":
        return (
            f"{doubles(code, dtype).item():.9g}" if dtype.bits > 32 else _short(doubles(code, dtype).item())
        )
    x = decode(code, dtype)
    return str(-x.mantissa.item() if x.negative.item() else x.mantissa.item())


def _short(value: float) -> str:
    return repr(float(f"{value:.9g}"))
