"""What a rule over axes gives, one element at a time: no reshape, no stride, nothing that mapcc does.

An element of a tensor has an *address*: along which atoms it lies, and how far. A target's element is
the source's with the same address, but for the atoms that only the target has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

Codes = Any  # an array of unsigned numbers, the bits of its elements
Address = frozenset[tuple[str, int]]
Sizes = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor of a type, as the bits of its elements."""

    dtype: str
    codes: Codes

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.codes.shape)


# --- shapes


@dataclass(frozen=True, slots=True)
class Atom:
    """An axis; one whose name is a number is written as that size."""

    name: str


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    parts: tuple[Dim, ...]


Dim = Atom | Product | Sum
ONE = Product(())


def written(dim: Dim) -> str:
    match dim:
        case Atom(name):
            return name
        case Product(()):
            return "1"
        case Product(factors):
            return f"({' '.join(map(written, factors))})"
        case Sum(parts):
            return f"({' + '.join(map(_part, parts))})"


def _part(dim: Dim) -> str:
    """A product in a sum needs no parentheses."""
    return " ".join(map(written, dim.factors)) if isinstance(dim, Product) and dim.factors else written(dim)


def addresses(dim: Dim, sizes: Sizes) -> list[Address]:
    """Of each element along a dimension, in their order."""
    match dim:
        case Atom(name):
            return [frozenset([(name, k)]) for k in range(sizes[name])]
        case Product(factors):
            return [_all(cell) for cell in product(*(addresses(factor, sizes) for factor in factors))]
        case Sum(parts):
            return [one for part in parts for one in addresses(part, sizes)]


def cells(dims: Sequence[Dim], sizes: Sizes) -> Iterator[tuple[tuple[int, ...], Address]]:
    """Every element of a tensor: its indices, and its address."""
    along = [addresses(dim, sizes) for dim in dims]
    for at in product(*(range(len(one)) for one in along)):
        yield at, _all(one[k] for one, k in zip(along, at, strict=True))


def extents(dims: Sequence[Dim], sizes: Sizes) -> tuple[int, ...]:
    return tuple(len(addresses(dim, sizes)) for dim in dims)


def _all(one: Iterable[Address]) -> Address:
    return frozenset().union(*one)


# --- elements


Store = dict[Address, int]


def stored(codes: Codes, dims: Sequence[Dim], sizes: Sizes, at: Address, into: Store) -> None:
    """Keep each element under its address; ``at`` is where the tensor lies along its name's axes."""
    for index, address in cells(dims, sizes):
        assert address | at not in into
        into[address | at] = int(codes[index])


def made(dims: Sequence[Dim], sizes: Sizes, at: Address, store: Store, like: np.dtype[Any]) -> Codes:
    """A target's elements, each looked up by its address."""
    known = {name for address in store for name, _ in address}
    out = np.zeros(extents(dims, sizes), like)
    for index, address in cells(dims, sizes):
        out[index] = store[frozenset(one for one in address | at if one[0] in known)]
    return out
