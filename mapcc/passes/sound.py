"""Names sound in themselves: those of rules, and those that statements and conditions list."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from math import prod

from mapcc.diagnostics.model import Diagnostic
from mapcc.ir import rules
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Deep, Index, NameAxis, Part, Pattern, Regex, Star, Text, walk
from mapcc.passes.regexes import regex_fault
from mapcc.passes.segments import MAX_LABEL_VARIANTS, MAX_SEGMENTS, count_segments, name_axes
from mapcc.passes.words import asked_names
from mapcc.text import Span


def condition_faults(conditions: Iterable[rules.Condition]) -> Iterator[Diagnostic]:
    """What is wrong with the names that ``exists`` and ``count`` ask for."""
    for condition in conditions:
        for pattern in asked_names(condition):
            if count_segments(pattern, ".") > MAX_SEGMENTS:
                yield Diagnostic("MC103", f"a name has at most {MAX_SEGMENTS} segments", pattern.span)
            for part in walk(pattern.parts):
                if isinstance(part, Regex) and (fault := regex_fault(part.expression)):
                    yield _bad_regex(part, fault, pattern.span or condition.span)


def name_faults(name: Pattern, separator: str) -> Iterator[Diagnostic]:
    """What is wrong with a name, before anything is matched. Its groups are gone."""
    if count_segments(name, separator) > MAX_SEGMENTS:
        yield Diagnostic("MC103", f"a name has at most {MAX_SEGMENTS} segments", name.span)
        return
    previous: Part | None = None
    for at, part in enumerate(name.parts):
        match part:
            case Deep():
                after = name.parts[at + 1] if at + 1 < len(name.parts) else None
                if not _ends_segment(previous, separator) or not _begins_segment(after, separator):
                    message = "'**' stands for whole segments"
                    help = f"put {separator!r} beside it, or write '*' for a part of a segment"
                    yield Diagnostic("MC208", message, name.span, help=help)
            case Regex():
                if fault := regex_fault(part.expression):
                    yield _bad_regex(part, fault, name.span)
            case Text(text) if not text.isprintable():
                yield Diagnostic("MC209", "a tensor's name has no control characters", name.span)
            case _:
                pass
        if _is_open(previous) and _is_open(part):
            message = "two wildcards touch, so that a name could be read in two ways"
            yield Diagnostic("MC208", message, name.span, help="put a literal character between them")
        previous = part
    if prod(len(axis.labels or "x") for axis in name_axes(name)) > MAX_LABEL_VARIANTS:
        message = f"the name axes of this name make more than {MAX_LABEL_VARIANTS:,} names"
        yield Diagnostic("MC103", message, name.span)
    if sum(isinstance(part, Deep) for part in name.parts) > 1:
        yield Diagnostic("MC208", "a name has one '**' at most", name.span, help="write '*' for one segment")
    yield from _empty_parts(name, separator)


def _empty_parts(name: Pattern, separator: str) -> Iterator[Diagnostic]:
    if not name.parts:
        yield Diagnostic("MC209", "a name is empty", name.span)
        return
    # Empty segments that stand in quotes are meant.
    text = "".join(part.text if isinstance(part, Text) and not part.quoted else "x" for part in name.parts)
    if all(text.split(separator)) or any(isinstance(part, NameAxis) for part in name.parts):
        return
    help = f"two {separator!r} in a row, or one at an end; in quotes such a name is taken as it is"
    if name.span is not None and re.search(r",[ \t]*\}", name.span.text):
        help = "the comma before '}' makes one more member, of nothing: is it meant?"
    elif name.span is not None and name.span.text.startswith(separator):
        help = f"a block puts the {separator!r} in front itself: {name.span.text.removeprefix(separator)}"
    yield Diagnostic("MC209", f"`{print_name(name)}` has an empty segment", name.span, help=help)


def _bad_regex(part: Regex, fault: str, span: Span | None) -> Diagnostic:
    help = "it is matched against one whole segment; the language is that of Python's re"
    return Diagnostic("MC106", f"/{part.expression}/: {fault}", span, help=help)


def _is_open(part: Part | None) -> bool:
    return isinstance(part, Star | Index | Regex | Deep) or (
        isinstance(part, NameAxis) and part.labels is None
    )


def _ends_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.endswith(separator))


def _begins_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.startswith(separator))
