"""A mapping as it is written: statements with spans. Text and YAML both give this."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from mapcc.ir.axes import Shape
from mapcc.ir.expr import Expr
from mapcc.ir.patterns import Pattern
from mapcc.text import Source, Span


def _span() -> Span | None:
    return field(default=None, compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Trivia:
    """Comments: whole lines before a statement ("" for an empty line), and one behind it."""

    before: tuple[str, ...] = ()
    after: str = ""


NO_TRIVIA = Trivia()


def _trivia() -> Trivia:
    return field(default=NO_TRIVIA, compare=False, repr=False, kw_only=True)


# --- conditions


@dataclass(frozen=True, slots=True)
class Compare:
    """``a = b = c``, ``i < n - 1``: a chain. ``=`` is an equation over sizes, the others filter."""

    operands: tuple[Expr, ...]
    operators: tuple[str, ...]
    span: Span | None = _span()

    @property
    def is_equation(self) -> bool:
        return self.operators[0] == "="


@dataclass(frozen=True, slots=True)
class InRange:
    """``r in 0..2``: both ends belong to it."""

    index: Expr
    low: Expr
    high: Expr
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Exists:
    """``exists(P)``: asked of the source, under the block's prefix."""

    pattern: Pattern
    negated: bool = False
    span: Span | None = _span()
    prefix: Pattern | None = field(default=None, compare=False, repr=False, kw_only=True)


Condition = Compare | InRange | Exists


@dataclass(frozen=True, slots=True)
class Allow:
    """``allow MC812 because "..."``: these warnings are not given here, for a reason."""

    codes: tuple[str, ...]
    because: str
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Modifiers:
    optional: bool = False
    where: tuple[Condition, ...] = ()
    allow: tuple[Allow, ...] = ()

    def under(self, outer: Modifiers) -> Modifiers:
        return Modifiers(self.optional or outer.optional, outer.where + self.where, outer.allow + self.allow)


NO_MODIFIERS = Modifiers()

# --- terms

Argument = Expr | tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Op:
    """``| cast bf16``, ``| split [D, D, M] dim=1``."""

    name: str
    arguments: tuple[Argument, ...] = ()
    options: tuple[tuple[str, Argument], ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Tensor:
    """A name, its shape (None: not written), and the operations behind its bars."""

    name: Pattern
    shape: Shape | None = None
    ops: tuple[Op, ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Bundle:
    """``(a, b) | op``: several tensors that one operation takes together."""

    members: tuple[Tensor, ...]
    shape: Shape | None = None
    ops: tuple[Op, ...] = ()
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Dropped:
    """``drop : rest c because "..."`` as a term: elements that go nowhere."""

    shape: Shape
    because: str
    span: Span | None = _span()


@dataclass(frozen=True, slots=True)
class Created:
    """``create : k = 0`` as a term: elements that come from nowhere."""

    shape: Shape
    value: Expr
    span: Span | None = _span()


Term = Tensor | Bundle | Dropped | Created

# --- statements


@dataclass(frozen=True, slots=True)
class About:
    """``about target "diffusers 0.42.1, FluxTransformer2DModel"``: for the reader, and the library."""

    topic: str
    text: str
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Let:
    name: str
    value: Expr
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Rule:
    left: tuple[Term, ...]
    right: tuple[Term, ...]
    bijective: bool = False
    modifiers: Modifiers = NO_MODIFIERS
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Block:
    left: Pattern
    right: Pattern
    body: tuple[Statement, ...]
    modifiers: Modifiers = NO_MODIFIERS
    span: Span | None = _span()
    trivia: Trivia = _trivia()
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Use:
    """The rules of another file under two prefixes; ``inverse``: read from right to left."""

    path: str
    left: Pattern
    right: Pattern
    modifiers: Modifiers = NO_MODIFIERS
    inverse: bool = False
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Keep:
    names: tuple[Pattern, ...]
    modifiers: Modifiers = NO_MODIFIERS
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Drop:
    """Source tensors that are left out, for a reason; ``same_as``: copies of others, which is compared."""

    names: tuple[Pattern, ...]
    because: str
    modifiers: Modifiers = NO_MODIFIERS
    same_as: Pattern | None = None
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class External:
    """Target tensors that something else supplies, for a reason."""

    names: tuple[Pattern, ...]
    because: str
    modifiers: Modifiers = NO_MODIFIERS
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Create:
    """Target tensors that have no source: filled with one number."""

    names: tuple[Pattern, ...]
    shape: Shape
    value: Expr
    ops: tuple[Op, ...] = ()
    modifiers: Modifiers = NO_MODIFIERS
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class Default:
    """Rules that apply to what no other rule takes."""

    body: tuple[Statement, ...]
    span: Span | None = _span()
    trivia: Trivia = _trivia()
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class KeepDtype:
    """``keep f32 : P``; without a type the tensor keeps the one that it has."""

    names: tuple[Pattern, ...]
    dtype: str | None = None
    span: Span | None = _span()
    trivia: Trivia = _trivia()


@dataclass(frozen=True, slots=True)
class OutputDtype:
    """``dtype bf16 { keep f32 : P }``: for floating-point tensors of the target."""

    dtype: str
    keeps: tuple[KeepDtype, ...] = ()
    span: Span | None = _span()
    trivia: Trivia = _trivia()
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)


@dataclass(frozen=True, slots=True)
class Separator:
    side: str
    text: str
    span: Span | None = _span()
    trivia: Trivia = _trivia()


Statement = (
    About | Let | Rule | Block | Use | Keep | Drop | External | Create | Default | OutputDtype | Separator
)


@dataclass(frozen=True, slots=True)
class Mapping:
    """A whole file."""

    name: str | None
    title: str | None
    body: tuple[Statement, ...]
    source: Source | None = field(default=None, compare=False, repr=False, kw_only=True)
    trivia: Trivia = _trivia()
    tail: tuple[str, ...] = field(default=(), compare=False, repr=False, kw_only=True)

    def about(self, topic: str) -> tuple[str, ...]:
        """What its ``about TOPIC`` statements say, in their order."""
        return tuple(each.text for each in self.body if isinstance(each, About) and each.topic == topic)


def extended(mapping: Mapping, more: Mapping) -> Mapping:
    """The mapping with the statements of another behind its own; a ``dtype`` of those replaces its own."""
    is_typed = any(isinstance(statement, OutputDtype) for statement in more.body)
    kept = [each for each in mapping.body if not (is_typed and isinstance(each, OutputDtype))]
    return replace(mapping, body=(*kept, *more.body))
