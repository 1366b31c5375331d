"""torchtitan's ``from_hf_map``, from a bound mapping: whole names, with ``{}`` for the first number.

What a dict of names cannot say is refused, rule by rule: torchtitan has code for it. What it can say is
replayed over every name of the source as the adapters apply it, and is given only if it means what the
mapping means.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostics
from mapcc.dialects.torchtitan.table import EXPERTS, HOLE, LAYERS, TitanTable
from mapcc.emit.emitted import Emitted
from mapcc.emit.notes import emitted_by, home, line, place
from mapcc.emit.pysource import Section, assigned_dict, comment, quoted
from mapcc.emit.sayable import Voice, sayable
from mapcc.emit.wholes import Refusal
from mapcc.ir.bound import BoundMapping
from mapcc.passes.findings import Findings
from mapcc.text import Span

VARIABLE = "from_hf_map"
VOICE = Voice(
    cannot="torchtitan's from_hf_map cannot",
    convert="'mapcc convert' writes the weights as torchtitan has them; else the adapter's code does it",
    joins=False,
)


def emit_torchtitan(bound: BoundMapping) -> Emitted[dict[str, str | None]]:
    """torchtitan's table for a mapping that was bound without an error."""
    found = Diagnostics()
    moves = _moves(bound, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    built = _Built()
    built.add_all(moves, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    table = TitanTable(built.table)
    wrong = [move.source for move in moves if _made(table, move.source) != (move.target, "")]
    if wrong:
        return Emitted(diagnostics=(VOICE.different(wrong),))
    return Emitted(_text(bound, built), dict(built.table))


def _made(table: TitanTable, name: str) -> tuple[str | None, str]:
    way = table.way(name)
    return way.target, way.fault


@dataclass(frozen=True, slots=True)
class _Move:
    """A name and what becomes of it; None if it is left out."""

    source: str
    target: str | None
    span: Span


def _moves(bound: BoundMapping, found: Diagnostics) -> list[_Move]:
    moves = [
        _Move(instance.sources[row.source][-1], instance.targets[row.target], candidate.equation.span)
        for candidate in sayable(bound, VOICE, found)
        for instance, rows in candidate.moved
        for row in rows
    ]
    return moves + [_Move(name, None, listed.span) for name, listed in bound.dropped.items()]


# --- the table


@dataclass(slots=True)
class _Built:
    """The table; ``spans`` are the rules that its entries come from."""

    table: dict[str, str | None] = field(default_factory=dict)
    spans: dict[str, Span] = field(default_factory=dict)

    def add_all(self, moves: Sequence[_Move], found: Diagnostics) -> None:
        findings = Findings(found)
        groups: dict[str, list[_Move]] = {}
        for move in moves:
            groups.setdefault(_key(move.source), []).append(move)
        for key, group in groups.items():
            refusal = self.add(key, group)
            for move in group if refusal else ():
                notes = (refusal.note,) if refusal and refusal.note else ()
                message = f"{VOICE.cannot} {refusal.reason if refusal else ''}"
                findings.add("MC601", message, move.span, move.source, notes=notes, help=VOICE.convert)
        findings.flush()

    def add(self, key: str, group: Sequence[_Move]) -> Refusal | None:
        """The entry of all names that are alike but for their first number."""
        if not _is_numbered(group[0].source):
            value = group[0].target
        elif _first(group[0].source) is None:
            return Refusal(
                f"say a name with {LAYERS!r} and no number: the adapter takes the first number out"
            )
        elif all(move.target is None for move in group):
            value = None
        else:
            templates = _templates(group[0])
            value = next((t for t in templates if all(_fills(t, move) for move in group)), None)
            if value is None:
                return _unlike(group)
        if EXPERTS in key and key.count(HOLE) > 1:
            return Refusal(f"tell {HOLE!r} in a name from a number")
        self.table[key] = value
        self.spans[key] = group[0].span
        return None


def _is_numbered(name: str) -> bool:
    return LAYERS in name


def _key(name: str) -> str:
    return re.sub(r"\d+", HOLE, name, count=1) if _is_numbered(name) else name


def _first(name: str) -> str | None:
    found = re.search(r"\d+", name)
    return found[0] if found else None


def _templates(move: _Move) -> Iterator[str]:
    """The ways in which a target can have the source's first number; then that it has it nowhere."""
    target = move.target or ""
    for run in re.finditer(r"\d+", target):
        if run[0] == _first(move.source):
            yield _escaped(target[: run.start()]) + HOLE + _escaped(target[run.end() :])
    yield _escaped(target)


def _escaped(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


def _fills(template: str, move: _Move) -> bool:
    return template.format(_first(move.source)) == move.target


def _unlike(group: Sequence[_Move]) -> Refusal:
    pairs = [f"{quoted(move.source)} -> {quoted(move.target or 'left out')}" for move in group[:2]]
    return Refusal("change the first number, or what a name becomes by it", note="; ".join(pairs))


# --- the text


def _text(bound: BoundMapping, built: _Built) -> str:
    sections: dict[Span, list[tuple[str, str | None]]] = {}
    for key, value in built.table.items():
        sections.setdefault(built.spans[key], []).append((key, value))
    file = home(bound)
    written = [Section((comment(place(span, file)),), tuple(entries)) for span, entries in sections.items()]
    return assigned_dict(VARIABLE, map(comment, _header(bound, built)), written)


def _header(bound: BoundMapping, built: _Built) -> Iterator[str]:
    yield emitted_by(bound)
    count = len(bound.source.tensors)
    yield f"Replayed over all {count} names of the source as the adapters' from_hf applies it: {HOLE!r} is"
    yield f"the first number of a name with {LAYERS!r}; every other name is looked up as it is."
    if any(EXPERTS in key for key in built.table):
        yield f"An adapter that stacks experts takes two numbers out of names with {EXPERTS!r}: this table"
        yield "is for one that does not."
    yield ""
    yield f"Its place is the adapter's __init__, as self.{VARIABLE}."
    astray = list(_not_back(built.table, bound))
    if not astray:
        yield "Read backwards, as to_hf reads it, it gives each name back."
    else:
        yield "Read backwards, as to_hf reads it, it does not give these names back:"
        yield from (f"    {quoted(name)}" for name in fold(astray, limit=20))
    used = set(built.spans.values())
    unmatched = {equation.span: None for equation in bound.program.equations if equation.span not in used}
    if unmatched:
        yield ""
        yield "The source has nothing for these, so they could not be tried, and have no entry:"
        yield from (
            f"    {line(span, home(bound))}: {quoted(' '.join(span.text.split()))}" for span in unmatched
        )


def _not_back(table: Mapping[str, str | None], bound: BoundMapping) -> Iterator[str]:
    """The targets that the table, its keys and values exchanged, does not give their source."""
    back = TitanTable({value: key for key, value in table.items() if value is not None})
    forth = TitanTable(table)
    for source in bound.source.tensors:
        target = forth.way(source).target
        if target is not None and back.way(target).target != source:
            yield target
