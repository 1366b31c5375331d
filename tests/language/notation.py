"""What a rule's shapes mean, said a second time: with numpy, on the notation itself.

Nothing here knows of blocks, strides or links. Arrays are reshaped, split, transposed and
concatenated, one bracket at a time, as a person would do it with einops.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from mapcc.ir.axes import Atom, Dim, Literal, Product, Rest, Shape, Sum
from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.ir.expr import Number

Sizes = Mapping[str, int]
Piece = frozenset[str]
Pieces = dict[Piece, tuple[tuple[str, ...], np.ndarray]]


def size_of(dim: Dim, sizes: Sizes) -> int:
    match dim:
        case Atom(name):
            return sizes[name]
        case Literal(size):
            return size
        case Product(factors):
            return prod(size_of(factor, sizes) for factor in factors)
        case Sum(parts):
            return sum(size_of(part, sizes) for part in parts)
        case Rest():
            raise AssertionError("written out before")


def shape_of(dims: Sequence[Dim], sizes: Sizes) -> tuple[int, ...]:
    return tuple(size_of(dim, sizes) for dim in dims)


def written_out(shape: Shape, rest: int) -> Shape:
    """``...`` as dimensions with names."""
    out: list[Dim] = []
    for dim in shape:
        match dim:
            case Rest():
                out += [Atom(f".{k}") for k in range(rest)]
            case Product(parts):
                out.append(Product(written_out(parts, rest)))
            case Sum(parts):
                out.append(Sum(tuple(Product(written_out((part,), rest)) for part in parts)))
            case _:
                out.append(dim)
    return tuple(out)


def taken_apart(array: np.ndarray, dims: Shape, sizes: Sizes) -> Pieces:
    """The pieces of an array with one axis for each dimension, each with the names of its axes."""
    assert array.shape == shape_of(dims, sizes), (array.shape, dims, sizes)
    for k, dim in enumerate(dims):
        before, after = dims[:k], dims[k + 1 :]
        match dim:
            case Product(factors):
                extents = shape_of(factors, sizes)
                opened = array.reshape(*array.shape[:k], *extents, *array.shape[k + 1 :])
                return taken_apart(opened, (*before, *factors, *after), sizes)
            case Sum(parts):
                ends = np.cumsum([size_of(part, sizes) for part in parts])[:-1]
                out: Pieces = {}
                for part, piece in zip(parts, np.split(array, ends, axis=k), strict=True):
                    found = taken_apart(piece, (*before, part, *after), sizes)
                    assert not out.keys() & found.keys()
                    out |= found
                return out
            case Literal(1):
                return taken_apart(array.squeeze(k), (*before, *after), sizes)
    names = tuple(str(dim.size) if isinstance(dim, Literal) else dim.name for dim in dims)  # type: ignore[union-attr]
    return {frozenset(names): (names, array)}


def put_together(dims: Shape, pieces: Pieces, sizes: Sizes) -> np.ndarray:
    """An array with one axis for each dimension; an axis that no piece has is a repeat."""
    for k, dim in enumerate(dims):
        before, after = dims[:k], dims[k + 1 :]
        match dim:
            case Product(factors):
                opened = put_together((*before, *factors, *after), pieces, sizes)
                behind = opened.shape[k + len(factors) :]
                return opened.reshape(*opened.shape[:k], prod(shape_of(factors, sizes)), *behind)
            case Sum(parts):
                found = [put_together((*before, part, *after), pieces, sizes) for part in parts]
                return np.concatenate(found, axis=k)
            case Literal(1):
                return np.expand_dims(put_together((*before, *after), pieces, sizes), k)
    wanted = [str(dim.size) if isinstance(dim, Literal) else dim.name for dim in dims]  # type: ignore[union-attr]
    known = {name for piece in pieces for name in piece}
    names, array = pieces[frozenset(wanted) & known]
    array = array.transpose([names.index(name) for name in wanted if name in known])
    for k, name in enumerate(wanted):
        if name not in known:
            array = np.repeat(np.expand_dims(array, k), sizes[name], axis=k)
    return array


def run(
    moves: Sequence[Move], sources: Sequence[np.ndarray], targets: Sequence[tuple[int, ...]]
) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
    """The moves, element by element: what they give, and how often each element is written and read."""
    flat = [source.reshape(-1) for source in sources]
    given = [np.zeros(prod(shape), np.int64) for shape in targets]
    written = [np.zeros(prod(shape), int) for shape in targets]
    read = [np.zeros(source.size, int) for source in flat]
    for move in moves:
        for index in np.ndindex(*(extent for extent, _, _ in move.dims)):
            at = move.source_offset + sum(i * s for i, (_, s, _) in zip(index, move.dims, strict=True))
            to = move.target_offset + sum(i * t for i, (_, _, t) in zip(index, move.dims, strict=True))
            assert at >= 0
            assert to >= 0
            given[move.target][to] = flat[move.source][at]
            written[move.target][to] += 1
            read[move.source][at] += 1
    return [array.reshape(shape) for array, shape in zip(given, targets, strict=True)], written, read


def bound_and_moved(
    bound: BoundMapping, sources: Mapping[str, np.ndarray], drops: bool = False
) -> dict[str, np.ndarray]:
    """Every target by the moves of a bound mapping: each element written once, and of the sources read."""
    out: dict[str, np.ndarray] = {}
    unread = {name: np.ones(array.size, bool) for name, array in sources.items()}
    for instance in bound.instances:
        operands = [
            sources[names[0]] if names else _filled(instance, k) for k, names in enumerate(instance.sources)
        ]
        given, written, read = run(instance.layout.moves, operands, instance.layout.target_shapes)
        assert all((counts == 1).all() for counts in written)
        for names, counts in zip(instance.sources, read, strict=True):
            if names:
                unread[names[0]] &= counts == 0
        assert not out.keys() & set(instance.targets)
        out |= dict(zip(instance.targets, given, strict=True))
    assert drops or not any(left.any() for left in unread.values())
    return out


def _filled(instance: Instance, operand: int) -> np.ndarray:
    unit = instance.equation.units[instance.layout.unit_of_source[operand]]
    assert isinstance(unit.fill, Number)
    return np.full(100_000, unit.fill.value)
