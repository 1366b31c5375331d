"""Axes under way: dimensions of concrete sizes that operations cut, factor and put together.

Every dimension begins as an atom. To cut or factor it replaces the atom wherever it stands, in the
source's shape too: so the source's shape and the result's are an equation at any time.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from mapcc.ir import axes
from mapcc.ir.axes import Atom, Dim, Literal, Product, Sum


class Stops(Exception):
    """An operation at which transformers stops with an error."""


class Unfollowed(Exception):
    """A step that mapcc cannot follow."""


class Axes:
    """The atoms of one conversion, with their sizes and what they have become."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.hints: dict[str, str] = {}
        self._bound: dict[str, Dim] = {}

    def fresh(self, hint: str, size: int) -> Atom:
        name = f"{hint}:{len(self.sizes)}"
        self.sizes[name], self.hints[name] = size, hint
        return Atom(name)

    def name(self, dim: Dim, hint: str) -> None:
        """A better name for a dimension that is an atom still."""
        dim = self.resolved(dim)
        if isinstance(dim, Atom):
            self.hints[dim.name] = hint

    def resolved(self, dim: Dim) -> Dim:
        match dim:
            case Atom(name) if name in self._bound:
                return self.resolved(self._bound[name])
            case Product(factors):
                return product([self.resolved(factor) for factor in factors])
            case Sum(pieces):
                return direct_sum([self.resolved(piece) for piece in pieces])
            case _:
                return dim

    def size(self, dim: Dim) -> int:
        return axes.size(dim, self.sizes)

    def bind(self, atom: Atom, dim: Dim) -> Dim:
        if atom.name in axes.atoms((dim,)):
            raise Unfollowed("an axis that is a part of itself")
        self._bound[atom.name] = dim
        return dim

    def unify(self, first: Dim, second: Dim) -> None:
        """Makes two dimensions the same one.

        Raises:
            Stops: their sizes differ.
            Unfollowed: they were put together differently.
        """
        first, second = self.resolved(first), self.resolved(second)
        if first == second:
            return
        if self.size(first) != self.size(second):
            raise Stops(f"{self.size(first)} and {self.size(second)} elements along a dimension")
        match first, second:
            case (_, Atom()):
                self.bind(second, first)
            case (Atom(), _):
                self.bind(first, second)
            case (Product(ours), Product(theirs)) | (Sum(ours), Sum(theirs)) if len(ours) == len(theirs):
                for one, other in zip(ours, theirs, strict=True):
                    self.unify(one, other)
            case _:
                raise Unfollowed("dimensions that were put together differently are joined")

    def cut(self, dim: Dim, sizes: Sequence[int], hints: Sequence[str]) -> list[Dim]:
        """A dimension in pieces, one after the other; ``sizes`` add up to its size."""
        dim = self.resolved(dim)
        if len(sizes) == 1:
            return [dim]
        match dim:
            case Atom():
                pieces = [self.fresh(hint, size) for hint, size in zip(hints, sizes, strict=True)]
                self.bind(dim, Sum(tuple(pieces)))
                return list(pieces)
            case Product((outer, *inner)):
                # Pieces of whole rows: the outermost factor is cut.
                row = prod(self.size(factor) for factor in inner)
                if row == 0 or any(size % row for size in sizes):
                    raise Unfollowed("a cut within a row of a product of axes")
                cut = self.cut(outer, [size // row for size in sizes], hints)
                return [product([piece, *map(self.resolved, inner)]) for piece in cut]
            case Sum(parts):
                return self._cut_sum(list(parts), sizes, hints)
        raise Unfollowed("a dimension of a fixed size is cut")

    def _cut_sum(self, parts: list[Dim], sizes: Sequence[int], hints: Sequence[str]) -> list[Dim]:
        out: list[Dim] = []
        for wanted, hint in zip(sizes, hints, strict=True):
            taken: list[Dim] = []
            while wanted > 0:
                part = parts.pop(0)
                if (size := self.size(part)) > wanted:
                    part, rest = self.cut(part, [wanted, size - wanted], [hint, hint])
                    parts.insert(0, rest)
                taken.append(part)
                wanted -= self.size(part)
            if not taken:
                raise Unfollowed("an empty piece")
            out.append(direct_sum(taken))
        return out

    def factor(self, dims: Sequence[Dim], sizes: Sequence[int], hints: Sequence[str]) -> list[Dim]:
        """Dimensions written one after the other as others, of the same elements in the same order."""
        if prod(sizes) != prod(self.size(self.resolved(dim)) for dim in dims) or 0 in sizes:
            raise Unfollowed("a shape of other elements")
        whole = product([self.resolved(dim) for dim in dims])
        parts: list[Dim] = list(whole.factors) if isinstance(whole, Product) else [whole]
        out: list[Dim] = []
        for number, (wanted, hint) in enumerate(zip(sizes, hints, strict=True)):
            taken: list[Dim] = []
            while wanted > 1 or (number == len(sizes) - 1 and parts):
                part = self.resolved(parts.pop(0))
                if (size := self.size(part)) > wanted:
                    part, rest = self._factor_atom(part, wanted, size, hint, hints[-1])
                    parts.insert(0, rest)
                if wanted % self.size(part):
                    raise Unfollowed("a dimension is factored where it has no such factors")
                taken.append(part)
                wanted //= self.size(part)
            out.append(product(taken) if taken else Literal(1))
        return out

    def _factor_atom(self, dim: Dim, wanted: int, size: int, hint: str, rest: str) -> tuple[Dim, Dim]:
        if not isinstance(dim, Atom) or size % wanted:
            raise Unfollowed("a dimension is factored where it has no such factors")
        outer, inner = self.fresh(hint, wanted), self.fresh(rest, size // wanted)
        self.bind(dim, Product((outer, inner)))
        return outer, inner


def product(factors: Sequence[Dim]) -> Dim:
    flat = [part for dim in factors for part in (dim.factors if isinstance(dim, Product) else (dim,))]
    flat = [part for part in flat if part != Literal(1)] or [Literal(1)]
    return flat[0] if len(flat) == 1 else Product(tuple(flat))


def direct_sum(pieces: Sequence[Dim]) -> Dim:
    flat = [part for dim in pieces for part in (dim.pieces if isinstance(dim, Sum) else (dim,))]
    return flat[0] if len(flat) == 1 else Sum(tuple(flat))
