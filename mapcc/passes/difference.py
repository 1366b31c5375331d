"""Where two mappings of one source differ: two are equal when their moves are.

The comparison is exact: no element is left out, and no sample is taken. What rules, blocks and axes
are called does not matter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from mapcc.ir.bound import BoundMapping
from mapcc.ir.expr import Value
from mapcc.ir.values import Step
from mapcc.passes.element_codes import WINDOW, Codes, common_run, is_nested, reach
from mapcc.passes.origins import Box, Made, Origin, Result, Shape, joined, result_of, without_last_cast
from mapcc.tensors.dtypes import Dtype


@dataclass(frozen=True, slots=True)
class Taken:
    """What one element is: that of ``names[-1]`` at ``index``, or the number ``constant``; then ``steps``."""

    names: tuple[str, ...]
    index: tuple[int, ...]
    constant: Value | None
    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Elements:
    """How many of the ``total`` elements of a tensor differ, and the first of them."""

    count: int
    total: int
    first: tuple[int, ...]
    a: Taken
    b: Taken


@dataclass(frozen=True, slots=True)
class Difference:
    """What is not the same of a tensor that both mappings give; None where it is the same.

    Elements are compared where the shapes are the same; of types that differ, the last cast is left out.
    ``problem`` says why a tensor cannot be compared: then nothing is known of it.
    """

    name: str
    shapes: tuple[Shape, Shape] | None = None
    dtypes: tuple[Dtype | None, Dtype | None] | None = None
    elements: Elements | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Differences:
    """Two mappings side by side.

    Attributes:
        only_a, only_b: target tensors that one of them gives.
        differing: those that both give, and not alike, or that cannot be compared.
        same: how many are the same.
        taken_a, taken_b: source tensors that only one of them takes anything of.
    """

    only_a: tuple[str, ...]
    only_b: tuple[str, ...]
    differing: tuple[Difference, ...]
    same: int
    taken_a: tuple[str, ...]
    taken_b: tuple[str, ...]

    @property
    def equal(self) -> bool:
        """Whether it is proven that both give the same tensors. What only one drops shows in these."""
        return not (self.only_a or self.only_b or self.differing)

    @property
    def problems(self) -> tuple[Difference, ...]:
        return tuple(difference for difference in self.differing if difference.problem)


def differences(a: BoundMapping | Result, b: BoundMapping | Result) -> Differences:
    """Compare what two mappings, bound without errors to one source, give of it.

    Raises:
        ValueError: their sources are not the same names and shapes.
    """
    one = a if isinstance(a, Result) else result_of(a)
    two = b if isinstance(b, Result) else result_of(b)
    _same_source(one, two)
    both = [name for name in one.targets if name in two.targets]
    compared = [_difference(name, one.targets[name], two.targets[name]) for name in both]
    differing = tuple(found for found in compared if found is not None)
    ours, theirs = _taken(one), _taken(two)
    return Differences(
        only_a=tuple(name for name in one.targets if name not in two.targets),
        only_b=tuple(name for name in two.targets if name not in one.targets),
        differing=differing,
        same=len(both) - len(differing),
        taken_a=tuple(name for name in one.source.tensors if name in ours and name not in theirs),
        taken_b=tuple(name for name in one.source.tensors if name in theirs and name not in ours),
    )


def _same_source(one: Result, two: Result) -> None:
    ours = {name: spec.shape for name, spec in one.source.tensors.items()}
    theirs = {name: spec.shape for name, spec in two.source.tensors.items()}
    if ours == theirs:
        return
    name = next(name for name in (*ours, *theirs) if ours.get(name) != theirs.get(name))
    raise ValueError(f"the two mappings are bound to different sources: {name} is not the same in both")


def _taken(result: Result) -> set[str]:
    return {name for made in result.targets.values() for o in made.origins() for name in o.names}


def _difference(name: str, a: Made, b: Made) -> Difference | None:
    if a == b and not a.problem:
        return None
    found = Difference(
        name,
        shapes=(a.shape, b.shape) if a.shape != b.shape else None,
        dtypes=(a.dtype, b.dtype) if a.dtype != b.dtype else None,
    )
    try:
        elements = None if found.shapes else _elements(a, b, found.dtypes is None)
    except ValueError as error:
        return replace(found, problem=str(error))
    found = replace(found, elements=elements)
    return None if found == Difference(name) else found


# --- elements


def _elements(a: Made, b: Made, with_last_cast: bool) -> Elements | None:
    """ValueError if they cannot be compared."""
    for made in (a, b):
        _is_comparable(made)
    ours, theirs = (made.boxes if with_last_cast else _uncast(made).boxes for made in (a, b))
    # Both cover every element once: what has the same box in both can be left out.
    common = set(ours) & set(theirs)
    left = [box for box in ours if box not in common]
    right = [box for box in theirs if box not in common]
    if not left and not right:
        return None
    codes = Codes(common_run((*left, *right)))
    count, first = 0, None
    for low, size in _windows((*left, *right), codes.run):
        x, y = codes.window(left, low, size), codes.window(right, low, size)
        wrong = x != y
        count += int(np.count_nonzero(wrong))
        if first is None and count:
            at = int(wrong.argmax())
            first = (low + at, int(x[at]), int(y[at]))
    if first is None:
        return None
    place, x_code, y_code = first
    index = _index(place * codes.run, a.shape)
    return Elements(count * codes.run, prod(a.shape), index, _read(codes, x_code), _read(codes, y_code))


def _is_comparable(made: Made) -> None:
    if made.problem:
        raise ValueError(made.problem)
    covered = sum(prod(size for size, _, _ in box.dims) for box in made.boxes)
    if covered != prod(made.shape):
        raise ValueError("its elements are not given once each")
    for box in made.boxes:
        if isinstance(box.origin, Made):
            _is_comparable(box.origin)
            if not all(is_nested(inner.dims) for inner in box.origin.boxes):
                raise ValueError("the axes of a tensor between the steps overlap")


def _uncast(made: Made) -> Made:
    """Where types differ, that is said once, and not of every element."""

    def origin(old: Origin | Made) -> Origin | Made:
        return _uncast(old) if isinstance(old, Made) else without_last_cast(old)

    return replace(made, boxes=joined([replace(box, origin=origin(box.origin)) for box in made.boxes]))


def _windows(boxes: Iterable[Box], run: int) -> Iterator[tuple[int, int]]:
    """Where these boxes lie, in units of ``run``, a window at a time."""
    ends = [(box.to, box.to + reach(box.dims) + 1) for box in boxes]
    low, high = min(start for start, _ in ends) // run, max(end for _, end in ends) // run
    for at in range(low, high, WINDOW):
        yield at, min(WINDOW, high - at)


def _read(codes: Codes, code: int) -> Taken:
    origin, at = codes.element(code)
    if not origin.names:
        return Taken((), (), origin.fill, origin.steps)
    return Taken(origin.names, _index(at, origin.shape), None, origin.steps)


def _index(at: int, shape: Shape) -> tuple[int, ...]:
    """The place of an element, by its number in row-major order."""
    out: list[int] = []
    for size in reversed(shape):
        at, rest = divmod(at, size)
        out.append(rest)
    return tuple(reversed(out))
