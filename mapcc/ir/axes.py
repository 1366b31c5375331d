"""The algebra of axes: products and direct sums of named dimensions.

A shape is a list of dimensions. A dimension is an atom (``d``), a literal (``2``), the remaining
dimensions (``...``), a product (``(h d)``: h-major) or a direct sum (``(q + k)``: q, then k).
Choosing one piece of every sum gives a *block*: a strided box whose atoms tell it apart.

The notation is that of einops (Rogozhnikov, ICLR 2022) and einx; direct sums are ours.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product as choices
from math import prod

REST = "..."


@dataclass(frozen=True, slots=True)
class Atom:
    name: str


@dataclass(frozen=True, slots=True)
class Literal:
    size: int


@dataclass(frozen=True, slots=True)
class Rest:
    """``...``: the dimensions that the shape does not name."""


@dataclass(frozen=True, slots=True)
class Product:
    factors: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class Sum:
    pieces: tuple[Dim, ...]


Dim = Atom | Literal | Rest | Product | Sum
Shape = tuple[Dim, ...]
Sizes = Mapping[str, int]

ANY_SHAPE: Shape = (Rest(),)


@dataclass(frozen=True, slots=True)
class Block:
    """A strided box inside a tensor: element offset, and the stride of every atom, in elements."""

    offset: int
    strides: dict[str, int]


def atoms(dims: Iterable[Dim]) -> Iterator[str]:
    """Every atom in order of writing; a literal but 1 is an atom named by its digits."""
    for dim in dims:
        match dim:
            case Atom(name):
                yield name
            case Literal(size):
                if size != 1:
                    yield str(size)
            case Rest():
                yield REST
            case Product(parts) | Sum(parts):
                yield from atoms(parts)


def pieces(shape: Shape) -> list[frozenset[str]]:
    """The atoms of every block, in the order in which :func:`blocks` gives them.

    >>> from mapcc.ir.axes import Atom as A
    >>> [sorted(p) for p in pieces((Sum((A("q"), A("k"))), A("c")))]
    [['c', 'q'], ['c', 'k']]
    """
    return [frozenset().union(*choice) for choice in choices(*(_piece_sets(dim) for dim in shape))]


def count_pieces(shape: Shape) -> int:
    """How many :func:`pieces` a shape has; they are not made.

    >>> count_pieces((Sum((Atom("q"), Atom("k"))),) * 40)
    1099511627776
    """
    return prod(_count_pieces(dim) for dim in shape)


def count_axes(dims: Iterable[Dim]) -> int:
    """How many axes are written, ones too."""
    return sum(count_axes(inner) if (inner := _inside(dim)) is not None else 1 for dim in dims)


def _inside(dim: Dim) -> tuple[Dim, ...] | None:
    match dim:
        case Product(parts) | Sum(parts):
            return parts
        case _:
            return None


def _count_pieces(dim: Dim) -> int:
    match dim:
        case Sum(parts):
            return sum(map(_count_pieces, parts))
        case Product(factors):
            return count_pieces(factors)
        case _:
            return 1


def _piece_sets(dim: Dim) -> list[frozenset[str]]:
    match dim:
        case Sum(parts):
            return [piece for part in parts for piece in _piece_sets(part)]
        case Product(factors):
            return pieces(factors)
        case _:
            return [frozenset(atoms((dim,)))]


def expand_rest(shape: Shape, count: int) -> Shape:
    """``...`` written out as ``count`` dimensions of their own (inside a product too)."""
    rest: tuple[Dim, ...] = tuple(Atom(f"{REST}{k}") for k in range(count))
    out: list[Dim] = []
    for dim in shape:
        match dim:
            case Rest():
                out.extend(rest)
            case Product(factors):
                out.append(Product(expand_rest(factors, count)))
            case Sum(parts):
                out.append(Sum(tuple(_expand_piece(part, count) for part in parts)))
            case _:
                out.append(dim)
    return tuple(out)


def _expand_piece(piece: Dim, count: int) -> Dim:
    expanded = expand_rest((piece,), count)
    return expanded[0] if len(expanded) == 1 else Product(expanded)


def has_rest(shape: Shape) -> bool:
    return any(isinstance(dim, Rest) for dim in shape)


def named_rank(shape: Shape) -> int:
    """How many dimensions stand beside ``...``."""
    return sum(not isinstance(dim, Rest) for dim in shape)


def size(dim: Dim, sizes: Sizes) -> int:
    """The number of elements along a dimension; KeyError for an atom without a size."""
    match dim:
        case Atom(name):
            return sizes[name]
        case Literal(n):
            return n
        case Product(factors):
            return prod(size(factor, sizes) for factor in factors)
        case Sum(parts):
            return sum(size(part, sizes) for part in parts)
        case Rest():
            raise KeyError(REST)


def blocks(shape: Shape, sizes: Sizes) -> list[Block]:
    """The blocks of a row-major tensor of this shape; together they tile it exactly.

    >>> from mapcc.ir.axes import Atom as A
    >>> blocks((Sum((A("q"), A("k"))), A("c")), {"q": 2, "k": 3, "c": 5})
    [Block(offset=0, strides={'q': 5, 'c': 1}), Block(offset=10, strides={'k': 5, 'c': 1})]
    """
    found = [Block(0, {})]
    for dim in shape:
        extent = size(dim, sizes)
        inner = _dim_blocks(dim, sizes)
        found = [
            Block(
                outer.offset * extent + part.offset,
                {name: stride * extent for name, stride in outer.strides.items()} | part.strides,
            )
            for outer in found
            for part in inner
        ]
    return found


def _dim_blocks(dim: Dim, sizes: Sizes) -> list[Block]:
    match dim:
        case Atom(name):
            return [Block(0, {name: 1})]
        case Literal(n):
            return [Block(0, {} if n == 1 else {str(n): 1})]
        case Product(factors):
            return blocks(factors, sizes)
        case Sum(parts):
            out: list[Block] = []
            start = 0
            for part in parts:
                out.extend(Block(start + b.offset, b.strides) for b in _dim_blocks(part, sizes))
                start += size(part, sizes)
            return out
        case Rest():
            raise KeyError(REST)
