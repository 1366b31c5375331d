"""Patterns that leave out tensors of an adapter, and no others."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from mapcc.diagnostics.fold import fold
from mapcc.ir.notation import quote
from mapcc.lora.model import Fault
from mapcc.lora.names import flat_prefix, told

_PLAIN = re.compile(r"[A-Za-z0-9_\-/.]+")


def patterns_for(names: Collection[str], others: Collection[str]) -> list[str]:
    """Patterns that match all of ``names`` and none of ``others``, as few and as short as are easily found.

    >>> patterns_for(["a.0.q.diff", "a.1.q.diff"], ["a.0.q.lora_A.weight"])
    ['**.diff']
    """
    out: list[str] = []
    left = list(names)
    while left:
        matched: dict[str, set[str]] = {
            pattern: {name for name in left if _regex(pattern).fullmatch(name)}
            for pattern in _candidates(left[0])
            if not _any_matches(pattern, others)
        }
        pattern = max(matched, key=lambda p: len(matched[p]))  # the most general of the best
        out.append(pattern)
        left = [name for name in left[1:] if name not in matched[pattern]]
    return out


def _candidates(name: str) -> Iterator[str]:
    """From the most general to the name itself."""
    if not _PLAIN.fullmatch(name) or ".." in f".{name}.":
        yield quote(name)
        return
    _, module, suffix, _, _ = told(name)
    if flat := flat_prefix(name):
        yield f"{flat}*.**"
    head, dot, _ = name.partition(".")
    if dot:
        yield f"{head}.**"
    parts = module.split(".")
    if suffix.startswith(".") and len(parts) > 1:
        yield f"**{suffix}"
        last = f"{parts[-1]}{suffix}"
        yield f"**.{last}"
        if len(parts) > 2:
            yield f"**.{parts[-2]}.{last}"
        yield f"{_numbered(module)}.**"
    yield _numbered(name)
    if suffix.startswith("."):
        yield f"{module}.**"
    yield name


def _numbered(name: str) -> str:
    """The name with a star for each number."""
    return ".".join("*" if part.isdigit() else part for part in name.split("."))


def _any_matches(pattern: str, names: Collection[str]) -> bool:
    expression = _regex(pattern)
    return any(expression.fullmatch(name) for name in names)


def _regex(pattern: str) -> re.Pattern[str]:
    return re.compile(re.escape(pattern).replace(r"\*\*", ".+").replace(r"\*", "[^.]*"))


def statements(patterns: Sequence[str]) -> str:
    """What leaves them out, as statements of the language."""
    return "".join(f'drop {pattern} because "--skip"   optional\n' for pattern in patterns)


def joined(faults: Sequence[Fault]) -> list[Fault]:
    """Faults that differ in their target alone, as one."""
    groups: dict[tuple[object, ...], list[Fault]] = {}
    for at, fault in enumerate(faults):
        key = (fault.code, fault.message, fault.help, fault.span, 0 if fault.target else at)
        groups.setdefault(key, []).append(fault)
    out = []
    for group in groups.values():
        names = tuple(dict.fromkeys(name for fault in group for name in fault.names))
        first = group[0]
        message = first.message
        if first.target:
            message = message.format(", ".join(fold([fault.target for fault in group], 4)))
        out.append(replace(first, message=message, names=names))
    return out


def listed(names: Sequence[str], limit: int = 40) -> tuple[str, ...]:
    """Names folded, for a diagnostic."""
    return tuple(fold(names, limit))
