"""Text to rules: Lark's LALR parser, all syntax errors at once, comments kept beside statements."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from lark import Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedInput, UnexpectedToken

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Edit, Fix
from mapcc.ir import rules
from mapcc.syntax import tables
from mapcc.syntax.comments import OPAQUE, attach
from mapcc.syntax.repairs import Repair, repairs
from mapcc.syntax.slips import slips
from mapcc.syntax.tree import Builder, Node
from mapcc.tensors.strict_json import collector_off
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
    with collector_off():
        return _read(source, found)


def _read(source: Source, found: Diagnostics) -> rules.Mapping:
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
        builder.found.add(_told(error, text, _at(builder, offset, offset + 1)))
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
    """Parse; at an error, mend it or blank the statement out and parse again, to find the next one."""
    reading = _Reading(source, source.text + "\n")
    errors: list[Diagnostic] = []
    while len(errors) < MAX_SYNTAX_ERRORS:
        try:
            tree = tables.parser("mapping").parse(reading.text)
        except UnexpectedInput as error:
            repair = _repair(error, reading.text)
            errors.append(_diagnostic(error, reading) if repair is None else _repaired(repair, reading))
            if not reading.go_on(error, repair):
                break
        else:
            if not errors:
                return tree
            break
    # A fault that is mended first may stand behind the next one.
    found.extend(sorted(errors, key=lambda fault: fault.span.start if fault.span else 0))
    return None


@dataclass(slots=True)
class _Reading:
    """A text without what was read already or is at fault, and with what was missing.

    ``inserted`` are places in ``text`` where something stands that is not in the source, and its length.
    """

    source: Source
    text: str
    inserted: list[tuple[int, int]] = field(default_factory=list)

    def span(self, start: int, end: int) -> Span:
        last = len(self.source.text.rstrip())
        first = min(self.at(start), last)
        return Span(self.source, first, min(max(self.at(end), first), max(last, first)))

    def at(self, offset: int) -> int:
        return offset - sum(min(size, offset - place) for place, size in self.inserted if place < offset)

    def go_on(self, error: UnexpectedInput, repair: Repair | None) -> bool:
        """Make ready for the next error; False if nothing sensible can be read behind this one."""
        if repair is None:
            shorter = _without_statement(self.text, _offset(error, self.text))
            if shorter is None:
                return False
            self.text = shorter
        for start, end in _finished(error):
            self.text = self.text[:start] + " " * (end - start) + self.text[end:]
        if repair is not None:
            for place, new in sorted(repair.inserts, reverse=True):
                self.inserted = [(at + len(new) if at >= place else at, n) for at, n in self.inserted]
                self.inserted.append((place, len(new)))
            self.text = repair.applied(self.text)
        return True


def _finished(error: UnexpectedInput) -> list[tuple[int, int]]:
    """Where statements stand that the parser has read to their end: nothing has to read them again."""
    state = getattr(error, "interactive_parser", None)
    if state is None:
        return []
    runs = [
        value.meta
        for value in state.parser_state.value_stack
        if isinstance(value, Tree) and value.data == "_statements" and not value.meta.empty
    ]
    return [(run.start_pos, run.end_pos) for run in runs]


def _repair(error: UnexpectedInput, text: str) -> Repair | None:
    """A mend with which the parser gets further."""
    offset = _offset(error, text)
    start = max((end for _, end in _finished(error)), default=0)
    for repair in repairs(text, start, offset):
        try:
            tables.parser("mapping").parse(repair.applied(text))
        except UnexpectedInput as another:
            if _offset(another, text) <= offset + sum(len(new) for _, new in repair.inserts):
                continue
        return repair
    return None


def _repaired(repair: Repair, reading: _Reading) -> Diagnostic:
    edits = tuple(Edit(reading.span(at, at), new) for at, new in repair.inserts)
    fix = Fix(repair.title, edits, repair.certain)
    span = reading.span(repair.start, repair.end)
    return Diagnostic("MC101", repair.message, span, help=repair.help, fixes=(fix,))


def _offset(error: UnexpectedInput, text: str) -> int:
    if isinstance(error, UnexpectedToken):
        if error.token.type == "$END":
            return len(text.rstrip())
        if _ends_too_early(error, text):
            return _end_of_code(text, _position(error))
    return _position(error)


def _ends_too_early(error: UnexpectedToken, text: str) -> bool:
    """Whether a brace on a line of its own comes where a statement is not complete."""
    start = text.rfind("\n", 0, _position(error)) + 1
    return error.token.type == "RBRACE" and start > 0 and not text[start : _position(error)].strip()


def _end_of_code(text: str, offset: int) -> int:
    """The end of the last line before an offset that has more than a comment."""
    lines = text[:offset].split("\n")[:-1]
    while lines:
        code = OPAQUE.sub(lambda found: "" if found["comment"] else found[0], lines[-1]).rstrip()
        if code.strip():
            return sum(len(line) + 1 for line in lines[:-1]) + len(code)
        lines.pop()
    return 0


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


def _diagnostic(error: UnexpectedInput, reading: _Reading) -> Diagnostic:
    offset = _offset(error, reading.text)
    span = reading.span(offset, offset + _width(error))
    fixes = tuple(slips(reading.source, min(reading.at(offset), len(reading.source.text))))
    return replace(_told(error, reading.text, span), fixes=fixes)


def _told(error: UnexpectedInput, text: str, span: Span) -> Diagnostic:
    if isinstance(error, UnexpectedCharacters):
        message = f"unexpected character {text[_position(error)]!r}"
        return Diagnostic("MC101", message, span, help=_advice(error, text))
    assert isinstance(error, UnexpectedToken)
    token = error.token
    if token.type == "$END":
        message = "the file ends in the middle of a statement"
    elif token.type == "_NL" or _ends_too_early(error, text):
        message = "the line ends in the middle of a statement"
    else:
        message = f"unexpected {str(token).strip()!r}"
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
    return ""
