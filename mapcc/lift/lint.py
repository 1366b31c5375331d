"""What a table does silently, on a key set: dead entries, shadows, chains, lost tensors, loose patterns."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Label
from mapcc.dialects.made import Entry, Outcome, Table, Trace
from mapcc.tensors.spec import Manifest

_ALLOW = re.compile(r'#\s*mapcc: allow ((?:MC\d{3}(?:,\s*)?)+) because "[^"]+"')


@dataclass(slots=True)
class _Seen:
    """What became of the key set, entry by entry."""

    fired: dict[int, list[str]] = field(default_factory=dict)
    shadowed: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    chained: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    again: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    ordered: dict[tuple[int, ...], list[str]] = field(default_factory=dict)
    passing: list[str] = field(default_factory=list)
    possible: set[int] = field(default_factory=set)


def lint(
    table: Table, source: Manifest, outcome: Outcome, target: Manifest | None = None
) -> list[Diagnostic]:
    """Warnings MC801 to MC810 for a table on a key set.

    A comment behind an entry, or on the line before it, switches a warning off there:
    ``# mapcc: allow MC801 because "older checkpoints have it"``.

    Args:
        outcome: what ``table.run(source, target)`` gave.
    """
    seen = _look(table, source, target)
    found = [
        *_faults(table, outcome),
        *_dead(table, seen, target),
        *_order(table, seen),
        *_twice(table, seen),
        *_loose(table),
    ]
    if seen.passing:
        found.append(
            Diagnostic(
                "MC808",
                f"no entry matches these, nor has the model such parameters: {table.dialect} lets them pass",
                names=tuple(fold(seen.passing)),
                help="add an entry for them, or leave them out of the checkpoint",
            )
        )
    return [diagnostic for diagnostic in found if not _is_allowed(diagnostic)]


def _is_allowed(diagnostic: Diagnostic) -> bool:
    span = diagnostic.span
    if span is None:
        return False
    last = span.source.position(span.end)[0]
    lines = [span.source.line(last)]
    if span.line > 1:
        before = span.source.line(span.line - 1).strip()
        lines += [before] if before.startswith("#") else []
    return any(diagnostic.code in codes for line in lines for codes in _ALLOW.findall(line))


def _look(table: Table, source: Manifest, target: Manifest | None) -> _Seen:
    seen = _Seen()
    backwards = table.backwards()
    for name in source.tensors:
        trace = table.trace(name)
        seen.possible.update(trace.possible)
        for number in trace.fired:
            seen.fired.setdefault(number, []).append(name)
        for number in trace.possible:
            if trace.fired and number not in trace.fired:
                seen.shadowed.setdefault((number, trace.fired[0]), []).append(name)
        if len(trace.fired) > 1:
            seen.chained.setdefault(trace.fired, []).append(name)
        if len(trace.fired) > 1 or len(trace.possible) > 1:
            other = backwards.trace(name)
            if other.target != trace.target:
                seen.ordered.setdefault(tuple(dict.fromkeys(trace.fired + trace.possible)), []).append(name)
        _after(table, name, trace, seen)
        if not trace.fired and target is not None and name not in target.tensors:
            seen.passing.append(name)
    return seen


def _after(table: Table, name: str, trace: Trace, seen: _Seen) -> None:
    """What the table would do to a name that it has made already."""
    if trace.target is None or trace.target == name:
        return
    second = table.trace(trace.target)
    if second.target != trace.target:
        seen.again.setdefault(second.fired, []).append(name)


# --- findings


def _faults(table: Table, outcome: Outcome) -> Iterator[Diagnostic]:
    for fault in outcome.faults:
        first, related = _places(table, fault.entries)
        yield Diagnostic(
            fault.code,
            f"{table.dialect}: {fault.message}",
            first.span if first else None,
            related=related,
            names=tuple(fold(fault.names)),
            help=fault.help,
        )


def _dead(table: Table, seen: _Seen, target: Manifest | None) -> Iterator[Diagnostic]:
    by_entry: dict[int, dict[int, list[str]]] = {}
    for (number, by), names in seen.shadowed.items():
        by_entry.setdefault(number, {})[by] = names
    for number, entry in enumerate(table.entries):
        if number in seen.fired:
            continue
        if number not in seen.possible:
            message = f"dead entry: nothing in the source matches {entry.text}"
            yield Diagnostic("MC801", message, entry.span, help="remove it, or correct its pattern")
            continue
        others = by_entry.get(number, {})
        names = [name for listed in others.values() for name in listed]
        related = tuple(
            Label(span, "this one takes them first") for k in others if (span := table.entries[k].span)
        )
        yield Diagnostic(
            "MC802",
            f"shadowed entry: all that {entry.text} matches is taken before it",
            entry.span,
            related=related,
            names=tuple(fold(names)),
            help=_for_shadowed(table, names, target),
        )


def _for_shadowed(table: Table, names: Sequence[str], target: Manifest | None) -> str:
    """Another order is no help where what the others give is right."""
    if target is not None:
        backwards = table.backwards()
        now = [table.trace(name).target in target.tensors for name in names]
        then = [backwards.trace(name).target in target.tensors for name in names]
        if all(now):
            return "remove it: what the entries before it give is what the model has"
        if not any(now) and all(then):
            return "remove it, or put it first"
    return "remove it, or narrow the entries before it"


def _order(table: Table, seen: _Seen) -> Iterator[Diagnostic]:
    for numbers, names in seen.ordered.items():
        if any(number not in seen.fired for number in numbers):
            continue  # told as shadowed
        first, related = _places(table, numbers)
        yield Diagnostic(
            "MC803",
            "the names depend on the order of these entries",
            first.span if first else None,
            related=related,
            names=tuple(fold(names)),
            help="write patterns of which only one matches",
        )


def _twice(table: Table, seen: _Seen) -> Iterator[Diagnostic]:
    for numbers, names in seen.chained.items():
        first, related = _places(table, numbers)
        texts = " and then ".join(table.entries[k].text for k in numbers)
        yield Diagnostic(
            "MC810",
            f"chained entries: a name goes through {texts}",
            first.span if first else None,
            related=related,
            names=tuple(fold(names)),
        )
    for numbers, names in seen.again.items():
        first, related = _places(table, numbers)
        text = first.text if first else "the table"
        yield Diagnostic(
            "MC805",
            f"not idempotent: {text} matches names that the table has made, and changes them again",
            first.span if first else None,
            related=related,
            names=tuple(fold(names)),
            help="a converted checkpoint must not go through it a second time",
        )


def _loose(table: Table) -> Iterator[Diagnostic]:
    for entry in table.entries:
        if entry.loose:
            yield Diagnostic("MC804", f"unanchored pattern: {entry.loose}", entry.span, notes=(entry.text,))


def _places(table: Table, numbers: Iterable[int]) -> tuple[Entry | None, tuple[Label, ...]]:
    entries = [table.entries[number] for number in numbers]
    if not entries:
        return None, ()
    return entries[0], tuple(Label(entry.span, "and this one") for entry in entries[1:] if entry.span)
