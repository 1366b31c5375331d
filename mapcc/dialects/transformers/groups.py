"""One converter on the tensors that it collected: its operations followed on axes, and the equations."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mapcc.dialects.made import Made, Operand, renamed
from mapcc.dialects.transformers.axes import Axes, Stops, Unfollowed
from mapcc.dialects.transformers.names import Namer
from mapcc.dialects.transformers.ops import run
from mapcc.dialects.transformers.state import Config, Listed, Place, Tensor
from mapcc.dialects.transformers.table import Operation
from mapcc.ir import axes as ir
from mapcc.ir.axes import Atom, Dim, Literal, Product, Shape, Sum

_HINTS = "oixyzuvw"

ShapeOf = Callable[[str], tuple[int, ...] | None]


@dataclass(frozen=True, slots=True)
class Model:
    """What a converter asks of the model: the shapes of its parameters, and its config."""

    shape: ShapeOf
    known: bool
    config: Config | None


@dataclass(frozen=True, slots=True)
class _Side:
    """An operand before its atoms have their last names."""

    names: tuple[str, ...]
    shape: Shape
    axis: Dim | None = None

    def blocks(self) -> list[frozenset[str]]:
        own = frozenset(ir.atoms((self.axis,))) if self.axis is not None else frozenset[str]()
        return [own | piece for piece in ir.pieces(self.shape)]


@dataclass(slots=True)
class _Collected:
    """The tensors of the checkpoint, each one an operand until a list of them becomes an axis."""

    axes: Axes
    sides: list[_Side | None] = field(default_factory=list)

    def listed(self, names: Sequence[str], shape: ShapeOf) -> Listed:
        begin = len(self.sides)
        tensors = []
        for name in names:
            dims: tuple[Dim, ...] = tuple(
                self.axes.fresh(_HINTS[k] if k < len(_HINTS) else "d", size)
                for k, size in enumerate(shape(name) or ())
            )
            tensors.append(Tensor(dims))
            self.sides.append(_Side((name,), dims))

        def merge(chosen: Sequence[int], axis: Dim) -> None:
            sides = [side for k in chosen if (side := self.sides[begin + k]) is not None]
            for k in chosen:
                self.sides[begin + k] = None
            every = tuple(name for side in sides for name in side.names)
            self.sides[begin + chosen[0]] = _Side(every, sides[0].shape, axis)

        return Listed(tuple(tensors), merge)

    def operands(self) -> list[_Side]:
        return [side for side in self.sides if side is not None]


def equations(
    name: str,
    namer: Namer,
    operations: Sequence[Operation],
    collected: dict[str, list[str]],
    source: ShapeOf,
    model: Model,
) -> list[Made]:
    """What a converter does.

    Args:
        name: of the first target, in full.
        collected: source tensors, by the pattern that found them.

    Raises:
        Stops: transformers stops at it.
        Unfollowed: mapcc cannot follow.
    """
    axes = Axes()
    taken = _Collected(axes)
    state = {pattern: taken.listed(names, source) for pattern, names in collected.items()}
    place = Place(axes, namer.sources, namer.targets, name, model.shape, model.known, model.config)
    given = _in_full(name, run(operations, dict(state), place))
    left = [part for side in taken.operands() for part in _spread(side, axes)]
    right = [part for side in _grouped(given) for part in _spread(side, axes)]
    return [_made(ours, theirs, axes) for ours, theirs in _connected(left, right)]


def _in_full(name: str, results: dict[str, Tensor]) -> dict[str, Tensor]:
    """Patterns to names: what stands around the first that is found in the first target's name."""
    name = name.replace("*.", "0.")
    for pattern in results:
        if pattern in name:
            before, _, after = name.partition(pattern)
            return {before + pattern + after: tensor for pattern, tensor in results.items()}
    raise Stops("what the operations give has the names of no targets")


def _grouped(given: dict[str, Tensor]) -> Iterator[_Side]:
    """Results that are members of one axis as one operand."""
    waiting: list[str] = []
    last: Tensor | None = None
    for name, tensor in given.items():
        if waiting and last is not None and tensor is not last:
            yield _Side(tuple(waiting), last.dims, last.member)
            waiting = []
        if tensor.member is None:
            yield _Side((name,), tensor.dims)
        else:
            waiting.append(name)
            last = tensor
    if waiting and last is not None:
        yield _Side(tuple(waiting), last.dims, last.member)


def _spread(side: _Side, axes: Axes) -> Iterator[_Side]:
    """An operand for each piece of an axis that has come apart, in its last shape."""
    shape = tuple(map(axes.resolved, side.shape))
    axis = axes.resolved(side.axis) if side.axis is not None else None
    begin = 0
    for piece in axis.pieces if isinstance(axis, Sum) else (axis,):
        if isinstance(piece, Product | Sum):
            raise Unfollowed("an axis of tensors that is a product of axes")
        count = axes.size(piece) if piece is not None else 1
        names = side.names[begin : begin + count]
        yield _Side(names, shape, None if isinstance(piece, Literal) else piece)
        begin += count


# --- equations


def _connected(left: list[_Side], right: list[_Side]) -> list[tuple[list[_Side], list[_Side]]]:
    """Operands that share a block stand in one equation; sources of which nothing comes stand in none."""
    owners = _owners(left)
    _owners(right)  # each block once
    parts: list[tuple[set[int], list[_Side]]] = []
    for side in right:
        try:
            of = {owners[block] for block in side.blocks()}
        except KeyError:
            raise Unfollowed("a result of no source") from None
        joined = [part for part in parts if part[0] & of]
        parts = [part for part in parts if not part[0] & of]
        sides = [one for part in joined for one in part[1]]
        parts.append((of.union(*(part[0] for part in joined)), [*sides, side]))
    given = {block: at for at, block in enumerate(block for side in right for block in side.blocks())}
    used = set().union(*(part[0] for part in parts)) if parts else set()
    if any(block not in given for number in used for block in left[number].blocks()):
        raise Unfollowed("a source of which a piece is lost")
    # In the order in which they stand in the results.
    places = [min((given.get(block, 0) for block in side.blocks()), default=0) for side in left]
    return [([left[n] for n in sorted(part[0], key=places.__getitem__)], part[1]) for part in parts]


def _owners(sides: list[_Side]) -> dict[frozenset[str], int]:
    owners: dict[frozenset[str], int] = {}
    for number, side in enumerate(sides):
        for block in side.blocks():
            if block in owners:
                raise Unfollowed("pieces that nothing tells apart")
            owners[block] = number
    return owners


def _made(left: list[_Side], right: list[_Side], axes: Axes) -> Made:
    match left, right:
        case [[_Side((name,), ours, None)], [_Side((target,), theirs, None)]] if ours == theirs:
            return renamed(name, target)
    words = _words([*left, *right], axes)
    sizes = {atom: axes.sizes[atom] for side in left for atom in ir.atoms(side.shape)}
    told = {dim.name for side in left for dim in side.shape if isinstance(dim, Atom)}
    told |= {atom for side in left if side.axis for atom in ir.atoms((side.axis,))}
    return Made(
        tuple(_operand(side, words) for side in left),
        tuple(_operand(side, words) for side in right),
        tuple((words[atom], size) for atom, size in sizes.items() if atom not in told),
    )


def _words(sides: Iterable[_Side], axes: Axes) -> dict[str, str]:
    """The last names of atoms, in the order in which they are written."""
    words: dict[str, str] = {}
    for side in sides:
        for atom in ir.atoms((*([side.axis] if side.axis else []), *side.shape)):
            hint, number = axes.hints[atom], 1
            while atom not in words:
                word = hint if number == 1 else f"{hint}{number}"
                number += 1
                if word not in words.values():
                    words[atom] = word
    return words


def _operand(side: _Side, words: dict[str, str]) -> Operand:
    axis = words[side.axis.name] if isinstance(side.axis, Atom) else ""
    return Operand(side.names, tuple(_worded(dim, words) for dim in side.shape), axis)


def _worded(dim: Dim, words: dict[str, str]) -> Dim:
    match dim:
        case Atom(name):
            return Atom(words[name])
        case Product(factors):
            return Product(tuple(_worded(factor, words) for factor in factors))
        case Sum(pieces):
            return Sum(tuple(_worded(piece, words) for piece in pieces))
        case _:
            return dim
