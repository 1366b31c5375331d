"""Which elements of a weight share an element of a companion: blocks, told by both shapes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapcc.tensors.quantised.model import Companion

Shape = tuple[int, ...]
Grid = tuple[Companion, Shape, Shape]  # a companion, its weight's shape, its own


def follows(companion: Companion, rank: int) -> tuple[int, ...]:
    """The dimension of the weight that each of a companion's ``rank`` dimensions follows."""
    return companion.dims if companion.dims is not None else tuple(range(rank))


def fits(companion: Companion, main: Shape, own: Shape) -> bool:
    """Whether a companion can be of a weight: one element for a block, or several for a word of codes.

    >>> fits(Companion("_scale_inv"), (288, 144), (3, 2)), fits(Companion("_scale"), (8, 4), (3, 5))
    (True, False)
    """
    own = trimmed(own, len(main))
    dims = follows(companion, len(own))
    if len(dims) != len(own) or any(dim >= len(main) for dim in dims):
        return False
    pairs = [(size, main[dim]) for size, dim in zip(own, dims, strict=True)]
    if any(pairs[at][0] != pairs[at][1] for at in companion.equal if at < len(pairs)):
        return False
    return all(_shares(long, size) for size, long in pairs)


def trimmed(own: Shape, rank: int) -> Shape:
    """Without ones at the end: one number for a whole tensor is ``[]``, ``[1]`` or ``[1, 1]``."""
    while own and own[-1] == 1:
        own = own[:-1]
    return own


def _shares(long: int, size: int) -> bool:
    if size <= 0 or long <= 0:
        return False
    if size > long:
        return size % long == 0
    return -(-long // -(-long // size)) == size


def spans(long: int, size: int) -> range:
    """The lengths of a block of which ``size`` cover ``long``, the last of them perhaps shorter.

    >>> spans(10, 3), spans(8, 2), spans(8, 1)
    (range(4, 5), range(4, 8), range(8, 9))
    """
    if size <= 1 or size >= long:
        return range(max(long // max(size, 1), 1), max(long // max(size, 1), 1) + 1)
    return range(-(-long // size), -(-long // (size - 1)))


def block_of(grids: Iterable[Grid], stated: Shape = ()) -> Shape:
    """The block that all weights of a container have, along the dimensions of a grid.

    What a config states, if it covers every weight; else the length that all of them allow.
    """
    columns: dict[int, list[tuple[int, int]]] = {}
    for companion, main, own in grids:
        own = trimmed(own, len(main))
        rank = len(main)
        for size, dim in zip(own, follows(companion, len(own)), strict=False):
            if 1 < size < main[dim]:
                columns.setdefault(dim - rank, []).append((main[dim], size))
    if not columns:
        return ()
    deepest = min(columns)
    block = [_common(columns.get(dim, ())) for dim in range(deepest, 0)]
    if (stated and len(stated) <= len(block)) or (stated and not _is_regular(columns)):
        wanted = dict(zip(range(-len(stated), 0), stated, strict=True))
        if all(wanted.get(dim, 0) in spans(*pair) for dim, pairs in columns.items() for pair in pairs):
            return stated
    return tuple(block)


def _is_regular(columns: dict[int, list[tuple[int, int]]]) -> bool:
    return all(long % size == 0 for pairs in columns.values() for long, size in pairs)


def _common(pairs: Sequence[tuple[int, int]]) -> int:
    """The length that all pairs allow: a power of two where there is one, else the shortest."""
    if not pairs:
        return 1
    low = max(spans(*pair).start for pair in pairs)
    high = min(spans(*pair).stop for pair in pairs) - 1
    if high < low:
        return 0  # weights with blocks of several sizes
    power = 1 << (high.bit_length() - 1)
    return power if power >= low else low
