"""From the texts of a match to the values of an equation's variables, conditions held."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from math import prod
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.expr import Config, Count, Expr, Name, Unevaluable, evaluate, leaves, names
from mapcc.ir.expr import Value as Result
from mapcc.ir.patterns import EMPTY
from mapcc.ir.program import Scope
from mapcc.passes.indices import Domain, domain_conditions, solve_indices
from mapcc.passes.match import Leaf
from mapcc.passes.paths import PathIndex
from mapcc.passes.scope import let_lookup
from mapcc.passes.words import condition_leaves, condition_words, variables_of
from mapcc.text import Span

MAX_CHOICES = 200_000

Value = int | str
Values = dict[str, Value]

_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(slots=True, eq=False)
class Resolver:
    """Conditions of one equation (or list of names), asked for one match at a time."""

    conditions: Sequence[rules.Condition]
    indices: frozenset[str]
    variables: Sequence[str]
    scope: Scope
    paths: PathIndex
    atoms: frozenset[str] = frozenset()
    _asking: set[str] = field(default_factory=set)
    _memo: dict[tuple[str, tuple[tuple[str, Value], ...]], int] = field(default_factory=dict)
    _domains: dict[str, rules.InRange] = field(init=False)
    _filters: list[rules.Condition] = field(init=False)
    filter_words: tuple[str, ...] | None = field(init=False)
    held: dict[tuple[Value | None, ...], bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._domains = domain_conditions(self.conditions, self.indices)
        self._filters = [
            c
            for c in self.conditions
            if not (isinstance(c, rules.Compare) and c.is_equation) and c not in self._domains.values()
        ]
        self.filter_words = self._words_of_filters()
        if not self._filters:
            self.held[()] = True

    @property
    def is_direct(self) -> bool:
        """Whether numbers in names are the indices: nothing has to be solved."""
        return not self._domains

    def _words_of_filters(self) -> tuple[str, ...] | None:
        """The indices that the filters ask for; None if that cannot be told from their text."""
        words: set[str] = set()
        for condition in self._filters:
            if isinstance(condition, rules.Exists):
                return None
            for leaf in condition_leaves(condition):
                if isinstance(leaf, Count):
                    words |= self._bound_words(leaf)
                elif isinstance(leaf, Name) and leaf.name in self.indices:
                    words.add(leaf.name)
                elif isinstance(leaf, Name) and self._definition(leaf.name) is not None:
                    return None
        return tuple(words)

    def resolve(self, leaf: Leaf, texts: Sequence[str]) -> tuple[Values, dict[str, int]] | None:
        """The variables' values and the positions along index axes; None if conditions do not hold."""
        values: Values = {}
        axes: dict[str, int] = {}
        numbers: list[tuple[Expr, int]] = []
        for hole, text in zip(leaf.holes, texts, strict=True):
            if hole.variable.startswith("["):
                if axes.setdefault(hole.variable[1:], int(text)) != int(text):
                    return None
            elif hole.expr is None:
                if values.setdefault(hole.variable, text) != text:
                    return None
            elif hole.variable in self.indices:
                if values.setdefault(hole.variable, int(text)) != int(text):
                    return None
            else:
                numbers.append((hole.expr, int(text)))
        if numbers or self._domains:
            known = {word: int(value) for word, value in values.items() if word in self.indices}
            solved = solve_indices(
                numbers, known, partial(self.parameter, known=values), self._ranges(values), self.indices
            )
            if solved is None:
                return None
            values.update(solved)
        return (values, axes) if self.holds(values) else None

    def _ranges(self, values: Values) -> dict[str, Domain]:
        lookup = self.lookup(values)
        return {
            word: (_whole(evaluate(c.low, lookup)), _whole(evaluate(c.high, lookup)))
            for word, c in self._domains.items()
        }

    def range_of(self, word: str, values: Values) -> range:
        """The domain of an index that no name of the left gives."""
        low, high = self._ranges(values)[word]
        return range(low, high + 1)

    def choices_of(
        self, words: Sequence[str], values: Values, span: Span | None
    ) -> Iterator[tuple[int, ...]]:
        """All values of indices that no name of the left gives. MC103 if they are too many."""
        ranges = [self.range_of(word, values) for word in words]
        if prod(max(0, r.stop - r.start) for r in ranges) > MAX_CHOICES:
            message = f"the domains of {', '.join(words)} make more than {MAX_CHOICES:,} copies"
            raise MappingError([Diagnostic("MC103", message, span)])
        return product(*ranges)

    def is_off(self, was_asked: bool) -> bool:
        """Whether conditions say that this checkpoint is another variant, so that nothing is dead.

        ``was_asked``: names matched, and were refused by a condition.
        """
        for condition in self._filters:
            asks_presence = isinstance(condition, rules.Exists)
            if asks_presence and was_asked:
                return True
            if asks_presence or not condition_words(condition) & self.indices:
                try:
                    if not self._holds(condition, {}):
                        return True
                except Unevaluable:
                    continue
        return False

    def holds(self, values: Values) -> bool:
        """Whether the filters hold; ``held`` keeps the answers by the values of ``filter_words``."""
        if self.filter_words is None:
            return self._all_hold(values)
        # Few layers, many tensors: the same question again and again.
        key = tuple([values.get(word) for word in self.filter_words])
        held = self.held.get(key)
        if held is None:
            held = self.held[key] = self._all_hold(values)
        return held

    def _all_hold(self, values: Values) -> bool:
        for condition in self._filters:
            try:
                if not self._holds(condition, values):
                    return False
            except Unevaluable as error:
                error.span = error.span or condition.span
                raise
        return True

    def _holds(self, condition: rules.Condition, values: Values) -> bool:
        match condition:
            case rules.Exists(pattern, negated):
                parameter = partial(self.parameter, known=values)
                found = self.paths.count(condition.prefix or EMPTY, pattern, values, parameter)
                return bool(found) != negated
            case rules.InRange(index, low, high):
                lookup = self.lookup(values)
                at, a, b = (evaluate(e, lookup) for e in (index, low, high))
                return not isinstance(at, str) and _whole(a) <= at <= _whole(b)
            case rules.Compare(operands, operators):
                lookup = self.lookup(values)
                results = [evaluate(operand, lookup) for operand in operands]
                return all(
                    _compare(op, a, b) for op, a, b in zip(operators, results, results[1:], strict=False)
                )

    def lookup(
        self, values: Mapping[str, Value], defined: bool = True
    ) -> Callable[[Name | Config | Count], Result]:
        """Indices, then words that an equation defines (unless sizes are being solved), then lets."""
        lets = let_lookup(self.scope)

        def look(leaf: Name | Config | Count) -> Result:
            match leaf:
                case Name(name) if name in self.indices:
                    if name not in values:
                        raise Unevaluable(f"index {name!r} is not known here", name, leaf.span)
                    return values[name]
                case Name(name) if defined and self._definition(name) is not None:
                    return self.parameter(name, values)
                case Count(pattern):
                    # Variables of the block are bound; those of the pattern itself are counted.
                    bound = {v: values[v] for v in self._bound_words(leaf) if v in values}
                    parameter = partial(self.parameter, known=values)
                    return self.paths.count(leaf.prefix or EMPTY, pattern, bound, parameter)
                case _:
                    return lets(leaf)

        return look

    def parameter(self, name: str, known: Mapping[str, Value]) -> int:
        """A word in an index expression that is no index: defined by ``where`` or a let."""
        definition = self._definition(name)
        bound = tuple(sorted((v, known[v]) for v in self._words_of(definition) if v in known))
        memo = self._memo.get((name, bound))
        if memo is None:
            if name in self._asking:
                raise Unevaluable(f"{name!r} is defined by itself", name)
            expr = Name(name) if definition is None else definition
            lookup = let_lookup(self.scope) if definition is None else self.lookup(known)
            self._asking.add(name)
            try:
                memo = self._memo[name, bound] = _whole(evaluate(expr, lookup))
            finally:
                self._asking.discard(name)
        return memo

    def _words_of(self, definition: Expr | None) -> frozenset[str]:
        if definition is None:
            return frozenset()
        words = {leaf.name for leaf in leaves(definition) if isinstance(leaf, Name)} & self.indices
        for leaf in leaves(definition):
            if isinstance(leaf, Count):
                words |= self._bound_words(leaf)
        return frozenset(words)

    def _bound_words(self, count: Count) -> frozenset[str]:
        """The variables of the block around a ``count``: they are known when it is asked."""
        return frozenset(variables_of(count.prefix or EMPTY, self.indices, frozenset()))

    def _definition(self, name: str) -> Expr | None:
        """What an equation says of a word; of several, one that does not ask for what is being asked."""
        if name in self.atoms:
            return None
        said: list[Expr] = []
        for condition in self.conditions:
            if not isinstance(condition, rules.Compare) or not condition.is_equation:
                continue
            others = [o for o in condition.operands if not (isinstance(o, Name) and o.name == name)]
            said += others[-1:] if len(others) < len(condition.operands) else []
        open_ = (expr for expr in said if not names(expr) & (self._asking | {name}))
        return next(open_, said[0] if said else None)


def _compare(op: str, a: Result, b: Result) -> bool:
    if isinstance(a, str) != isinstance(b, str):
        if op in ("==", "!="):
            return op == "!="
        raise Unevaluable(f"'{op}' between a text and a number")
    return _COMPARE[op](a, b)


def _whole(value: Result) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, int):
        raise Unevaluable(f"{value!r} is not a whole number")
    return value
