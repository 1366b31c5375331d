"""A rule's axes as a tensor expression: reshape, slice, transpose, stack, concatenate.

Each step is kept twice: as text, and as what it does to offsets and strides. So the expression can be
held against the rule's moves before it is given.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple

from mapcc.emit.layout import Expr, call, chained, subscript
from mapcc.emit.script_words import IDENTIFIER, NotSaid, Words, atom_of, flat
from mapcc.ir.axes import Dim, Sum
from mapcc.ir.bound import Move
from mapcc.passes.moves import simplify_dims


class Sub(NamedTuple):
    """A loop: how often, its step in the source, its step along the axis."""

    size: int
    source: int
    target: int


class Box(NamedTuple):
    """Elements of one operand in an array: for each of its axes, where they begin and their loops."""

    operand: int
    offset: int
    axes: tuple[tuple[int, tuple[Sub, ...]], ...]


class Built(NamedTuple):
    """An expression, the extents of its axes, and the boxes that fill it."""

    expr: Expr
    extents: tuple[int, ...]
    boxes: tuple[Box, ...]


@dataclass(slots=True)
class View:
    """A view of one operand, or of a stack of them, step by step."""

    words: Words
    expr: Expr
    dims: list[Dim]
    strides: list[int]
    offset: int = 0
    is_shaped: bool = False

    def shape(self) -> None:
        if not self.is_shaped:
            texts = [self.words.text(dim) for dim in self.dims]
            self.expr = chained(self.expr, "reshape", texts or ["()"])
            self.is_shaped = True

    def take(self, path: Sequence[int]) -> None:
        """One piece of every sum; nested sums after those that hold them."""
        for number in path:
            at = next(k for k, dim in enumerate(self.dims) if isinstance(dim, Sum))
            sum_ = self.dims[at]
            assert isinstance(sum_, Sum)
            self.shape()
            before, piece = sum_.pieces[:number], sum_.pieces[number]
            self._slice(at, before, piece, len(sum_.pieces) == number + 1)
            inner = flat([piece])
            step = self.strides[at]
            self.dims[at : at + 1] = inner
            self.strides[at : at + 1] = _row_major([self.words.value(dim) for dim in inner], step)
            self.is_shaped = len(inner) == 1 and not isinstance(inner[0], Sum)

    def _slice(self, at: int, before: Sequence[Dim], piece: Dim, is_last: bool) -> None:
        start = self.words.text(Sum(tuple(before))) if before else ""
        stop = "" if is_last else self.words.text(Sum((*before, piece)))
        plain = all(IDENTIFIER.fullmatch(text) or text.isdigit() for text in (start, stop) if text)
        left, right = (start, stop) if plain else (start and f"{start} ", stop and f" {stop}")
        self.expr = subscript(self.expr, [*[":"] * at, f"{left}:{right}"])
        self.offset += self.strides[at] * sum(map(self.words.value, before))

    def pick(self, pinned: Mapping[str, int], names: Mapping[str, str]) -> None:
        """The given place along some axes."""
        found = [k for k, dim in enumerate(self.dims) if atom_of(dim) in pinned]
        if not found:
            return
        self.shape()
        texts = [names[atom_of(dim)] if k in found else ":" for k, dim in enumerate(self.dims)]
        self.expr = subscript(self.expr, texts[: found[-1] + 1])
        for k in reversed(found):
            self.offset += self.strides.pop(k) * pinned[atom_of(self.dims.pop(k))]

    def arrange(self, wanted: Sequence[Dim]) -> list[int]:
        """The axes in the order wanted, repeated along those that the source does not have; their strides."""
        own = [atom_of(dim) for dim in self.dims]
        names = [atom_of(dim) for dim in wanted]
        present = [name for name in names if name in own]
        if len(set(names)) < len(names) or sorted(present) != sorted(own):
            raise NotSaid("other axes")
        order = [own.index(name) for name in present]
        if order != sorted(order):
            self.shape()
            self.expr = chained(self.expr, "transpose", [str(k) for k in order])
        strides = dict(zip(own, self.strides, strict=True))
        if len(present) < len(names):
            self.shape()
            if present:
                self.expr = subscript(self.expr, [":" if name in own else "None" for name in names])
            sizes = call("", [self.words.text(dim) for dim in wanted])
            self.expr = call("np.broadcast_to", [self.expr, sizes])
        return [strides.get(name, 0) for name in names]


def leaf(view: View, wanted: Sequence[Dim], operands: Sequence[int], stacked: Sequence[str]) -> Built:
    """A view as an array with the axes wanted; along the axes of ``stacked`` its operands differ."""
    strides = view.arrange(wanted)
    view_sizes = [view.words.value(dim) for dim in wanted]
    names = [atom_of(dim) for dim in wanted]
    boxes = []
    sizes = [view.words.sizes[name] for name in stacked]
    for operand, place in zip(operands, product(*map(range, sizes)), strict=True):
        at = dict(zip(stacked, place, strict=True))
        axes = tuple(
            (at[name], (Sub(1, 0, 1),)) if name in at else (0, (Sub(size, stride, 1),))
            for name, size, stride in zip(names, view_sizes, strides, strict=True)
        )
        boxes.append(Box(operand, view.offset, axes))
    return Built(view.expr, tuple(view_sizes), tuple(boxes))


def merged(built: Built, at: int, count: int, texts: Sequence[str]) -> Built:
    """``count`` neighbouring axes as one; ``texts`` are the sizes of all axes afterwards."""
    inner = built.extents[at : at + count]
    steps = _row_major(inner, 1)
    boxes = []
    for box in built.boxes:
        start = sum(first * step for (first, _), step in zip(box.axes[at : at + count], steps, strict=True))
        subs = tuple(
            sub._replace(target=sub.target * step)
            for (_, own), step in zip(box.axes[at : at + count], steps, strict=True)
            for sub in own
        )
        boxes.append(box._replace(axes=(*box.axes[:at], (start, subs), *box.axes[at + count :])))
    extents = (*built.extents[:at], prod(inner), *built.extents[at + count :])
    return Built(chained(built.expr, "reshape", texts), extents, tuple(boxes))


def concatenated(parts: Sequence[Built], at: int) -> Built:
    """The parts one behind the other along an axis."""
    boxes, start = [], 0
    for part in parts:
        for box in part.boxes:
            first, subs = box.axes[at]
            boxes.append(box._replace(axes=(*box.axes[:at], (start + first, subs), *box.axes[at + 1 :])))
        start += part.extents[at]
    extents = (*parts[0].extents[:at], start, *parts[0].extents[at + 1 :])
    items = call("", [part.expr for part in parts], brackets="[]")
    return Built(call("np.concatenate", [items, f"axis={at}"]), extents, tuple(boxes))


def moves_of(built: Built) -> list[Move]:
    """What the expression does, element by element."""
    steps = _row_major(built.extents, 1)
    out = []
    for box in built.boxes:
        first = sum(start * step for (start, _), step in zip(box.axes, steps, strict=True))
        dims = [
            (sub.size, sub.source, sub.target * step)
            for (_, subs), step in zip(box.axes, steps, strict=True)
            for sub in subs
        ]
        if all(size for size, _, _ in dims):
            out.append(Move(box.operand, box.offset, 0, first, simplify_dims(dims)))
    return out


def _row_major(sizes: Sequence[int], step: int) -> list[int]:
    out = []
    for size in reversed(sizes):
        out.append(step)
        step *= size
    return out[::-1]


def row_major(sizes: Sequence[int]) -> list[int]:
    """The stride of each axis of an array without gaps."""
    return _row_major(sizes, 1)
