"""Statements that say what another says, or that speak of nothing: taken away, or mended."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.diagnostics.model import Edit, Fix
from mapcc.ir import rules
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Pattern
from mapcc.ir.program import Equation, Listed, Program
from mapcc.passes.naming import renaming, sample_of, tokens_of
from mapcc.passes.offers import Unmatched
from mapcc.syntax.editing import flagged, is_yaml, removed
from mapcc.text import Span

Owner = Equation | Listed


def statement_at(body: Sequence[rules.Statement], span: Span) -> rules.Statement | None:
    """The innermost statement around a place, whole."""
    for statement in body:
        if isinstance(statement, rules.Block | rules.Default):
            found = statement_at(statement.body, span)
            if found is not None:
                return found
        own = statement.span
        inside = (
            own is not None and own.source is span.source and own.start <= span.start and span.end <= own.end
        )
        if inside and not isinstance(statement, rules.Block | rules.Default | rules.OutputDtype):
            return statement
    return None


def heads_at(body: Sequence[rules.Statement], span: Span) -> list[rules.Block]:
    """The blocks around a place, the innermost first."""
    for statement in body:
        if isinstance(statement, rules.Default):
            if found := heads_at(statement.body, span):
                return found
        elif isinstance(statement, rules.Block):
            inner = heads_at(statement.body, span)
            if inner or statement_at(statement.body, span) is not None:
                return [*inner, statement]
    return []


def without_repeats(program: Program, owners: Sequence[Owner]) -> Iterator[Fix]:
    """One of several statements that take the same: the others go. Equal ones need no decision."""
    spans = list(dict.fromkeys(owner.span for owner in owners))
    statements = [statement_at(program.mapping.body, span) for span in spans]
    whole = [each for each in statements if each is not None and each.span is not None]
    if len(whole) != len(spans) or len(whole) < 2:
        return
    first, *others = whole
    if all(other == first for other in others):
        edits = [edit for each in others if each.span for edit in removed("", each.span).edits]
        yield Fix("remove the repetition", tuple(edits), True)
        return
    if len(whole) == 2:
        for each in reversed(whole):
            if isinstance(each, rules.Keep | rules.Drop | rules.External) and len(each.names) > 1:
                continue
            assert each.span is not None
            yield removed(f"remove `{_short(each.span.text)}`", each.span)
        for each in whole:
            assert each.span is not None
            yield from _as_default(each.span)


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else f"{line[:57]}..."


def _as_default(span: Span) -> Iterator[Fix]:
    """``default { ... }`` around a rule: for what no other takes."""
    if is_yaml(span.source):
        return
    line = span.source.text.rfind("\n", 0, span.start) + 1
    lead = span.source.text[line : span.start]
    if not lead.strip():
        text = span.text.replace("\n", "\n    ")
        edit = Edit(span, f"default {{\n{lead}    {text}\n{lead}}}")
        yield Fix(f"`{_short(span.text)}` for what no other rule takes", (edit,))


def for_idle(program: Program, listed: Listed, side: Unmatched | None) -> Iterator[Fix]:
    """A name of ``drop`` or ``external`` that matches nothing: another, none, or perhaps."""
    span = listed.span
    if side is not None:
        for near in side.ranked(sample_of(listed.name)):
            for found in renaming(span, tokens_of(listed.name), near, {}):
                yield Fix(f"name {near}", found.edits, found.is_slip)
    statement = statement_at(program.mapping.body, span)
    if statement is None or statement.span is None:
        return
    yield flagged("it may be absent: optional", statement.span)
    if isinstance(statement, rules.Drop | rules.External | rules.Create):
        yield from _unnamed(statement, statement.names, span, listed.written)


def _unnamed(
    statement: rules.Drop | rules.External | rules.Create,
    names: Sequence[Pattern],
    span: Span,
    written: Pattern,
) -> Iterator[Fix]:
    """The name out of its list; the statement, if it has no other."""
    title = f"do not speak of `{print_name(written)}`"
    if len(names) == 1 and statement.span is not None:
        yield removed(title, statement.span)
        return
    text = span.source.text
    behind = re.compile(r"\s*,\s*").match(text, span.end)
    before = re.search(r"\s*,\s*$", text[: span.start])
    if behind is not None:
        yield Fix(title, (Edit(Span(span.source, span.start, behind.end()), ""),))
    elif before is not None:
        yield Fix(title, (Edit(Span(span.source, before.start(), span.end), ""),))
