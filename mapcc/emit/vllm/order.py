"""An order of regular expressions in which none acts on what another made.

vLLM applies every expression that is found, one after the other. So one that matches what another
makes must stand before it, and one that matches what another takes, behind it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence

from mapcc.dialects.regexes import Candidates
from mapcc.emit.vllm.entries import Line, Owner


def ordered(lines: Sequence[Line], names: Iterable[str], owners: Mapping[str, Owner]) -> list[Line] | None:
    """The lines in such an order, as near to the given one as can be; None if there is none."""
    candidates = Candidates(line.rule.old for line in lines)
    later: dict[int, set[int]] = {}
    for name in names:
        matching = candidates.matching(name)
        own = next((n for n in matching if lines[n].owner is owners.get(name)), None)
        if own is None:
            if matching:
                return None
            continue
        later.setdefault(own, set()).update(n for n in matching if n != own)
        new = lines[own].rule.new
        if new is not None:
            for number in candidates.matching(candidates.patterns[own].sub(new, name)):
                if number != own:
                    later.setdefault(number, set()).add(own)
    order = _topological(len(lines), later)
    return None if order is None else [lines[number] for number in order]


def _topological(count: int, later: Mapping[int, set[int]]) -> list[int] | None:
    """Numbers before those that are later than they, the least first; None if they go round."""
    waiting = [0] * count
    for numbers in later.values():
        for number in numbers:
            waiting[number] += 1
    ready = [number for number in range(count) if not waiting[number]]
    order: list[int] = []
    while ready:
        number = heapq.heappop(ready)
        order.append(number)
        for following in later.get(number, ()):
            waiting[following] -= 1
            if not waiting[following]:
                heapq.heappush(ready, following)
    return order if len(order) == count else None
