"""What a framework's engine makes of a key set: one notation for all dialects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from mapcc.ir.axes import Shape
from mapcc.tensors.spec import Manifest
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Operand:
    """A tensor, or the tensors that are an axis together.

    Attributes:
        names: one tensor, or the members of ``axis`` in their order.
        shape: its axes, as a rule writes them; None for a tensor that moves as it is.
        axis: the atom that lives in the names ("" for one tensor); it stands in no ``shape`` of this side.
    """

    names: tuple[str, ...]
    shape: Shape | None = None
    axis: str = ""


@dataclass(frozen=True, slots=True)
class Made:
    """One thing that an engine does to concrete tensors: an equation between two sides.

    Attributes:
        left: the tensors that it takes. right: the tensors that it gives.
        sizes: of atoms that neither side's tensors tell.
        entries: the numbers of the table's entries that had a part in it, in the order in which they
            acted; none for a tensor that passes through.
    """

    left: tuple[Operand, ...]
    right: tuple[Operand, ...]
    sizes: tuple[tuple[str, int], ...] = ()
    entries: tuple[int, ...] = ()


def renamed(name: str, target: str, entries: tuple[int, ...] = ()) -> Made:
    return Made((Operand((name,)),), (Operand((target,)),), entries=entries)


@dataclass(frozen=True, slots=True)
class Fault:
    """What an engine does wrong, and says nothing of: one of the MC8xx codes.

    Attributes:
        names: the source tensors concerned.
        entries: the table's entries that are the cause.
    """

    code: str
    message: str
    names: tuple[str, ...]
    entries: tuple[int, ...] = ()
    help: str = ""


@dataclass(slots=True)
class Outcome:
    """Everything that an engine makes of a key set.

    Attributes:
        dropped: source tensors that the table leaves out, with the entry that does it.
    """

    made: list[Made] = field(default_factory=list)
    dropped: dict[str, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Trace:
    """The way of one name through a table.

    Attributes:
        target: the name that comes out; None if the table leaves it out.
        fired: the entries that acted, in their order.
        possible: the entries whose pattern matches the name as it comes in.
    """

    target: str | None
    fired: tuple[int, ...]
    possible: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry as it was written.

    Attributes:
        text: one line, in the dialect's own words.
        loose: why its pattern may match more than what it was written for ("" if it cannot).
    """

    text: str
    span: Span | None = None
    loose: str = ""


@dataclass(frozen=True, slots=True)
class Sketch:
    """An entry as a rule of a mapping, made without a key set.

    Attributes:
        rule: statements in the mapping language, a line each.
        assumed: what had to be taken for granted, a sentence each.
    """

    rule: str
    entry: int
    assumed: tuple[str, ...] = ()


class Table(Protocol):
    """A mapping of another framework, with its engine's exact semantics."""

    @property
    def dialect(self) -> str: ...

    @property
    def entries(self) -> Sequence[Entry]: ...

    def run(self, source: Manifest, target: Manifest | None) -> Outcome:
        """What the framework makes of a checkpoint, for a model with the keys ``target``."""
        ...

    def trace(self, name: str) -> Trace: ...

    def backwards(self) -> Table:
        """The same entries in the opposite order, to see whether their order matters."""
        ...

    def sketches(self) -> list[Sketch]:
        """The entries as rules, for when there is no key set to be exact on."""
        ...
