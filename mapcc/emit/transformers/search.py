"""The search for a chain: candidates in turn, each followed, and compared with what is wanted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.table import Transform
from mapcc.emit.transformers.chains import (
    PERMUTE,
    Chain,
    Operations,
    cut,
    joined,
    operation,
    permuted_parts,
    single,
)
from mapcc.emit.transformers.families import Groups, groupings
from mapcc.emit.transformers.moves import TensorShape, by_target, pieces_of
from mapcc.emit.transformers.run import HEADS, Heads, key_set
from mapcc.ir.bound import Move
from mapcc.passes.moves import same

# What comes from each source in each target, by their numbers.
Numbered = dict[int, dict[int, tuple[Move, ...]]]


def search(
    shapes: Sequence[TensorShape],
    given: Sequence[TensorShape],
    moves: Sequence[Move],
    options: Iterable[Groups],
    heads: Heads,
) -> tuple[Chain, int | None] | None:
    """A chain, and the number of heads that it needs; None if it needs none.

    Args:
        options: the ways in which the sources can be taken together.
        heads: what the model's config says; nothing if it is not known.
    """
    wanted = by_target(moves)
    for chain in _candidates(shapes, given, moves, options):
        if not any(one.name == PERMUTE for one in chain.operations):
            if _are_same(_tried(chain, shapes, given, 1), wanted):
                return chain, None
            continue
        for part, number in heads.items() or [("", number) for number in _heads(moves)]:
            if _are_same(_tried(chain, shapes, given, number), wanted):
                return _told_by(chain, part), number
    return None


def _told_by(chain: Chain, part: str) -> Chain:
    """The chain, with the part of the config that tells the heads."""
    if not part:
        return chain
    told = tuple(
        replace(one, options=(("subconfig_key", part), *one.options)) if one.name == PERMUTE else one
        for one in chain.operations
    )
    return replace(chain, operations=told)


def _heads(moves: Sequence[Move]) -> Iterable[int]:
    """Heads are the outermost axis of what is permuted, if there are several."""
    return sorted({1, *(move.dims[0][0] for move in moves if move.dims)}, reverse=True)


def options_of(names: Sequence[str], moves: Sequence[Move]) -> tuple[Groups, ...]:
    return tuple(groupings(names, _starts(moves, "source", "target")))


def _candidates(
    shapes: Sequence[TensorShape],
    given: Sequence[TensorShape],
    moves: Sequence[Move],
    options: Iterable[Groups],
) -> Iterator[Chain]:
    if len(given) > 1:
        order = _starts(moves, "target", "source")
        for operations in cut(shapes[0], [given[number] for number in order]):
            yield Chain(((0,),), order, operations)
            for permuted in permuted_parts(len(given)):
                yield Chain(((0,),), order, (*operations, operation(PERMUTE)), permuted)
                yield Chain(((0,),), order, (*operations, operation(PERMUTE, inverse=True)), permuted)
        return
    if len(shapes) == 1:
        for operations in single(shapes[0], given[0]):
            yield Chain(((0,),), (0,), operations)
        return
    for groups in options:
        for operations in joined([[shapes[n] for n in group] for group in groups], given[0]):
            yield Chain(groups, (0,), operations)
            if len(groups) == len(shapes) and operations[0].name == "Concatenate":
                yield from _permuted_before(groups, operations)


def _permuted_before(groups: Groups, operations: Operations) -> Iterator[Chain]:
    for permuted in permuted_parts(len(groups)):
        for inverse in (False, True):
            yield Chain(groups, (0,), (operation(PERMUTE, inverse=inverse), *operations), permuted)


def _starts(moves: Sequence[Move], of: str, along: str) -> tuple[int, ...]:
    """The operands of one side, in the order in which they lie in the other."""
    first: dict[int, int] = {}
    for move in moves:
        at = move.target_offset if along == "target" else move.source_offset
        number = move.source if of == "source" else move.target
        first[number] = min(at, first.get(number, at))
    return tuple(sorted(first, key=first.__getitem__))


def _tried(chain: Chain, shapes: Sequence[TensorShape], given: Sequence[TensorShape], heads: int) -> Numbered:
    """What the engine makes of a chain; nothing where it stops, or gives other shapes."""
    patterns = [f"s{at}x.*.y" for at in range(len(chain.groups))]
    sources = {
        f"s{at}x.{member}.y": number
        for at, group in enumerate(chain.groups)
        for member, number in enumerate(group)
    }
    targets = {f"t{at}x": number for at, number in enumerate(chain.targets)}
    operations = chain.named(patterns, list(targets))
    entry = Transform("WeightConverter", tuple(patterns), tuple(targets), operations)
    own = {name: shapes[number] for name, number in sources.items()}
    model = {name: given[number] for name, number in targets.items()}
    outcome = TransformersTable((entry,), config={HEADS: heads}).run(key_set(own), key_set(model))
    out: Numbered = {}
    for made in outcome.made:
        for target, shape, pieces in pieces_of(made, own):
            if model.get(target) == shape:
                out[targets[target]] = {sources[source]: moves for source, moves in pieces.items()}
    return out if len(out) == len(given) and not outcome.faults else {}


def _are_same(ours: Numbered, theirs: Numbered) -> bool:
    return ours.keys() == theirs.keys() and all(
        ours[target].keys() == theirs[target].keys()
        and all(same(ours[target][source], theirs[target][source]) for source in ours[target])
        for target in ours
    )
