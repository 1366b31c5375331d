"""The tensors to compare, gathered by what is computed once for many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mapcc.ir.bound import BoundMapping, Instance
from mapcc.ir.program import Equation
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec
from mapcc.verify.notation import Index
from mapcc.verify.origins import Reading

Key = tuple[int, tuple[tuple[str, int], ...], int, str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tensor of the output, and the rule's instance that gives it."""

    spec: TensorSpec
    instance: Instance
    position: int


@dataclass(slots=True)
class Group:
    """Tensors of one term of an equation, with the same sizes and of one type."""

    reading: Reading
    term: int
    dtype: Dtype
    tensors: list[Wanted] = field(default_factory=list)

    @property
    def equation(self) -> Equation:
        return self.reading.equation

    @property
    def extents(self) -> tuple[int, ...]:
        return self.reading.notation.extents(self.equation.targets[self.term].shape)

    def chunks(self, size: int) -> Iterator[list[Wanted]]:
        for start in range(0, len(self.tensors), size):
            yield self.tensors[start : start + size]


@dataclass(frozen=True, slots=True)
class Slice:
    """Elements of some tensors of a group: which tensor each is of, and its coordinates."""

    group: Group
    tensors: list[Wanted]
    tensor: Index
    at: list[Index]


def groups(bound: BoundMapping, names: Iterable[str], out: dict[str, TensorSpec]) -> list[Group]:
    """Everything that has elements, in the order in which it is given."""
    found: dict[Key, Group] = {}
    readings: dict[tuple[object, ...], Reading] = {}
    sizes_of: dict[int, tuple[tuple[str, int], ...]] = {}  # many instances have one layout
    for name in names:
        instance, number = bound.given[name]
        equation, layout, spec = instance.equation, instance.layout, out[name]
        sizes = sizes_of.get(id(layout))
        if sizes is None:
            sizes = sizes_of[id(layout)] = tuple(layout.sizes.items())
        reading = readings.get((id(equation), sizes))
        if reading is None:
            reading = readings[id(equation), sizes] = Reading(equation, layout.sizes)
        term, position = reading.term_of(number)
        assert spec.dtype is not None
        group = found.setdefault(
            (id(equation), sizes, term, spec.dtype.name), Group(reading, term, spec.dtype)
        )
        group.tensors.append(Wanted(spec, instance, position))
    return [group for group in found.values() if 0 not in group.extents]
