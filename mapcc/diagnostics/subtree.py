"""Whole modules of which nothing is spoken: one line instead of one for each kind of tensor in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

LEAST = 4  # kinds of tensors, below which each is told by itself

_NUMBERS = re.compile(r"\{[0-9.,]+\}|[0-9]+")


def subtrees(
    templates: Sequence[str], others: Iterable[str], separator: str
) -> list[tuple[str | None, list[str]]]:
    """Templates gathered under the highest modules that hold nothing else, in the order of first sight.

    Args:
        templates: folded names (:func:`mapcc.diagnostics.fold.fold`).
        others: the names of the same side that do not belong to them.

    Returns:
        a module, with 0 for each of its numbers (``None`` where too few are together), and what lies in it.

    >>> subtrees(["v.a", "v.b", "v.c.{0..3}", "v.d", "w"], ["x.a"], ".")
    [('v', ['v.a', 'v.b', 'v.c.{0..3}', 'v.d']), (None, ['w'])]
    """
    spoken = {path for name in set(map(_plain, others)) for path in _above(name, separator)}
    by_module: dict[str, list[str]] = {}
    for template in templates:
        modules = map(_plain, _above(template, separator))
        by_module.setdefault(next((each for each in modules if each not in spoken), ""), []).append(template)
    out: list[tuple[str | None, list[str]]] = []
    for module, inside in by_module.items():
        if module and len(inside) >= LEAST:
            out.append((module, inside))
        else:
            out += [(None, [template]) for template in inside]
    return out


def lies_in(name: str, module: str, separator: str) -> bool:
    """Whether a name is one of those that :func:`subtrees` has gathered under a module."""
    return module in map(_plain, _above(name, separator))


def pattern_text(module: str) -> str:
    """The module as a folded name: with any numbers.

    >>> pattern_text("blocks.0.attn")
    'blocks.{0..1}.attn'
    """
    return _NUMBERS.sub("{0..1}", module)


def _plain(text: str) -> str:
    """Names that differ in their numbers alone are one."""
    return _NUMBERS.sub("0", text)


def _above(name: str, separator: str) -> list[str]:
    """The modules above a name or a template, the highest first; separators in braces are none."""
    out, depth = [], 0
    for at, char in enumerate(name):
        depth += (char == "{") - (char == "}")
        if char == separator and not depth and at:
            out.append(name[:at])
    return out
