"""Short names for the axes of tensors that are told apart by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def labels(names: Sequence[str], otherwise: str = "p") -> tuple[str, ...]:
    """What is different in each name, if that makes names of axes.

    >>> labels(["attn.q_proj", "attn.k_proj"]), labels(["e.*.w1.b", "e.*.w3.b"]), labels(["1", "2"])
    (('q', 'k'), ('w1', 'w3'), ('p', 'p'))
    """
    begin = _common(names)
    end = _common([name[begin:][::-1] for name in names])
    while True:
        found = tuple(name[begin : len(name) - end] for name in names)
        if len(set(found)) == len(names) > 1 and all(map(_WORD.fullmatch, found)):
            return found
        if begin == 0 or not names or not _WORD.fullmatch(names[0][begin - 1]):
            return (otherwise,) * len(names)
        begin -= 1


def _common(names: Sequence[str]) -> int:
    """How many characters all begin with."""
    first, last = min(names, default=""), max(names, default="")
    pairs = enumerate(zip(first, last, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(first), len(last)))
