"""Two mappings, one behind the other, as one: what each element is taken from in the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

from mapcc.ir.bound import BoundMapping
from mapcc.passes.origins import Box, Made, Origin, Result, Steps, converted, joined, result_of
from mapcc.tensors.dtypes import Dtype


def composed(first: BoundMapping | Result, second: BoundMapping | Result) -> Result:
    """What ``second`` makes of what ``first`` gives, from the source of ``first``.

    ``second`` is bound to the key set of what ``first`` gives (:meth:`Result.keys`). What cannot be said
    of a tensor stands in its ``problem``.

    Raises:
        ValueError: a tensor of that key set has another shape or type.
    """
    one = first if isinstance(first, Result) else result_of(first)
    two = second if isinstance(second, Result) else result_of(second)
    for name, spec in two.source.tensors.items():
        made = one.targets.get(name)
        if made is None:
            continue
        known = spec.dtype is not None and made.dtype is not None
        if made.shape != spec.shape or (known and made.dtype != spec.dtype):
            ours, theirs = _kind(made.dtype, made.shape), _kind(spec.dtype, spec.shape)
            raise ValueError(f"the first step gives {name} as {ours}, the second takes it as {theirs}")
    composer = _Composer(one)
    return Result(one.source, {name: composer.made(made) for name, made in two.targets.items()})


def _kind(dtype: Dtype | None, shape: Sequence[int]) -> str:
    return f"{dtype.name if dtype else '?'} {list(shape)}"


class _Cannot(Exception):
    """Why where elements come from cannot be said."""


@dataclass(frozen=True, slots=True)
class _Composer:
    first: Result
    _inner: dict[tuple[str, Steps, Dtype | None], Made] = field(default_factory=dict)

    def made(self, made: Made) -> Made:
        if made.problem:
            return made
        try:
            found = [inner for box in made.boxes for inner in self._boxes(box, made.dtype)]
        except _Cannot as error:
            return Made(made.shape, made.dtype, (), str(error))
        return replace(made, boxes=joined(found))

    def _boxes(self, box: Box, dtype: Dtype | None) -> list[Box]:
        if isinstance(box.origin, Made):
            inner = self.made(box.origin)
            if inner.problem:
                raise _Cannot(inner.problem)
            return [replace(box, origin=inner)]
        if not box.origin.names:
            return [box]
        if len(box.origin.names) > 1 or not all(step.op.elementwise for step in box.origin.steps):
            return [replace(box, origin=self._of_wholes(box.origin))]
        between = self._between(box.origin, dtype)
        whole = _whole(between)
        if whole is not None:
            return [replace(box, origin=whole)]
        if box.at == 0 and _is_all(box, prod(between.shape)):
            return [replace(part, to=part.to + box.to) for part in between.boxes]
        return [replace(box, origin=between)]

    def _given(self, name: str) -> Made:
        made = self.first.targets.get(name)
        if made is None:
            raise _Cannot(f"the first step does not give {name}")
        if made.problem:
            raise _Cannot(made.problem)
        return made

    def _of_wholes(self, origin: Origin) -> Origin:
        """An operation that looks at whole tensors: they must come through the first step as they are."""
        wholes = [_whole(made := self._given(name), made.shape) for name in origin.names]
        if any(whole is None or len(whole.names) != 1 or whole.steps for whole in wholes):
            words = " and ".join(step.op.name for step in origin.steps if not step.op.elementwise)
            raise _Cannot(f"{words} of tensors that the first step moves or computes")
        names = tuple(whole.names[0] for whole in wholes if whole is not None)
        return replace(origin, names=names)

    def _between(self, origin: Origin, dtype: Dtype | None) -> Made:
        """A tensor between the steps, as if the second step's operations were done on its origins."""
        (name,) = origin.names
        key = (name, origin.steps, dtype)
        if key not in self._inner:
            made = self._given(name)
            self._inner[key] = _converted(made, made.dtype, origin.steps, dtype)
        return self._inner[key]


def _converted(made: Made, given: Dtype | None, steps: Steps, after: Dtype | None) -> Made:
    """The same, with these operations behind what it is made of."""

    def origin(old: Origin | Made) -> Origin | Made:
        if isinstance(old, Made):
            return _converted(old, given, steps, after)
        return converted(old, given, steps, after)

    return replace(made, boxes=joined([replace(box, origin=origin(box.origin)) for box in made.boxes]))


def _whole(made: Made, shape: tuple[int, ...] | None = None) -> Origin | None:
    """The one tensor that this is, element for element; of this shape, where that matters."""
    if len(made.boxes) != 1:
        return None
    (box,) = made.boxes
    if isinstance(box.origin, Made) or not box.origin.names or box.at or box.to:
        return None
    numel = prod(box.origin.shape)
    if numel != prod(made.shape) or not _is_all(box, numel) or shape not in (None, box.origin.shape):
        return None
    return box.origin


def _is_all(box: Box, numel: int) -> bool:
    """Whether a box is one run of this many elements."""
    return box.dims == (((numel, 1, 1),) if numel != 1 else ())
