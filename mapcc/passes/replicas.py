"""Copies of a tensor on several ranks, of which one is taken: whether they are equal, no header tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from mapcc.ir.program import Listed
from mapcc.passes.binder import Binder
from mapcc.passes.segments import name_axes

# The pieces of a model are called by number; a query and a key are no copies of each other.
_RANK = re.compile(r"(?:r|rank|tp|mp|dp|shard|part|gpu)?[-_]?[0-9]+", re.IGNORECASE)


@dataclass(slots=True)
class _Dropped:
    """What one ``drop`` leaves out though a copy of it may be another: each with the one that is taken."""

    listed: Listed
    names: dict[str, str] = field(default_factory=dict)


def check_replicas(binder: Binder) -> None:
    """MC821: ranks are joined, and of a tensor that each of them has, only the first one is taken."""
    ranks = set(_ranks(binder))
    if not ranks:
        return
    found: dict[int, _Dropped] = {}
    for name, listed in binder.bound.dropped.items():
        other = next((other for other in _others(name, ranks) if _is_taken_alike(binder, name, other)), None)
        if other is not None:
            found.setdefault(id(listed.written), _Dropped(listed)).names[name] = other
    for dropped in found.values():
        allowing = [allow for allow in dropped.listed.allow if "MC821" in allow.codes]
        binder.bound.allowed += [(allow, "MC821") for allow in allowing]
        if allowing:
            continue
        name, other = next(iter(dropped.names.items()))
        for each in dropped.names:
            binder.findings.add(
                "MC821",
                "copies on other ranks are dropped, and nothing compares them with the one that is taken",
                dropped.listed.span,
                each,
                notes=(f"of `{other}` and `{name}`, the first is taken; pieces of one tensor look the same",),
                help='compare them once, and say so: `allow MC821 because "..."`',
            )


def _ranks(binder: Binder) -> Iterator[tuple[str, ...]]:
    """The labels of name axes that are called like ranks."""
    for equation in binder.program.equations:
        for unit in equation.units:
            for name in unit.names:
                for axis in name_axes(name):
                    if axis.labels is not None and all(_RANK.fullmatch(label) for label in axis.labels):
                        yield axis.labels


def _others(name: str, ranks: set[tuple[str, ...]]) -> Iterator[str]:
    """The same name on the other ranks."""
    segments = name.split(".")
    for labels in sorted(ranks):
        for at, segment in enumerate(segments):
            label = next((label for label in labels if _ends(segment, label)), None)
            if label is not None:
                before = segment.removesuffix(label)
                for other in labels:
                    if other != label:
                        yield ".".join((*segments[:at], before + other, *segments[at + 1 :]))


def _ends(segment: str, label: str) -> bool:
    before = segment.removesuffix(label)
    return before != segment and not before[-1:].isalnum()


def _is_taken_alike(binder: Binder, name: str, other: str) -> bool:
    tensors = binder.source.tensors
    if other not in binder.bound.taken:
        return False
    return tensors[other].shape == tensors[name].shape and tensors[other].dtype == tensors[name].dtype
