"""What operations on values have lost, counted by output tensor: the same in whatever order it is made."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from math import prod
from typing import Any, NamedTuple, SupportsInt

from mapcc.plan.model import Plan

# In the order in which they are told.
KINDS = {
    "infinite": "became infinite",
    "nan": "became NaN",
    "zero": "became 0",
    "clamped": "clamped",
    "rounded": "rounded to whole numbers",
}

Counts = Mapping[str, Mapping[str, int]]


class ValuesLost(UserWarning):
    """What a rule's operations have lost: told once all tensors are loaded."""


class Losses:
    """Counts of the elements of one tensor."""

    __slots__ = ("counts",)

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}

    def add(self, kind: str, count: SupportsInt, sign: int = 1) -> None:
        if int(count):
            self.counts[kind] = self.counts.get(kind, 0) + sign * int(count)

    def merge(self, other: Losses, sign: int = 1) -> None:
        for kind, count in other.counts.items():
            self.add(kind, count, sign)


class Tally:
    """By the names of tensors."""

    __slots__ = ("tensors",)

    def __init__(self) -> None:
        self.tensors: dict[str, Losses] = {}

    def of(self, name: str) -> Losses:
        return self.tensors.setdefault(name, Losses())

    def merge(self, other: Tally) -> None:
        for name, losses in other.tensors.items():
            self.of(name).merge(losses)

    def counts(self) -> dict[str, dict[str, int]]:
        """Without what is 0, in the order of the names and of the kinds."""
        found = {}
        for name in sorted(self.tensors):
            own = self.tensors[name].counts
            kept = {kind: own[kind] for kind in KINDS if own.get(kind)}
            if kept:
                found[name] = kept
        return found


class RuleLosses(NamedTuple):
    """What a rule's operations have lost: of each tensor that lost something, how many elements by kind.

    Attributes:
        rule: its file, line and text.
        of: the elements of these tensors, in all.
    """

    rule: str
    of: int
    tensors: Counts

    @property
    def totals(self) -> dict[str, int]:
        """Over all tensors, in the order of the kinds."""
        sums = {kind: sum(own.get(kind, 0) for own in self.tensors.values()) for kind in KINDS}
        return {kind: count for kind, count in sums.items() if count}

    @property
    def words(self) -> str:
        """
        >>> RuleLosses("m.mapcc:1: a | cast f16 -> b", 8, {"b": {"infinite": 2, "nan": 1}}).words
        '2 became infinite, 1 became NaN, of 8'
        """
        told = ", ".join(f"{count:,} {KINDS[kind]}" for kind, count in self.totals.items())
        return f"{told}, of {self.of:,}"


def by_rule(plan: Plan, counts: Counts) -> tuple[RuleLosses, ...]:
    """Counts by tensor, put under their rules, in the order of the rules."""
    sizes = {t.name: prod(t.shape) for file in plan.files for t in file.tensors}
    out = []
    for rule, names in plan.computing:
        tensors = {name: counts[name] for name in sorted(names) if counts.get(name)}
        if tensors:
            out.append(RuleLosses(rule, sum(sizes[name] for name in tensors), tensors))
    return tuple(out)


def to_json(losses: Iterable[RuleLosses]) -> list[dict[str, Any]]:
    return [{"rule": one.rule, "of": one.of, "tensors": one.tensors} for one in losses]


def from_json(content: Iterable[Mapping[str, Any]]) -> Iterator[RuleLosses]:
    """TypeError or KeyError if it is not what :func:`to_json` gives."""
    for one in content:
        tensors = one["tensors"].items()
        numbers = [one["of"], *(count for _, own in tensors for count in own.values())]
        if not isinstance(one["rule"], str) or any(type(number) is not int for number in numbers):
            raise TypeError("what a rule has lost is no count")
        if any(kind not in KINDS for _, own in tensors for kind in own):
            raise TypeError("what a rule has lost is of no kind that there is")
        yield RuleLosses(one["rule"], one["of"], dict(tensors))
