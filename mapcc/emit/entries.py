"""A rule as entries of a table: anchored patterns and replacement templates.

The names are written by the compiler's own writer, with a marker in the place of every variable that
stays open; markers become groups in the pattern and references in the template. Variables that a
template cannot carry over (``{n-1-i}``, ``where i % 2 == 0``) are written out, value by value.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum

from mapcc.emit.pysource import Entry
from mapcc.emit.translate import Kinds, mark, translate
from mapcc.emit.wholes import Row
from mapcc.ir import rules
from mapcc.ir.bound import Instance
from mapcc.ir.expr import Name, leaves, names
from mapcc.ir.patterns import Index, Pattern
from mapcc.ir.program import Equation
from mapcc.passes.paths import PathIndex
from mapcc.passes.resolve import Resolver
from mapcc.passes.segments import name_axes
from mapcc.passes.words import (
    condition_words,
    equations_of,
    left_names,
    regex_names,
    right_names,
    variables_of,
)
from mapcc.passes.writer import NameWriter, name_writer


class Level(IntEnum):
    """How much of a rule's names is written out."""

    LEFT_OUT = 0  # names that stay as they are need no entry
    PATTERN = 1  # what a template cannot carry over
    INDICES = 2  # every index
    NAMES = 3  # everything


class Clash(Exception):
    """Two entries with one pattern, and different replacements."""


@dataclass(slots=True, eq=False)
class Candidate:
    """An equation that the dialect can say: its instances, and what becomes of their operands."""

    equation: Equation
    moved: list[tuple[Instance, tuple[Row, ...]]]
    level: Level = Level.PATTERN

    @property
    def open_variables(self) -> frozenset[str]:
        return frozenset(self.equation.variables) - fixed_variables(self.equation, self.level)


@dataclass(frozen=True, slots=True)
class Marked:
    """What becomes of an operand, with markers in the names for the variables that stay open."""

    source: str
    target: str
    row: Row
    kinds: Kinds


def marked_rows(candidate: Candidate, paths: PathIndex) -> Iterator[Marked]:
    """The rows of a rule at its level, those that differ only in what stays open once."""
    if candidate.level is Level.LEFT_OUT:
        return
    marker = Marker(candidate.equation, candidate.open_variables, paths)
    seen: set[tuple[object, ...]] = set()
    for instance, rows in candidate.moved:
        key = (marker.fixed_values(instance), marker.extents(instance), rows)
        if key in seen:
            continue
        seen.add(key)
        sources, targets = marker.names(instance)
        for row in rows:
            yield Marked(sources[row.source], targets[row.target], row, marker.kinds)


def entries_of(candidate: Candidate, paths: PathIndex) -> dict[str, Entry]:
    """The entries of a rule at its level.

    Raises:
        Clash: what is open would have to be replaced in two ways.
    """
    out: dict[str, Entry] = {}
    for marked in marked_rows(candidate, paths):
        pattern, template = translate(marked.source, marked.target, marked.kinds)
        entry: Entry = template
        if marked.row.place is not None and marked.row.of is not None:
            entry = (template, marked.row.place, marked.row.of)
        if out.setdefault(pattern, entry) != entry:
            raise Clash(pattern)
    return out


# --- which variables are written out


def fixed_variables(equation: Equation, level: Level) -> frozenset[str]:
    every = frozenset(equation.variables)
    if level is Level.NAMES:
        return every
    fixed = frozenset(_not_carried_over(equation)) & every
    return fixed | (every & equation.indices) if level is Level.INDICES else fixed


def _not_carried_over(equation: Equation) -> Iterator[str]:
    """Variables whose text is not captured, or decides what a rule takes or gives."""
    regexes = regex_names(equation)
    lefts, rights = left_names(equation), right_names(equation)
    yield from (f"/{name}" for name in regexes)  # in a dialect that is not that of re
    if equation.separators[0] != equation.separators[1]:
        yield from (v for v in equation.variables if v.startswith("**"))
    given = [set(variables_of(name, equation.indices, regexes)) for name in lefts]
    for right in rights:
        wanted = set(variables_of(right, equation.indices, regexes))
        yield from (v for known in given for v in wanted - known)
    for name in (*lefts, *rights):
        yield from _computed(name, equation, regexes)
    for condition in equation.conditions:
        yield from _filtering(condition, equation)


def _computed(name: Pattern, equation: Equation, regexes: frozenset[str]) -> Iterator[str]:
    """The variables of index expressions, and of numbers with zeros in front, which no template counts.

    Those that a parameter may depend on, too.
    """
    for part in name.parts:
        if isinstance(part, Index) and (part.width or not isinstance(part.expr, Name)):
            words = names(part.expr)
            yield from words
            if words - equation.indices - regexes:
                yield from _outer(equation)


def _filtering(condition: rules.Condition, equation: Equation) -> Iterator[str]:
    match condition:
        case rules.Exists(pattern):
            yield from variables_of(pattern, equation.indices, frozenset())
            yield from _outer(equation)
        case rules.Compare() if condition.is_equation:
            return
        case rules.Compare(operands, _):
            yield from condition_words(condition)
            if any(not _is_index(leaf, equation) for operand in operands for leaf in leaves(operand)):
                yield from _outer(equation)
        case rules.InRange():
            yield from condition_words(condition)
            yield from _outer(equation)


def _is_index(leaf: object, equation: Equation) -> bool:
    return isinstance(leaf, Name) and leaf.name in equation.indices


def _outer(equation: Equation) -> Iterator[str]:
    """What counts and the words that ``=`` defines may depend on."""
    yield from variables_of(equation.prefix, equation.indices, frozenset())
    for condition in equations_of(equation):
        yield from condition_words(condition) & equation.indices


# --- names with markers


class Marker:
    """Writes the names of an equation's operands, with markers for its open variables."""

    def __init__(self, equation: Equation, open_: frozenset[str], paths: PathIndex) -> None:
        self.equation = equation
        self.marks = {at: mark(at) for at, variable in enumerate(equation.variables) if variable in open_}
        variables = {marker: equation.variables[at] for at, marker in self.marks.items()}
        self.kinds = Kinds(variables, equation.separators[0])
        self.lefts = [self._writer(unit.names[0], 0) for unit in equation.units]
        self.rights = [self._writer(name, 1) for name in right_names(equation)]
        patterns = left_names(equation) + right_names(equation)
        self.axes = sorted({axis.atom for pattern in patterns for axis in name_axes(pattern)})
        self.resolver = Resolver(
            equation.conditions,
            equation.indices,
            equation.variables,
            equation.scope,
            paths,
            equation.atoms,
        )

    def _writer(self, name: Pattern, side: int) -> NameWriter:
        equation = self.equation
        return name_writer(name, equation.separators[side], equation.variables, regex_names(equation))

    def fixed_values(self, instance: Instance) -> tuple[int | str, ...]:
        return tuple(value for at, value in enumerate(instance.values) if at not in self.marks)

    def extents(self, instance: Instance) -> tuple[int, ...]:
        return tuple(instance.layout.sizes[axis] for axis in self.axes)

    def names(self, instance: Instance) -> tuple[list[str], list[str]]:
        """Of every source operand and every target operand, in the order of the instance."""
        values = [self.marks.get(at, value) for at, value in enumerate(instance.values)]
        known = dict(zip(self.equation.variables, instance.values, strict=True))

        def written(writers: list[NameWriter]) -> list[str]:
            sizes = instance.layout.sizes
            names_ = [
                w.write_all(values, sizes, lambda word: self.resolver.parameter(word, known)) for w in writers
            ]
            return [name for several in names_ for name in several]

        return written(self.lefts), written(self.rights)
