"""The one exception that carries diagnostics out of a place that cannot go on."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mapcc.diagnostics.model import Diagnostic


class MappingError(Exception):
    """The work stops here; ``diagnostics`` says why, for people and for programs."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(diagnostics)
        super().__init__("\n".join(f"{d.code}: {d.message}" for d in self.diagnostics))
