"""Which rules a config of names can say: those that move whole tensors. The others are refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.regexes import Mapped
from mapcc.emit.entries import Candidate, Level
from mapcc.emit.wholes import Refusal, Row, rows_of
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.ir.program import Equation
from mapcc.passes.findings import Findings


@dataclass(frozen=True, slots=True)
class Voice:
    """How a back end refuses.

    Attributes:
        cannot: how the sentence begins: ``FastVideo's param_names_mapping cannot``.
        convert: the way out that there always is.
        drops: why it cannot leave a tensor out; "" if it can.
        joins: whether it can concatenate along dimension 0.
    """

    cannot: str
    convert: str
    drops: str = ""
    joins: bool = True

    def refuse(self, findings: Findings, instance: Instance, refusal: Refusal, names: Iterable[str]) -> None:
        help = f"{refusal.help}; or: {self.convert}" if refusal.help else self.convert
        # What stands behind a colon is how tensors are joined where they can be.
        reason = refusal.reason if self.joins else refusal.reason.partition(":")[0]
        notes = (refusal.note,) if refusal.note else ()
        for name in names:
            message = f"{self.cannot} {reason}"
            findings.add("MC601", message, instance.equation.span, name, notes=notes, help=help)

    def different(self, wrong: Sequence[str]) -> Diagnostic:
        return Diagnostic(
            "MC602",
            "replayed over the source's names, the emitted config gives other tensors than the mapping",
            notes=("nothing was emitted",),
            help=f"this is a fault of mapcc: please report it; {self.convert}",
            names=tuple(fold(wrong)),
        )


def sayable(bound: BoundMapping, voice: Voice, found: Diagnostics) -> list[Candidate]:
    """Each rule that took something, with what becomes of its tensors; refusals go to ``found``."""
    findings = Findings(found)
    rules: dict[Equation, Candidate] = {}
    taken: set[str] = set()
    for instance in bound.instances:
        rows = rows_of(instance, bound.source.tensors)
        names = [name for operand in instance.sources for name in operand]
        if not isinstance(rows, Refusal) and not taken.isdisjoint(names):
            rows = Refusal("give one tensor to two targets")
        if not isinstance(rows, Refusal) and not voice.joins and any(row.place is not None for row in rows):
            rows = Refusal("concatenate tensors")
        taken.update(names)
        if isinstance(rows, Refusal):
            voice.refuse(findings, instance, rows, names or [name for name in instance.targets if name])
        else:
            rules.setdefault(instance.equation, Candidate(instance.equation, [])).moved.append(
                (instance, rows)
            )
    for name, listed in bound.dropped.items() if voice.drops else ():
        findings.add("MC601", f"{voice.cannot} {voice.drops}", listed.span, name, help=voice.convert)
    findings.flush()
    for candidate in rules.values():
        if all(source == mapped[0] and mapped[1] is None for source, mapped in wanted(candidate.moved)):
            candidate.level = Level.LEFT_OUT
    return list(rules.values())


def wanted(moved: Iterable[tuple[Instance, tuple[Row, ...]]]) -> Iterator[tuple[str, Mapped]]:
    """What the engine has to make of each name."""
    for instance, rows in moved:
        for row in rows:
            yield instance.sources[row.source][-1], Mapped(instance.targets[row.target], row.place, row.of)


def precedence(candidate: Candidate) -> tuple[bool, bool, bool, int]:
    """Where the first match wins: whole names, then rules before defaults, written-out ones before open."""
    equation = candidate.equation
    is_open = candidate.open_variables == frozenset(equation.variables)
    return candidate.level is not Level.NAMES, equation.is_default, is_open, equation.number
