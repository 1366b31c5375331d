"""All of an adapter through a mapping: what the target's tensors get."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from mapcc.ir.bound import BoundMapping
from mapcc.lora.follow import adapted, follow
from mapcc.lora.model import Adapter, Factors, Fault, Product, Whole
from mapcc.lora.parts import Unfollowable, indices, linear
from mapcc.lora.products import follow_product
from mapcc.lora.values import Array, alike, scaled

_MERGE = "merge the adapter into the weights, and convert those"


@dataclass(slots=True)
class Results:
    """An adapter under the names of the target's tensors.

    Attributes:
        origins: the names in the adapter's file, by the target's tensor.
        dropped: changed tensors that the mapping drops, and their adapters with them.
        nbytes: of everything here.
    """

    weights: dict[str, tuple[Factors, ...]] = field(default_factory=dict)
    whole: dict[str, Whole] = field(default_factory=dict)
    products: dict[str, Product] = field(default_factory=dict)
    origins: dict[str, tuple[str, ...]] = field(default_factory=dict)
    dropped: tuple[str, ...] = ()
    faults: list[Fault] = field(default_factory=list)
    nbytes: int = 0


def carry(bound: BoundMapping, adapter: Adapter, limit: int) -> Results:
    """What an adapter becomes; what cannot follow is in ``faults``.

    Raises:
        MemoryError: it grows beyond ``limit`` bytes.
    """
    out = Results()
    for target in adapted(bound, adapter.origins):
        out.origins[target] = tuple(_origins(bound, adapter, target))
    _factors(bound, adapter, out, limit)
    _products(bound, adapter, out)
    for replaces in (False, True):
        arrays = {n: whole.array for n, whole in adapter.whole.items() if whole.replaces is replaces}
        for target in adapted(bound, arrays):
            with _told(bound, target, out):
                array = moved(bound, target, arrays, replaces)
                out.whole[target] = Whole(array, replaces)
                _count(out, array.nbytes, limit)
    out.dropped = tuple(name for name in adapter.origins if name in bound.dropped)
    return out


def _factors(bound: BoundMapping, adapter: Adapter, out: Results, limit: int) -> None:
    embeddings = set(_embeddings(bound, adapter))
    for target in adapted(bound, adapter.factors):
        with _told(bound, target, out):
            instance, number = bound.given[target]
            if not target.endswith(".weight") and len(instance.layout.target_shapes[number]) < 3:
                raise Unfollowable("it is not the weight of a module")
            factors = follow(bound, target, adapter.factors)
            if target not in embeddings:
                factors = tuple(replace(f, embedding=False) for f in factors)
            if factors:
                out.weights[target] = factors
                _count(out, sum(f.nbytes for f in factors), limit)


def _embeddings(bound: BoundMapping, adapter: Adapter) -> Iterator[str]:
    """The targets that are embeddings: of one that is tied to the output, not the output's weight."""
    for source, factors in adapter.factors.items():
        if factors[0].embedding:
            targets = list(adapted(bound, {source: factors}))
            marks = ("emb", "wte", "wpe", "shared")
            yield from [t for t in targets if any(mark in t.lower() for mark in marks)] or targets[:1]


def _products(bound: BoundMapping, adapter: Adapter, out: Results) -> None:
    for target in adapted(bound, adapter.products):
        own = {name: adapter.products[name] for name in _sources(bound, target) if name in adapter.products}
        with _told(bound, target, out):
            out.products[target] = follow_product(bound, target, own)


def moved(bound: BoundMapping, target: str, arrays: Mapping[str, Array], replaces: bool) -> Array:
    """A whole tensor, moved as the model's is; of a difference, zero where there is none.

    Raises:
        Unfollowable: a rule computes; or a tensor that is replaced lacks pieces.
    """
    instance, number = bound.given[target]
    shape = instance.layout.target_shapes[number]
    names = [name for name in arrays if instance in bound.taken.get(name, ())]
    own = dict(zip(names, alike([arrays[name] for name in names]), strict=True))
    out = np.zeros(prod(shape), own[names[0]].dtype)
    given = np.zeros(prod(shape) if replaces else 0, bool)
    for move in instance.layout.moves:
        operand = instance.sources[move.source]
        if move.target != number or not any(name in own for name in operand):
            continue
        factor = linear(instance, move, is_difference=not replaces)
        source = np.ascontiguousarray(own[operand[0]]).reshape(-1)
        taken = indices([(n, s) for n, s, _ in move.dims], move.source_offset)
        to = indices([(n, t) for n, _, t in move.dims], move.target_offset)
        out[to] = source[taken] if factor == 1.0 else scaled(source[taken], factor)
        if replaces:
            given[to] = True
    if not given.all():
        raise Unfollowable("it is given whole, and some of its parts are not in the adapter")
    return out.reshape(shape)


def _sources(bound: BoundMapping, target: str) -> Iterator[str]:
    instance, number = bound.given[target]
    operands = {move.source for move in instance.layout.moves if move.target == number}
    yield from dict.fromkeys(name for operand in sorted(operands) for name in instance.sources[operand])


def _origins(bound: BoundMapping, adapter: Adapter, target: str) -> Iterator[str]:
    for source in _sources(bound, target):
        yield from adapter.origins.get(source, ())


def _count(out: Results, nbytes: int, limit: int) -> None:
    out.nbytes += nbytes
    if out.nbytes > limit:
        raise MemoryError(out.nbytes)


def _literal(why: object) -> str:
    return str(why).replace("{", "{{").replace("}", "}}")


class _told:
    """Keeps why a target cannot be made."""

    def __init__(self, bound: BoundMapping, target: str, out: Results) -> None:
        self.bound, self.target, self.out = bound, target, out

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, why: BaseException | None, _: object) -> bool:
        if not isinstance(why, Unfollowable):
            return False
        instance, _number = self.bound.given[self.target]
        message = f"an adapter cannot follow into {{}}: {_literal(why)}"
        names = self.out.origins.get(self.target, ())
        self.out.faults.append(Fault("MC902", message, names, _MERGE, instance.equation.span, self.target))
        return True
