"""Slips of the hand that are no mapping: what the line was meant to be."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from mapcc.diagnostics.edits import edits_of
from mapcc.diagnostics.model import Edit, Fix
from mapcc.text import Source, Span

_QUOTED_OR_COMMENT = re.compile(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*')

_Replacement = Callable[[re.Match[str]], str]

# A pattern on one line, what its first group becomes, the title, and whether nothing else can be meant.
_SLIPS: tuple[tuple[str, _Replacement, str, bool], ...] = (
    (r"(?<=\S)(?<!->)(\{)\s*$", lambda m: " {", "put a space before the '{' of a block", True),
    (r"(=>|→|⟶|-->)", lambda m: "->", "write '->' between the two sides", True),
    (r"(?<=[\w*}\]])(:)(?=\s)", lambda m: " :", "put a space before the ':' of a shape", True),
    (r"\bwhere\b.*?(\s+(?:and|&&)\s+)", lambda m: ", ", "put a comma between two conditions", True),
    (
        r"\|\s*(?:scale|add)\s+(-?[0-9.]+(?:\s*[-/*+]\s*[0-9.]+)+)",
        lambda m: f"({m[1]})",
        "put the expression in parentheses",
        True,
    ),
    (r"(?<=\S)(\s+because\s+([^\"\s][^\"]*?))\s*$", lambda m: f' because "{m[2]}"', "quote the reason", True),
    (
        r"^\s*(?:drop|external)\b(?!.*\bbecause\b).*\S()\s*$",
        lambda m: ' because "TODO: why"',
        "say why",
        False,
    ),
    (r"\ballow\s+MC[0-9]+\b(?!.*\bbecause\b).*\S()\s*$", lambda m: ' because "TODO"', "say why", False),
)


def slips(source: Source, offset: int) -> Iterator[Fix]:
    """What the line at ``offset`` may have been meant to be; each is to be tried."""
    together: list[Fix] = []
    for fix in _slips_of_line(source, source.text.rfind("\n", 0, offset) + 1):
        together += [fix] if fix.certain else []
        yield fix
    if len(together) > 1:
        yield Fix(", and ".join(fix.title for fix in together), tuple(edits_of(together)), True)


def _slips_of_line(source: Source, start: int) -> Iterator[Fix]:
    text = source.text
    end = text.find("\n", start)
    line = text[start : end if end >= 0 else len(text)]
    # What is quoted, and a comment, is nothing to mend; places stay.
    bare = _QUOTED_OR_COMMENT.sub(lambda m: ('"' * len(m[0])) if m[0][0] == '"' else " " * len(m[0]), line)
    for pattern, replacement, title, certain in _SLIPS:
        found = re.search(pattern, bare)
        if found is not None:
            span = Span(source, start + found.start(1), start + found.end(1))
            yield Fix(title, (Edit(span, replacement(found)),), certain)
