"""The origin of every element of a tensor as a number, for a window of elements at a time.

A number stands for a tensor and an index in it. What all boxes have in common, a run of elements
that stay together, is one unit, so that a tensor of a billion elements is often a few of them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import gcd, prod

import numpy as np
import numpy.typing as npt

from mapcc.passes.moves import Dims
from mapcc.passes.origins import Box, Made, Origin

Array = npt.NDArray[np.int64]
Put = Callable[[Array], Array]

WINDOW = 1 << 20
MOST = 1 << 62


def common_run(boxes: Iterable[Box]) -> int:
    """The length of the runs that all boxes are made of: every size, offset and stride is a multiple."""
    run = 0
    for box in boxes:
        run = gcd(run, *_lengths(box))
        if isinstance(box.origin, Made) and run != 1:
            run = gcd(run, common_run(box.origin.boxes))
        if run == 1:
            break
    return run or 1


def _lengths(box: Box) -> Iterator[int]:
    is_constant = _is_constant(box)
    *outer, (size, across, along) = box.dims or ((1, 1, 1),)
    if along != 1 or (across != 1 and not is_constant):
        yield 1
        return
    yield from (size, box.to, *(stride for _, _, stride in outer))
    if not is_constant:
        yield from (box.at, *(stride for _, stride, _ in outer))


def _is_constant(box: Box) -> bool:
    return isinstance(box.origin, Origin) and not box.origin.names


def reach(dims: Dims) -> int:
    """How far from its first element the last element of a box lies, in the target."""
    return sum((size - 1) * along for size, _, along in dims)


def is_nested(dims: Dims) -> bool:
    """Whether the index along each axis can be read off a place in the target."""
    return all(along > reach(dims[at + 1 :]) for at, (_, _, along) in enumerate(dims))


@dataclass(slots=True)
class Codes:
    """Numbers for the elements of some origins, in units of ``run`` elements."""

    run: int
    origins: list[Origin] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    _known: dict[Origin, int] = field(default_factory=dict)
    _next: int = 0

    def start(self, origin: Origin) -> int:
        """The number of the first element. ValueError if there are too many to be numbered."""
        if origin not in self._known:
            self._known[origin] = self._next
            self.origins.append(origin)
            self.starts.append(self._next)
            self._next += (prod(origin.shape) if origin.names else 1) // self.run + 1
            if self._next > MOST:
                raise ValueError("the tensors that it is made of are too large")
        return self._known[origin]

    def element(self, code: int) -> tuple[Origin, int]:
        """What a number stands for: an origin, and the index of the unit's first element."""
        at = bisect_right(self.starts, code) - 1
        return self.origins[at], (code - self.starts[at]) * self.run

    def window(self, boxes: Sequence[Box], low: int, size: int) -> Array:
        """The numbers of ``size`` units from ``low`` on; -1 for those that no box has."""
        out = np.full(size, -1, np.int64)
        for box in boxes:
            at, to, dims = self._in_units(box)
            _paint(out, low, at, to, dims, self._put(box))
        return out

    def _in_units(self, box: Box) -> tuple[int, int, Dims]:
        run = self.run
        if run == 1 or not box.dims:
            return box.at, box.to, box.dims
        *outer, (size, across, along) = box.dims
        dims = [(count, source // run, target // run) for count, source, target in outer]
        if size != run:
            dims.append((size // run, across, along))
        return box.at // run, box.to // run, tuple(dims)

    def _put(self, box: Box) -> Put:
        if isinstance(box.origin, Made):
            between = box.origin
            return lambda places: self._look_up(between, places)
        start = self.start(box.origin)
        return lambda places: places + start

    def _look_up(self, made: Made, places: Array) -> Array:
        """The numbers of the elements at these places of a tensor between two steps."""
        flat = places.reshape(-1)
        out = np.full(flat.shape, -1, np.int64)
        low, high = (int(flat.min()), int(flat.max())) if len(flat) else (0, -1)
        for box in made.boxes:
            at, to, dims = self._in_units(box)
            if to > high or to + reach(dims) < low:
                continue
            which = np.flatnonzero((flat >= to) & (flat <= to + reach(dims)))
            left, source = flat[which] - to, np.full(which.shape, at, np.int64)
            inside = np.ones(which.shape, bool)
            for size, across, along in dims:
                digit, left = np.divmod(left, along)
                inside &= digit < size
                source += digit * across
            inside &= left == 0
            out[which[inside]] = self._put(box)(source[inside])
        return out.reshape(places.shape)


def _paint(window: Array, low: int, at: int, to: int, dims: Dims, put: Put) -> None:
    """Write a box's numbers where it lies in the window, which begins at ``low``.

    Steps along the outermost axis that lie in the window as wholes are written at once, through a
    strided view; of those that its ends cut, the inner axes are looked at.
    """
    high = low + len(window)
    if not dims:
        if low <= to < high:
            window[to - low] = put(np.array([at], np.int64))[0]
        return
    (size, across, along), inner = dims[0], dims[1:]
    extent = reach(inner)
    first = max(0, -((to + extent - low) // along))
    last = min(size - 1, (high - 1 - to) // along)
    begin, end = max(first, -((to - low) // along)), min(last, (high - 1 - extent - to) // along)
    if begin > end:
        begin, end = last + 1, last
    else:
        shape = (end - begin + 1, *(count for count, _, _ in inner))
        strides = tuple(8 * stride for stride in (along, *(stride for _, _, stride in inner)))
        view = np.lib.stride_tricks.as_strided(window[to + begin * along - low :], shape, strides)
        view[...] = put(_places(at + begin * across, shape, (across, *(s for _, s, _ in inner))))
    for digit in (*range(first, begin), *range(end + 1, last + 1)):
        _paint(window, low, at + digit * across, to + digit * along, inner, put)


def _places(at: int, shape: Sequence[int], strides: Sequence[int]) -> Array:
    """The places in the source of a box with these sizes and strides."""
    out = np.array(at, np.int64)
    for size, stride in zip(shape, strides, strict=True):
        out = out[..., None] + np.arange(size, dtype=np.int64) * stride
    return out
