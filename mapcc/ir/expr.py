"""Expressions over numbers and texts: index arithmetic, sizes, lets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mapcc.text import Span

if TYPE_CHECKING:
    from mapcc.ir.patterns import Pattern

Value = int | float | str

MAX_BITS = 256


@dataclass(frozen=True, slots=True)
class Number:
    value: int | float


@dataclass(frozen=True, slots=True)
class Quoted:
    text: str


@dataclass(frozen=True, slots=True)
class Name:
    """An index, an atom or a let: the place of use decides."""

    name: str
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Config:
    """``source.config.a.b``: a value of a side's ``config.json``."""

    side: str
    path: tuple[str, ...]
    span: Span | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Count:
    """``count(P)``: how many modules or tensors of the source match, under ``prefix``."""

    pattern: Pattern
    span: Span | None = field(default=None, compare=False, repr=False)
    prefix: Pattern | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Binary:
    op: str
    left: Expr
    right: Expr


@dataclass(frozen=True, slots=True)
class Negative:
    operand: Expr


Expr = Number | Quoted | Name | Config | Count | Binary | Negative

_OPERATORS: dict[str, Callable[[int | float, int | float], int | float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: a // b,
    "%": lambda a, b: a % b,
}


class Unevaluable(Exception):
    """The expression has no value here; ``str()`` says why, ``name`` what is unknown."""

    def __init__(self, message: str, name: str | None = None, span: Span | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.span = span


Lookup = Callable[[Name | Config | Count], Value]


def evaluate(expr: Expr, lookup: Lookup) -> Value:
    """The value of an expression; ``lookup`` gives those of names and raises :class:`Unevaluable`."""
    match expr:
        case Number(value):
            return value
        case Quoted(text):
            return text
        case Negative(operand):
            positive = evaluate(operand, lookup)
            if isinstance(positive, str):
                raise Unevaluable("a text has no negative")
            return -positive
        case Binary(op, left, right):
            a, b = evaluate(left, lookup), evaluate(right, lookup)
            if isinstance(a, str) or isinstance(b, str):
                raise Unevaluable(f"'{op}' needs numbers, not text")
            if op == "**":
                return _power(a, b)
            try:
                return _bounded(_OPERATORS[op](a, b))
            except ZeroDivisionError as error:
                raise Unevaluable("division by zero") from error
            except OverflowError as error:
                raise Unevaluable(str(error)) from error
        case _:
            return lookup(expr)


def is_bounded(value: int | float) -> bool:
    """Whether a number is small enough to go on with: products of products would take any time."""
    return not isinstance(value, int) or value.bit_length() <= MAX_BITS


def _bounded(value: int | float) -> int | float:
    if not is_bounded(value):
        raise Unevaluable("number too large")
    return value


def _power(a: int | float, b: int | float) -> int | float:
    # Bounded, so that a mapping cannot ask for a number of a gigabyte.
    if abs(b) > 64 or abs(a) > 2**64:
        raise Unevaluable("power too large")
    try:
        value = a**b
    except (ZeroDivisionError, OverflowError) as error:
        raise Unevaluable(str(error)) from error
    if isinstance(value, complex):
        raise Unevaluable("power of a negative number")
    return float(value) if isinstance(a, float) or b < 0 else _bounded(int(value))


def leaves(expr: Expr) -> Iterator[Name | Config | Count]:
    """Every name, config value and count in an expression."""
    match expr:
        case Binary(_, left, right):
            yield from leaves(left)
            yield from leaves(right)
        case Negative(operand):
            yield from leaves(operand)
        case Name() | Config() | Count():
            yield expr
        case _:
            return


def names(expr: Expr) -> set[str]:
    return {leaf.name for leaf in leaves(expr) if isinstance(leaf, Name)}


@dataclass(frozen=True, slots=True)
class Affine:
    """``constant + sum(factor * index)``.

    >>> affine(Binary("-", Number(3), Name("i")), {})
    Affine(constant=3, factors=(('i', -1),))
    """

    constant: int
    factors: tuple[tuple[str, int], ...]

    def value(self, indices: dict[str, int]) -> int:
        return self.constant + sum(factor * indices[name] for name, factor in self.factors)


def affine(expr: Expr, parameters: dict[str, int]) -> Affine | None:
    """The expression as an affine form over the names that are not parameters, or None."""
    terms = _linear(expr, parameters)
    if terms is None:
        return None
    constant = terms.pop("", 0)
    return Affine(constant, tuple((name, factor) for name, factor in terms.items() if factor))


def _linear(expr: Expr, parameters: dict[str, int]) -> dict[str, int] | None:
    match expr:
        case Number(int(value)):
            return {"": value}
        case Name(name):
            return {"": parameters[name]} if name in parameters else {name: 1}
        case Negative(operand):
            return _scaled(_linear(operand, parameters), -1)
        case Binary(op, left, right):
            a, b = _linear(left, parameters), _linear(right, parameters)
            if a is None or b is None:
                return None
            combined = _combined(op, a, b)
            return combined if combined is None or all(map(is_bounded, combined.values())) else None
        case _:
            return None


def _combined(op: str, a: dict[str, int], b: dict[str, int]) -> dict[str, int] | None:
    if op in "+-":
        sign = 1 if op == "+" else -1
        return {name: a.get(name, 0) + sign * b.get(name, 0) for name in a.keys() | b.keys()}
    if a.keys() <= {""} and b.keys() <= {""} and op in ("//", "%") and b.get("", 0):
        x, y = a.get("", 0), b[""]
        return {"": x // y if op == "//" else x % y}
    if op == "*" and a.keys() <= {""}:
        return _scaled(b, a.get("", 0))
    if op == "*" and b.keys() <= {""}:
        return _scaled(a, b.get("", 0))
    return None


def _scaled(terms: dict[str, int] | None, factor: int) -> dict[str, int] | None:
    return None if terms is None else {name: factor * value for name, value in terms.items()}
