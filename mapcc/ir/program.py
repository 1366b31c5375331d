"""A mapping, flattened: equations without blocks, groups or sugar, ready to be bound.

One rule gives one equation for each copy of its groups. Names are whole paths; every star has a
number, so that names of one equation share variables: ``i`` (an index), ``*1``, ``**1``, ``/x``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mapcc.ir import rules
from mapcc.ir.axes import Shape
from mapcc.ir.expr import Expr, Unevaluable, Value
from mapcc.ir.patterns import Pattern
from mapcc.ir.values import Step
from mapcc.tensors.dtypes import Dtype
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class LetValue:
    """A let: its expression, and the scope in which its names have meaning."""

    value: Expr
    span: Span | None
    scope: Scope


@dataclass(slots=True, eq=False)
class Scope:
    """The lets of one file; ``overrides`` come from ``--set``, ``configs`` from both sides.

    ``values`` are those that lets were found to have, or why they have none.
    """

    lets: dict[str, LetValue] = field(default_factory=dict)
    overrides: Mapping[str, int | float | str] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, object] | None] = field(default_factory=dict)
    values: dict[str, Value | Unevaluable] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """A term of the left side: one tensor, several that one operation takes, or a constant."""

    names: tuple[Pattern, ...]
    shape: Shape
    span: Span | None
    steps: tuple[Step, ...] = ()
    fill: Expr | None = None

    @property
    def is_created(self) -> bool:
        return not self.names


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A term of the right side; without a name its elements are dropped, for a reason."""

    name: Pattern | None
    shape: Shape
    span: Span | None
    cast: Dtype | None = None
    because: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A block of a target term and the block of a unit that fills it."""

    unit: int
    unit_block: int
    target: int
    target_block: int


@dataclass(slots=True, eq=False)
class Equation:
    """One copy of one rule."""

    number: int
    units: tuple[Unit, ...]
    targets: tuple[Target, ...]
    conditions: tuple[rules.Condition, ...]
    scope: Scope
    prefix: Pattern
    separators: tuple[str, str]
    statement: rules.Rule | rules.Keep | rules.Create | rules.Drop
    optional: bool = False
    bijective: bool = False
    is_default: bool = False
    copies: int = 1
    allow: tuple[rules.Allow, ...] = ()
    # What the analysis adds: see passes/analyse.py.
    indices: frozenset[str] = frozenset()
    variables: tuple[str, ...] = ()
    atoms: frozenset[str] = frozenset()
    repeated: frozenset[str] = frozenset()
    links: tuple[Link, ...] = ()
    broken: bool = False

    @property
    def span(self) -> Span:
        span = self.statement.span
        assert span is not None
        return span


@dataclass(frozen=True, slots=True, eq=False)
class Listed:
    """``drop`` and ``external``: a name of one side that the mapping says nothing more about.

    ``written`` is the name with its groups, of which ``name`` is one copy. The first ``inherited``
    of the conditions stand on blocks around the statement. ``same_as`` is the name of what a dropped
    tensor is a copy of, with the same variables.
    """

    name: Pattern
    written: Pattern
    because: str
    conditions: tuple[rules.Condition, ...]
    scope: Scope
    separator: str
    span: Span
    is_default: bool = False
    optional: bool = False
    allow: tuple[rules.Allow, ...] = ()
    inherited: int = 0
    same_as: Pattern | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DtypeRule:
    """``dtype bf16 { keep ... }``: ``keeps`` pairs patterns with a type (None: as it is)."""

    dtype: Dtype
    keeps: tuple[tuple[Pattern, Dtype | None, Span | None], ...]
    separator: str
    span: Span


@dataclass(slots=True, eq=False)
class Program:
    """All of a mapping, flat."""

    mapping: rules.Mapping
    scope: Scope
    equations: list[Equation] = field(default_factory=list)
    drops: list[Listed] = field(default_factory=list)
    externals: list[Listed] = field(default_factory=list)
    creates: list[Equation] = field(default_factory=list)
    dtype: DtypeRule | None = None
    separators: tuple[str, str] = (".", ".")
    # Names of rules that are wrong in themselves: nothing else is said of their tensors.
    failed_left: list[Pattern] = field(default_factory=list)
    failed_right: list[Pattern] = field(default_factory=list)
