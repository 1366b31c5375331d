"""The names of ``drop`` and ``external`` as rules with one side: sound, and with sound conditions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.ir.axes import ANY_SHAPE
from mapcc.ir.expr import Name
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import EMPTY, Index, Pattern, Regex
from mapcc.ir.program import Equation, Listed, Program, Unit
from mapcc.passes.conditions import words_are_known
from mapcc.passes.faults import Faults
from mapcc.passes.indices import unsolvable
from mapcc.passes.segments import name_axes
from mapcc.passes.sound import condition_faults, name_faults
from mapcc.passes.words import condition_words, indices_of, regex_names, variables_of
from mapcc.text import Span


def equation_of(listed: Listed) -> Equation:
    """A rule that takes the name and gives nothing: its words mean what they mean on a rule."""
    names = (listed.name,)
    equation = Equation(
        number=0,
        units=(Unit(names, ANY_SHAPE, listed.span),),
        targets=(),
        conditions=listed.conditions,
        scope=listed.scope,
        prefix=EMPTY,
        separators=(listed.separator, listed.separator),
        statement=rules.Drop(names, listed.because, span=listed.span),
    )
    equation.indices = indices_of(equation)
    equation.variables = tuple(variables_of(listed.name, equation.indices, regex_names(equation)))
    return equation


def listed_are_sound(program: Program, found: Diagnostics) -> None:
    """Take out of ``drop``, ``external`` and ``dtype`` what cannot be matched, and say why."""
    program.drops = _sound(program.drops, program.failed_left, found)
    program.externals = _sound(program.externals, program.failed_right, found)
    rule = program.dtype
    if rule is not None:
        keeps = [
            keep for keep in rule.keeps if not _report(name_faults(keep[0], rule.separator), keep[2], found)
        ]
        program.dtype = replace(rule, keeps=tuple(keeps))


def _sound(listed: Sequence[Listed], failed: list[Pattern], found: Diagnostics) -> list[Listed]:
    out: list[Listed] = []
    equations = [equation_of(one) for one in listed]
    siblings: dict[int, set[str]] = {}
    for one, equation in zip(listed, equations, strict=True):
        siblings.setdefault(id(one.written), set()).update(equation.indices)
    told: set[tuple[int, str, Span | None]] = set()
    for one, equation in zip(listed, equations, strict=True):
        foreign = siblings[id(one.written)] - equation.indices
        # A condition on an index that this copy of a group does not have is for the others.
        own = [(at, c) for at, c in enumerate(one.conditions) if foreign.isdisjoint(condition_words(c))]
        equation.conditions = tuple(c for _, c in own)
        faults = _faults(one, equation, sum(at < one.inherited for at, _ in own))
        new = [fault for fault in faults if (id(one.written), fault.code, fault.span) not in told]
        told.update((id(one.written), fault.code, fault.span) for fault in faults)
        _report(new, one.span, found)
        if faults:
            failed.append(one.name)
        else:
            out.append(replace(one, conditions=equation.conditions))
    return out


def _faults(listed: Listed, equation: Equation, inherited: int) -> list[Diagnostic]:
    own = Diagnostics()
    faults = Faults(equation, own)
    faults.extend([*name_faults(listed.name, listed.separator), *condition_faults(listed.conditions)])
    if not len(own):
        words_are_known(faults, inherited)
    if not len(own) and (problem := unsolvable(listed.name, equation)):
        help = "say how far the lower digit goes: {4*b + r} needs `where r in 0..3`"
        faults.add("MC205", f"{problem} in {print_name(listed.name)}", listed.span, help)
    if not len(own) and listed.same_as is not None:
        _same_as_is_sound(faults, listed, listed.same_as)
    return list(own)


def _same_as_is_sound(faults: Faults, listed: Listed, same: Pattern) -> None:
    equation = faults.equation
    faults.extend(name_faults(same, listed.separator))
    if name_axes(same) or any(isinstance(part, Regex) for part in same.parts):
        message = "'same as' names one tensor for each that is dropped"
        faults.add("MC413", message, same.span, "write its name, with the indices and stars of the other")
        return
    words = variables_of(same, equation.indices | indices_alone(same), regex_names(equation))
    for word in words.keys() - set(equation.variables):
        what = f"{{{word}}}" if word[0] not in "*/" else word.lstrip("/")
        faults.add(
            "MC204", f"{what} stands behind 'same as' only", same.span, "name it in what is dropped, too"
        )


def indices_alone(name: Pattern) -> frozenset[str]:
    """The words that stand in braces by themselves."""
    return frozenset(
        part.expr.name for part in name.parts if isinstance(part, Index) and isinstance(part.expr, Name)
    )


def _report(faults: Iterable[Diagnostic], span: Span | None, found: Diagnostics) -> bool:
    listed = [fault if fault.span else replace(fault, span=span) for fault in faults]
    found.extend(listed)
    return bool(listed)
