"""What is wrong with one equation, as diagnostics at its place."""

from __future__ import annotations

from dataclasses import dataclass

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir.program import Equation
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Faults:
    equation: Equation
    found: Diagnostics

    def add(
        self, code: str, message: str, span: Span | None, help: str = "", notes: tuple[str, ...] = ()
    ) -> None:
        self.found.add(Diagnostic(code, message, span or self.equation.span, notes=notes, help=help))
