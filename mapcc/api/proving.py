"""Fixes tried out: only those stay with a diagnostic that end it and bring nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mapcc.diagnostics.edits import are_apart, edited_texts
from mapcc.diagnostics.model import Diagnostic, Edit, Fix
from mapcc.resources import mappings


@dataclass(frozen=True, slots=True)
class Answer:
    """What a check says: its findings, and whether it came as far as the key sets."""

    diagnostics: tuple[Diagnostic, ...]
    has_bound: bool


# Asked with new texts of files, by their names.
Ask = Callable[[Mapping[str, str]], Answer]


def with_proven_fixes(answer: Answer, ask: Ask, tries: int) -> tuple[Diagnostic, ...]:
    """The diagnostics, each with those of its fixes that keep their promise.

    A fix that is offered ends its finding, brings no other, and leaves a mapping that can be read.
    What is proposed is carried out on the text in memory and checked again, at most ``tries`` times;
    what there is no budget for is not offered.
    """
    left = tries
    tried: dict[tuple[object, ...], Answer] = {}
    out: list[Diagnostic] = []
    for diagnostic in answer.diagnostics:
        proven: list[Fix] = []
        for fix in diagnostic.fixes:
            key = fix.edits
            if any(_is_more_of(fix, other) for other in proven):
                continue
            if key not in tried and left and _is_possible(fix):
                left -= 1
                tried[key] = ask(edited_texts(fix.edits))
            if key in tried and keeps_promise(answer, tried[key], [diagnostic], fix.edits):
                proven.append(fix)
        if sum(fix.certain for fix in proven) > 1:  # there is a choice
            proven = [replace(fix, certain=False) for fix in proven]
        out.append(replace(diagnostic, fixes=tuple(proven)) if diagnostic.fixes else diagnostic)
    return tuple(out)


def keeps_promise(before: Answer, after: Answer, ended: Iterable[Diagnostic], edits: Iterable[Edit]) -> bool:
    """Whether ``ended`` are gone, and nothing is said that was not said before.

    Where the text could not be read before, what the key sets tell now was hidden, and is not new;
    but for what is said of a line that was edited.
    """
    was, now = Counter(map(_identity, before.diagnostics)), Counter(map(_identity, after.diagnostics))
    gone = Counter(map(_identity, ended))
    if after.has_bound and not before.has_bound:
        return not (gone & now or _said_of(after.diagnostics, edits))
    return now <= was - gone


def _said_of(diagnostics: Iterable[Diagnostic], edits: Iterable[Edit]) -> bool:
    """Whether any of the findings is about a line that has been edited."""
    lines = {(edit.span.source.name, line) for edit in edits for line in _new_lines(edit, edits)}
    places = [span for each in diagnostics if (span := each.span) is not None]
    return any((span.source.name, span.line) in lines for span in places)


def _new_lines(edit: Edit, edits: Iterable[Edit]) -> range:
    """The lines that an edit gives, in the new text."""
    name, before = edit.span.source.name, edit.span.start
    earlier = [e for e in edits if e.span.source.name == name and e.span.end <= before and e != edit]
    moved = sum(e.replacement.count("\n") - e.span.text.count("\n") for e in earlier)
    first = edit.span.line + moved
    return range(first, first + edit.replacement.count("\n") + 1)


def _identity(diagnostic: Diagnostic) -> tuple[object, ...]:
    """A finding without its place, which an edit moves."""
    return diagnostic.code, diagnostic.message, diagnostic.names


def _is_more_of(fix: Fix, other: Fix) -> bool:
    """Whether a fix is another way to the same, or that and something that it does not take."""
    return fix.title == other.title or set(other.edits) < set(fix.edits)


def _is_possible(fix: Fix) -> bool:
    return bool(fix.edits) and are_apart(fix.edits) and not any(map(_is_shipped, fix.edits))


def _is_shipped(edit: Edit) -> bool:
    """Whether a file is the library's, and so nobody's to mend here."""
    try:
        return Path(edit.span.source.name).resolve().is_relative_to(mappings().resolve())
    except (OSError, RuntimeError, ValueError):
        return True
