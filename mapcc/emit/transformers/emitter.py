"""transformers 5: ``weight_mapping``, renamings and converters, from a bound mapping.

What they cannot say is refused, rule by rule. What they can say is replayed over the key set as
transformers applies it, and is given only if it moves every element where the mapping moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.transformers.table import Transform
from mapcc.emit.emitted import Emitted
from mapcc.emit.entries import Level
from mapcc.emit.pysource import quoted
from mapcc.emit.transformers.entries import Candidate, NotATarget, RuleEntries, entries_of
from mapcc.emit.transformers.names import Renaming, Tags, Unsayable, tags_for, waiting_no_more
from mapcc.emit.transformers.ops import Recogniser
from mapcc.emit.transformers.order import ordered
from mapcc.emit.transformers.run import HEADS, Replay, config_of, heads_of
from mapcc.emit.transformers.text import Told, render
from mapcc.emit.wholes import Refusal
from mapcc.ir.bound import BoundMapping
from mapcc.ir.program import Equation
from mapcc.passes.findings import Findings
from mapcc.passes.paths import PathIndex

CONVERT = "'mapcc convert' writes the weights as the model has them, 'mapcc emit-script' a script that does"
CANNOT = "transformers' weight mappings cannot"


def emit_transformers(bound: BoundMapping) -> Emitted[tuple[Transform, ...]]:
    """The list for a mapping that was bound without an error."""
    found = Diagnostics()
    config = config_of(bound)
    recogniser = Recogniser(heads_of(config))
    candidates = _sayable(bound, recogniser, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    replay = Replay(bound, config or {HEADS: recogniser.assumed or 1})
    table = _replayed(candidates, replay, bound, found)
    if table is None:
        return Emitted(diagnostics=tuple(found))
    told = Told(tuple(replay.unexpected), recogniser.assumed)
    return Emitted(render(bound, table, told), tuple(entry for entry, _ in table))


# --- what can be said


def _sayable(bound: BoundMapping, recogniser: Recogniser, found: Diagnostics) -> list[Candidate]:
    """Each rule that took something, with what becomes of its tensors; refusals go to ``found``."""
    findings = Findings(found)
    rules: dict[Equation, Candidate] = {}
    taken: set[str] = set()
    for instance in bound.instances:
        parts = recogniser.parts(instance, bound.source.tensors)
        names = [name for operand in instance.sources for name in operand]
        if not isinstance(parts, Refusal) and not taken.isdisjoint(names):
            parts = Refusal("give one tensor to two targets")
        taken.update(names)
        if isinstance(parts, Refusal):
            _refuse(findings, instance.equation, parts, names or [name for name in instance.targets if name])
        else:
            rules.setdefault(instance.equation, Candidate(instance.equation)).moved.append((instance, parts))
    known = bound.target.tensors if bound.target else bound.given
    for name, listed in bound.dropped.items():
        if name in known:
            reason = "leave out a tensor that has the name of one of the model's: it is loaded as that"
            findings.add("MC601", f"{CANNOT} {reason}", listed.span, name, help=CONVERT)
    findings.flush()
    return list(rules.values())


def _refuse(findings: Findings, equation: Equation, refusal: Refusal, names: Iterable[str]) -> None:
    help = f"{refusal.help}; or: {CONVERT}" if refusal.help else CONVERT
    notes = (refusal.note,) if refusal.note else ()
    for name in names:
        findings.add("MC601", f"{CANNOT} {refusal.reason}", equation.span, name, notes=notes, help=help)


# --- the table, and the proof


Table = list[tuple[Transform, Candidate | None]]


def _replayed(
    candidates: list[Candidate], replay: Replay, bound: BoundMapping, found: Diagnostics
) -> Table | None:
    """Entries that mean what the mapping means; rules for which they do not are written out further."""
    paths = PathIndex(bound.source.tensors, bound.program.separators[0])
    tags = tags_for([*bound.source.tensors, *bound.given])
    owners = _owners(candidates)
    while True:
        rules, unclear = _entries(candidates, paths, tags, found)
        if len(found):
            return None
        wrong: dict[str, tuple[int, ...]] = {}
        if not unclear:
            table = _arranged(rules, owners, tags)
            wrong = replay.wrong([entry for entry, _ in table])
            if not wrong:
                return table
            unclear = _culprits(wrong, table, owners)
        if not [candidate for candidate in unclear if candidate.write_out()]:
            found.add(_different(list(wrong)))
            return None


def _owners(candidates: Iterable[Candidate]) -> dict[str, Candidate]:
    return {
        operand[0]: candidate
        for candidate in candidates
        for instance, _ in candidate.moved
        for operand in instance.sources
    }


def _entries(
    candidates: Sequence[Candidate], paths: PathIndex, tags: Tags, found: Diagnostics
) -> tuple[list[RuleEntries], list[Candidate]]:
    """The entries of all rules, and the rules that have none at their level."""
    rules: list[RuleEntries] = []
    unclear: dict[int, Candidate] = {}
    known: dict[str, tuple[Candidate, Transform]] = {}
    findings = Findings(found)
    for number, candidate in enumerate(candidates):
        try:
            own = entries_of(candidate, paths, tags, number)
        except Unsayable:
            unclear[number] = candidate
            continue
        except NotATarget as error:
            reason = f"make a tensor with the name {quoted(error.args[0])}: it reads targets as patterns"
            targets = [name for instance, _ in candidate.moved for name in instance.targets]
            _refuse(findings, candidate.equation, Refusal(reason), targets)
            continue
        for sources, entry in own.converters.items():
            for source in sources:
                other, same = known.setdefault(source, (candidate, entry))
                if same != entry:
                    unclear[number] = candidate
                    unclear[-1 - number] = other
        rules.append(own)
    findings.flush()
    return rules, list({id(candidate): candidate for candidate in unclear.values()}.values())


def _arranged(rules: list[RuleEntries], owners: dict[str, Candidate], tags: Tags) -> Table:
    """Renamings, what takes their tags away, and converters; each with the rule that it comes from."""
    renamings: dict[Renaming, Candidate] = {}
    numbers: dict[int, list[int]] = {}
    for rule in rules:
        for one in rule.renamings.values():
            renamings.setdefault(one, rule.candidate)
    for at, renamed in enumerate(renamings):
        numbers.setdefault(id(renamings[renamed]), []).append(at)
    owned = {name: numbers.get(id(owner), []) for name, owner in owners.items()}
    table: Table = []
    owners_ = list(renamings.values())
    inorder = ordered(list(renamings), owned, tags)
    for number, renaming in inorder:
        owner = owners_[number]
        table += [(entry, owner) for entry in renaming.entries]
    if any(renaming not in renamings for _, renaming in inorder):
        table.append((waiting_no_more(tags), None))
    converters: dict[Transform, Candidate] = {}
    for rule in rules:
        for entry in rule.converters.values():
            converters.setdefault(entry, rule.candidate)
    return table + list(converters.items())


def _culprits(
    wrong: dict[str, tuple[int, ...]], table: Table, owners: dict[str, Candidate]
) -> list[Candidate]:
    """The rules whose entries take names that are not theirs; if there are none, the names' own."""
    out: dict[int, Candidate] = {}
    for name, fired in wrong.items():
        own = owners.get(name)
        acted = [table[number][1] for number in fired]
        others = [c for c in acted if c is not None and c is not own and _is_raisable(c)]
        for candidate in others or ([own] if own is not None else []):
            out[id(candidate)] = candidate
    return list(out.values())


def _is_raisable(candidate: Candidate) -> bool:
    return candidate.level is not Level.NAMES or (candidate.converts and not candidate.tagged)


def _different(wrong: list[str]) -> Diagnostic:
    return Diagnostic(
        "MC602",
        "replayed over the source's names, the emitted list gives other tensors than the mapping",
        notes=("nothing was emitted",),
        help=f"this is a fault of mapcc: please report it; {CONVERT}",
        names=tuple(fold(wrong)),
    )
