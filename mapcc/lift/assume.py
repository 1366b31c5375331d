"""A table to a mapping without a key set: entry by entry, with everything said that had to be assumed."""

from __future__ import annotations

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.dialects.made import Entry, Sketch, Table
from mapcc.lift.lift import ascii_line
from mapcc.syntax.load import parse_source
from mapcc.text import Source


def assumed(table: Table, name: str = "") -> tuple[str, list[Diagnostic]]:
    """The text of a mapping, and MC814 for each thing that was assumed."""
    lines = [
        f"# Imported by mapcc from a table of {table.dialect}, without a key set: an approximation.",
        "# With --source the import is exact.",
    ]
    lines += [f"mapping {name}"] if name else []
    found: dict[str, list[Entry]] = {}
    if len(table.entries) > 1:
        found["no two entries match one name: their order is not carried over"] = list(table.entries)
    for sketch in table.sketches():
        entry = table.entries[sketch.entry]
        where = f"line {entry.span.line}: " if entry.span else ""
        lines += ["", f"# {where}{ascii_line(entry.text)}"]
        lines += _lines(sketch)
        for sentence in sketch.assumed:
            found.setdefault(sentence, []).append(entry)
    lines += ["", "# What no entry matches passes through.", "default {", "    ** -> **   optional", "}", ""]
    return "\n".join(lines), [_said(sentence, entries) for sentence, entries in found.items()]


def _lines(sketch: Sketch) -> list[str]:
    if not sketch.rule:
        return [f"# {ascii_line(sentence)}" for sentence in sketch.assumed]
    lines = [f"{line}   optional" for line in sketch.rule.splitlines()]
    problems = Diagnostics()
    parse_source(Source("sketch.mapcc", "\n".join(lines) + "\n"), problems)
    if problems.errors:
        why = next(iter(problems)).message
        return [f"# not translated: {ascii_line(why)}", *(f"#     {ascii_line(line)}" for line in lines)]
    return lines


def _said(sentence: str, entries: list[Entry]) -> Diagnostic:
    count = "one entry" if len(entries) == 1 else f"{len(entries)} entries"
    return Diagnostic(
        "MC814",
        f"assumed for {count}: {sentence}",
        entries[0].span,
        notes=tuple(entry.text for entry in entries[:3]),
        help="give --source, and the import is exact",
    )
