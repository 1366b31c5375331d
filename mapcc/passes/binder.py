"""What the passes of binding share: the bound mapping as it grows, and what was asked before."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from mapcc.diagnostics.model import Diagnostics
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir.bound import BoundMapping, Layout
from mapcc.ir.expr import Unevaluable
from mapcc.ir.program import Equation, Listed, Program
from mapcc.passes.facts import Facts, facts_of
from mapcc.passes.findings import Findings
from mapcc.passes.indices import NotOneToOne
from mapcc.passes.layout import Problem
from mapcc.passes.listed import equation_of
from mapcc.passes.match import Leaf
from mapcc.passes.offers import Unmatched
from mapcc.passes.paths import PathIndex
from mapcc.passes.reshapes import star_texts
from mapcc.passes.resolve import Resolver, Values
from mapcc.passes.scope import report
from mapcc.passes.words import regex_names
from mapcc.passes.writer import NameWriter, name_writer
from mapcc.tensors.quantised.model import Found
from mapcc.tensors.quantised.recognise import quantised
from mapcc.tensors.spec import Manifest
from mapcc.text import Span

Key = tuple[int | str, ...]
Position = tuple[int, ...]
Members = dict[tuple[int, int], dict[Position, str]]

# The value of a variable that a name does not have. No text of a hole is this one.
ABSENT = "\0"


@dataclass(slots=True)
class Matched:
    """What an equation's patterns matched: by unit and member, by key, by position on its axes."""

    tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]] = field(default_factory=dict)
    filtered: int = 0
    failed: bool = False  # a condition had no value


class NoValue(Exception):
    """A condition has no value for a match; that is reported already."""


class Binder:
    """The state of one binding; the passes are functions over it."""

    def __init__(
        self, program: Program, source: Manifest, target: Manifest | None, found: Diagnostics
    ) -> None:
        self.bound = BoundMapping(program, source, target)
        self.program, self.source, self.target = program, source, target
        self.findings = Findings(found)
        self.paths = PathIndex(source.tensors, program.separators[0])
        self.matched: dict[int, Matched] = {}
        self.layouts: dict[tuple[object, ...], Layout | Problem] = {}
        self.dropped_by: dict[int, int] = {}
        self.external_by: set[int] = set()
        self.filtered_by: dict[int, int] = {}  # names that a drop or external matches, but for its 'where'
        # What a failed instance would have taken and given: not reported a second time.
        self.excused_sources: set[str] = set()
        self.excused_targets: set[str] = set()
        # Rules that matched nothing, and how many names their conditions refused.
        self.dead: list[tuple[Equation, int]] = []
        # What is left of both sides, once everything is bound.
        self.untaken: Unmatched | None = None
        self.not_given: Unmatched | None = None
        self._resolvers: dict[int, Resolver] = {}
        self._facts: dict[int, Facts] = {}
        self._writers: dict[tuple[int, int], NameWriter] = {}
        self._suggester: Suggester | None = None
        self._stars: dict[int, list[str]] | None = None
        self._quantised: Found | None = None

    @property
    def quantised(self) -> Found:
        """The source's quantised weights, and what belongs to them."""
        if self._quantised is None:
            self._quantised = quantised(self.source)
        return self._quantised

    def resolver(self, equation: Equation) -> Resolver:
        """The conditions of an equation."""
        found = self._resolvers.get(id(equation))
        if found is None:
            found = self._resolvers[id(equation)] = Resolver(
                equation.conditions,
                equation.indices,
                equation.variables,
                equation.scope,
                self.paths,
                equation.atoms,
            )
        return found

    def facts(self, equation: Equation) -> Facts:
        """What all instances of an equation share."""
        found = self._facts.get(id(equation))
        if found is None:
            found = self._facts[id(equation)] = facts_of(equation)
        return found

    def listed_resolver(self, listed: Listed) -> Resolver:
        """The conditions of a ``drop`` or ``external``."""
        equation = equation_of(listed)
        return Resolver(listed.conditions, equation.indices, equation.variables, listed.scope, self.paths)

    def has_matched(self, listed: Listed) -> bool:
        """Whether names matched a ``drop`` or ``external``, whatever its conditions said of them."""
        at = id(listed.written)
        return bool(self.dropped_by.get(at) or self.filtered_by.get(at) or at in self.external_by)

    def writer(self, equation: Equation, t: int) -> NameWriter:
        """Writes the names of an equation's t-th target."""
        writer = self._writers.get((id(equation), t))
        if writer is None:
            name = equation.targets[t].name
            assert name is not None
            writer = name_writer(name, equation.separators[1], equation.variables, regex_names(equation))
            self._writers[id(equation), t] = writer
        return writer

    def plain_formats(self, equation: Equation) -> list[Callable[..., str]]:
        """How targets' names are formatted from a key; empty if some need more than that."""
        named = [t for t, target in enumerate(equation.targets) if target.name is not None]
        formats = [self.writer(equation, t).plain_format for t in named]
        return [format for format in formats if format] if all(formats) else []

    def parameters(self, equation: Equation, key: Key) -> Callable[[str], int]:
        """Words in index expressions that are no indices."""
        resolver = self.resolver(equation)
        return lambda word: resolver.parameter(word, dict(zip(equation.variables, key, strict=True)))

    def near_source(self, name: str) -> str | None:
        """The source name that looks most like this one."""
        self._suggester = self._suggester or Suggester(self.source.tensors)
        return self._suggester.nearest(name)

    def stars(self) -> dict[int, list[str]]:
        """What the last star of each rule takes, once everything is bound."""
        if self._stars is None:
            self._stars = star_texts(self.bound.instances)
        return self._stars

    def resolve(
        self, resolver: Resolver, leaf: Leaf, texts: Sequence[str], span: Span | None
    ) -> tuple[Values, dict[str, int]] | None:
        """What a match says; None if a condition does not hold; ``NoValue`` if one has no value."""
        try:
            return resolver.resolve(leaf, texts)
        except Unevaluable as error:
            self.unevaluable(error, resolver, span)
        except NotOneToOne as error:
            message = f"two choices of {error} give the same number"
            self.findings.add("MC205", message, span, help="narrow the domains: where r in 0..N")
        raise NoValue

    def unevaluable(self, error: Unevaluable, resolver: Resolver, span: Span | None) -> None:
        """Report an expression that has no value, once for all tensors."""
        found = Diagnostics()
        report(error, resolver.scope, span, found)
        for d in found:
            self.findings.add(d.code, d.message, d.span, notes=d.notes, help=d.help)
