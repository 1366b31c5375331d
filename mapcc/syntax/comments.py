"""Comments and empty lines, kept beside the statement that they stand at, for ``mapcc fmt``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from mapcc.ir import rules
from mapcc.text import Source

# Texts and regular expressions first, so that a '#' in them begins no comment.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"|\{\s*\w+\s*:\s*/(?:[^/\\\n]|\\.)+/|(?P<comment>#[^\n]*)')


@dataclass(slots=True)
class _Lines:
    """The comment lines and empty lines of a text that no statement has taken yet."""

    alone: list[tuple[int, str]]
    behind: dict[int, str]

    def before(self, line: int) -> tuple[str, ...]:
        taken = [text for at, text in self.alone if at < line]
        self.alone = self.alone[len(taken) :]
        while taken and not taken[-1] and len(taken) > 1 and not taken[-2]:
            taken.pop()
        return tuple(_without_runs_of_empty(taken))

    def after(self, first: int, last: int) -> str:
        return " ".join(self.behind.pop(at) for at in range(first, last + 1) if at in self.behind)


def attach(mapping: rules.Mapping, source: Source, header: int | None, braces: bool = True) -> rules.Mapping:
    """The same mapping with comments on its statements.

    ``header`` is where ``mapping NAME`` stands; ``braces`` is False for YAML, whose blocks have no
    closing line for comments to stand before.
    """
    lines = _scan(source)
    trivia = rules.NO_TRIVIA
    if header is not None:
        at = source.position(header)[0]
        trivia = rules.Trivia(lines.before(at), lines.after(at, at))
    body = tuple(_with_trivia(statement, lines, braces) for statement in mapping.body)
    tail = lines.before(len(source.text) + 2)
    return replace(mapping, body=body, trivia=trivia, tail=_stripped(tail))


def _with_trivia(statement: rules.Statement, lines: _Lines, braces: bool) -> rules.Statement:
    span = statement.span
    assert span is not None
    first, last = span.line, span.source.position(max(span.start, span.end - 1))[0]
    before = lines.before(first)
    match statement:
        case rules.Block() | rules.Default():
            # A block's span is its head; that of ``default`` is all of it.
            after = lines.after(first, first if isinstance(statement, rules.Default) else last)
            body = tuple(_with_trivia(inner, lines, braces) for inner in statement.body)
            tail = _stripped(lines.before(_closing_line(statement))) if braces else ()
            return replace(statement, body=body, tail=tail, trivia=rules.Trivia(before, after))
        case rules.OutputDtype():
            keeps = []
            for keep in statement.keeps:
                assert keep.span is not None
                own = lines.before(keep.span.line)
                keeps.append(
                    replace(keep, trivia=rules.Trivia(own, lines.after(keep.span.line, keep.span.line)))
                )
            after = lines.after(first, last)
            tail = _stripped(lines.before(last + 1))
            return replace(statement, keeps=tuple(keeps), tail=tail, trivia=rules.Trivia(before, after))
        case _:
            # A comment between the lines of one statement moves in front of it.
            inside = tuple(text for text in lines.before(last + 1) if text)
            return replace(statement, trivia=rules.Trivia(before + inside, lines.after(first, last)))


def _closing_line(block: rules.Block | rules.Default) -> int:
    span = block.span
    assert span is not None
    text, at = span.source.text, span.end
    depth = 0
    for token in re.finditer(r'"(?:[^"\\\n]|\\.)*"|#[^\n]*|[{}]', text[span.start :]):
        if token.group() == "{":
            depth += 1
        elif token.group() == "}":
            depth -= 1
            if depth == 0 and span.start + token.end() >= at:
                return span.source.position(span.start + token.start())[0]
    return span.source.position(len(text))[0]


def _scan(source: Source) -> _Lines:
    alone: list[tuple[int, str]] = []
    behind: dict[int, str] = {}
    for number, line in enumerate(source.text.split("\n"), 1):
        comment = next((m for m in _TOKEN.finditer(line) if m["comment"]), None)
        if comment is None:
            if not line.strip():
                alone.append((number, ""))
        elif line[: comment.start()].strip():
            behind[number] = comment["comment"].rstrip()
        else:
            alone.append((number, comment["comment"].rstrip()))
    return _Lines(alone, behind)


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
