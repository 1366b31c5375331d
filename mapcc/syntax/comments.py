"""Comments and empty lines, kept beside the statement that they stand at, for ``mapcc fmt``.

None is lost: a comment that stands where no statement can hold it moves in front of the next one.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from mapcc.ir import rules
from mapcc.text import Source, Span

# Texts and regular expressions first, so that a '#' or a bracket in them is no comment and no bracket.
# A text that is not closed goes to the end of its line: searched for again at each quote, it would
# take a time that grows with the square of the line.
OPAQUE = re.compile(r'"(?:[^"\\\n]|\\.)*"?|\{\s*\w+\s*:\s*/(?:[^/\\\n]|\\.)+/\s*\}|(?P<comment>#[^\n]*)')
BRACES = re.compile(OPAQUE.pattern + r"|(?P<brace>[{}])")
_IN_YAML = re.compile(r"(?:^|(?<=[ \t]))#(?=(?P<rest>[^\r\x85\u2028\u2029]*))")


# Where the comment of a line begins, and what it is; the line starts at this offset.
_Finder = Callable[[str, int], tuple[int, str] | None]


class _Entry(NamedTuple):
    """A comment or an empty line (""), and whether code stands before it on its line."""

    line: int
    column: int
    text: str
    is_behind: bool


@dataclass(slots=True)
class _Lines:
    """The comments and empty lines of a source in order; ``next`` is the first that nobody has."""

    source: Source
    braces: bool
    entries: list[_Entry]
    behind: dict[int, str]
    next: int = 0

    def before(self, line: int, column: int = 0) -> tuple[str, ...]:
        """What is left above a line, from this column on: the first that stands further left ends it."""
        taken: list[str] = []
        at = end = self.next
        while at < len(self.entries) and self.entries[at].line < line:
            entry = self.entries[at]
            at += 1
            if entry.is_behind and entry.line not in self.behind:
                end = at
                continue
            if entry.text and entry.column < column:
                break
            self.behind.pop(entry.line, None)
            taken.append(entry.text)
            if entry.text or not column:
                end = at
        self.next = end
        return tuple(_without_runs_of_empty(taken))

    def code_after(self, line: int) -> int:
        """The next line that is no comment and not empty; what stands above this one is taken."""
        for entry in self.entries[self.next :]:
            line += 1
            if entry.line != line or entry.is_behind:
                return line
        return line + 1

    def after(self, first: int, last: int) -> str:
        """The comments behind these lines, as one."""
        return " ".join(self.behind.pop(at) for at in range(first, last + 1) if at in self.behind)


def attach(
    mapping: rules.Mapping, source: Source, header: Span | None, scalars: Sequence[Span] | None = None
) -> rules.Mapping:
    """The same mapping with comments on its statements.

    ``header`` is where ``mapping NAME`` stands. ``scalars`` are the texts of a YAML file, in order; its
    blocks have no closing line for comments to stand before, so that indentation says what is inside.
    """
    lines = _in_text(source) if scalars is None else _in_yaml(source, scalars)
    trivia = rules.NO_TRIVIA
    if header is not None:
        trivia = rules.Trivia(lines.before(header.line), lines.after(header.line, _last_line(header)))
    end = source.position(len(source.text))[0] + 1
    body = _with_comments(mapping.body, lines, end)
    return replace(mapping, body=body, trivia=trivia, tail=_stripped(lines.before(end)))


def _with_comments(body: Sequence[rules.Statement], lines: _Lines, end: int) -> tuple[rules.Statement, ...]:
    """Statements of one body, which ends before line ``end``. In YAML they may stand in another order."""
    if not body:
        return ()
    order = sorted(range(len(body)), key=lambda k: _span(body[k]).start)
    ends = [_span(body[k]).line for k in order[1:]] + [end]
    done = {k: _with_trivia(body[k], lines, end) for k, end in zip(order, ends, strict=True)}
    return tuple(done[k] for k in range(len(body)))


def _with_trivia(statement: rules.Statement, lines: _Lines, end: int) -> rules.Statement:
    span = _span(statement)
    first, last = span.line, _last_line(span)
    before = lines.before(first)
    match statement:
        case rules.Block() | rules.Default():
            # A block's span is its head; that of ``default`` is all of it.
            after = lines.after(first, first if isinstance(statement, rules.Default) else last)
            end = _closing_line(span) if lines.braces else end
            body = _with_comments(statement.body, lines, end)
            tail = _stripped(lines.before(end, 0 if lines.braces else span.column))
            return replace(statement, body=body, tail=tail, trivia=rules.Trivia(before, after))
        case rules.OutputDtype():
            after = lines.after(first, first)
            keeps = tuple(_keep_with_trivia(keep, lines) for keep in statement.keeps)
            tail = lines.before(last if lines.braces else last + 1)
            if not lines.braces:
                tail += lines.before(min(end, lines.code_after(last)), span.column + 1)
            return replace(statement, keeps=keeps, tail=_stripped(tail), trivia=rules.Trivia(before, after))
        case _:
            # A comment between the lines of one statement moves in front of it.
            after = lines.after(first, last)
            inside = tuple(text for text in lines.before(last + 1) if text)
            return replace(statement, trivia=rules.Trivia(before + inside, after))


def _keep_with_trivia(keep: rules.KeepDtype, lines: _Lines) -> rules.KeepDtype:
    assert keep.span is not None
    before = lines.before(keep.span.line)
    return replace(keep, trivia=rules.Trivia(before, lines.after(keep.span.line, _last_line(keep.span))))


def _span(statement: rules.Statement) -> Span:
    assert statement.span is not None
    return statement.span


def _last_line(span: Span) -> int:
    return span.source.position(max(span.start, span.end - 1))[0]


def _closing_line(span: Span) -> int:
    """The line of the brace that closes the block whose head (or whole) this is."""
    text = span.source.text
    depth = 0
    for token in BRACES.finditer(text, span.start):
        if token["brace"] == "{":
            depth += 1
        elif token["brace"] == "}":
            depth -= 1
            if depth == 0 and token.end() >= span.end:
                return span.source.position(token.start())[0]
    return span.source.position(len(text))[0]


def _in_text(source: Source) -> _Lines:
    def comment_of(line: str, _: int) -> tuple[int, str] | None:
        return next(((m.start(), m["comment"]) for m in OPAQUE.finditer(line) if m["comment"]), None)

    return _scan(source, True, comment_of)


def _in_yaml(source: Source, scalars: Sequence[Span]) -> _Lines:
    starts = [scalar.start for scalar in scalars]

    def is_outside(offset: int) -> bool:
        at = bisect_right(starts, offset) - 1
        return at < 0 or scalars[at].end <= offset

    def comment_of(line: str, start: int) -> tuple[int, str] | None:
        places = (m for m in _IN_YAML.finditer(line) if is_outside(start + m.start()))
        return next(((m.start(), "#" + m["rest"]) for m in places), None)

    return _scan(source, False, comment_of)


def _scan(source: Source, braces: bool, comment_of: _Finder) -> _Lines:
    entries: list[_Entry] = []
    behind: dict[int, str] = {}
    start = 0
    for number, line in enumerate(source.text.split("\n"), 1):
        comment = comment_of(line, start)
        start += len(line) + 1
        if comment is None:
            if not line.strip():
                entries.append(_Entry(number, 0, "", False))
            continue
        at, text = comment[0], comment[1].rstrip()
        is_behind = bool(line[:at].strip())
        entries.append(_Entry(number, at + 1, text, is_behind))
        if is_behind:
            behind[number] = text
    return _Lines(source, braces, entries, behind)


def _without_runs_of_empty(lines: list[str]) -> Iterator[str]:
    previous: str | None = None
    for line in lines:
        if line or previous != "":
            yield line
        previous = line


def _stripped(lines: tuple[str, ...]) -> tuple[str, ...]:
    kept = list(lines)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)
