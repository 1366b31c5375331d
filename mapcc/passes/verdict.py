"""What can be got back: a verdict for each rule, from what it was bound to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Edit, Fix
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.ir.expr import Name, names
from mapcc.ir.notation import print_shape
from mapcc.ir.patterns import Index, Pattern
from mapcc.ir.program import Equation
from mapcc.text import Span


class Kind(StrEnum):
    BIJECTIVE = "bijective"
    INVERTIBLE = "invertible"
    LOSSY = "lossy"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reasons``: what is lost, or what an inverse needs besides the target's tensors."""

    kind: Kind
    reasons: tuple[str, ...] = ()


def verdict(equation: Equation, instances: Sequence[Instance]) -> Verdict:
    """The verdict of one equation, over all its instances."""
    lost = list(dict.fromkeys(_losses(equation, instances)))
    if lost:
        return Verdict(Kind.LOSSY, tuple(lost))
    needs = list(dict.fromkeys(_needs(equation)))
    return Verdict(Kind.INVERTIBLE, tuple(needs)) if needs else Verdict(Kind.BIJECTIVE)


def _losses(equation: Equation, instances: Sequence[Instance]) -> Iterator[str]:
    for target in equation.targets:
        if target.name is None:
            yield f"the piece {print_shape(target.shape)} is dropped: {target.because}"
    for unit in equation.units:
        for step in unit.steps:
            if step.op.loses:
                yield f"{step.op.name}: {step.op.loses}"
    for instance in instances:
        yield from instance.losses


def _needs(equation: Equation) -> Iterator[str]:
    if equation.repeated:
        yield f"{', '.join(sorted(equation.repeated))} is a repeat: the copies must be equal"
    if any(unit.is_created for unit in equation.units):
        yield "created elements are left out on the way back"
    linked = [(link.unit, link.unit_block) for link in equation.links]
    if len(set(linked)) < len(linked):
        yield "a tensor stands twice on the right: the copies must be equal"
    left = {i for unit in equation.units for name in unit.names for i in _indices(name, equation)}
    right = {i for t in equation.targets if t.name is not None for i in _indices(t.name, equation)}
    if hidden := sorted(left - right):
        yield f"the index {', '.join(hidden)} is not in the target's names"
    if extra := sorted(right - left):
        yield f"the index {', '.join(extra)} is only in the target's names: the copies must be equal"
    if any(isinstance(condition, rules.Exists) for condition in equation.conditions):
        yield "'exists' asks the source"


def _indices(name: Pattern, equation: Equation) -> set[str]:
    return {
        word
        for part in name.parts
        if isinstance(part, Index)
        for word in ({part.expr.name} if isinstance(part.expr, Name) else names(part.expr))
        if word in equation.indices
    }


def verdicts(bound: BoundMapping) -> dict[int, Verdict]:
    """By the number of the equation."""
    by_equation: dict[int, list[Instance]] = {}
    for instance in bound.instances:
        if instance.sources != ((),):
            by_equation.setdefault(instance.equation.number, []).append(instance)
    return {
        equation.number: verdict(equation, by_equation.get(equation.number, ()))
        for equation in bound.program.equations
    }


def _one_way(span: Span) -> tuple[Fix, ...]:
    at = span.text.find("<->")
    if at < 0 or span.text.count("<->") > 1:
        return ()
    return (Fix("write '->'", (Edit(Span(span.source, span.start + at, span.start + at + 3), "->"),)),)


def check_bijections(bound: BoundMapping, found: Diagnostics) -> None:
    """``<->`` is a claim: held against the verdict."""
    if not any(equation.bijective for equation in bound.program.equations):
        return
    all_verdicts = verdicts(bound)
    for equation in bound.program.equations:
        result = all_verdicts[equation.number]
        if equation.bijective and not equation.broken and result.kind is not Kind.BIJECTIVE:
            found.add(
                Diagnostic(
                    "MC411",
                    f"'<->' claims a bijection, but the rule is {result.kind}",
                    equation.span,
                    notes=result.reasons,
                    help="write '->'",
                    fixes=_one_way(equation.span),
                )
            )
