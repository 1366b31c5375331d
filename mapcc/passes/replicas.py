"""Copies of a tensor on several ranks, of which one is taken: whether they are equal, no header tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

from mapcc.diagnostics.model import Fix
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Pattern, Text
from mapcc.ir.program import Listed
from mapcc.passes.binder import Binder
from mapcc.passes.segments import name_axes
from mapcc.syntax.editing import inserted

# The pieces of a model are called by number; a query and a key are no copies of each other.
_ONE = re.compile(r"(?:^|[\s{])drop[ \t]+\Z")  # before the first name of a statement
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
        if listed.same_as is not None:
            continue  # they are compared
        other = next((other for other in _others(name, ranks) if _is_taken_alike(binder, name, other)), None)
        if other is not None:
            found.setdefault(id(listed.written), _Dropped(listed)).names[name] = other
    for dropped in found.values():
        allowing = [allow for allow in dropped.listed.allow if "MC821" in allow.codes]
        binder.bound.allowed += [(allow, "MC821") for allow in allowing]
        if allowing:
            continue
        name, other = next(iter(dropped.names.items()))
        statement = _compared(dropped)
        for each in dropped.names:
            binder.findings.add(
                "MC821",
                "copies on other ranks are dropped, and nothing compares them with the one that is taken",
                dropped.listed.span,
                each,
                notes=(f"of `{other}` and `{name}`, the first is taken; pieces of one tensor look the same",),
                help=f'have them compared: `{statement} because "..."`; or, where they were compared, '
                'say so: `allow MC821 because "..."`',
                fixes=partial(_fixes, dropped),
            )


def _compared(dropped: _Dropped) -> str:
    """The ``drop`` as one of copies, as far as ``because``."""
    own, other = dropped.listed.span.text, _on_other_rank(dropped)
    if other is None:
        name, taken = next(iter(dropped.names.items()))
        own, other = (print_name(Pattern((Text(each),))) for each in (name, taken))
    return f"drop {own} same as {other}"


def _on_other_rank(dropped: _Dropped) -> str | None:
    """What is dropped, as it is written, of the rank that is taken; None where it is of several ranks."""
    text = dropped.listed.span.text
    pairs = {_segments(name, other) for name, other in dropped.names.items()}
    if len(pairs) != 1:
        return None
    [(own, taken)] = pairs
    segment = re.compile(rf"(?<![^.]){re.escape(own)}(?![^.])")
    return segment.sub(taken, text) if len(segment.findall(text)) == 1 else None


def _segments(name: str, other: str) -> tuple[str, str]:
    """The one segment in which two names differ."""
    pairs = zip(name.split("."), other.split("."), strict=True)
    return next(pair for pair in pairs if pair[0] != pair[1])


def _fixes(dropped: _Dropped) -> tuple[Fix, ...]:
    """``same as`` behind the name, where the statement has no other."""
    span, other = dropped.listed.span, _on_other_rank(dropped)
    before, after = span.source.text[: span.start], span.source.text[span.end :]
    if other is None or not _ONE.search(before) or after.lstrip().startswith(","):
        return ()
    return (Fix("have them compared", (inserted(span, f" same as {other}"),)),)


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
