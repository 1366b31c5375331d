"""Diagnostics as text for people, JSON for programs, and annotations for a GitHub workflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator

from mapcc.diagnostics.edits import certain_fixes
from mapcc.diagnostics.escape import escape, prose, shorten
from mapcc.diagnostics.model import Diagnostic, Fix, Severity
from mapcc.diagnostics.snippet import snippet
from mapcc.text import Span

NAMES_SHOWN = 10

_ANSI = {"error": "1;31", "warning": "1;33", "related": "1;36", "gutter": "1;34", "strong": "1"}

Paint = Callable[[str, str], str]


def render_text(diagnostics: Iterable[Diagnostic], color: bool = False) -> str:
    """The diagnostics for a terminal, in the manner of rustc; blank lines between, a newline at the end.

    Everything from files is escaped; the only control characters are newlines and, with
    ``color``, the renderer's own ANSI sequences. ``tally`` makes the line to print after it. Of fixes
    those are told that ``check --fix`` applies.
    """
    paint = _painted if color else _plain
    return "\n".join("".join(f"{line}\n" for line in _lines(d, paint)) for d in diagnostics)


def render_json(diagnostics: Iterable[Diagnostic]) -> str:
    """The diagnostics as one JSON object, in ASCII, with nothing shortened.

    ``{"version": 1, "diagnostics": [...], "tally": {"errors": n, "warnings": n}}``; each
    diagnostic has ``code, title, severity, message, file, line, column, end_line, end_column,
    label, notes, help, names, fixes, related``, always all of them. Lines and columns count
    from 1, in characters; the end is exclusive; all five places are null where there is
    no text. Each of ``related`` has a place and a ``text``; each of ``fixes`` has ``title``,
    ``certain`` and ``edits``, each of these a place and its ``replacement``.
    """
    found = list(diagnostics)
    errors, warnings = _count(found)
    document = {
        "version": 1,
        "diagnostics": [_entry(d) for d in found],
        "tally": {"errors": errors, "warnings": warnings},
    }
    return json.dumps(document, indent=2) + "\n"


def render_github(diagnostics: Iterable[Diagnostic]) -> str:
    """The diagnostics as GitHub workflow commands, one a line: ``::error file=..,line=..::..``."""
    return "".join(f"{_command(d)}\n" for d in diagnostics)


def tally(diagnostics: Iterable[Diagnostic]) -> str:
    """How many errors and warnings there are, in words.

    >>> tally([Diagnostic("MC401", "missing"), Diagnostic("MC410", "matches nothing")])
    '1 error, 1 warning'
    >>> tally([])
    'no errors'
    """
    errors, warnings = _count(diagnostics)
    parts = [plural(errors, "error")] if errors else []
    parts += [plural(warnings, "warning")] if warnings else []
    return ", ".join(parts) or "no errors"


def _lines(d: Diagnostic, paint: Paint) -> Iterator[str]:
    yield f"{paint(d.severity, f'{d.severity}[{d.code}]')}{paint('strong', f': {prose(d.message)}')}"
    places = [span for span in (d.span, *(other.span for other in d.related)) if span is not None]
    width = max([2, *(len(str(span.line)) for span in places)])
    margin = " " * (width + 1) if places else "  "
    if d.span is not None:
        yield from _place(d.span, d.label, "-->", ("^", d.severity), width, paint)
    for other in d.related:
        yield from _place(other.span, other.text, ":::", ("-", "related"), width, paint)
    names = _names(d)
    facts = [("names", name) for name in names[:1]]
    facts += [("", name) for name in names[1:]]
    facts += [("note", prose(note)) for note in d.notes]
    facts += [("help", prose(d.help))] if d.help else []
    facts += [("fix", f"{prose(fix.title)} (check --fix)") for fix in certain_fixes([d])]
    if places and facts:
        yield f"{margin}{paint('gutter', '|')}"
    for kind, text in facts:
        head = f"{paint('gutter', '=')} {paint('strong', f'{kind}:')}" if kind else " " * len("= names:")
        yield f"{margin}{head} {text}"


def _place(
    span: Span, label: str, arrow: str, mark: tuple[str, str], width: int, paint: Paint
) -> Iterator[str]:
    sign, style = mark
    bar = paint("gutter", "|")
    line, marks = snippet(span, sign)
    last = span.source.position(span.end)[0]
    words = [prose(label)] if label else []
    words += [f"(to line {last})"] if last > span.line else []
    yield f"{' ' * width}{paint('gutter', arrow)} {prose(str(span))}"
    yield f"{' ' * width} {bar}"
    yield f"{paint('gutter', str(span.line).rjust(width))} {bar} {line}".rstrip()
    indent = " " * (len(marks) - len(marks.lstrip(" ")))
    yield f"{' ' * width} {bar} {indent}{paint(style, ' '.join([marks.strip(), *words]))}"


def _names(d: Diagnostic) -> list[str]:
    """The names to list: those that the words do not say already, the first few of them."""
    said = " ".join((d.message, d.label, d.help, *d.notes))
    unsaid = [name for name in d.names if f"`{name}`" not in said]
    shown = [escape(shorten(name)) for name in unsaid[:NAMES_SHOWN]]
    more = len(unsaid) - len(shown)
    return [*shown, f"... and {more} more"] if more else shown


def _entry(d: Diagnostic) -> dict[str, object]:
    return {
        "code": d.code,
        "title": d.entry.title,
        "severity": str(d.severity),
        "message": d.message,
        **_where(d.span),
        "label": d.label,
        "notes": list(d.notes),
        "help": d.help,
        "names": list(d.names),
        "fixes": [_fix(fix) for fix in d.fixes],
        "related": [{**_where(other.span), "text": other.text} for other in d.related],
    }


def _fix(fix: Fix) -> dict[str, object]:
    edits = [{**_where(edit.span), "replacement": edit.replacement} for edit in fix.edits]
    return {"title": fix.title, "certain": fix.certain, "edits": edits}


def _where(span: Span | None) -> dict[str, object]:
    if span is None:
        return dict.fromkeys(("file", "line", "column", "end_line", "end_column"))
    line, column = span.source.position(span.start)
    end_line, end_column = span.source.position(span.end)
    return {
        "file": span.source.name,
        "line": line,
        "column": column,
        "end_line": end_line,
        "end_column": end_column,
    }


def _command(d: Diagnostic) -> str:
    properties: dict[str, str] = {}
    if d.span is not None:
        place = _where(d.span)
        properties = {"file": d.span.source.name, "line": str(place["line"])}
        if place["line"] == place["end_line"]:  # GitHub takes columns only within one line
            properties |= {"col": str(place["column"]), "endColumn": str(place["end_column"])}
        else:
            properties |= {"endLine": str(place["end_line"])}
    properties["title"] = f"{d.code} {d.entry.title}"
    fields = ",".join(f"{key}={_property(value)}" for key, value in properties.items())
    body = [d.message, *_names(d), *d.notes, *([f"help: {d.help}"] if d.help else [])]
    return f"::{d.severity} {fields}::{'%0A'.join(_data(prose(line)) for line in body)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(escape(text)).replace(":", "%3A").replace(",", "%2C")


def _count(diagnostics: Iterable[Diagnostic]) -> tuple[int, int]:
    kinds = [d.severity for d in diagnostics]
    return kinds.count(Severity.ERROR), kinds.count(Severity.WARNING)


def plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _painted(style: str, text: str) -> str:
    return f"\x1b[{_ANSI[style]}m{text}\x1b[0m"


def _plain(style: str, text: str) -> str:
    return text
