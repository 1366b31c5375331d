"""Words of an equation: which are indices, which stand where."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.ir import rules
from mapcc.ir.expr import Config, Count, Name, leaves, names
from mapcc.ir.patterns import Deep, Index, Part, Pattern, Regex, Star
from mapcc.ir.program import Equation


def left_names(equation: Equation) -> list[Pattern]:
    return [name for unit in equation.units for name in unit.names]


def right_names(equation: Equation) -> list[Pattern]:
    return [target.name for target in equation.targets if target.name is not None]


def parts_of(equation: Equation) -> list[Part]:
    """The parts of every name."""
    return [part for name in left_names(equation) + right_names(equation) for part in name.parts]


def indices_of(equation: Equation) -> frozenset[str]:
    """A word in braces is an index if it stands alone somewhere; else a let, if there is one."""
    regexes = regex_names(equation)
    parts = [
        part
        for name in left_names(equation) + right_names(equation)
        for part in name.parts
        if isinstance(part, Index)
    ]
    alone = {part.expr.name for part in parts if isinstance(part.expr, Name)} - regexes
    defined = {o.name for c in equations_of(equation) for o in c.operands if isinstance(o, Name)}
    words = {name for part in parts for name in names(part.expr)}
    parameters = (words & (defined | set(equation.scope.lets))) - alone - ranged_words(equation)
    return frozenset((words | alone) - parameters - regexes)


def equations_of(equation: Equation) -> list[rules.Compare]:
    """The conditions that state sizes."""
    return [c for c in equation.conditions if isinstance(c, rules.Compare) and c.is_equation]


def ranged_words(equation: Equation) -> set[str]:
    """The words that ``in a..b`` gives a domain."""
    return {
        c.index.name
        for c in equation.conditions
        if isinstance(c, rules.InRange) and isinstance(c.index, Name)
    }


def regexes_of(equation: Equation) -> dict[str, str]:
    """The regular expressions of an equation by name; the first, where a name has two."""
    parts = [part for part in parts_of(equation) if isinstance(part, Regex)]
    return {part.name: part.expression for part in reversed(parts)}


def regex_names(equation: Equation) -> frozenset[str]:
    return frozenset(
        part.name
        for name in left_names(equation) + right_names(equation)
        for part in name.parts
        if isinstance(part, Regex)
    )


def condition_leaves(condition: rules.Condition) -> Iterator[Name | Config | Count]:
    match condition:
        case rules.Compare(operands, _):
            yield from (leaf for operand in operands for leaf in leaves(operand))
        case rules.InRange(index, low, high):
            yield from (leaf for operand in (index, low, high) for leaf in leaves(operand))
        case rules.Exists():
            return


def condition_words(condition: rules.Condition) -> set[str]:
    return {leaf.name for leaf in condition_leaves(condition) if isinstance(leaf, Name)}


def asked(condition: rules.Condition) -> list[tuple[str, Pattern, Pattern | None]]:
    """What ``exists`` and ``count`` ask for: the word, the name, and the prefix that it is asked under."""
    if isinstance(condition, rules.Exists):
        return [("exists", condition.pattern, condition.prefix)]
    counts = [leaf for leaf in condition_leaves(condition) if isinstance(leaf, Count)]
    return [("count", leaf.pattern, leaf.prefix) for leaf in counts]


def asked_names(condition: rules.Condition) -> list[Pattern]:
    """The same, the names alone."""
    return [pattern for _, pattern, _ in asked(condition)]


def variables_of(name: Pattern, indices: frozenset[str], regexes: frozenset[str]) -> dict[str, None]:
    """The variables of a name in order: indices, stars, expressions."""
    out: dict[str, None] = {}
    stars = deeps = 0
    for part in name.parts:
        match part:
            case Star():
                stars += 1
                out[f"*{stars}"] = None
            case Deep():
                deeps += 1
                out[f"**{deeps}"] = None
            case Regex(word, _):
                out[f"/{word}"] = None
            case Index(Name(word)) if word in regexes:
                out[f"/{word}"] = None
            case Index(expr):
                out.update((word, None) for word in sorted(names(expr)) if word in indices)
            case _:
                pass
    return out
