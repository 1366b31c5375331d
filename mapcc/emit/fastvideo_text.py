"""The emitted snippet: entries under the rules that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from mapcc.diagnostics.fold import fold
from mapcc.emit.entries import Candidate, Level
from mapcc.emit.pysource import Entry, Section, assigned_dict, comment, quoted
from mapcc.ir.bound import BoundMapping
from mapcc.ir.notation import print_name
from mapcc.ir.program import Equation
from mapcc.passes.words import left_names, right_names
from mapcc.text import Span

VARIABLE = "param_names_mapping"

# The loader asks for these as substrings of a name, and does not stop when such a parameter has no tensor.
ZERO_FILLED = ("gate_compress", "proj_l")


@dataclass(frozen=True, slots=True)
class RuleEntries:
    """A rule and its entries."""

    candidate: Candidate
    entries: dict[str, Entry]


def render(bound: BoundMapping, tables: list[RuleEntries]) -> str:
    sections: dict[tuple[Span, Level], list[RuleEntries]] = {}
    for one in tables:
        if one.entries:
            sections.setdefault((one.candidate.equation.span, one.candidate.level), []).append(one)
    home = _home(bound)
    written = [
        Section(
            (comment(_place(span, home)), *_written_out(group)),
            tuple(entry for one in group for entry in one.entries.items()),
        )
        for (span, _), group in sections.items()
    ]
    return assigned_dict(VARIABLE, map(comment, _header(bound, tables)), written)


def _home(bound: BoundMapping) -> str:
    source = bound.program.mapping.source
    return source.name if source else ""


def _header(bound: BoundMapping, tables: list[RuleEntries]) -> Iterator[str]:
    mapping, home = bound.program.mapping, _home(bound)
    yield f"Emitted by mapcc{f' from the mapping {quoted(mapping.name)}' if mapping.name else ''}."
    count = len(bound.source.tensors)
    yield f"Replayed over all {count} names of the source as FastVideo's loader applies it: each gets"
    yield "the name, and the place in a concatenation, that the mapping gives it."
    yield ""
    yield "Its place is the architecture's config: field(default_factory=lambda: {...}). The loader reads"
    yield f"the attribute of the model class: {VARIABLE} = YourConfig().{VARIABLE}"
    kept = {one.candidate.equation.span: None for one in tables if one.candidate.level is Level.LEFT_OUT}
    if kept:
        yield ""
        yield "A name that no pattern matches stays as it is, so these need no entry:"
        yield from (f"    {_place(span, home)}" for span in kept)
    unmatched = _unmatched(bound, tables)
    if unmatched:
        yield ""
        yield "The source has nothing for these, so they could not be tried, and have no entry:"
        yield from (f"    {_line(e.span, home)}: {quoted(_names(e))}" for e in unmatched)
    silent = [name for name in (*bound.given, *bound.external) if any(word in name for word in ZERO_FILLED)]
    if silent:
        yield ""
        yield "Where these are absent the loader fills in zeros, and does not stop:"
        yield from (f"    {quoted(template)}" for template in fold(silent, limit=20))


def _unmatched(bound: BoundMapping, tables: list[RuleEntries]) -> list[Equation]:
    """Rules, or copies of rules, that took nothing, and would change a name."""
    matched = {one.candidate.equation for one in tables}
    return [e for e in bound.program.equations if e not in matched and left_names(e) != right_names(e)]


def _names(equation: Equation) -> str:
    left, right = left_names(equation), right_names(equation)
    return f"{', '.join(map(print_name, left))} -> {', '.join(map(print_name, right))}"


def _written_out(group: list[RuleEntries]) -> tuple[str, ...]:
    candidate = group[0].candidate
    if candidate.level is Level.NAMES:
        return (comment("written out: no pattern takes these names and no others"),)
    fixed = [v.lstrip("/") for v in candidate.equation.variables if v not in candidate.open_variables]
    if not fixed:
        return ()
    return (comment(f"written out for every {quoted(', '.join(fixed))} in this source"),)


def _place(span: Span, home: str) -> str:
    return f"{_line(span, home)}: {quoted(' '.join(span.text.split()))}"


def _line(span: Span, home: str) -> str:
    # A path as it was typed is of no use to who reads the config: the file's name is.
    file = "" if span.source.name == home else f" of {quoted(PurePath(span.source.name).name)}"
    return f"line {span.line}{file}"
