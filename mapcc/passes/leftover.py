"""Names that a mapping does not take, as the fewest patterns that have them and none that it takes."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mapcc.ir.expr import Name
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Deep, Index, Part, Pattern, Text, merge_texts

_INDEX = re.compile(r"(?<![0-9])(0|[1-9][0-9]{0,17})(?![0-9])")
_LETTERS = "ijklmnopqrst"


def patterns_of(left: Iterable[str], taken: Iterable[str], separator: str = ".") -> list[str]:
    """Patterns for the names ``left``, each as high as no name of ``taken`` lies beneath it.

    >>> patterns_of(["b.0.gate.w", "b.1.gate.w", "vae.x", "vae.y.z"], ["b.0.q.w", "b.1.q.w"])
    ['b.{i}.gate.**', 'vae.**']
    >>> patterns_of(["l.60.q", "l.61.q", "l.61.k"], ["l.0.q", "l.0.k"])
    ['l.60.**', 'l.61.**']
    """
    known = list(taken)
    heads, kinds = _heads(known, separator), _heads(map(_kind, known), separator)
    groups: dict[tuple[tuple[str, ...], bool, str], list[list[str]]] = {}
    for name in left:
        is_own = _kind(name) not in kinds  # no number is needed to tell it from what is taken
        if is_own:
            depth = _branch(_kind(name), kinds, separator)
            head = separator.join(name.split(separator)[:depth])
        else:
            head = separator.join(name.split(separator)[: _branch(name, heads, separator)])
        parts = _INDEX.split(head)
        key = tuple(parts[::2]), len(head) < len(name), "" if is_own else head
        group = groups.setdefault(key, [])
        if parts[1::2] not in group[-1:]:
            group.append(parts[1::2])
    return [
        print_name(_pattern(texts, numbers, separator if is_deep else ""))
        for (texts, is_deep, _), numbers in groups.items()
    ]


def _kind(name: str) -> str:
    return _INDEX.sub("0", name)


def _heads(names: Iterable[str], separator: str) -> set[str]:
    """What names begin with, and the names themselves."""
    found: set[str] = set()
    for name in names:
        head = name
        while head and head not in found:
            found.add(head)
            head = head.rpartition(separator)[0]
    return found


def _branch(name: str, heads: set[str], separator: str) -> int:
    """How many segments the shortest beginning of a name has that is none of ``heads``; or all of them."""
    at, count = name.find(separator), 1
    while at >= 0:
        if at and name[:at] not in heads:
            return count
        at, count = name.find(separator, at + 1), count + 1
    return count


def _pattern(texts: Sequence[str], numbers: Sequence[Sequence[str]], separator: str) -> Pattern:
    """One pattern for names of one kind: numbers that are not the same in all of them are indices."""
    letters = iter(_LETTERS)
    parts: list[Part] = [Text(texts[0])]
    for column, text in zip(zip(*numbers, strict=True), texts[1:], strict=True):
        letter = next(letters, None) if len(set(column)) > 1 else None
        parts += [Index(Name(letter)) if letter else Text(column[0]), Text(text)]
    if separator:
        parts += [Text(separator), Deep()]
    return Pattern(merge_texts(parts))
