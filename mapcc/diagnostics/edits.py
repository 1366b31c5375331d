"""Edits carried out on texts: those of a fix, or of several fixes that are apart from each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from difflib import unified_diff
from itertools import pairwise

from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.model import Diagnostic, Edit, Fix


def apply_edits(text: str, edits: Iterable[Edit]) -> str:
    """``text`` after edits of one source, the last first, so that the places of the others hold.

    Raises:
        ValueError: two of them overlap, or one lies outside of the text.

    >>> from mapcc.text import Source, Span
    >>> source = Source("m", "a=>b{")
    >>> edits = [Edit(Span(source, 4, 4), " "), Edit(Span(source, 1, 3), " -> ")]
    >>> apply_edits(source.text, edits)
    'a -> b {'
    """
    ordered = sorted(edits, key=_place)
    if not are_apart(ordered) or any(edit.span.end > len(text) for edit in ordered):
        raise ValueError("edits overlap, or lie outside of the text")
    for edit in reversed(ordered):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return text


def are_apart(edits: Iterable[Edit]) -> bool:
    """Whether no two edits touch the same characters, or insert at the same place."""
    ordered = sorted(edits, key=_place)
    return all(
        a.span.source.name != b.span.source.name
        or (a.span.end <= b.span.start and a.span.start < b.span.start)
        for a, b in pairwise(ordered)
    )


def _place(edit: Edit) -> tuple[str, int, int]:
    return edit.span.source.name, edit.span.start, edit.span.end


def edited_texts(edits: Iterable[Edit]) -> dict[str, str]:
    """The new text of every source that the edits are of, by its name."""
    by_source: dict[str, list[Edit]] = {}
    for edit in edits:
        by_source.setdefault(edit.span.source.name, []).append(edit)
    return {name: apply_edits(own[0].span.source.text, own) for name, own in by_source.items()}


def compatible(fixes: Iterable[Fix]) -> list[Fix]:
    """As many of the fixes, in their order, as are apart from those before them; each edit once."""
    chosen: list[Fix] = []
    edits: list[Edit] = []
    for fix in fixes:
        fresh = [edit for edit in fix.edits if edit not in edits]
        if are_apart([*edits, *fresh]):
            chosen.append(fix)
            edits += fresh
    return chosen


def edits_of(fixes: Iterable[Fix]) -> list[Edit]:
    """The edits of several fixes, each once."""
    return list(dict.fromkeys(edit for fix in fixes for edit in fix.edits))


def certain_fixes(diagnostics: Iterable[Diagnostic]) -> Iterator[Fix]:
    """Of each finding the first fix that leaves no choice."""
    for diagnostic in diagnostics:
        fix = next((fix for fix in diagnostic.fixes if fix.certain), None)
        if fix is not None:
            yield fix


def difference(name: str, before: str, after: str) -> str:
    """What an edit changes, as ``diff -u`` prints it; made safe to print."""
    lines: Sequence[str] = list(
        unified_diff(before.splitlines(), after.splitlines(), name, name, lineterm="")
    )
    return "".join(f"{escape(line)}\n" for line in lines)
