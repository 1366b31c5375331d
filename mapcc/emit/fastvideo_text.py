"""The emitted snippet: entries under the rules that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mapcc.diagnostics.fold import fold
from mapcc.dialects.regexes import Mapped
from mapcc.emit.entries import Candidate, Level
from mapcc.emit.fastvideo_back import Adapters, Row, adapters, reverse
from mapcc.emit.notes import emitted_by, home, line, place, written_out
from mapcc.emit.pysource import Entry, Section, assigned_dict, comment, quoted
from mapcc.ir.bound import BoundMapping
from mapcc.ir.notation import print_name
from mapcc.ir.program import Equation
from mapcc.passes.words import left_names, right_names
from mapcc.text import Span

VARIABLE = "param_names_mapping"
BACK = "reverse_param_names_mapping"
LORA = "lora_param_names_mapping"

# The loader asks for these as substrings of a name, and does not stop when such a parameter has no tensor.
ZERO_FILLED = ("gate_compress", "proj_l")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads the dict, and whether the dicts that follow from it are of use there."""

    name: str
    follows: bool


@dataclass(frozen=True, slots=True)
class RuleEntries:
    """A rule and its entries."""

    candidate: Candidate
    entries: dict[str, Entry]


def render(bound: BoundMapping, tables: list[RuleEntries], left_out: dict[str, Entry], reader: Reader) -> str:
    sections: dict[tuple[Span, Level], list[RuleEntries]] = {}
    for one in tables:
        if one.entries:
            sections.setdefault((one.candidate.equation.span, one.candidate.level), []).append(one)
    file = home(bound)
    written = [
        Section(
            (comment(place(span, file)), *written_out(group[0].candidate)),
            tuple(entry for one in group for entry in one.entries.items()),
        )
        for (span, _), group in sections.items()
    ]
    if left_out:
        written.append(Section((comment("left out"),), tuple(left_out.items())))
    text = assigned_dict(VARIABLE, map(comment, _header(bound, tables, reader)), written)
    return text + _following(bound, tables) if reader.follows else text


# --- the dicts that follow from it


def _following(bound: BoundMapping, tables: list[RuleEntries]) -> str:
    rows = [row for one in tables for row in _rows(bound, one.candidate)]
    table = {pattern: entry for one in tables for pattern, entry in one.entries.items()}
    back = Section((), tuple(reverse(rows).items()))
    found = adapters(rows, table)
    lora = Section((), tuple(found.table.items()))
    return "".join(
        f"\n{assigned_dict(variable, map(comment, header), [section])}"
        for variable, header, section in ((BACK, _back_header(), back), (LORA, _lora_header(found), lora))
    )


def _rows(bound: BoundMapping, candidate: Candidate) -> Iterator[Row]:
    for instance, rows in candidate.moved:
        for row in rows:
            source = instance.sources[row.source][-1]
            shape = bound.source.tensors[source].shape
            mapped = Mapped(instance.targets[row.target], row.place, row.of)
            yield Row(source, mapped, shape[0] if shape else 0, len(shape))


def _back_header() -> Iterator[str]:
    yield "From the model's names to the checkpoint's. A fused parameter has its parts in their order, each"
    yield "with its rows: FastVideo's own way back keeps one of them, and cuts all to one size."


def _lora_header(found: Adapters) -> Iterator[str]:
    yield "For LoRA adapters in the checkpoint's names: what param_names_mapping alone does not take along"
    yield "(MODULE.lora_A, MODULE.lora_B and, for alphas, MODULE)."
    if found.fused:
        yield ""
        yield "No adapter of these can go along: FastVideo has one lora_A for a fused module."
        yield from (f"    {quoted(template)}" for template in fold(found.fused, limit=20))


# --- comments


def _header(bound: BoundMapping, tables: list[RuleEntries], reader: Reader) -> Iterator[str]:
    file = home(bound)
    yield emitted_by(bound)
    count = len(bound.source.tensors)
    yield f"Replayed over all {count} names of the source as {reader.name} applies it: each gets"
    yield "the name, and the place in a concatenation, that the mapping gives it."
    yield ""
    yield "Its place is the architecture's config: field(default_factory=lambda: {...}). The loader reads"
    yield f"the attribute of the model class: {VARIABLE} = YourConfig().{VARIABLE}"
    kept = {one.candidate.equation.span: None for one in tables if one.candidate.level is Level.LEFT_OUT}
    if kept:
        yield ""
        yield "A name that no pattern matches stays as it is, so these need no entry:"
        yield from (f"    {place(span, file)}" for span in kept)
    unmatched = _unmatched(bound, tables)
    if unmatched:
        yield ""
        yield "The source has nothing for these, so they could not be tried, and have no entry:"
        yield from (f"    {line(e.span, file)}: {quoted(_names(e))}" for e in unmatched)
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
