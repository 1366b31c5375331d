"""What makes an output tensor: a rename, or a function of the script with its inputs and sizes."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod

from mapcc.emit.layout import Expr, call
from mapcc.emit.script_axes import Built, moves_of
from mapcc.emit.script_blocks import Axes
from mapcc.emit.script_operands import Function, Helpers, Operands, Recipe
from mapcc.emit.script_values import computed, fill_bits
from mapcc.emit.script_words import NotSaid
from mapcc.ir.bound import BoundMapping, Instance, Move
from mapcc.passes.moves import normal_form, same
from mapcc.plan.model import Fill, Folded, OutputTensor, Plan


def recipe_of(
    bound: BoundMapping, plan: Plan, helpers: Helpers, tensor: OutputTensor, instance: Instance, number: int
) -> Recipe:
    """The plainest recipe that does what the transfers do.

    Raises:
        NotSaid: an operation on values that a script does not have.
    """
    if all(isinstance(t.origin, Fill) for t in tensor.transfers):
        filled = _filled(tensor)
        if filled is not None:
            return filled
    work = _Work(plan, helpers, tensor, instance, number)
    moved = sorted((m for m in instance.layout.moves if m.target == number), key=lambda m: m.target_offset)
    work.transfers = list(zip(moved, tensor.transfers, strict=True))
    count = prod(tensor.shape)
    first, transfer = work.transfers[0]
    (joined, *others) = normal_form(moved)
    plain = others == [] and joined[1::2] == (0, 0) and joined.dims in ((), ((count, 1, 1),))
    if plain and not isinstance(transfer.origin, Fill | Folded):
        spec = bound.source.tensors[instance.sources[first.source][0]]
        if spec.numel == count:
            return work.whole(spec.shape)
    if tensor.dtype.bits >= 8:
        try:
            return work.by_axes()
        except NotSaid:
            pass
    return work.by_moves()


def _filled(tensor: OutputTensor) -> Recipe | None:
    found = {t.origin.value for t in tensor.transfers if isinstance(t.origin, Fill)}
    if len(found) > 1:
        return None
    bits = fill_bits(found.pop(), tensor.dtype) if found else 0
    width = max(8, tensor.dtype.bits) // 8
    sizes = (("bits", bits), ("width", width), ("count", (tensor.end - tensor.begin) // width))
    return Recipe("filled", (), sizes)


class _Work(Operands):
    """The ways to make one output tensor."""

    __slots__ = ()

    # --- all elements in their order

    def whole(self, shape: tuple[int, ...]) -> Recipe:
        move, transfer = self.transfers[0]
        if not transfer.is_plain:
            lines = computed(transfer.source, transfer.steps, transfer.target)
            result = self.by_blocks(lines, "x", transfer)
            return Recipe(Function(("x",), (result,)), ((move.source, 0),))
        make = "renamed" if shape == self.tensor.shape else "whole"
        return Recipe(make, ((move.source, 0),))

    # --- by axes

    def by_axes(self) -> Recipe:
        """The rule's own axes; NotSaid if they do not give the moves."""
        axes = Axes(self)
        built = axes.build()
        if not self._agrees(built):
            raise NotSaid("other moves")
        places = tuple((f"at_{name}", place) for name, place in axes.pinned.items() if name in axes.picked)
        return self._recipe((built.expr,), axes.words.used, places)

    def _agrees(self, built: Built) -> bool:
        ours: dict[int, list[Move]] = {}
        for move in moves_of(built):
            ours.setdefault(move.source, []).append(self._same_for_fills(move))
        theirs: dict[int, list[Move]] = {}
        for move, _ in self.transfers:
            theirs.setdefault(move.source, []).append(self._same_for_fills(move)._replace(target=0))
        return ours.keys() == theirs.keys() and all(
            same(normal_form(ours[k]), normal_form(theirs[k])) for k in theirs
        )

    def _same_for_fills(self, move: Move) -> Move:
        """All elements of a fill are the same."""
        if self.instance.sources[move.source]:
            return move
        return move._replace(source_offset=0, dims=tuple((n, 0, along) for n, _, along in move.dims))

    def _recipe(
        self, lines: tuple[Expr, ...], sizes: Mapping[str, int], places: tuple[tuple[str, int], ...] = ()
    ) -> Recipe:
        for word in self.extra:
            if word in sizes and sizes[word] != self.extra[word]:
                raise NotSaid(word)
        sizes = {**sizes, **self.extra}
        names = (*self.parameters, *sizes, *(name for name, _ in places))
        inputs = tuple(self.parameters.values())
        if len(inputs) == 1:
            lines = tuple(map(_only_one, lines))
            names = ("x", *names[1:])
        return Recipe(Function(names, lines), inputs, tuple(sizes.items()), places)

    # --- by moves

    def by_moves(self) -> Recipe:
        """A table: always possible."""
        self.parameters.clear()
        self.extra.clear()
        order: dict[int, int] = {}
        for move, _ in self.transfers:
            order.setdefault(move.source, len(order))
        folds = [t for _, t in self.transfers if isinstance(t.origin, Folded)]
        if len({t.origin for t in folds}) > 1:
            raise NotSaid("put together several tensors with computed norms")
        sources = call("", [self.operand(operand) for operand in order], "[]")
        rows: list[Expr] = []
        for move, transfer in self.transfers:
            own = transfer.move
            if isinstance(transfer.origin, Fill):
                own = self._same_for_fills(move)._replace(target_offset=own.target_offset)
                own = own._replace(dims=tuple((n, 0, along) for n, _, along in transfer.move.dims))
            dims = call("", [call("", map(str, dim)) for dim in own.dims])
            rows.append(
                call("", [str(order[move.source]), str(own.source_offset), str(own.target_offset), dims])
            )
        count = (self.tensor.end - self.tensor.begin) * 8 // max(8, self.tensor.dtype.bits)
        return self._recipe((call("moved", [sources, str(count), call("", rows, "[]")]),), {})


def _only_one(expr: Expr) -> Expr:
    """An only parameter needs no number."""
    if isinstance(expr, str):
        return re.sub(r"\bx_1\b", "x", expr)
    return call(_only_one(expr.head), [_only_one(item) for item in expr.items], expr.brackets)
