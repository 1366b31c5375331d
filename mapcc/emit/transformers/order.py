"""Renamings in an order in which no later one takes what an earlier one gave.

transformers applies every renaming that matches, one after the other. Where names go round in a circle
no order helps: then a name waits under another one until the others are through.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mapcc.dialects.regexes import Candidates
from mapcc.dialects.transformers.names import namer
from mapcc.emit.transformers.names import Renaming, Tags


@dataclass(slots=True)
class _Item:
    """A renaming, and what has to stand before it.

    Attributes:
        takers: those that take a name that it gives.
        rivals: those that take a name that it has to take.
    """

    takers: set[int] = field(default_factory=set)
    rivals: set[int] = field(default_factory=set)


def ordered(
    renamings: Sequence[Renaming], owned: Mapping[str, Iterable[int]], tags: Tags
) -> list[tuple[int, Renaming]]:
    """Each with its number.

    Args:
        owned: for each name that is renamed, the renamings of its own rule.
    """
    items = _items(renamings, owned)
    before: list[set[int]] = [set(item.takers) for item in items]
    for number, item in enumerate(items):
        for rival in item.rivals:
            before[rival].add(number)
    after: list[set[int]] = [set() for _ in items]
    for number, numbers in enumerate(before):
        for other in numbers:
            after[other].add(number)
    out: list[tuple[int, Renaming]] = []
    ready = [number for number, numbers in enumerate(before) if not numbers]
    heapq.heapify(ready)
    left = dict.fromkeys(range(len(items)))
    while left:
        waits = not ready
        number = heapq.heappop(ready) if ready else _first(left, before, items)
        if number not in left:
            continue
        del left[number]
        out.append((number, renamings[number].waiting(tags) if waits else renamings[number]))
        for other in after[number]:
            before[other].discard(number)
            if not before[other] and other in left:
                heapq.heappush(ready, other)
    return out


def _first(left: Iterable[int], before: Sequence[set[int]], items: Sequence[_Item]) -> int:
    """Of a circle, one that only its own results keep back, if there is one."""
    numbers = list(left)
    return next((n for n in numbers if before[n] <= items[n].takers), numbers[0])


def _items(renamings: Sequence[Renaming], owned: Mapping[str, Iterable[int]]) -> list[_Item]:
    items = [_Item() for _ in renamings]
    candidates = Candidates([one.pattern for one in renamings])
    namers = [[namer(entry) for entry in one.entries] for one in renamings]
    for name, own in owned.items():
        matching = set(candidates.matching(name))
        for number in matching.intersection(own):
            given = name
            for one in namers[number]:
                given = one.rename(given, set())[0]
            items[number].takers.update(candidates.matching(given))
            items[number].rivals |= matching
    for number, item in enumerate(items):
        item.takers.discard(number)
        item.rivals.discard(number)
    return items
