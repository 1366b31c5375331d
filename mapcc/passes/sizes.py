"""The sizes of atoms, solved from shapes, labels and ``where``.

An equation says that a polynomial over atoms has a value. Solving substitutes what is known until
nothing changes: an equation with one unknown gives it, or says that it cannot be whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isqrt

from mapcc.ir.axes import Atom, Dim, Literal, Product, Sum
from mapcc.ir.expr import Binary, Expr, Lookup, Name, Negative, Number, Unevaluable, evaluate, is_bounded

Monomial = tuple[str, ...]
Polynomial = dict[Monomial, int]

MAX_TERMS = 512


def of_dim(dim: Dim) -> Polynomial:
    """The size of a dimension as a polynomial.

    >>> of_dim(Product((Atom("h"), Literal(2))))
    {('h',): 2}
    """
    match dim:
        case Atom(name):
            return {(name,): 1}
        case Literal(size):
            return {(): size}
        case Product(factors):
            out: Polynomial = {(): 1}
            for factor in factors:
                out = _times(out, of_dim(factor))
            return out
        case Sum(parts):
            total: Polynomial = {}
            for part in parts:
                total = _plus(total, of_dim(part))
            return total
        case _:
            raise AssertionError("'...' is expanded before sizes are solved")


def of_expr(expr: Expr, atoms: frozenset[str], lookup: Lookup) -> Polynomial | None:
    """An expression over atoms as a polynomial; None if it is none (``//`` of an unknown)."""
    match expr:
        case Name(name) if name in atoms:
            return {(name,): 1}
        case Binary("+" | "-" as op, left, right):
            a, b = of_expr(left, atoms, lookup), of_expr(right, atoms, lookup)
            if a is None or b is None:
                return None
            return _small(_plus(a, b if op == "+" else _times(b, {(): -1})))
        case Binary("*", left, right):
            a, b = of_expr(left, atoms, lookup), of_expr(right, atoms, lookup)
            return None if a is None or b is None or len(a) * len(b) > MAX_TERMS else _small(_times(a, b))
        case Negative(operand):
            a = of_expr(operand, atoms, lookup)
            return None if a is None else _times(a, {(): -1})
        case Number(int(value)):
            return {(): value}
        case _:
            try:
                result = evaluate(expr, lookup)
            except Unevaluable:
                return None
            if isinstance(result, float) and result.is_integer():
                result = int(result)
            return {(): result} if isinstance(result, int) else None


def _small(polynomial: Polynomial) -> Polynomial | None:
    """A polynomial, if it can be worked with."""
    is_small = len(polynomial) <= MAX_TERMS and all(map(is_bounded, polynomial.values()))
    return polynomial if is_small else None


def _plus(a: Polynomial, b: Polynomial) -> Polynomial:
    out = dict(a)
    for monomial, factor in b.items():
        out[monomial] = out.get(monomial, 0) + factor
    return {m: f for m, f in out.items() if f}


def _times(a: Polynomial, b: Polynomial) -> Polynomial:
    out: Polynomial = {}
    for m, f in a.items():
        for n, g in b.items():
            key = tuple(sorted(m + n))
            out[key] = out.get(key, 0) + f * g
    return {m: f for m, f in out.items() if f}


@dataclass(frozen=True, slots=True)
class Fault:
    """An equation that does not hold: where it comes from, and its two sides as found."""

    origin: object
    left: str
    right: str
    uneven: bool = False


@dataclass(slots=True)
class Solver:
    """Sizes so far, and equations ``polynomial = 0`` that wait for more."""

    known: dict[str, int] = field(default_factory=dict)
    pending: list[tuple[Polynomial, object]] = field(default_factory=list)
    defined: dict[str, Polynomial] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def equal(self, left: Polynomial, right: Polynomial, origin: object) -> None:
        self.pending.append((_plus(left, _times(right, {(): -1})), origin))

    def solve(self) -> None:
        """Substitute until nothing changes."""
        progress = True
        while progress and not self.faults:
            progress = self._round() or self._define()

    def _round(self) -> bool:
        progress = False
        waiting: list[tuple[Polynomial, object]] = []
        for original, origin in self.pending:
            polynomial = self._reduced(original)
            unknown = {name for monomial in polynomial for name in monomial}
            if not unknown:
                if value := polynomial.get((), 0):
                    self.faults.append(Fault(origin, *_two_sides(original, self, value)))
            elif len(unknown) == 1:
                self._root(unknown.pop(), polynomial, origin)
                progress = True
            else:
                waiting.append((polynomial, origin))
        self.pending = waiting
        return progress

    def _reduced(self, polynomial: Polynomial) -> Polynomial:
        out: Polynomial = {}
        for monomial, factor in polynomial.items():
            term: Polynomial = {(): factor}
            for name in monomial:
                if name in self.known:
                    term = _times(term, {(): self.known[name]})
                elif name in self.defined:
                    term = _times(term, self._reduced(self.defined[name]))
                else:
                    term = _times(term, {(name,): 1})
            out = _plus(out, term)
        return out

    def _root(self, name: str, polynomial: Polynomial, origin: object) -> None:
        """The natural number that solves a polynomial in one unknown."""
        degrees = {len(monomial): factor for monomial, factor in polynomial.items()}
        constant = degrees.pop(0, 0)
        if len(degrees) == 1:
            ((degree, factor),) = degrees.items()
            quotient, remainder = divmod(-constant, factor)
            root = quotient if degree == 1 else isqrt(quotient) if degree == 2 and quotient >= 0 else -1
            if remainder == 0 and root >= 0 and root**degree == quotient:
                self.known[name] = root
                return
        terms = " + ".join(_term(m, f) for m, f in polynomial.items() if m)
        self.faults.append(Fault(origin, terms, str(-constant), uneven=True))

    def _define(self) -> bool:
        """When nothing else is left: ``q = k`` makes q another word for k."""
        for at, (polynomial, _) in enumerate(self.pending):
            for monomial, factor in polynomial.items():
                if len(monomial) != 1 or abs(factor) != 1:
                    continue
                name = monomial[0]
                others = {m: f for m, f in polynomial.items() if m != monomial}
                if any(name in m for m in others) or len(others) > MAX_TERMS:
                    continue
                # A shape's equation has one constant; only those of ``where`` (two terms) rename.
                if () in others and len(others) > 1:
                    continue
                self.defined[name] = _times(others, {(): -factor})
                del self.pending[at]
                return True
        return False

    def finish(self) -> None:
        """Give defined atoms their sizes."""
        for name in list(self.defined):
            value = self._reduced(self.defined[name])
            if value.keys() <= {()}:
                self.known[name] = value.get((), 0)
                if self.known[name] < 0:
                    self.faults.append(Fault(None, name, str(self.known[name])))


def _term(monomial: Monomial, factor: int) -> str:
    word = "*".join(monomial)
    return word if factor == 1 else f"{factor}*{word}"


def _two_sides(original: Polynomial, solver: Solver, difference: int) -> tuple[str, str]:
    words = " + ".join(_term(m, f) for m, f in original.items() if m) or "0"
    constant = -original.get((), 0)
    return f"{words} = {constant + difference}", str(constant)


def free_atoms(wanted: Sequence[str], known: dict[str, int]) -> list[str]:
    return [name for name in wanted if name not in known]
