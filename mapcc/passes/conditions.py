"""Conditions of rules and of listed names: their words are known, and each of them says something."""

from __future__ import annotations

from collections.abc import Collection

from mapcc.diagnostics.suggest import nearest
from mapcc.ir import rules
from mapcc.ir.axes import REST
from mapcc.ir.expr import Name, names
from mapcc.ir.patterns import Index, Pattern, walk
from mapcc.ir.program import Equation
from mapcc.passes.faults import Faults
from mapcc.passes.scope import meant_word
from mapcc.passes.words import asked_names, condition_leaves, condition_words, equations_of, parts_of
from mapcc.syntax.editing import exchanged


def words_are_known(faults: Faults, inherited: int = 0) -> None:
    """MC104 for words that mean nothing, and for equations that give no size and define no word in use.

    The first ``inherited`` conditions stand on a block: a size of its other statements is no fault here.
    """
    equation = faults.equation
    lets = set(equation.scope.lets) | set(equation.scope.overrides)
    atoms, indices = set(equation.atoms), set(equation.indices)
    useful = _useful(equation, lets)
    # An equation over indices says nothing; what it was to compare with is not at fault as well.
    compares = [c for c in equations_of(equation) if c not in useful and _was_to_compare(c, equation, lets)]
    useful = _useful(equation, lets, tuple(compares))
    defined = {o.name for c in useful for o in c.operands if isinstance(o, Name)}
    known = atoms | indices | lets | parameters(equation) | defined
    for at, condition in enumerate(equation.conditions):
        usable = known
        if isinstance(condition, rules.Compare) and condition.is_equation:
            if condition in compares:
                _compares(faults, condition, known)
                continue
            if condition not in useful and at < inherited:
                continue
        else:
            usable = known - (atoms - indices - lets)
        _tell_unknown(faults, condition, usable)


def parameters(equation: Equation) -> set[str]:
    """Words in index expressions that are no indices."""
    words = {word for part in parts_of(equation) if isinstance(part, Index) for word in names(part.expr)}
    return words - equation.indices


def _useful(
    equation: Equation, lets: Collection[str], also: tuple[rules.Condition, ...] = ()
) -> list[rules.Compare]:
    """The equations that give an axis its size, or define a word that something else asks for."""
    wanted = set(equation.atoms) | parameters(equation)
    for condition in equation.conditions:
        if condition in also or not (isinstance(condition, rules.Compare) and condition.is_equation):
            wanted |= condition_words(condition)
        wanted |= {word for name in asked_names(condition) for word in _expression_words(name)}
    given = (set(equation.indices) | set(lets)) - equation.atoms
    waiting, out = equations_of(equation), list[rules.Compare]()
    wanted -= given
    while found := [c for c in waiting if condition_words(c) & wanted]:
        out += found
        waiting = [c for c in waiting if c not in found]
        wanted |= {word for c in found for word in condition_words(c)} - given
    return out


def _expression_words(name: Pattern) -> set[str]:
    """The words of index expressions: ``n`` of ``{n-1-i}``."""
    exprs = [part.expr for part in walk(name.parts) if isinstance(part, Index)]
    return {word for expr in exprs if not isinstance(expr, Name) for word in names(expr)}


def _was_to_compare(condition: rules.Compare, equation: Equation, lets: Collection[str]) -> bool:
    """Whether an equation that gives no size speaks of an index, or of what is known anyway."""
    words = condition_words(condition)
    return bool(words & equation.indices) or words <= set(lets)


def _compares(faults: Faults, condition: rules.Compare, known: Collection[str]) -> None:
    if unknown := condition_words(condition) - set(known):
        _tell_unknown(faults, condition, set(known) | (condition_words(condition) - unknown))
        return
    message = "'=' gives a size, but no axis of this rule stands in it"
    fixes = exchanged("'==' compares", condition.span, " = ", " == ")
    faults.add("MC104", message, condition.span, "'==' compares", fixes=fixes)


def _tell_unknown(faults: Faults, condition: rules.Condition, usable: Collection[str]) -> None:
    equation = faults.equation
    for word in sorted(condition_words(condition) - set(usable)):
        near = nearest(word, sorted(set(usable) - {REST}), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"write 'let {word} = ...'"
        if word in equation.atoms:
            hint = "sizes are not known yet when tensors are chosen; '=' states a size"
        fixes = meant_word(word, near, condition_leaves(condition)) if word not in equation.atoms else ()
        faults.add("MC104", f"{word!r} is not known in this rule", condition.span, hint, fixes=fixes)
