"""Text to rules: Lark's LALR parser, all syntax errors at once, comments kept beside statements."""

from __future__ import annotations

import re

from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.syntax import tables
from mapcc.syntax.comments import OPAQUE, attach
from mapcc.syntax.tree import Builder, Node
from mapcc.text import Source, Span

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
MAX_SYNTAX_ERRORS = 20

_CONTINUES = re.compile(r"\s*(?:->|<->|\||,|(?:where|optional|allow|because)\b)")

# What a person calls the terminals that can be expected.
_READABLE = {
    "TEXT": "a name",
    "IDENT": "a word",
    "NUMBER": "a number",
    "STRING": 'a "quoted text"',
    "_NL": "the end of the line",
    "$END": "the end of the file",
    "_BLOCK": "'{'",
    "BECAUSE": "'because'",
    "WHERE": "'where'",
    "OPTIONAL": "'optional'",
    "RBRACE": "'}'",
    "COLON": "':' and a shape",
    "COMMA": "','",
    "EQUAL": "'='",
    "__ANON_0": "'->'",
    "_ARROW": "'->'",
}


def parse(source: Source, found: Diagnostics) -> rules.Mapping:
    """The mapping that a text says; whatever is wrong with it goes to ``found``."""
    if not _within_limits(source, found):
        return rules.Mapping(None, None, (), source=source)
    tree = _parse_with_recovery(source, found)
    if tree is None:
        return rules.Mapping(None, None, (), source=source)
    builder = Builder(source, found, lambda offset: min(offset, len(source.text)))
    body = builder.statements(tree)
    name = title = None
    headers = list(tree.find_data("header"))
    for header in headers:
        if header is not tree.children[0] or len(headers) > 1:
            builder.fault("MC107", "'mapping NAME' stands once, as the first statement", header)
        name = str(header.children[1])
        title = builder.string(header.children[2]) if len(header.children) > 2 else None  # type: ignore[arg-type]
    place = builder.span(headers[0]) if headers else None
    return attach(rules.Mapping(name, title, body, source=source), source, place)


def parse_fragment(start: str, text: str, builder: Builder) -> Node | None:
    """A side, names, a shape, an expression or modifiers, out of a YAML string."""
    if len(text) > MAX_BYTES or _depth(text) > MAX_DEPTH:
        builder.found.add(Diagnostic("MC103", "text too long or nested too deeply", _at(builder, 0, 1)))
        return None
    try:
        return tables.parser("fragments").parse(text, start=start)
    except UnexpectedInput as error:
        offset = _offset(error, text)
        builder.found.add(_diagnostic(error, text, _at(builder, offset, offset + 1)))
        return None


def _at(builder: Builder, start: int, end: int) -> Span:
    return Span(builder.source, builder.at(start), max(builder.at(end), builder.at(start)))


def _within_limits(source: Source, found: Diagnostics) -> bool:
    if len(source.text) > MAX_BYTES:
        found.add(Diagnostic("MC103", f"a mapping has at most {MAX_BYTES:,} characters", Span(source, 0, 0)))
        return False
    if (depth := _depth(source.text)) > MAX_DEPTH:
        message = f"brackets are nested {depth} deep; {MAX_DEPTH} is the limit"
        found.add(Diagnostic("MC103", message, Span(source, 0, 0)))
        return False
    return True


def _depth(text: str) -> int:
    depth = deepest = 0
    for char in OPAQUE.sub("", text):
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth = max(depth - 1, 0)
    # Runs of prefix operators nest too.
    signs = max((len(run.group()) // 2 for run in re.finditer(r"(?:[-*] ?){8,}", text)), default=0)
    return max(deepest, signs)


def _parse_with_recovery(source: Source, found: Diagnostics) -> Node | None:
    """Parse; at an error, blank the statement out and parse again, to find the next one."""
    text = source.text + "\n"
    errors: list[Diagnostic] = []
    while len(errors) < MAX_SYNTAX_ERRORS:
        try:
            tree = tables.parser("mapping").parse(text)
        except UnexpectedInput as error:
            offset = _offset(error, text)
            span = _clip(source, offset, _width(error))
            errors.append(_diagnostic(error, text, span))
            shorter = _without_statement(text, offset)
            if shorter is None:
                break
            text = shorter
        else:
            found.extend(errors)
            return None if errors else tree
    found.extend(errors)
    return None


def _clip(source: Source, offset: int, width: int) -> Span:
    end = len(source.text.rstrip())
    start = min(offset, end)
    return Span(source, start, min(start + width, max(end, start)))


def _offset(error: UnexpectedInput, text: str) -> int:
    at_end = isinstance(error, UnexpectedToken) and error.token.type == "$END"
    return len(text.rstrip()) if at_end else _position(error)


def _position(error: UnexpectedInput) -> int:
    # Lark's own annotation of this attribute is None.
    return int(getattr(error, "pos_in_stream", None) or 0)


def _width(error: UnexpectedInput) -> int:
    if isinstance(error, UnexpectedToken) and not error.token.type.startswith("_NL"):
        return max(1, len(str(error.token).rstrip()))
    return 1


def _without_statement(text: str, offset: int) -> str | None:
    """The text with the statement at ``offset`` blanked out; a block that it opens stays open."""
    lines = text.split("\n")
    number = text.count("\n", 0, offset)
    first = last = min(number, len(lines) - 1)
    while first > 0 and _CONTINUES.match(lines[first]):
        first -= 1
    while last + 1 < len(lines) and _CONTINUES.match(lines[last + 1]):
        last += 1
    statement = OPAQUE.sub("", " ".join(lines[first : last + 1])).strip()
    if not statement or statement.startswith("}"):
        return None
    opens = statement.endswith("{")
    for at in range(first, last + 1):
        lines[at] = " " * len(lines[at])
    if opens:
        if len(lines[last]) < len("a -> a {"):
            return None
        lines[last] = "a -> a {".ljust(len(lines[last]))
    return "\n".join(lines)


def _diagnostic(error: UnexpectedInput, text: str, span: Span) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        message = f"unexpected character {text[_position(error)]!r}"
        return Diagnostic("MC101", message, span, help=_advice(error, text))
    assert isinstance(error, UnexpectedToken)
    token = error.token
    if token.type == "$END":
        message = "the file ends in the middle of a statement"
    elif token.type == "_NL":
        message = "the line ends in the middle of a statement"
    else:
        message = f"unexpected {str(token)!r}"
    expected = sorted({_READABLE[t] for t in error.expected if t in _READABLE})
    label = f"expected {' or '.join(expected)}" if 0 < len(expected) <= 5 else ""
    return Diagnostic("MC101", message, span, label=label, help=_advice(error, text))


def _advice(error: UnexpectedInput, text: str) -> str:
    line = text[text.rfind("\n", 0, _offset(error, text)) + 1 :].split("\n", 1)[0]
    if re.search(r"\sallow\s", line) and "because" not in line:
        return 'say why: because "..."'
    if "=>" in line:
        return "write '->' between the two sides"
    if re.search(r"\S:\s", line) and "->" in line:
        return "put a space before the ':' of a shape"
    if re.match(r"\s*(drop|external)\b", line) and "because" not in line:
        return 'say why: because "..."'
    if re.search(r"[\\^$]", line):
        return (
            "names are templates, not regular expressions: {i} is an index, * a text, {x:/re/} an expression"
        )
    if re.search(r"\|[^|]*[0-9]\s*[/*+]", line):
        return "an expression behind a bar stands in parentheses: | scale (1/8)"
    if re.search(r"\S\{\s*$", line):
        return "put a space before the '{' of a block"
    return ""
