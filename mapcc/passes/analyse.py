"""What can be said of an equation before any key set is seen: names pair up, axes correspond."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from mapcc.diagnostics.model import Diagnostics, Edit, Fix
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir import rules
from mapcc.ir.axes import count_axes, count_pieces
from mapcc.ir.expr import Name
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Index, Pattern, Star
from mapcc.ir.program import Equation, Program
from mapcc.passes.conditions import words_are_known
from mapcc.passes.correspond import axes_correspond
from mapcc.passes.faults import Faults
from mapcc.passes.indices import not_affine, unsolvable
from mapcc.passes.listed import listed_are_sound
from mapcc.passes.naming import renaming, sample_of, tokens_of
from mapcc.passes.pairing import name_axes_pair_up, names_are_sound, wildcards_pair_up
from mapcc.passes.words import (
    condition_words,
    indices_of,
    left_names,
    ranged_words,
    regex_names,
    right_names,
    variables_of,
)
from mapcc.text import Span

MAX_NAMES = 1_000
MAX_PIECES = 10_000
MAX_AXES = 1_000


def analyse(program: Program, found: Diagnostics, names: Iterable[str] = ()) -> None:
    """Fill in what equations know of themselves; mark those that cannot be bound as broken.

    ``names`` are the source's, to say what a wrong name was meant to be.
    """
    near = Suggester(names)
    siblings: dict[int, set[str]] = {}
    for equation in (*program.equations, *program.creates):
        equation.indices = indices_of(equation)
        siblings.setdefault(id(equation.statement), set()).update(equation.indices)
    told: set[tuple[int, str, Span | None]] = set()
    for equation in (*program.equations, *program.creates):
        own = Diagnostics()
        equation.conditions = tuple(
            c for c in equation.conditions if not _is_for_a_sibling(c, equation, siblings)
        )
        _analyse(Faults(equation, own, near))
        equation.broken = len(own) > 0
        # The copies of a rule have their faults in common.
        places = [(id(equation.statement), fault.code, fault.span) for fault in own]
        found.extend(fault for fault, place in zip(own, places, strict=True) if place not in told)
        told.update(places)
        if equation.broken:
            program.failed_left += left_names(equation)
            texts = {Index(Name(word)) for word in regex_names(equation)}
            program.failed_right += [_open(name, texts) for name in right_names(equation)]
    listed_are_sound(program, found)


def _open(name: Pattern, texts: set[Index]) -> Pattern:
    """A name with any text in place of ``{x}``, where that stands for ``{x:/re/}`` of another name."""
    return Pattern(tuple(Star() if part in texts else part for part in name.parts), name.span)


def _is_for_a_sibling(condition: rules.Condition, equation: Equation, siblings: dict[int, set[str]]) -> bool:
    """A block's condition on an index that this copy does not have, but another copy has."""
    foreign = siblings[id(equation.statement)] - equation.indices
    return not foreign.isdisjoint(condition_words(condition))


def _analyse(faults: Faults) -> None:
    before = len(faults.found)
    _is_small(faults)
    if len(faults.found) > before:
        return
    names_are_sound(faults)
    wildcards_pair_up(faults)
    name_axes_pair_up(faults)
    if len(faults.found) > before:
        return
    _variables(faults)
    _indices_can_be_told(faults)
    axes_correspond(faults)
    words_are_known(faults)


def _is_small(faults: Faults) -> None:
    """What follows takes each name of a rule with each other one, and each piece of a shape."""
    equation = faults.equation
    if max(len(left_names(equation)), len(right_names(equation))) > MAX_NAMES:
        faults.add("MC103", f"a rule has at most {MAX_NAMES:,} names on a side", equation.span)
    shapes = [unit.shape for unit in equation.units] + [target.shape for target in equation.targets]
    if any(count_axes(shape) > MAX_AXES for shape in shapes):
        faults.add("MC103", f"a shape has at most {MAX_AXES:,} axes", equation.span)
    elif any(count_pieces(shape) > MAX_PIECES for shape in shapes):
        faults.add("MC103", f"the sums of a shape make more than {MAX_PIECES:,} pieces", equation.span)


def _variables(faults: Faults) -> None:
    """The variables of the left, and those that a domain gives to the right alone."""
    equation = faults.equation
    regexes = regex_names(equation)
    lefts = [variables_of(name, equation.indices, regexes) for name in left_names(equation)]
    variables = {variable: None for left in lefts for variable in left}
    if lefts and not any(left.keys() == variables.keys() for left in lefts):
        help = "one tensor of the left has to name every index, so that the others can be found"
        faults.add("MC204", "no name on the left has all the indices of the rule", equation.span, help)
    ranged = ranged_words(equation)
    for name in right_names(equation):
        for variable in variables_of(name, equation.indices, regexes):
            # ``create`` has no left side: the target's keys say what the indices are.
            known = variable in variables or isinstance(equation.statement, rules.Create)
            if not known and variable not in ranged:
                what = f"{{{variable}}}" if variable[0] not in "*/" else variable.lstrip("/")
                help = _meant(variable, variables, faults.equation)
                fixes = _meant_index(variable, variables, faults.equation, name.span, faults.near)
                faults.add("MC204", f"{what} stands on the right only", name.span, help, fixes=fixes)
            variables[variable] = None
    equation.variables = tuple(variables)


def _spare(lefts: Iterable[str], equation: Equation) -> list[str]:
    """Indices of the left that no name of the right has."""
    regexes = regex_names(equation)
    rights = [variables_of(name, equation.indices, regexes) for name in right_names(equation)]
    return [left for left in lefts if not any(left in right for right in rights)]


def _meant_index(
    variable: str, lefts: Iterable[str], equation: Equation, span: Span | None, near: Suggester | None
) -> tuple[Fix, ...]:
    spare = _spare(lefts, equation)
    if variable[0] not in "*/" and not spare and near is not None:
        return tuple(_captured(variable, equation, near))
    if span is None or len(spare) != 1 or spare[0][0] in "*/" or variable[0] in "*/":
        return ()
    places = [
        m for m in re.finditer(rf"\b{re.escape(variable)}\b", span.text) if _in_braces(span.text, m.start())
    ]
    edits = [Edit(Span(span.source, span.start + m.start(), span.start + m.end()), spare[0]) for m in places]
    return (Fix(f"{{{spare[0]}}} on both sides", tuple(edits), True),) if edits else ()


def _captured(variable: str, equation: Equation, near: Suggester) -> Iterator[Fix]:
    """The index in a name of the left, where the source has a number."""
    for name in left_names(equation):
        if name.span is None:
            continue
        for meant in near.ranked(sample_of(name), 3):
            for number in dict.fromkeys(re.findall(r"[0-9]+", meant)):
                for found in renaming(name.span, tokens_of(name), meant, {variable: number}):
                    if any(f"{{{variable}}}" in edit.replacement for edit in found.edits):
                        yield Fix(f"{{{variable}}} on both sides", found.edits)


def _in_braces(text: str, at: int) -> bool:
    return text.rfind("{", 0, at) > text.rfind("}", 0, at)


def _meant(variable: str, lefts: Iterable[str], equation: Equation) -> str:
    """What may have been meant with an index that stands on the right only."""
    spare = _spare(lefts, equation)
    if len(spare) == 1 and spare[0][0] not in "*/":
        return f"is it {{{spare[0]}}}, which stands on the left only?"
    return f"capture it on the left, or give it values: where {variable} in 0..N"


def _indices_can_be_told(faults: Faults) -> None:
    equation = faults.equation
    for name in left_names(equation) or right_names(equation):
        if problem := unsolvable(name, equation):
            help = "say how far the lower digit goes: {4*b + r} needs `where r in 0..3`"
            faults.add("MC205", f"{problem} in {print_name(name)}", name.span, help)
    for name in right_names(equation) if left_names(equation) else []:
        if problem := not_affine(name, equation):
            help = "read the number apart where it stands: `a.{4*b + r} -> x.{b}.{r} where r in 0..3`"
            faults.add("MC205", f"{problem} in {print_name(name)}", name.span, help)
