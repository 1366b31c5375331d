"""Factors as matrices: of linear layers, convolutions, embeddings, and layers stored the other way round."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from mapcc.lora.model import Factors
from mapcc.lora.names import Role
from mapcc.lora.values import Array, contracted
from mapcc.tensors.spec import Manifest

Shape = tuple[int, ...]
Arrays = Mapping[Role, Array]


class Misshapen(Exception):
    """A tensor that does not fit the weight that it is for."""

    def __init__(self, role: Role) -> None:
        super().__init__(role)
        self.role = role


def is_turned(pairs: Mapping[str, Arrays], model: Manifest, is_told: bool) -> set[str]:
    """The weights that are stored as inputs x outputs, as GPT-2's are.

    A square weight does not tell it: it is as those of the file are that do, or as the config says.
    """
    turned, straight, either = set(), set(), set()
    for weight, arrays in pairs.items():
        shape = model.tensors[weight].shape
        if not {Role.DOWN, Role.UP} <= arrays.keys() or len(shape) != 2:
            continue
        if arrays[Role.DOWN].ndim != 2 or arrays[Role.UP].ndim != 2:
            continue
        ends = (arrays[Role.UP].shape[0], arrays[Role.DOWN].shape[1])
        if ends == shape == shape[::-1]:
            either.add(weight)
        elif ends == shape[::-1]:
            turned.add(weight)
        elif ends == shape:
            straight.add(weight)
    if is_told or (turned and not straight):
        turned |= either
    return turned


def factors_of(arrays: Arrays, shape: Shape, turned: bool, partial: bool) -> Factors:
    """The factors of a weight of this shape, not yet scaled.

    Args:
        partial: they may be for its first rows alone.

    Raises:
        Misshapen: one does not fit.
    """
    rows, columns = shape[0] if shape else 1, prod(shape[1:])
    if Role.EMBEDDING_DOWN in arrays:
        down, up = arrays[Role.EMBEDDING_UP].T, arrays[Role.EMBEDDING_DOWN].T
        if down.ndim != 2 or down.shape[1] != columns or not down.shape[0]:
            raise Misshapen(Role.EMBEDDING_UP)
        if up.shape != (rows, down.shape[0]):
            raise Misshapen(Role.EMBEDDING_DOWN)
        factors = Factors(np.ascontiguousarray(down), np.ascontiguousarray(up), embedding=True)
        return _with_magnitude(factors, arrays, True)
    down, up = arrays[Role.DOWN], arrays[Role.UP]
    if Role.MID in arrays:
        down = _contracted(arrays[Role.MID], down, up)
    if turned:
        down, up = up.T, down.T
    rank = down.shape[0] if down.ndim > 1 else 0
    if not rank or down.size != rank * columns:
        raise Misshapen(Role.UP if turned else Role.DOWN)
    given = up.shape[0] if up.ndim > 1 else -1
    if up.size != rank * given or (given != rows and not (partial and 0 < given < rows)):
        raise Misshapen(Role.DOWN if turned else Role.UP)
    return _with_magnitude(
        Factors(down.reshape(rank, columns), up.reshape(given, rank), turned=turned), arrays, turned
    )


def _contracted(mid: Array, down: Array, up: Array) -> Array:
    """The inputs' factor of a decomposed convolution: the kernel's and the inputs', multiplied."""
    if mid.ndim < 3 or down.ndim < 2 or up.ndim < 2:
        raise Misshapen(Role.MID)
    rank, inner = mid.shape[:2]
    if up.size != up.shape[0] * rank or down.shape[0] != inner or down.size != inner * down.shape[1]:
        raise Misshapen(Role.MID)
    return contracted(mid, down.reshape(inner, -1))


def _with_magnitude(factors: Factors, arrays: Arrays, by_column: bool) -> Factors:
    if Role.MAGNITUDE not in arrays:
        return factors
    array = arrays[Role.MAGNITUDE]
    flat = array.reshape(-1)
    rows, columns = factors.up.shape[0], factors.down.shape[1]
    if array.ndim == 2 and rows != 1 and columns != 1:
        by_column = array.shape[0] == 1  # the older ones of LyCORIS are of the inputs: [1, inputs]
    if flat.size != (columns if by_column else rows):
        raise Misshapen(Role.MAGNITUDE)
    return replace(factors, magnitude=flat, by_column=by_column)
