"""Index expressions read backwards: from the number in a name to the indices."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from mapcc.ir import rules
from mapcc.ir.expr import Affine, Expr, Name, Number, affine, names
from mapcc.ir.patterns import Index, Pattern
from mapcc.ir.program import Equation

Domain = tuple[int, int]
Parameters = Callable[[str], int]

MAX_DIGIT = 100_000

NOT_AFFINE = "an index expression is not affine"


class NotOneToOne(Exception):
    """A number that two choices of indices give."""


def domain_conditions(
    conditions: Sequence[rules.Condition], indices: frozenset[str]
) -> dict[str, rules.InRange]:
    """``r in 0..2``, by index."""
    return {
        c.index.name: c
        for c in conditions
        if isinstance(c, rules.InRange) and isinstance(c.index, Name) and c.index.name in indices
    }


def unsolvable(name: Pattern, equation: Equation) -> str:
    """Why a name's numbers do not tell its indices, as far as its text alone says; "" if they do."""
    ranged = domain_conditions(equation.conditions, equation.indices)
    pending = [set(names(part.expr)) & equation.indices for part in name.parts if isinstance(part, Index)]
    exprs = [part.expr for part in name.parts if isinstance(part, Index)]
    known: set[str] = set()
    progress = True
    while progress:
        progress = False
        for words in pending:
            if len(words - known) == 1:
                known |= words
                progress = True
    for expr, words in zip(exprs, pending, strict=True):
        unknown = words - known
        if len([word for word in unknown if word not in ranged]) > 1:
            return f"the indices {', '.join(sorted(unknown))} cannot be told from one number"
        form = _form(expr, equation)
        if form is None:
            return NOT_AFFINE
        if words and not form.factors:
            return "an index expression does not depend on its index"
        if unknown and names(expr) <= equation.indices and _overlaps(form, unknown, ranged):
            return "two choices of indices give the same number"
    return ""


def not_affine(name: Pattern, equation: Equation) -> str:
    """Why the numbers of a name cannot be computed from its indices; "" if they can."""
    exprs = [part.expr for part in name.parts if isinstance(part, Index)]
    return NOT_AFFINE if any(_form(expr, equation) is None for expr in exprs) else ""


def _form(expr: Expr, equation: Equation) -> Affine | None:
    return affine(expr, dict.fromkeys(names(expr) - equation.indices, 1))


def _overlaps(form: Affine, unknown: set[str], ranged: Mapping[str, rules.InRange]) -> bool:
    """Whether lower digits reach beyond their place; domains that are no plain numbers pass."""
    terms = sorted(((abs(f), w) for w, f in form.factors if w in unknown), reverse=True)
    reach = 0
    for factor, word in reversed(terms):
        if factor <= reach:
            return True
        condition = ranged.get(word)
        if condition is None:
            continue
        if not isinstance(condition.low, Number) or not isinstance(condition.high, Number):
            return False
        reach += factor * int(condition.high.value - condition.low.value)
    return False


def solve_indices(
    numbers: Sequence[tuple[Expr, int]],
    known: dict[str, int],
    parameters: Parameters,
    domains: Mapping[str, Domain],
    indices: frozenset[str],
) -> dict[str, int] | None:
    """The indices that give these numbers, or None if none do.

    Raises:
        NotOneToOne: two choices give the same numbers.
    """
    solved = dict(known)
    pending = list(numbers)
    while pending:
        rest: list[tuple[Expr, int]] = []
        for expr, number in pending:
            words = names(expr)
            form = affine(expr, {w: parameters(w) for w in words - indices})
            if form is None:
                return None
            unknown = [(w, f) for w, f in form.factors if w not in solved]
            remainder = number - form.constant - sum(f * solved[w] for w, f in form.factors if w in solved)
            if len(unknown) > 1 and len(rest) < len(pending) and _may_wait(pending, expr, solved, indices):
                rest.append((expr, number))
                continue
            digits = _digits(unknown, remainder, domains)
            if digits is None:
                return None
            solved.update(digits)
        pending = rest
    inside = all(lo <= solved[w] <= hi for w, (lo, hi) in domains.items() if w in solved)
    return solved if inside else None


def _may_wait(
    pending: Sequence[tuple[Expr, int]], expr: Expr, solved: Mapping[str, int], indices: frozenset[str]
) -> bool:
    """Whether another number tells one of this expression's indices first."""
    mine = (names(expr) & indices) - solved.keys()
    return any(
        other is not expr and len((names(other) & indices) - solved.keys()) == 1
        and (names(other) & indices) - solved.keys() <= mine
        for other, _ in pending
    )  # fmt: skip


def _digits(
    unknown: Sequence[tuple[str, int]], remainder: int, domains: Mapping[str, Domain]
) -> dict[str, int] | None:
    """Mixed radix: every unknown but one has a domain."""
    if not unknown:
        return {} if remainder == 0 else None
    free = next((k for k, (word, _) in enumerate(unknown) if word not in domains), None)
    if free is None:
        free = max(range(len(unknown)), key=lambda k: abs(unknown[k][1]))
    word, factor = unknown[free]
    others = [*unknown[:free], *unknown[free + 1 :]]
    found: dict[str, int] | None = None
    for choice, left in _choices(others, remainder, domains):
        if left % factor or left // factor < 0:
            continue
        value = left // factor
        if word in domains and not domains[word][0] <= value <= domains[word][1]:
            continue
        if found is not None:
            raise NotOneToOne(", ".join(w for w, _ in unknown))
        found = choice | {word: value}
    return found


def _choices(
    digits: Sequence[tuple[str, int]], remainder: int, domains: Mapping[str, Domain]
) -> list[tuple[dict[str, int], int]]:
    out: list[tuple[dict[str, int], int]] = [({}, remainder)]
    for word, factor in digits:
        low, high = domains[word]
        if (high - low + 1) * len(out) > MAX_DIGIT:
            raise NotOneToOne(word)
        out = [
            (choice | {word: value}, left - factor * value)
            for choice, left in out
            for value in range(low, high + 1)
        ]
    return out
