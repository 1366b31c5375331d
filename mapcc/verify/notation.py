"""The axes of a rule, read a second time: a coordinate taken apart into its atoms, and put together.

Nothing here knows of blocks, strides or moves, which is what the conversion is made of: one bracket
is opened at a time, for many elements at once. A mistake in ``ir.axes.blocks`` or in the passes that
join and simplify moves is not made here too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mapcc.ir.axes import REST, Atom, Dim, Literal, Product, Rest, Shape, Sum

Index = npt.NDArray[np.int64]
Env = dict[str, Index]
Pending = tuple[tuple[Dim, Index], ...]

MAX_BORDERS = 16


@dataclass(frozen=True, slots=True)
class Part:
    """Elements that lie in the same pieces of every sum: which they are, and where on each atom."""

    which: Index
    atoms: Env


@dataclass(frozen=True, slots=True)
class Found:
    """Coordinates put together from some of the atoms."""

    at: tuple[Index, ...]
    used: frozenset[str]


class Notation:
    """The meaning of shapes for given sizes; ``...k`` among them is the k-th dimension of ``...``."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self.sizes = sizes
        count = sum(name.startswith(REST) for name in sizes)
        self.rest = tuple(Atom(f"{REST}{k}") for k in range(count))

    def dims(self, shape: Shape) -> tuple[Dim, ...]:
        """The dimensions of a tensor: ``...`` that stands alone is all that it stands for."""
        return tuple(inner for dim in shape for inner in (self.rest if isinstance(dim, Rest) else (dim,)))

    def extents(self, shape: Shape) -> tuple[int, ...]:
        """How many elements lie along each dimension.

        >>> Notation({"q": 2, "k": 3, "c": 4}).extents((Sum((Atom("q"), Atom("k"))), Atom("c")))
        (5, 4)
        """
        return tuple(self.extent(dim) for dim in self.dims(shape))

    def extent(self, dim: Dim) -> int:
        match dim:
            case Atom(name):
                return self.sizes[name]
            case Literal(count):
                return count
            case Rest():
                return self.extent(Product(self.rest))
            case Product(factors):
                total = 1
                for factor in factors:
                    total *= self.extent(factor)
                return total
            case Sum(pieces):
                return sum(self.extent(piece) for piece in pieces)

    # --- a coordinate to atoms

    def take_apart(self, shape: Shape, at: Sequence[Index]) -> list[Part]:
        """The elements with these coordinates, by the pieces that they lie in.

        >>> import numpy as np
        >>> shape = (Sum((Atom("q"), Atom("k"))), )
        >>> parts = Notation({"q": 2, "k": 3}).take_apart(shape, [np.array([1, 4])])
        >>> [(part.which.tolist(), {k: v.tolist() for k, v in part.atoms.items()}) for part in parts]
        [([0], {'q': [1]}), ([1], {'k': [2]})]
        """
        count = len(at[0]) if at else 0
        pending = tuple(zip(self.dims(shape), at, strict=True))
        return list(self._opened(Part(np.arange(count), {}), pending))

    def _opened(self, part: Part, pending: Pending) -> Iterator[Part]:
        if not pending:
            yield part
            return
        (dim, at), *others = pending
        match dim:
            case Atom(name):
                part.atoms[name] = at
                yield from self._opened(part, tuple(others))
            case Literal(count):
                if count != 1:
                    part.atoms[str(count)] = at
                yield from self._opened(part, tuple(others))
            case Rest():
                yield from self._opened(part, (*self._digits(self.rest, at), *others))
            case Product(factors):
                yield from self._opened(part, (*self._digits(factors, at), *others))
            case Sum(pieces):
                start = 0
                for piece in pieces:
                    end = start + self.extent(piece)
                    inside = np.flatnonzero((at >= start) & (at < end))
                    if len(inside):
                        yield from self._opened(
                            Part(part.which[inside], {k: v[inside] for k, v in part.atoms.items()}),
                            ((piece, at[inside] - start), *((d, a[inside]) for d, a in others)),
                        )
                    start = end

    def _digits(self, factors: Sequence[Dim], at: Index) -> list[tuple[Dim, Index]]:
        """A number in a mixed base: the last factor runs fastest."""
        out: list[tuple[Dim, Index]] = []
        for factor in reversed(factors):
            extent = self.extent(factor)
            out.append((factor, at % extent))
            at = at // extent
        return out[::-1]

    # --- atoms to a coordinate

    def put_together(self, shape: Shape, atoms: Env) -> list[Found]:
        """Every place that the atoms can name: one for each choice of pieces that they are enough for."""
        found = [Found((), frozenset())]
        for dim in self.dims(shape):
            inner = self._places(dim, atoms)
            found = [Found((*a.at, *b.at), a.used | b.used) for a in found for b in inner]
        return found

    def _places(self, dim: Dim, atoms: Env) -> list[Found]:
        match dim:
            case Atom(name):
                return [Found((atoms[name],), frozenset({name}))] if name in atoms else []
            case Literal(1):
                return [Found((np.zeros(1, np.int64),), frozenset())]
            case Literal(count):
                return self._places(Atom(str(count)), atoms)
            case Rest():
                return self._places(Product(self.rest), atoms)
            case Product(factors):
                found = [Found((np.zeros(1, np.int64),), frozenset())]
                for factor in factors:
                    extent, inner = self.extent(factor), self._places(factor, atoms)
                    found = [
                        Found((a.at[0] * extent + b.at[0],), a.used | b.used) for a in found for b in inner
                    ]
                return found
            case Sum(pieces):
                out: list[Found] = []
                start = 0
                for piece in pieces:
                    out += [Found((f.at[0] + start,), f.used) for f in self._places(piece, atoms)]
                    start += self.extent(piece)
                return out

    # --- where the source changes

    def borders(self, dim: Dim) -> list[int]:
        """Positions along a dimension where another piece or another run begins, not too many of them.

        >>> Notation({"q": 2, "k": 3, "h": 2}).borders(Product((Atom("h"), Sum((Atom("q"), Atom("k"))))))
        [2, 5, 7]
        """
        found = sorted(self._borders(dim))
        step = -(-len(found) // MAX_BORDERS) or 1
        return found[::step]

    def _borders(self, dim: Dim) -> set[int]:
        match dim:
            case Rest():
                return self._borders(Product(self.rest))
            case Sum(pieces):
                found: set[int] = set()
                start = 0
                for piece in pieces:
                    found |= {start, *(start + inner for inner in self._borders(piece))}
                    start += self.extent(piece)
                return {at for at in found if 0 < at < start}
            case Product((first, *others)) if others:
                run, count = self.extent(Product(tuple(others))), self.extent(first)
                steps = {1, count // 2, count - 1, *self._borders(first)}
                inner = self._borders(Product(tuple(others)))
                found = {step * run for step in steps} | {
                    k * run + at for k in (0, count - 1) for at in inner
                }
                return {at for at in found if 0 < at < run * count}
            case Product((only,)):
                return self._borders(only)
            case _:
                return set()
