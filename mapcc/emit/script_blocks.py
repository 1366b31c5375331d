"""A target term as an expression over the units that fill it, block by block."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from mapcc.emit.layout import Expr, call, flat
from mapcc.emit.script_axes import Built, View, concatenated, leaf, merged, row_major
from mapcc.emit.script_operands import Operands
from mapcc.emit.script_values import computed, fill_bits, unsigned
from mapcc.emit.script_words import NotSaid, Words, choices
from mapcc.emit.script_words import flat as flattened
from mapcc.ir.axes import Atom, Dim, Sum
from mapcc.ir.program import Target, Unit
from mapcc.passes.segments import name_axes
from mapcc.plan.model import Fill


class Axes:
    """A target term as an expression over the units that fill it."""

    def __init__(self, work: Operands) -> None:
        self.work, instance = work, work.instance
        layout, equation = instance.layout, instance.equation
        term = layout.term_of_target[work.number]
        self.target: Target = equation.targets[term]
        self.links = {link.target_block: link for link in equation.links if link.target == term}
        self.units = equation.units
        self.layout = layout
        self.words = Words(layout.sizes)
        names = _axes_of(self.target)
        at = work.number - layout.term_of_target.index(term)
        self.pinned = dict(zip(names, _unravelled(at, [layout.sizes[n] for n in names]), strict=True))
        self.picked: set[str] = set()
        self.block = 0
        self.is_joined = any(isinstance(dim, Sum) for dim in flattened(self.target.shape))

    def build(self) -> Built:
        built = self._build(flattened(self.target.shape))
        if self.block != len(self.links):
            raise NotSaid("blocks without a source")
        return built

    def _build(self, dims: list[Dim]) -> Built:
        at = next((k for k, dim in enumerate(dims) if isinstance(dim, Sum)), None)
        if at is None:
            self.block += 1
            return self._leaf(dims, self.block - 1)
        parts = []
        sum_ = dims[at]
        assert isinstance(sum_, Sum)
        for piece in sum_.pieces:
            inner = flattened([piece])
            part = self._build([*dims[:at], *inner, *dims[at + 1 :]])
            if len(inner) != 1 or isinstance(inner[0], Sum):
                texts = [self.words.text(dim) for dim in (*dims[:at], piece, *dims[at + 1 :])] or ["()"]
                part = merged(part, at, len(inner), texts)
            parts.append(part)
        return concatenated(parts, at)

    def _leaf(self, dims: list[Dim], block: int) -> Built:
        link = self.links.get(block)
        if link is None:
            raise NotSaid("a block without a source")
        unit = self.units[link.unit]
        first = self.layout.unit_of_source.index(link.unit)
        names = _axes_of(unit)
        stacked = [name for name in names if name not in self.pinned]
        operands = [first + at for at in self._positions(names)]
        own = flattened(unit.shape)
        view_dims: list[Dim] = [*map(Atom, stacked), *own]
        sizes = [self.words.value(dim) for dim in view_dims]
        strides = row_major(sizes)
        expr = self._elements(unit, operands, bool(stacked), dims)
        if unit.is_created:
            view = View(self.words, expr, list(dims), [0] * len(dims), 0, True)
            return leaf(view, dims, operands, ())
        view = View(self.words, expr, view_dims, strides)
        view.take(choices(own)[link.unit_block])
        pinned = {name: place for name, place in self.pinned.items() if name not in names}
        self.picked |= {name for name in pinned if Atom(name) in view.dims}
        view.pick(pinned, {name: f"at_{name}" for name in pinned})
        # A vector has its one axis; what was cut out of more axes may still have some of size 1.
        is_vector = not stacked and len(unit.shape) == len(own) == len(view.dims) == len(dims) == 1
        if self.is_joined and not is_vector:
            view.shape()
        return leaf(view, dims, operands, stacked)

    def _positions(self, names: Sequence[str]) -> list[int]:
        ranges = [
            [self.pinned[name]] if name in self.pinned else range(self.layout.sizes[name]) for name in names
        ]
        steps = row_major([self.layout.sizes[name] for name in names])
        return [sum(k * s for k, s in zip(at, steps, strict=True)) for at in product(*ranges)]

    def _elements(self, unit: Unit, operands: Sequence[int], stacked: bool, dims: Sequence[Dim]) -> Expr:
        if unit.is_created:
            _, transfer = next((m, t) for m, t in self.work.transfers if m.source == operands[0])
            assert isinstance(transfer.origin, Fill)
            bits = f"0x{fill_bits(transfer.origin.value, transfer.target):X}"
            sizes = call("", [self.words.text(dim) for dim in dims])
            return call("np.full", [sizes, bits, f'"{unsigned(transfer.target)}"'])
        if not stacked:
            return self.work.operand(operands[0])
        found = [next(t for m, t in self.work.transfers if m.source == operand) for operand in operands]
        if len({(t.steps, t.source) for t in found}) > 1 or len(unit.names) > 1:
            raise NotSaid("a stack of different things")
        name: Expr = self.work.parameter(tuple((operand, 0) for operand in operands))
        if not found[0].is_plain:
            lines = computed(found[0].source, found[0].steps, found[0].target)
            one = self.work.by_blocks(lines, "one", found[0])
            name = f"[{flat(one)} for one in {name}]"
        return call("np.stack", [name])


def _axes_of(term: Unit | Target) -> tuple[str, ...]:
    names = term.names if isinstance(term, Unit) else (term.name,) if term.name is not None else ()
    return tuple(axis.atom for axis in name_axes(names[0])) if names else ()


def _unravelled(at: int, sizes: Sequence[int]) -> list[int]:
    out = []
    for size in reversed(sizes):
        out.append(at % size)
        at //= size
    return out[::-1]
