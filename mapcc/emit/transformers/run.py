"""The emitted table over the real key set, by the dialect's engine, held against the mapping."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.table import Transform
from mapcc.emit.transformers.moves import Pieces, TensorShape, by_target, is_same, pieces_of
from mapcc.ir.bound import BoundMapping, Layout, Move
from mapcc.tensors.spec import Manifest, TensorSpec

HEADS = "num_attention_heads"


# The heads that a config tells, by the part of it that tells them ("" for the config itself).
Heads = Mapping[str, int]


def config_of(bound: BoundMapping) -> Mapping[str, object]:
    """The model's config, or that of the checkpoint where there is no other."""
    for manifest in (bound.target, bound.source):
        if manifest is not None and heads_of(manifest.config or {}):
            return manifest.config or {}
    return {}


def heads_of(config: Mapping[str, object]) -> Heads:
    """What a config says of heads: of its own, and of its parts, such as ``vision_config``."""
    parts = {"": config} | {key: part for key, part in config.items() if isinstance(part, Mapping)}
    found = {key: part.get(HEADS) for key, part in parts.items()}
    return {key: heads for key, heads in found.items() if isinstance(heads, int)}


def key_set(shapes: Mapping[str, TensorShape]) -> Manifest:
    tensors = {name: TensorSpec(name, None, shape) for name, shape in shapes.items()}
    return Manifest(tensors, (), "", None, {})


class Replay:
    """Runs tables over the source of a mapping.

    Attributes:
        unexpected: of the last run, the names that the model does not have, and that are left out.
    """

    def __init__(self, bound: BoundMapping, config: Mapping[str, object]) -> None:
        self.bound = bound
        self.config = config
        self.unexpected: list[str] = []
        self.source = {name: spec.shape for name, spec in bound.source.tensors.items()}
        self.shapes = {
            name: instance.layout.target_shapes[number] for name, (instance, number) in bound.given.items()
        }
        model = key_set(self.shapes)
        self.model = replace(
            model, tensors={**(bound.target.tensors if bound.target else {}), **model.tensors}
        )
        self._layouts: dict[int, dict[int, dict[int, tuple[Move, ...]]]] = {}

    def wrong(self, entries: Sequence[Transform]) -> dict[str, tuple[int, ...]]:
        """The source names of which the engine makes something else, with the entries that act on them."""
        table = TransformersTable(tuple(entries), config=self.config)
        outcome = table.run(self.bound.source, self.model)
        wrong = dict.fromkeys(name for fault in outcome.faults for name in fault.names)
        arrived: set[str] = set()
        self.unexpected = []
        for made in outcome.made:
            sources = [name for operand in made.left for name in operand.names]
            for target, shape, pieces in pieces_of(made, self.source):
                arrived.add(target)
                if target not in self.model.tensors and self.bound.dropped.keys() >= set(sources):
                    self.unexpected += sources
                elif self.shapes.get(target) != shape or not is_same(pieces, self._wanted(target)):
                    wrong.update(dict.fromkeys(sources))
        for target in self.bound.given.keys() - arrived:
            instance, _ = self.bound.given[target]
            every = [name for names in instance.sources for name in names]
            wrong.update(dict.fromkeys(list(self._wanted(target)) or every))
        return {name: table.trace(name).fired for name in wrong}

    def _wanted(self, target: str) -> Pieces:
        instance, number = self.bound.given[target]
        layout: Layout = instance.layout
        if id(layout) not in self._layouts:
            self._layouts[id(layout)] = by_target(layout.moves)
        pieces = self._layouts[id(layout)].get(number, {})
        return {instance.sources[source][0]: moves for source, moves in pieces.items()}
