"""The emitted snippet: entries under the rules that they come from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath

from mapcc.diagnostics.fold import fold
from mapcc.emit.entries import Level, Said
from mapcc.emit.pysource import Entry, Section, assigned_dict, comment, quoted
from mapcc.ir.bound import BoundMapping
from mapcc.text import Span

VARIABLE = "param_names_mapping"

# The loader asks for these as substrings of a name, and does not stop when such a parameter has no tensor.
ZERO_FILLED = ("gate_compress", "proj_l")


@dataclass(frozen=True, slots=True)
class Stated:
    """A rule and its entries."""

    said: Said
    entries: dict[str, Entry]


def render(bound: BoundMapping, stated: list[Stated]) -> str:
    sections: dict[tuple[Span, Level], list[Stated]] = {}
    for one in stated:
        if one.entries:
            sections.setdefault((one.said.equation.span, one.said.level), []).append(one)
    home = _home(bound)
    written = [
        Section(
            (comment(_place(span, home)), *_written_out(group)),
            tuple(entry for one in group for entry in one.entries.items()),
        )
        for (span, _), group in sections.items()
    ]
    return assigned_dict(VARIABLE, map(comment, _header(bound, stated)), written)


def _home(bound: BoundMapping) -> str:
    source = bound.program.mapping.source
    return source.name if source else ""


def _header(bound: BoundMapping, stated: list[Stated]) -> Iterator[str]:
    mapping, home = bound.program.mapping, _home(bound)
    yield f"Emitted by mapcc from mapping {quoted(mapping.name or '')}." if mapping.name else "Emitted by mapcc."
    yield f"Replayed over all {len(bound.source.tensors)} names of the source as FastVideo's loader applies it: each"
    yield "gets the name, and the place in a concatenation, that the mapping gives it."
    yield ""
    yield "It belongs in the architecture's config as field(default_factory=lambda: {...}). The loader reads it"
    yield f"from the model class: {VARIABLE} = YourConfig().{VARIABLE}"
    kept = {one.said.equation.span: None for one in stated if one.said.level is Level.LEFT_OUT}
    if kept:
        yield ""
        yield "A name that no pattern matches stays as it is, so these need no entry:"
        yield from (f"    {_place(span, home)}" for span in kept)
    unmatched = _unmatched(bound, stated)
    if unmatched:
        yield ""
        yield "The source has nothing for these, so they could not be tried, and have no entry:"
        yield from (f"    {_place(span, home)}" for span in unmatched)
    silent = [name for name in (*bound.given, *bound.external) if any(word in name for word in ZERO_FILLED)]
    if silent:
        yield ""
        yield "Where these are absent the loader fills in zeros, and does not stop:"
        yield from (f"    {quoted(template)}" for template in fold(silent, limit=20))


def _unmatched(bound: BoundMapping, stated: list[Stated]) -> list[Span]:
    """Rules of which no copy took anything."""
    matched = {one.said.equation.span for one in stated}
    return list(dict.fromkeys(e.span for e in bound.program.equations if e.span not in matched))


def _written_out(group: list[Stated]) -> tuple[str, ...]:
    said = group[0].said
    if said.level is Level.NAMES:
        return (comment("written out: no pattern takes these names and no others"),)
    fixed = [v.lstrip("/") for v in said.equation.variables if v not in said.open_variables]
    if not fixed:
        return ()
    return (comment(f"written out for every {quoted(', '.join(fixed))} in this source"),)


def _place(span: Span, home: str) -> str:
    # A path as it was typed is of no use to who reads the config: the file's name is.
    file = "" if span.source.name == home else f" of {quoted(PurePath(span.source.name).name)}"
    return f"line {span.line}{file}: {quoted(' '.join(span.text.split()))}"
