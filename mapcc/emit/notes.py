"""What the comments of an emitted config say of the rules that its entries come from."""

from __future__ import annotations

from pathlib import PurePath

from mapcc.emit.entries import Candidate, Level
from mapcc.emit.pysource import comment, quoted
from mapcc.ir.bound import BoundMapping
from mapcc.text import Span


def home(bound: BoundMapping) -> str:
    """The file of the mapping; a rule may stand in another."""
    source = bound.program.mapping.source
    return source.name if source else ""


def emitted_by(bound: BoundMapping) -> str:
    name = bound.program.mapping.name
    return f"Emitted by mapcc{f' from the mapping {quoted(name)}' if name else ''}."


def place(span: Span, home: str) -> str:
    return f"{line(span, home)}: {quoted(' '.join(span.text.split()))}"


def line(span: Span, home: str) -> str:
    # A path as it was typed is of no use to who reads the config: the file's name is.
    file = "" if span.source.name == home else f" of {quoted(PurePath(span.source.name).name)}"
    return f"line {span.line}{file}"


def written_out(candidate: Candidate) -> tuple[str, ...]:
    """The comment on a rule's entries that stand for single values."""
    if candidate.level is Level.NAMES:
        return (comment("written out: no pattern takes these names and no others"),)
    fixed = [v.lstrip("/") for v in candidate.equation.variables if v not in candidate.open_variables]
    if not fixed:
        return ()
    return (comment(f"written out for every {quoted(', '.join(fixed))} in this source"),)
