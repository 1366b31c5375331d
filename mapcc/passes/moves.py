"""Solved axes to moves, in the simplest form: adjacent axes are one, neighbouring moves too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import product

from mapcc.ir.axes import Block, Shape, blocks
from mapcc.ir.bound import Move
from mapcc.ir.program import Link

Dims = tuple[tuple[int, int, int], ...]

MAX_ELEMENTS = 1 << 20


def simplify_dims(dims: Iterable[tuple[int, int, int]]) -> Dims:
    """Axes of size 1 away, outermost in the target first, and those that continue each other merged.

    >>> simplify_dims([(4, 3, 3), (3, 1, 1)])
    ((12, 1, 1),)
    """
    merged: list[tuple[int, int, int]] = []
    for size, source, target in sorted((d for d in dims if d[0] != 1), key=lambda d: (-d[2], -d[1])):
        if merged:
            outer_size, outer_source, outer_target = merged[-1]
            if outer_source == size * source and outer_target == size * target:
                merged[-1] = (outer_size * size, source, target)
                continue
        merged.append((size, source, target))
    return tuple(merged)


def link_moves(
    link: Link,
    source: Block,
    target: Block,
    sizes: dict[str, int],
    source_axes: Sequence[str],
    target_axes: Sequence[str],
    first_source: int,
    first_target: int,
) -> list[Move]:
    """The moves of one block: one for every position along the axes that live in names.

    ``source_axes`` and ``target_axes`` are the name axes of the two terms; operands are numbered
    row-major along them, from ``first_source`` and ``first_target``.
    """
    pinned = list(dict.fromkeys((*source_axes, *target_axes)))
    inner = [atom for atom in target.strides if atom not in pinned]
    inner += [atom for atom in source.strides if atom not in pinned and atom not in target.strides]
    dims = simplify_dims((sizes[a], source.strides.get(a, 0), target.strides.get(a, 0)) for a in inner)
    moves: list[Move] = []
    for position in product(*(range(sizes[atom]) for atom in pinned)):
        at = dict(zip(pinned, position, strict=True))
        moves.append(
            Move(
                first_source + _row_major(at, source_axes, sizes),
                source.offset + sum(at[a] * source.strides[a] for a in pinned if a in source.strides),
                first_target + _row_major(at, target_axes, sizes),
                target.offset + sum(at[a] * target.strides[a] for a in pinned if a in target.strides),
                dims,
            )
        )
    return moves


def _row_major(at: dict[str, int], axes: Sequence[str], sizes: dict[str, int]) -> int:
    number = 0
    for atom in axes:
        number = number * sizes[atom] + at[atom]
    return number


def term_blocks(shape: Shape, sizes: dict[str, int]) -> list[Block]:
    return blocks(shape, sizes)


def join_neighbours(moves: Iterable[Move]) -> tuple[Move, ...]:
    """In the order of the target; pieces that lie one behind the other on both sides as one."""
    out: list[Move] = []
    for move in sorted(moves, key=lambda m: (m.target, m.target_offset, m.source, m.source_offset)):
        if out and (joined := _joined(out[-1], move)):
            out[-1] = joined
        else:
            out.append(move)
    return tuple(out)


def normal_form(moves: Iterable[Move]) -> tuple[Move, ...]:
    """Moves of one pair of tensors, joined along every axis, so that equal ones compare equal.

    :func:`join_neighbours` joins along the target's outermost axis alone, which is not the source's.
    """
    pending = list(moves)
    joined = True
    while joined:
        joined = False
        pending.sort(key=lambda m: (m.target_offset, m.source_offset))
        out: list[Move] = []
        for move in pending:
            at = next((k for k, known in enumerate(out) if _along_any_axis(known, move)), None)
            if at is None:
                out.append(move)
            else:
                out[at] = _along_any_axis(out[at], move) or out[at]
                joined = True
        pending = out
    return tuple(pending)


def _along_any_axis(a: Move, b: Move) -> Move | None:
    """Two boxes that touch along one axis, and are the same along all others, as one."""
    if (a.source, a.target) != (b.source, b.target):
        return None
    strides = {(source, target) for _, source, target in (*a.dims, *b.dims)}
    ours = {(source, target): size for size, source, target in a.dims}
    theirs = {(source, target): size for size, source, target in b.dims}
    for axis in strides:
        n, m = ours.get(axis, 1), theirs.get(axis, 1)
        if any(ours.get(other, 1) != theirs.get(other, 1) for other in strides - {axis}):
            continue
        steps = (b.source_offset - a.source_offset, b.target_offset - a.target_offset)
        if steps == (n * axis[0], n * axis[1]):
            sizes = {other: ours.get(other, 1) for other in strides} | {axis: n + m}
            dims = simplify_dims((size, *other) for other, size in sizes.items())
            return Move(a.source, a.source_offset, a.target, a.target_offset, dims)
    return None


def same(ours: Sequence[Move], theirs: Sequence[Move]) -> bool:
    """Whether two sets of moves of one pair of tensors, in normal form, take each element alike.

    An L can be cut into two boxes in two ways: then every element is looked at, if they are not
    too many. False where that cannot be told.
    """
    counts = [sum(move.numel for move in moves) for moves in (ours, theirs)]
    if ours == theirs or counts[0] != counts[1] or counts[0] > MAX_ELEMENTS:
        return ours == theirs
    return _elements(ours) == _elements(theirs)


def _elements(moves: Sequence[Move]) -> dict[int, int]:
    """Where each element of the target comes from."""
    out: dict[int, int] = {}
    for move in moves:
        places = [(move.source_offset, move.target_offset)]
        for size, across, along in move.dims:
            places = [(at + k * across, to + k * along) for at, to in places for k in range(size)]
        out.update((to, at) for at, to in places)
    return out


def _joined(a: Move, b: Move) -> Move | None:
    if a.source != b.source or a.target != b.target or a.dims[1:] != b.dims[1:]:
        return None
    if not a.dims or not b.dims:
        return None
    (n, source, target), (m, *strides) = a.dims[0], b.dims[0]
    if strides != [source, target]:
        return None
    if b.source_offset != a.source_offset + n * source or b.target_offset != a.target_offset + n * target:
        return None
    dims = simplify_dims(((n + m, source, target), *a.dims[1:]))
    return Move(a.source, a.source_offset, a.target, a.target_offset, dims)


def unaligned(move: Move, bits: int) -> bool:
    """Whether a move of elements of ``bits`` bits takes a byte apart.

    >>> unaligned(Move(0, 0, 0, 0, ((8, 1, 1),)), 4), unaligned(Move(0, 0, 0, 0, ((2, 1, 4), (4, 2, 1))), 4)
    (False, True)
    """
    return bits % 8 != 0 and _in_bytes(move, bits) is None


def in_bytes(move: Move, bits: int) -> Move:
    """A move of elements of ``bits`` bits as one of bytes. ValueError if it takes a byte apart."""
    found = _in_bytes(move, bits)
    if found is None:
        raise ValueError(f"a move of {bits}-bit elements takes a byte apart")
    return found


def _in_bytes(move: Move, bits: int) -> Move | None:
    *outer, inner = move.dims or ((1, 1, 1),)
    size, across, along = inner
    if (across, along) != (1, 1):
        outer, size = [*outer, inner], 1
    numbers = [size, move.source_offset, move.target_offset]
    numbers += [stride for _, *strides in outer for stride in strides]
    if any(number * bits % 8 for number in numbers):
        return None
    dims = [(count, across * bits // 8, along * bits // 8) for count, across, along in outer]
    run = size * bits // 8
    return Move(
        move.source,
        move.source_offset * bits // 8,
        move.target,
        move.target_offset * bits // 8,
        (*dims, *(((run, 1, 1),) if run != 1 else ())),
    )
