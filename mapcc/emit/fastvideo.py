"""FastVideo's ``param_names_mapping``: a dict of regular expressions, from a bound mapping.

What the dict cannot say is refused, rule by rule. What it can say is replayed over every name of the
source with FastVideo's own rules, and is given only if it means what the mapping means.
"""

from __future__ import annotations

from collections.abc import Iterable

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.regexes import Mapped, load, mapper
from mapcc.emit.emitted import Emitted
from mapcc.emit.entries import Candidate, Clash, Level, entries_of
from mapcc.emit.fastvideo_text import RuleEntries, render
from mapcc.emit.pysource import Entry
from mapcc.emit.wholes import Refusal, Row, rows_of
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.ir.program import Equation
from mapcc.passes.findings import Findings
from mapcc.passes.paths import PathIndex

CONVERT = "'mapcc convert' writes the weights as FastVideo has them, and then no mapping is needed"
CANNOT = "FastVideo's param_names_mapping cannot"


def emit_fastvideo(bound: BoundMapping) -> Emitted[dict[str, Entry]]:
    """FastVideo's dict for a mapping that was bound without an error."""
    found = Diagnostics()
    rules = _sayable(bound, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    wanted = {source: mapped for candidate in rules for source, mapped in _wanted(candidate.moved)}
    owners = {source: candidate for candidate in rules for source, _ in _wanted(candidate.moved)}
    tables = _replayed(rules, wanted, owners, bound, found)
    if tables is None:
        return Emitted(diagnostics=tuple(found))
    table = {pattern: entry for one in tables for pattern, entry in one.entries.items()}
    return Emitted(render(bound, tables), table)


# --- what can be said


def _sayable(bound: BoundMapping, found: Diagnostics) -> list[Candidate]:
    """Each rule that took something, with what becomes of its tensors; refusals go to ``found``."""
    findings = Findings(found)
    rules: dict[Equation, Candidate] = {}
    taken: set[str] = set()
    for instance in bound.instances:
        rows = rows_of(instance, bound.source.tensors)
        names = [name for operand in instance.sources for name in operand]
        if not isinstance(rows, Refusal) and not taken.isdisjoint(names):
            rows = Refusal("give one tensor to two targets")
        taken.update(names)
        if isinstance(rows, Refusal):
            _refuse(findings, instance, rows, names or [name for name in instance.targets if name])
        else:
            rules.setdefault(instance.equation, Candidate(instance.equation, [])).moved.append(
                (instance, rows)
            )
    for name, listed in bound.dropped.items():
        reason = "leave a tensor out: a name that no pattern matches stays, and the loader stops at it"
        findings.add("MC601", f"{CANNOT} {reason}", listed.span, name, help=CONVERT)
    findings.flush()
    for candidate in rules.values():
        if all(source == mapped[0] and mapped[1] is None for source, mapped in _wanted(candidate.moved)):
            candidate.level = Level.LEFT_OUT
    return list(rules.values())


def _refuse(findings: Findings, instance: Instance, refusal: Refusal, names: Iterable[str]) -> None:
    help = f"{refusal.help}; or: {CONVERT}" if refusal.help else CONVERT
    notes = (refusal.note,) if refusal.note else ()
    for name in names:
        message = f"{CANNOT} {refusal.reason}"
        findings.add("MC601", message, instance.equation.span, name, notes=notes, help=help)


def _wanted(moved: Iterable[tuple[Instance, tuple[Row, ...]]]) -> Iterable[tuple[str, Mapped]]:
    """What the engine has to make of each name."""
    for instance, rows in moved:
        for row in rows:
            yield instance.sources[row.source][-1], Mapped(instance.targets[row.target], row.place, row.of)


# --- the table, and the proof


def _replayed(
    rules: list[Candidate],
    wanted: dict[str, Mapped],
    owners: dict[str, Candidate],
    bound: BoundMapping,
    found: Diagnostics,
) -> list[RuleEntries] | None:
    """Entries that mean what the mapping means; rules for which they do not are written out further.

    This ends: written out to the last name, and put first, a rule's entries match its names alone.
    """
    paths = PathIndex(bound.source.tensors, bound.program.separators[0])
    while True:
        tables, unclear = _tables(rules, paths)
        wrong: list[str] = []
        if not unclear:
            wrong = _wrong_names(tables, wanted, bound)
            if not wrong:
                return tables
        concerned = {id(candidate): candidate for candidate in unclear}
        concerned.update((id(owners[name]), owners[name]) for name in wrong if name in owners)
        raised = [candidate for candidate in concerned.values() if candidate.level is not Level.NAMES]
        if not raised:
            found.add(_different(wrong))
            return None
        for candidate in raised:
            candidate.level = Level(candidate.level + 1)


def _tables(rules: list[Candidate], paths: PathIndex) -> tuple[list[RuleEntries], list[Candidate]]:
    """All entries in their order, and the rules that share a pattern with different replacements."""
    tables: list[RuleEntries] = []
    unclear: list[Candidate] = []
    owners: dict[str, tuple[Candidate, Entry]] = {}
    for candidate in sorted(rules, key=_precedence):
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


def _precedence(candidate: Candidate) -> tuple[bool, bool, bool, int]:
    """The first match wins: whole names, then rules before defaults, written-out ones before open ones."""
    equation = candidate.equation
    is_open = candidate.open_variables == frozenset(equation.variables)
    return candidate.level is not Level.NAMES, equation.is_default, is_open, equation.number


def _wrong_names(tables: list[RuleEntries], wanted: dict[str, Mapped], bound: BoundMapping) -> list[str]:
    """The source names of which the engine makes something else."""
    table = {pattern: entry for one in tables for pattern, entry in one.entries.items()}
    map_name = mapper(table)
    mapped = {name: map_name(name) for name in bound.source.tensors}
    wrong = [name for name in mapped if mapped[name] != wanted.get(name)]
    if wrong:
        return wrong
    # Names that are all right come together rightly; asked all the same, since it is what is promised.
    loaded = load(mapped, mapped.__getitem__)
    astray = set(loaded.faults) | (loaded.tensors.keys() ^ bound.given.keys())
    return [name for name in mapped if mapped[name][0] in astray]


def _different(wrong: list[str]) -> Diagnostic:
    return Diagnostic(
        "MC602",
        "replayed over the source's names, the emitted config gives other tensors than the mapping",
        notes=("nothing was emitted",),
        help=f"this is a fault of mapcc: please report it; {CONVERT}",
        names=tuple(fold(wrong)),
    )
