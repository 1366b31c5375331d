"""A container of quantised weights as data: a weight, its companions, and how they belong together."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from mapcc.tensors.spec import TensorSpec

# What a companion is to its weight:
#   factor      each of its elements belongs to a block of the weight (a scale, a zero point): the value
#               of the weight is not known without it;
#   table       a number or a table for the weight as a whole: it stays as it is;
#   shape       it says how the weight was shaped or packed: the weight may not be cut, joined or turned;
#   activation  it is about the inputs: the weight has its value without it.
Role = Literal["factor", "table", "shape", "activation"]


@dataclass(frozen=True, slots=True)
class Companion:
    """A tensor beside a quantised weight.

    Attributes:
        suffix: what stands behind the stem of the weight's name.
        types: of which it may be; empty for any.
        required: a weight without it is not in this container.
        dims: which dimension of the weight each of its own follows; by position where it is None.
        equal: its dimensions that are as long as those that they follow.
        fewer: how many dimensions it has less than the weight; None for any number.
    """

    suffix: str
    role: Role = "factor"
    types: frozenset[str] = frozenset()
    required: bool = False
    dims: tuple[int, ...] | None = None
    equal: tuple[int, ...] = ()
    fewer: int | None = None


@dataclass(frozen=True, slots=True)
class Container:
    """A way to keep quantised weights.

    Attributes:
        name: as people call it.
        main: the end of the weight's name; what is before it is the stem.
        types: of the weight.
        value: what the true weight is.
        way_out: how to get a checkpoint of the same model that is not quantised.
        certain: the names alone say so, where a key set is silent about types.
        inputs_first: the weight is kept as [in, out], where a plain one is [out, in].
        flat: its blocks run over the flattened weight.
        packed: along which dimension an element holds several codes, counted from the end; None for one each.
        bits: of a code, where a config does not say.
    """

    name: str
    main: str
    types: frozenset[str]
    companions: tuple[Companion, ...]
    value: str
    way_out: str
    certain: bool = True
    inputs_first: bool = False
    flat: bool = False
    packed: int | None = None
    bits: int = 4


@dataclass(frozen=True, slots=True, eq=False)
class Quantised:
    """One weight in a container, with the companions that are there."""

    container: Container
    stem: str
    main: TensorSpec
    companions: tuple[tuple[Companion, TensorSpec], ...]

    @property
    def names(self) -> tuple[str, ...]:
        return (self.main.name, *(spec.name for _, spec in self.companions))


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The quantised weights of a key set.

    Attributes:
        weights: by the name of the weight.
        owner: the weight that a companion belongs to, by the companion's name.
        markers: tensors that only say that the checkpoint is quantised.
        blocks: by the name of a container, how many elements of a weight share a factor along its last
            dimensions; 0 where weights differ in that.
        groups: the same in codes, of which an element may hold several.
    """

    weights: Mapping[str, Quantised] = field(default_factory=dict)
    owner: Mapping[str, Quantised] = field(default_factory=dict)
    markers: tuple[str, ...] = ()
    blocks: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    groups: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    def of(self, name: str) -> Quantised | None:
        """What a tensor belongs to, as a weight or as a companion."""
        return self.weights.get(name) or self.owner.get(name)
