"""What is wrong with one equation, as diagnostics at its place."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Fix
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir.program import Equation
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Faults:
    equation: Equation
    found: Diagnostics
    near: Suggester | None = None  # the source's names

    def add(
        self,
        code: str,
        message: str,
        span: Span | None,
        help: str = "",
        notes: tuple[str, ...] = (),
        fixes: Iterable[Fix] = (),
    ) -> None:
        self.extend([Diagnostic(code, message, span, notes=notes, help=help, fixes=tuple(fixes))])

    def extend(self, diagnostics: Iterable[Diagnostic]) -> None:
        for diagnostic in diagnostics:
            self.found.add(replace(diagnostic, span=diagnostic.span or self.equation.span))
