"""What the dialect's engine makes, as moves: to be held against those of a mapping, element for element."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod

from mapcc.dialects.made import Made, Operand
from mapcc.ir.axes import Block, Shape, atoms, pieces, size
from mapcc.ir.bound import Move
from mapcc.ir.program import Link
from mapcc.passes.moves import link_moves, normal_form, same, simplify_dims, term_blocks
from mapcc.passes.sizes import Solver, of_dim

TensorShape = tuple[int, ...]

# Of a target: what comes from each of its sources, in normal form.
Pieces = dict[str, tuple[Move, ...]]

_ANY_LINK = Link(0, 0, 0, 0)


def by_target(moves: Iterable[Move]) -> dict[int, dict[int, tuple[Move, ...]]]:
    """Moves of numbered operands: of each target, what comes from each source."""
    found: dict[int, dict[int, list[Move]]] = {}
    for move in moves:
        own = Move(0, move.source_offset, 0, move.target_offset, move.dims)
        found.setdefault(move.target, {}).setdefault(move.source, []).append(own)
    return {
        target: {source: normal_form(own) for source, own in sources.items()}
        for target, sources in found.items()
    }


def is_same(ours: Pieces, theirs: Pieces) -> bool:
    return ours.keys() == theirs.keys() and all(same(ours[name], theirs[name]) for name in ours)


def pieces_of(made: Made, shapes: Mapping[str, TensorShape]) -> Iterator[tuple[str, TensorShape, Pieces]]:
    """Each target of one thing that an engine made, with its shape."""
    sources = [name for operand in made.left for name in operand.names]
    targets = [name for operand in made.right for name in operand.names]
    if made.left[0].shape is None:
        shape = shapes[sources[0]]
        own = Move(0, 0, 0, 0, simplify_dims([(prod(shape), 1, 1)]))
        yield targets[0], shape, {sources[0]: (own,)} if own.numel else {}
        return
    sizes = _sizes(made, shapes)
    moves = by_target(move for move in _moves(made, sizes) if move.numel)
    given = [
        tuple(size(dim, sizes) for dim in _shape(operand)) for operand in made.right for _ in operand.names
    ]
    for number, (target, shape) in enumerate(zip(targets, given, strict=True)):
        yield target, shape, {sources[source]: own for source, own in moves.get(number, {}).items()}


def _shape(operand: Operand) -> Shape:
    assert operand.shape is not None, "a tensor that moves as it is moves alone"
    return operand.shape


def _sizes(made: Made, shapes: Mapping[str, TensorShape]) -> dict[str, int]:
    solver = Solver()
    solver.known.update(made.sizes)
    for operand in (*made.left, *made.right):
        if operand.axis:
            solver.known[operand.axis] = len(operand.names)
        solver.known.update({atom: int(atom) for atom in atoms(_shape(operand)) if atom.isdigit()})
    for operand in made.left:
        for dim, extent in zip(_shape(operand), shapes[operand.names[0]], strict=True):
            solver.equal(of_dim(dim), {(): extent} if extent else {}, operand.names[0])
    solver.solve()
    return solver.known


@dataclass(frozen=True, slots=True)
class _Part:
    """A block of an operand: its atoms, and the number of the operand's first tensor."""

    atoms: frozenset[str]
    block: Block
    first: int
    axes: tuple[str, ...]


def _parts(operands: Sequence[Operand], sizes: dict[str, int]) -> Iterator[_Part]:
    first = 0
    for operand in operands:
        axes = (operand.axis,) if operand.axis else ()
        shape = _shape(operand)
        for own, block in zip(pieces(shape), term_blocks(shape, sizes), strict=True):
            yield _Part(own.union(axes), block, first, axes)
        first += len(operand.names)


def _moves(made: Made, sizes: dict[str, int]) -> Iterator[Move]:
    """A block of a target is the block of a source that has the same atoms."""
    lefts = {part.atoms: part for part in _parts(made.left, sizes)}
    for right in _parts(made.right, sizes):
        left = lefts[right.atoms]
        yield from link_moves(
            _ANY_LINK, left.block, right.block, sizes, left.axes, right.axes, left.first, right.first
        )
