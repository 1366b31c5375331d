"""Findings of one kind about many tensors, brought together into one diagnostic each."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics, Fix, Label
from mapcc.text import Span

Key = tuple[str, str, Span | None, str]

# Of so many findings fixes are proposed: of more they are not tried (see ``api/proving.py``), and to
# look for one may take as long as the text is.
MOST_WITH_FIXES = 100


@dataclass(slots=True)
class _Entry:
    names: dict[str, None] = field(default_factory=dict)
    label: str = ""
    notes: tuple[str, ...] = ()
    help: str = ""
    related: tuple[Label, ...] = ()
    fixes: Callable[[], Iterable[Fix]] | None = None


@dataclass(slots=True)
class Findings:
    """Gathers by code, message and place; :meth:`flush` folds the names and reports."""

    found: Diagnostics
    entries: dict[tuple[object, ...], _Entry] = field(default_factory=dict)

    def add(
        self,
        code: str,
        message: str,
        span: Span | None,
        name: str | None = None,
        *,
        label: str = "",
        notes: tuple[str, ...] = (),
        help: str = "",
        related: tuple[Label, ...] = (),
        fixes: Callable[[], Iterable[Fix]] | None = None,
    ) -> None:
        """``fixes`` are asked for once, when everything else is known."""
        place = (span.source.name, span.start, span.end) if span else None
        key = (code, message, place, span, help)
        entry = self.entries.get(key)
        if entry is None:
            entry = self.entries[key] = _Entry(fixes=fixes)
        if name is not None:
            entry.names[name] = None
        entry.label = entry.label or label
        entry.notes = entry.notes or notes
        entry.help = entry.help or help
        entry.related = entry.related or related

    def flush(self) -> None:
        asked = 0
        for key, entry in self.entries.items():
            code, message, _, span, _ = key
            assert isinstance(code, str)
            assert isinstance(message, str)
            assert span is None or isinstance(span, Span)
            asked += entry.fixes is not None
            self.found.add(
                Diagnostic(
                    code,
                    message,
                    span,
                    label=entry.label,
                    related=entry.related,
                    notes=entry.notes,
                    help=entry.help,
                    names=tuple(fold(entry.names)),
                    fixes=tuple(entry.fixes()) if entry.fixes and asked <= MOST_WITH_FIXES else (),
                )
            )
        self.entries.clear()
