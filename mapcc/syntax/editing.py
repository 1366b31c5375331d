"""Proposals of edits to mapping files, in text and in YAML.

They are proposals: whoever offers a fix has tried it before (see ``api/proving.py``). What cannot be
said in the form that the file has gives an edit that is not right there, and is found out so; or None.
"""

from __future__ import annotations

import re

from mapcc.diagnostics.model import Diagnostics, Edit, Fix
from mapcc.ir import rules
from mapcc.ir.printer import print_mapping
from mapcc.text import Source, Span

_ITEM = re.compile(r"[ ]*-[ ]")
_REST_OF_LINE = re.compile(r"[ \t]*(?:#[^\n]*)?(?:\n|\Z)")


def is_yaml(source: Source) -> bool:
    return source.name.endswith((".yaml", ".yml"))


def replaced(title: str, span: Span, text: str, certain: bool = False) -> Fix:
    return Fix(title, (Edit(span, text),), certain)


def exchanged(title: str, span: Span | None, old: str, new: str, certain: bool = False) -> tuple[Fix, ...]:
    """``new`` for ``old``, where the text of a span has that once."""
    at = span.text.find(old) if span is not None and old else -1
    if span is None or at < 0 or span.text.find(old, at + 1) >= 0:
        return ()
    place = Span(span.source, span.start + at, span.start + at + len(old))
    return (Fix(title, (Edit(place, new),), certain),)


def inserted(span: Span, text: str) -> Edit:
    """``text`` behind what ``span`` covers."""
    return Edit(Span(span.source, span.end, span.end), text)


def added(title: str, source: Source, *statements: rules.Statement, certain: bool = False) -> Fix | None:
    """Statements at the end of a file."""
    edit = _added_yaml(source, statements) if is_yaml(source) else _added_text(source, statements)
    return None if edit is None else Fix(title, (edit,), certain)


def _added_text(source: Source, statements: tuple[rules.Statement, ...]) -> Edit:
    text = source.text
    start = "\n" if text and not text.endswith("\n") else ""
    return Edit(
        Span(source, len(text), len(text)), start + print_mapping(rules.Mapping(None, None, statements))
    )


def _added_yaml(source: Source, statements: tuple[rules.Statement, ...]) -> Edit | None:
    from mapcc.syntax import yaml_nodes as nodes  # most mappings are text

    root = nodes.read_yaml(source, Diagnostics())
    listed = root.entries.get("rules") if isinstance(root, nodes.Map) else None
    if not isinstance(listed, nodes.Sequence) or not listed.items:
        return None
    last = listed.items[-1].span
    start = source.text.rfind("\n", 0, last.start) + 1
    lead = _ITEM.match(source.text, start)
    if lead is None or lead.end() != last.start:
        return None  # a list in brackets
    end = source.text.find("\n", last.end)
    at, before = (end + 1, "") if end >= 0 else (len(source.text), "\n")
    from mapcc.ir.yaml_printer import print_yaml

    _, _, items = print_yaml(rules.Mapping(None, None, statements)).partition("rules:\n")
    depth = len(items) - len(items.lstrip(" "))
    indent = " " * (lead.end() - 2 - start)
    lines = [indent + line[depth:] + "\n" for line in items.splitlines()]
    return Edit(Span(source, at, at), before + "".join(lines))


def removed(title: str, span: Span, certain: bool = False) -> Fix:
    """A whole statement, with its lines and the comment behind it."""
    text, start, end = span.source.text, span.start, span.end
    line = text.rfind("\n", 0, start) + 1
    lead = text[line:start]
    rest = _REST_OF_LINE.match(text, end)
    if rest is not None and (not lead.strip() or (is_yaml(span.source) and lead.strip() == "-")):
        start, end = line, rest.end()
    return Fix(title, (Edit(Span(span.source, start, end), ""),), certain)


def flagged(title: str, span: Span, certain: bool = False) -> Fix:
    """``optional`` behind a statement."""
    if not is_yaml(span.source):
        return Fix(title, (inserted(span, " optional"),), certain)
    text = span.text
    if text.endswith("}"):
        end = span.end - 1
        return replaced(title, Span(span.source, end, end), ", optional: true", certain)
    line = span.source.text.rfind("\n", 0, span.end) + 1
    indent = re.match(r" *", span.source.text[line:])
    depth = indent.end() if indent else 0
    return Fix(title, (inserted(span, "\n" + " " * depth + "optional: true"),), certain)


def reasoned(title: str, span: Span, clause: str) -> Fix | None:
    """A clause such as ``because "..."`` behind a statement; only the text form has it at the end."""
    return None if is_yaml(span.source) else Fix(title, (inserted(span, f" {clause}"),))
