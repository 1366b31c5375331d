"""What a back end gives: a config as text and as a value, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from mapcc.diagnostics.model import Diagnostic

TableT_co = TypeVar("TableT_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Emitted(Generic[TableT_co]):
    """The result of a back end.

    Attributes:
        text: what is written into a file; "" if anything was refused.
        table: the same as a value; None if anything was refused.
        diagnostics: MC601 for each rule that cannot be said, with the reason and the way out.
    """

    text: str = ""
    table: TableT_co | None = None
    diagnostics: tuple[Diagnostic, ...] = ()

    @property
    def ok(self) -> bool:
        return not self.diagnostics
