"""A diagnostic is a value: what was found, where, and what to type instead."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from mapcc.diagnostics.codes import CODES, Code
from mapcc.text import Span


class Severity(StrEnum):
    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Label:
    """A second place that belongs to the story, with what is to be said of it."""

    span: Span
    text: str


@dataclass(frozen=True, slots=True)
class Edit:
    """What ``span`` covers becomes ``replacement``; an empty span is where something is inserted."""

    span: Span
    replacement: str


@dataclass(frozen=True, slots=True)
class Fix:
    """A way to end a finding, as edits that belong together.

    Attributes:
        title: what it does, one line.
        edits: in mapping files, apart from each other.
        certain: nothing else can be meant, so that ``check --fix`` applies it unasked.
    """

    title: str
    edits: tuple[Edit, ...]
    certain: bool = False


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding.

    Attributes:
        code: stable, from the registry (``MC401``); ``mapcc explain CODE`` has its page.
        message: one line: what was found.
        span: the rule or word at fault; None where no text is (a checkpoint, the disk).
        label: what to write under the marked text.
        related: other places: the second rule of a collision, the rule that uses a file.
        notes: facts that help to judge, one line each.
        help: what to do, in words that can be typed.
        names: the tensors concerned, folded by index; complete, for programs.
        fixes: edits that end the finding and bring no other, the likeliest first.
    """

    code: str
    message: str
    span: Span | None = None
    label: str = ""
    related: tuple[Label, ...] = ()
    notes: tuple[str, ...] = ()
    help: str = ""
    names: tuple[str, ...] = ()
    fixes: tuple[Fix, ...] = ()

    def __post_init__(self) -> None:
        if self.code not in CODES:
            raise KeyError(f"{self.code} is not in the registry of codes")

    @property
    def entry(self) -> Code:
        return CODES[self.code]

    @property
    def severity(self) -> Severity:
        return Severity.WARNING if self.entry.warning else Severity.ERROR

    @property
    def exit_code(self) -> int:
        """0: a warning; 1: the input is wrong; 2: mapcc could not work."""
        return 0 if self.entry.warning else self.entry.exit_code


@dataclass(slots=True)
class Diagnostics:
    """A sink that gathers everything, so that all faults are reported at once."""

    items: list[Diagnostic] = field(default_factory=list)

    def add(self, diagnostic: Diagnostic) -> None:
        if diagnostic not in self.items[-64:]:
            self.items.append(diagnostic)

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.add(diagnostic)

    def __iter__(self) -> Iterator[Diagnostic]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def errors(self) -> int:
        return sum(d.severity is Severity.ERROR for d in self.items)

    @property
    def warnings(self) -> int:
        return sum(d.severity is Severity.WARNING for d in self.items)

    @property
    def exit_code(self) -> int:
        return max((d.exit_code for d in self.items), default=0)
