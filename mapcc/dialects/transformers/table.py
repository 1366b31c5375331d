"""The tables of transformers 5: ``WeightRenaming`` and ``WeightConverter``, as data."""

from __future__ import annotations

from dataclasses import dataclass

from mapcc.text import Span

Value = str | int | float | bool | None | tuple["Value", ...]


@dataclass(frozen=True, slots=True)
class Operation:
    """``Chunk(dim=0)``: the class, and its arguments by name (defaults left out)."""

    name: str
    options: tuple[tuple[str, Value], ...] = ()

    def option(self, name: str, default: Value = None) -> Value:
        return dict(self.options).get(name, default)


@dataclass(frozen=True, slots=True)
class Transform:
    """One entry: a renaming if it has no ``operations``, a converter otherwise.

    Attributes:
        kind: the class: ``WeightRenaming``, ``WeightConverter``, ``GroupWeightRename``, ``PrefixChange``, ...
        sources: the patterns as they were given, before transformers processes them.
        targets: likewise.
        options: arguments of other classes (``offset``, ``prefix_to_add``), and ``scope_prefix`` and
            ``base_model_prefix`` where they are set.
    """

    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    operations: tuple[Operation, ...] = ()
    options: tuple[tuple[str, Value], ...] = ()
    span: Span | None = None
