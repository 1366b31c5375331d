"""Factors of a target, put together from parts of its sources'."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from math import isclose

import numpy as np

from mapcc.lora.model import Factors, balanced
from mapcc.lora.parts import Part, Unfollowable
from mapcc.lora.values import Array, alike


def grouped(parts: Sequence[Part]) -> list[list[Part]]:
    """Parts that share a block of the rank: of one source, with the same columns, or the same rows."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in parts:
        columns = part.columns.tobytes(), part.to_columns.tobytes()
        groups.setdefault((*_block_of(part), *columns), []).append(part)
    merged: dict[tuple[object, ...], list[Part]] = {}
    for group in groups.values():
        rows = sorted((p.rows.tobytes(), p.to_rows.tobytes()) for p in group)
        merged.setdefault((*_block_of(group[0]), *rows), []).extend(group)
    return list(merged.values())


def _block_of(part: Part) -> tuple[object, ...]:
    return part.source, part.factors.first, part.factors.scale, part.turned


def block_of(parts: Sequence[Part], shape: tuple[int, int]) -> Factors:
    first = parts[0]
    factors = first.factors
    down, up = (factors.up.T, factors.down.T) if first.turned else (factors.down, factors.up)
    new_down = np.zeros((factors.rank, shape[1]), down.dtype)
    new_up = np.zeros((shape[0], factors.rank), up.dtype)
    for part in parts:
        new_down[:, part.to_columns] = down[:, part.columns]
        new_up[part.to_rows] = up[part.rows]
    turned = None if factors.turned is None else factors.turned != first.turned
    embedding = factors.embedding and not first.turned
    return replace(
        factors, down=new_down, up=new_up, first=0, turned=turned, embedding=embedding, magnitude=None
    )


def stacked(blocks: Sequence[Factors]) -> Factors:
    if len(blocks) == 1:
        return blocks[0]
    if not all(isclose(block.scale, blocks[0].scale) for block in blocks):
        # One alpha cannot say several scales: they go into the factors.
        blocks = [balanced(block) for block in blocks]
    down = np.concatenate(alike([block.down for block in blocks]))
    up = np.concatenate(alike([block.up for block in blocks]), axis=1)
    turned = {block.turned for block in blocks}
    return replace(blocks[0], down=down, up=up, turned=turned.pop() if len(turned) == 1 else None)


def within(parts: Sequence[Part], first: int, count: int) -> Iterator[Part]:
    """What of parts goes into these rows."""
    for part in parts:
        inside = (part.to_rows >= first) & (part.to_rows < first + count)
        if inside.any():
            yield replace(part, rows=part.rows[inside], to_rows=part.to_rows[inside] - first)


def magnitude_of(parts: Sequence[Part], shape: tuple[int, int]) -> tuple[Array | None, bool]:
    """The norms of a target's rows: those of its sources' rows, where rows stay whole.

    Raises:
        Unfollowable: a row loses columns, or some rows have no norm.
    """
    if all(part.factors.magnitude is None for part in parts):
        return None, False
    sides = {part.factors.by_column != part.turned for part in parts}
    if len(sides) != 1 or any(part.factors.magnitude is None for part in parts):
        raise Unfollowable("DoRA's magnitudes are of some of its parts only")
    [by_column] = sides
    norms = alike([_norms(part) for part in parts])
    out = np.zeros(shape[1] if by_column else shape[0], norms[0].dtype)
    given = np.zeros(out.shape, bool)
    for part, own_norms in zip(parts, norms, strict=True):
        rows, columns = (part.rows, part.to_rows), (part.columns, part.to_columns)
        along, across = (columns, rows) if by_column else (rows, columns)
        own = part.factors.up.shape[0] if part.factors.by_column else part.factors.down.shape[1]
        if len(across[0]) != own or len(across[1]) != (shape[0] if by_column else shape[1]):
            raise Unfollowable("DoRA's magnitudes are norms of whole rows, and it cuts or joins these")
        out[along[1]] = own_norms[along[0]]
        given[along[1]] = True
    if not given.all():
        raise Unfollowable("DoRA's magnitudes are of some of its parts only")
    return out, by_column


def _norms(part: Part) -> Array:
    assert part.factors.magnitude is not None
    return part.factors.magnitude
