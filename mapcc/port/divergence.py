"""What a trace finds: where a port and the official model part, and what is known of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mapcc.port.sides import Compared
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of the module at fault: what it is made of, and the rule that says so."""

    name: str
    sources: tuple[str, ...]
    rule: Span | None


@dataclass(frozen=True, slots=True)
class Divergence:
    """Where the two part, and what is known of it.

    Attributes:
        module: of the ported model: the smallest that is known to have the fault in it.
        officials: what corresponds to it, as the mapping says; empty where nothing does.
        seen_at: the first activation that differs: a module, and ``in`` or ``out``.
        input_error, output_error: of the module, relative to the largest element; None: not comparable.
        parameters: those that it owns; where the fault was found in some of them, these.
        fault: ``mapping``, ``code`` or ``mapping or code``.
        finding: what is wrong, in words, where that was found out.
    """

    module: str
    officials: tuple[str, ...]
    seen_at: tuple[str, str]
    input_error: float | None
    output_error: float | None
    parameters: tuple[Parameter, ...]
    fault: str
    finding: str = ""
    notes: tuple[str, ...] = ()

    @property
    def rules(self) -> tuple[Span, ...]:
        return tuple(dict.fromkeys(each.rule for each in self.parameters if each.rule is not None))


@dataclass(frozen=True, slots=True)
class Traced:
    """What a trace has shown; ``rows`` are all activations that could be compared, in order.

    ``notes`` are of a port whose outputs agree: what is different on the way.
    """

    component: str
    rows: tuple[Compared, ...]
    level: float
    divergence: Divergence | None
    notes: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        return sum(row.error is not None for row in self.rows)

    def as_json(self) -> dict[str, Any]:
        first = self.divergence
        return {
            "compared": self.compared,
            "largest_before": self.level,
            "notes": list(self.notes),
            "divergence": None
            if first is None
            else {
                "module": first.module,
                "official": list(first.officials),
                "seen_at": " ".join(first.seen_at),
                "input_error": first.input_error,
                "output_error": first.output_error,
                "parameters": [each.name for each in first.parameters],
                "rules": [f"{rule.source.name}:{rule.line}" for rule in first.rules],
                "fault": first.fault,
                "finding": first.finding,
            },
        }
