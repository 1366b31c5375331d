"""What a function of a script is made from: parameters, and the elements of operands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from mapcc.emit.layout import Expr, call, flat
from mapcc.emit.script_values import computed, fill_bits, unsigned
from mapcc.ir.bound import Instance, Move
from mapcc.plan.model import Fill, Fold, Folded, OutputTensor, Plan, SourceTensor, Transfer

Place = tuple[int, int]  # an operand, and which of its tensors


class Function(NamedTuple):
    """A function of the script, still without a name."""

    parameters: tuple[str, ...]
    lines: tuple[Expr, ...]

    @property
    def text(self) -> str:
        return "\n".join([", ".join(self.parameters), *map(flat, self.lines)])


class Recipe(NamedTuple):
    """How an output is made.

    Attributes:
        make: ``renamed``, ``whole``, ``filled``, or a function.
        inputs: for each parameter one tensor, or a list of them.
        sizes: by name, the same for every tensor that is made so.
        places: by name, along axes of names.
    """

    make: str | Function
    inputs: tuple[Place | tuple[Place, ...], ...] = ()
    sizes: tuple[tuple[str, int | str], ...] = ()
    places: tuple[tuple[str, int], ...] = ()


@dataclass(slots=True)
class Helpers:
    """Functions on values that others call: lines, each under one name."""

    names: dict[tuple[str, ...], str] = field(default_factory=dict)

    def name(self, lines: Sequence[Expr]) -> str:
        key = tuple(map(flat, lines))
        return self.names.setdefault(key, f"values_{len(self.names) + 1}")


def is_list(inputs: Place | tuple[Place, ...]) -> bool:
    return not inputs or isinstance(inputs[0], tuple)


def places_of(inputs: Place | tuple[Place, ...]) -> list[Place]:
    """All of them, whether the parameter is a list or not."""
    return [one for one in inputs if isinstance(one, tuple)] or [inputs]  # type: ignore[list-item]


@dataclass(slots=True)
class Operands:
    """The operands of one output tensor, as expressions and parameters of a function."""

    plan: Plan
    helpers: Helpers
    tensor: OutputTensor
    instance: Instance
    number: int
    transfers: list[tuple[Move, Transfer]] = field(default_factory=list)
    parameters: dict[str, Place | tuple[Place, ...]] = field(default_factory=dict)
    extra: dict[str, int] = field(default_factory=dict)

    def by_blocks(self, lines: Sequence[Expr], x: Expr, transfer: Transfer) -> Expr:
        return call("by_blocks", [self.helpers.name(lines), x, f'"{unsigned(transfer.target)}"'])

    def operand(self, operand: int) -> Expr:
        """The elements of an operand in the output's type, in their order."""
        transfer = next(t for move, t in self.transfers if move.source == operand)
        match transfer.origin:
            case Fill(value):
                dtype = self.tensor.dtype
                return call("filled", [f"0x{fill_bits(value, dtype):X}", str(max(8, dtype.bits) // 8), "1"])
            case Folded(number):
                x: Expr = self._fold(self.plan.folds[number], operand)
            case _:
                x = self.parameter((operand, 0))
        if transfer.is_plain:
            return x
        return self.by_blocks(computed(transfer.source, transfer.steps, transfer.target), x, transfer)

    def parameter(self, inputs: Place | tuple[Place, ...]) -> str:
        for name, known in self.parameters.items():
            if known == inputs:
                return name
        name = f"x_{len(self.parameters) + 1}"
        self.parameters[name] = inputs
        return name

    def _fold(self, fold: Fold, operand: int) -> Expr:
        assert fold.step is not None, "only an archive of torch has tensors that lie scattered"
        dim = int(fold.step.number("dim")) % len(fold.shape)
        box = (prod(fold.shape[:dim]), fold.shape[dim], prod(fold.shape[dim + 1 :]))
        self.extra |= dict(zip(("outer", "rows", "inner"), box, strict=True))
        arguments: list[Expr] = []
        for nth in (1, 0):  # the direction first: its place is the result's
            name = self.parameter((operand, nth))
            tensor = fold.inputs[nth]
            assert isinstance(tensor, SourceTensor)
            own = tensor.dtype
            if own == fold.dtype:
                arguments.append(name)
            else:
                lines = computed(own, (), fold.dtype)
                to = f'"{unsigned(fold.dtype)}"'
                arguments.append(call("by_blocks", [self.helpers.name(lines), name, to]))
        return call("weight_norm", [*arguments, "(outer, rows, inner)"])
