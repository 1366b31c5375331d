"""What becomes of the tensors of an instance: a new name, a chain of operations, or neither."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from mapcc.emit.transformers.chains import Chain
from mapcc.emit.transformers.moves import TensorShape
from mapcc.emit.transformers.names import is_loaded
from mapcc.emit.transformers.refused import listed, misread, reason, refused
from mapcc.emit.transformers.run import Heads
from mapcc.emit.transformers.search import options_of, search
from mapcc.emit.wholes import Refusal
from mapcc.ir.bound import Instance, Move
from mapcc.passes.moves import normal_form, simplify_dims
from mapcc.tensors.spec import TensorSpec


@dataclass(frozen=True, slots=True)
class Part:
    """Operands that belong together, by their numbers; without a ``chain`` one tensor gets a new name."""

    sources: tuple[int, ...]
    targets: tuple[int, ...]
    chain: Chain | None = None


@dataclass(slots=True)
class Recogniser:
    """Finds chains, and knows those that it has found.

    Attributes:
        heads: ``num_attention_heads`` of the model's config and of its parts.
        assumed: what the mapping needs for it, where nothing says it.
    """

    heads: Heads
    assumed: int | None = None
    known: dict[tuple[object, ...], Chain | None] = field(default_factory=dict)

    def parts(self, instance: Instance, tensors: Mapping[str, TensorSpec]) -> tuple[Part, ...] | Refusal:
        refusal = refused(instance, tensors)
        if refusal:
            return refusal
        specs = [tensors[names[0]] for names in instance.sources]
        out = []
        for sources, targets, moves in _components(instance):
            part = self._part(instance, sources, targets, moves, specs)
            if isinstance(part, Refusal):
                return part
            out.append(part)
        return tuple(out)

    def _part(
        self,
        instance: Instance,
        sources: tuple[int, ...],
        targets: tuple[int, ...],
        moves: Sequence[Move],
        specs: Sequence[TensorSpec],
    ) -> Part | Refusal:
        shapes = [specs[number].shape for number in sources]
        given = [instance.layout.target_shapes[number] for number in targets]
        note = f"{listed(shapes)} {'becomes' if len(shapes) == 1 else 'become'} {listed(given)}"
        if len(sources) == len(targets) == 1 and shapes == given and _is_whole(moves, prod(shapes[0])):
            name, target = instance.sources[sources[0]][0], instance.targets[targets[0]]
            return Part(sources, targets) if is_loaded(name, target) else misread(name, target)
        if not moves:
            return Refusal("convert tensors of no elements", note=note)
        if len(sources) > 1 and len(targets) > 1:
            return Refusal("give several tensors from several in one step", note=note)
        numbered = [m._replace(source=sources.index(m.source), target=targets.index(m.target)) for m in moves]
        names = [instance.sources[number][0] for number in sources]
        chain = self._chain(shapes, given, numbered, names)
        if chain is None:
            return Refusal(reason(len(sources), len(targets)), note=note)
        groups = tuple(tuple(sources[number] for number in group) for group in chain.groups)
        own = Chain(groups, tuple(targets[n] for n in chain.targets), chain.operations, chain.permuted)
        return Part(sources, targets, own)

    def _chain(
        self, shapes: list[TensorShape], given: list[TensorShape], moves: list[Move], names: list[str]
    ) -> Chain | None:
        options = options_of(names, moves)
        key = (tuple(shapes), tuple(given), tuple(moves), options)
        if key not in self.known:
            found = search(shapes, given, moves, options, self.heads)
            self.known[key] = found[0] if found else None
            if found and found[1] is not None and not self.heads:
                self.heads, self.assumed = {"": found[1]}, found[1]
        return self.known[key]


# --- which operands belong together


def _components(
    instance: Instance,
) -> Iterator[tuple[tuple[int, ...], tuple[int, ...], list[Move]]]:
    """Operands between which something moves; a lone source and a lone target belong together anyway."""
    sources, targets = len(instance.sources), len(instance.targets)
    if sources == targets == 1:
        yield (0,), (0,), list(instance.layout.moves)
        return
    group = list(range(sources + targets))

    def root(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    for move in instance.layout.moves:
        group[root(move.source)] = root(sources + move.target)
    members: dict[int, list[int]] = {}
    for number in range(sources + targets):
        members.setdefault(root(number), []).append(number)
    moves: dict[int, list[Move]] = {}
    for move in instance.layout.moves:
        moves.setdefault(root(move.source), []).append(move)
    for at, numbers in members.items():
        own = tuple(n for n in numbers if n < sources)
        yield own, tuple(n - sources for n in numbers if n >= sources), moves.get(at, [])


def _is_whole(moves: Sequence[Move], numel: int) -> bool:
    """Whether a tensor's elements stay in their order."""
    own = normal_form(Move(0, m.source_offset, 0, m.target_offset, m.dims) for m in moves)
    return own == ((Move(0, 0, 0, 0, simplify_dims([(numel, 1, 1)])),) if numel else ())
