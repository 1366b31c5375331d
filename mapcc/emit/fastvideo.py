"""FastVideo's ``param_names_mapping``: a dict of regular expressions, from a bound mapping.

What the dict cannot say is refused, rule by rule. What it can say is replayed over every name of the
source with the framework's own rules, and is given only if it means what the mapping means. sglang reads
the same dict with another engine.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.regexes import Mapped, RegexTable, Way, first_match, fixed_point, load
from mapcc.emit.emitted import Emitted
from mapcc.emit.entries import Candidate, Clash, Level, entries_of
from mapcc.emit.fastvideo_text import Reader, RuleEntries, render
from mapcc.emit.pysource import Entry
from mapcc.emit.sayable import Voice, precedence, sayable, wanted
from mapcc.ir.bound import BoundMapping
from mapcc.passes.findings import Findings
from mapcc.passes.paths import PathIndex


@dataclass(frozen=True, slots=True)
class _Engine:
    """How a framework reads the dict.

    Attributes:
        stops: whether the first pattern that matches is the last that acts.
    """

    voice: Voice
    reader: Reader
    way: Callable[[RegexTable], Callable[[str], Way]]
    stops: bool


FASTVIDEO = _Engine(
    Voice(
        cannot="FastVideo's param_names_mapping cannot",
        convert="'mapcc convert' writes the weights as FastVideo has them, and then no mapping is needed",
        drops="leave a tensor out: a name that no pattern matches stays, and the loader stops at it",
    ),
    Reader("FastVideo's loader", follows=True),
    first_match,
    stops=True,
)
SGLANG = _Engine(
    Voice(
        cannot="sglang's param_names_mapping cannot",
        convert="'mapcc convert' writes the weights as sglang has them, and then no mapping is needed",
    ),
    Reader("sglang's loader", follows=False),
    fixed_point,
    stops=False,
)


def emit_fastvideo(bound: BoundMapping) -> Emitted[dict[str, Entry]]:
    """FastVideo's dict for a mapping that was bound without an error, with the way back and LoRA's."""
    return _emit(bound, FASTVIDEO)


def emit_sglang(bound: BoundMapping) -> Emitted[dict[str, Entry]]:
    """The dict for sglang, which applies its patterns until none changes a name."""
    return _emit(bound, SGLANG)


def _emit(bound: BoundMapping, engine: _Engine) -> Emitted[dict[str, Entry]]:
    found = Diagnostics()
    rules = sayable(bound, engine.voice, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    tables = _replayed(rules, bound, engine, found)
    if tables is None:
        return Emitted(diagnostics=tuple(found))
    left_out = _left_out(bound)
    table = {pattern: entry for one in tables for pattern, entry in one.entries.items()} | left_out
    return Emitted(render(bound, tables, left_out, engine.reader), table)


def _left_out(bound: BoundMapping) -> dict[str, Entry]:
    """An empty name leaves a tensor out, where that can be said at all."""
    return {f"^{re.escape(name)}$": "" for name in bound.dropped}


# --- the table, and the proof


def _replayed(
    rules: list[Candidate], bound: BoundMapping, engine: _Engine, found: Diagnostics
) -> list[RuleEntries] | None:
    """Entries that mean what the mapping means; rules for which they do not are written out further.

    Where the first match counts this ends with them: written out to the last name, and put first, a
    rule's entries match its names alone. An engine that goes on may not stop where a rule does.
    """
    expected = {name: Mapped("") for name in bound.dropped}
    owners: dict[str, Candidate] = {}
    for candidate in rules:
        for name, mapped in wanted(candidate.moved):
            expected[name], owners[name] = mapped, candidate
    paths = PathIndex(bound.source.tensors, bound.program.separators[0])
    while True:
        tables, concerned = _tables(rules, paths)
        wrong: dict[str, Way] = {}
        if not concerned:
            wrong = _wrong_names(tables, expected, bound, engine)
            if not wrong:
                return tables
            concerned = _concerned(wrong, owners, tables, engine)
        raised = {id(one): one for one in concerned if one.level is not Level.NAMES}
        if not raised:
            found.extend(_refusals(wrong, owners, engine) or [engine.voice.different(list(wrong))])
            return None
        for candidate in raised.values():
            candidate.level = Level(candidate.level + 1)


def _tables(rules: list[Candidate], paths: PathIndex) -> tuple[list[RuleEntries], list[Candidate]]:
    """All entries in their order, and the rules that share a pattern with different replacements."""
    tables: list[RuleEntries] = []
    unclear: list[Candidate] = []
    owners: dict[str, tuple[Candidate, Entry]] = {}
    for candidate in sorted(rules, key=precedence):
        try:
            entries = entries_of(candidate, paths)
        except Clash:
            unclear.append(candidate)
            continue
        for pattern, entry in entries.items():
            other, same = owners.setdefault(pattern, (candidate, entry))
            if same != entry:
                unclear += [candidate, other]
        tables.append(RuleEntries(candidate, entries))
    return tables, unclear


def _concerned(
    wrong: dict[str, Way], owners: dict[str, Candidate], tables: list[RuleEntries], engine: _Engine
) -> list[Candidate]:
    """The rules of names that came out wrong and, where several patterns act on one, the others' too."""
    concerned = [owners[name] for name in wrong if name in owners]
    if not engine.stops:
        acting = [one.candidate for one in tables for _ in one.entries]
        concerned += [acting[k] for way in wrong.values() for k in way.fired if k < len(acting)]
    return concerned


def _refusals(wrong: dict[str, Way], owners: dict[str, Candidate], engine: _Engine) -> list[Diagnostic]:
    if engine.stops:
        return []
    found = Diagnostics()
    findings = Findings(found)
    reason = "stop at what this rule gives: another pattern matches that, and changes it again"
    for name, way in wrong.items():
        if name in owners and len(way.fired) > 1:
            message, span = f"{engine.voice.cannot} {reason}", owners[name].equation.span
            findings.add("MC601", message, span, name, help=engine.voice.convert)
    findings.flush()
    return list(found)


def _wrong_names(
    tables: list[RuleEntries], expected: dict[str, Mapped], bound: BoundMapping, engine: _Engine
) -> dict[str, Way]:
    """The source names of which the engine makes something else, with what it does."""
    table = {pattern: entry for one in tables for pattern, entry in one.entries.items()}
    way = engine.way(table | _left_out(bound))
    ways = {name: way(name) for name in bound.source.tensors}
    wrong = {name: ways[name] for name in ways if ways[name].mapped != expected.get(name)}
    if wrong:
        return wrong
    # Names that are all right come together rightly; asked all the same, since it is what is promised.
    given = [name for name in ways if name not in bound.dropped]
    loaded = load(given, lambda name: ways[name].mapped)
    astray = set(loaded.faults) | (loaded.tensors.keys() ^ bound.given.keys())
    return {name: ways[name] for name in given if ways[name].mapped.name in astray}
