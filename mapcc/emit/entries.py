"""A rule as entries of a table: anchored patterns and replacement templates.

The names are written by the compiler's own writer, with a marker in the place of every variable that
stays open; markers become groups in the pattern and references in the template. Variables that a
template cannot carry over (``{n-1-i}``, ``where i % 2 == 0``) are written out, value by value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from mapcc.emit.pysource import Entry
from mapcc.emit.wholes import Row
from mapcc.ir import rules
from mapcc.ir.bound import Instance
from mapcc.ir.expr import Name, leaves, names
from mapcc.ir.patterns import Index, Pattern
from mapcc.ir.program import Equation
from mapcc.passes.analyse import condition_words, regex_names, variables_of
from mapcc.passes.paths import PathIndex
from mapcc.passes.resolve import Resolver
from mapcc.passes.segments import name_axes
from mapcc.passes.writer import NameWriter, name_writer

# One lone surrogate for each variable: no tensor's name has any (see tensors/spec.py).
FIRST_MARK, LAST_MARK = 0xD800, 0xDFFF

INDEX = "(0|[1-9][0-9]*)"


class Level(IntEnum):
    """How much of a rule's names is written out."""

    LEFT_OUT = 0  # names that stay as they are need no entry
    PATTERN = 1  # what a template cannot carry over
    INDICES = 2  # every index
    NAMES = 3  # everything


class Clash(Exception):
    """Two entries with one pattern, and different replacements."""


@dataclass(slots=True, eq=False)
class Said:
    """An equation that the dialect can say: its instances, and what becomes of their operands."""

    equation: Equation
    moved: list[tuple[Instance, tuple[Row, ...]]]
    level: Level = Level.PATTERN

    @property
    def open_variables(self) -> frozenset[str]:
        return frozenset(self.equation.variables) - fixed_variables(self.equation, self.level)


def entries_of(said: Said, paths: PathIndex) -> dict[str, Entry]:
    """The entries of a rule at its level.

    Raises:
        Clash: what is open would have to be replaced in two ways.
    """
    if said.level is Level.LEFT_OUT:
        return {}
    marker = _Marker(said.equation, said.open_variables, paths)
    out: dict[str, Entry] = {}
    seen: set[tuple[object, ...]] = set()
    for instance, rows in said.moved:
        key = (*marker.fixed_values(instance), rows, *sorted(marker.extents(instance).items()))
        if key in seen:
            continue
        seen.add(key)
        sources, targets = marker.names(instance)
        for row in rows:
            pattern, template = translate(sources[row.source], targets[row.target], marker.kinds)
            both = row.index is not None and row.count is not None
            entry: Entry = (template, row.index, row.count) if both else template  # type: ignore[assignment]
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
    lefts = [unit.names[0] for unit in equation.units]
    rights = [target.name for target in equation.targets if target.name is not None]
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
    """The variables of index expressions; those that a parameter may depend on, too."""
    for part in name.parts:
        if isinstance(part, Index) and not isinstance(part.expr, Name):
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
            exprs: Sequence[rules.Expr] = operands
            yield from condition_words(condition)
            if any(not _is_index(leaf, equation) for expr in exprs for leaf in leaves(expr)):
                yield from _outer(equation)
        case rules.InRange():
            yield from condition_words(condition)
            yield from _outer(equation)


def _is_index(leaf: object, equation: Equation) -> bool:
    return isinstance(leaf, Name) and leaf.name in equation.indices


def _outer(equation: Equation) -> Iterator[str]:
    """What a count under a block's prefix may depend on."""
    yield from equation.indices
    yield from variables_of(equation.prefix, equation.indices, frozenset())


# --- names with markers


class _Marker:
    """Writes the names of an equation's operands, with markers for its open variables."""

    def __init__(self, equation: Equation, open_: frozenset[str], paths: PathIndex) -> None:
        self.equation = equation
        self.marks = {
            at: chr(FIRST_MARK + at) for at, variable in enumerate(equation.variables) if variable in open_
        }
        self.kinds = Kinds(
            {mark: equation.variables[at] for at, mark in self.marks.items()}, equation.separators[0]
        )
        self.lefts = [self._writer(unit.names[0], 0) for unit in equation.units]
        self.rights = [self._writer(t.name, 1) for t in equation.targets if t.name is not None]
        patterns = [unit.names[0] for unit in equation.units]
        patterns += [target.name for target in equation.targets if target.name is not None]
        self.axes = frozenset(axis.atom for pattern in patterns for axis in name_axes(pattern))
        self.resolver = Resolver(
            equation.conditions,
            equation.indices,
            equation.variables,
            equation.scope,
            equation.prefix,
            paths,
            equation.atoms,
        )

    def _writer(self, name: Pattern, side: int) -> NameWriter:
        equation = self.equation
        return name_writer(name, equation.separators[side], equation.variables, regex_names(equation))

    def fixed_values(self, instance: Instance) -> tuple[int | str, ...]:
        return tuple(value for at, value in enumerate(instance.values) if at not in self.marks)

    def extents(self, instance: Instance) -> dict[str, int]:
        return {axis: instance.layout.sizes[axis] for axis in self.axes}

    def names(self, instance: Instance) -> tuple[list[str], list[str]]:
        """Of every source operand and every target operand, in the order of the instance."""
        values = [self.marks.get(at, value) for at, value in enumerate(instance.values)]
        known = dict(zip(self.equation.variables, instance.values, strict=True))
        sizes = instance.layout.sizes
        left, right = (
            [name for w in writers for name in w.write_all(values, sizes, lambda v: self._parameter(v, known))]
            for writers in (self.lefts, self.rights)
        )
        return left, right

    def _parameter(self, word: str, known: dict[str, int | str]) -> int:
        return self.resolver.parameter(word, known)


# --- from markers to patterns and templates


@dataclass(frozen=True, slots=True)
class Kinds:
    """The variable that each marker stands for, and what parts a source name into segments."""

    variables: dict[str, str]
    separator: str

    def expression(self, mark: str, is_segment: bool) -> str:
        """What the matcher lets the variable be, as a group."""
        variable = self.variables[mark]
        if variable.startswith("**"):
            return "(.+)"
        if variable.startswith("*"):
            return f"([^{re.escape(self.separator)}]{'+' if is_segment else '*'})"
        return INDEX


def translate(source: str, target: str, kinds: Kinds) -> tuple[str, str]:
    r"""The pattern and the template of two marked names.

    >>> kinds = Kinds({"\ud800": "i", "\ud801": "*1"}, ".")
    >>> print(*translate("a.\ud800.\ud801", "b\ud8002.\ud801", kinds))
    ^a\.(0|[1-9][0-9]*)\.([^.]+)$ b\g<1>2.\2
    """
    numbers: dict[str, int] = {}
    segments: list[str] = []
    for segment in source.split(kinds.separator):
        out: list[str] = []
        for chunk in _chunks(segment):
            if not _is_mark(chunk):
                out.append(re.escape(chunk))
            elif chunk in numbers:
                out.append(f"(?:\\{numbers[chunk]})")  # parted from digits that follow
            else:
                numbers[chunk] = len(numbers) + 1
                out.append(kinds.expression(chunk, chunk == segment))
        segments.append("".join(out))
    return f"^{re.escape(kinds.separator).join(segments)}$", _template(target, numbers)


def _template(target: str, numbers: dict[str, int]) -> str:
    out: list[str] = []
    chunks = _chunks(target)
    for chunk, following in zip(chunks, [*chunks[1:], ""], strict=True):
        if not _is_mark(chunk):
            out.append(chunk.replace("\\", "\\\\"))
        elif numbers[chunk] > 9 or following[:1].isdigit():
            out.append(f"\\g<{numbers[chunk]}>")  # \1 and a digit would be another group, or an octal number
        else:
            out.append(f"\\{numbers[chunk]}")
    return "".join(out)


def _is_mark(chunk: str) -> bool:
    return len(chunk) == 1 and FIRST_MARK <= ord(chunk) <= LAST_MARK


def _chunks(text: str) -> list[str]:
    return [chunk for chunk in re.split(r"([\ud800-\udfff])", text) if chunk]
