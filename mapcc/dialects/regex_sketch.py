"""A regular expression and its replacement as a rule of a mapping, as far as a pattern can say it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from re import _parser
from typing import Any

from mapcc.ir.notation import print_part
from mapcc.ir.patterns import Text

_INDICES = "ijklmn"
_TAIL = "{,.**}"


class NoSketch(Exception):
    """The pattern says more than a pattern of a mapping can; the message says what."""


@dataclass(slots=True)
class _Pieces:
    """Text and variables in turn; a variable is a word of the mapping language that begins with a mark."""

    out: list[str] = field(default_factory=list)

    def text(self, text: str) -> None:
        if self.out and not self.out[-1].startswith("\0"):
            self.out[-1] += text
        else:
            self.out.append(text)

    def variable(self, word: str) -> None:
        self.out.append("\0" + word)

    def extend(self, pieces: list[str]) -> None:
        for piece in pieces:
            if piece.startswith("\0"):
                self.out.append(piece)
            else:
                self.text(piece)


@dataclass(slots=True)
class _Reader:
    groups: dict[int, list[str]] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    indices: int = 0
    end: bool = False

    def read(self, tokens: list[tuple[Any, Any]], pieces: _Pieces, last: bool) -> None:
        for number, (kind, value) in enumerate(tokens):
            self.token(str(kind), value, pieces, last and number == len(tokens) - 1)

    def token(self, kind: str, value: Any, pieces: _Pieces, last: bool) -> None:
        match kind:
            case "LITERAL":
                pieces.text(chr(value))
            case "ANY":
                pieces.text(".")
                self.assume("a dot that is not escaped is a dot")
            case "AT":
                if str(value) in ("AT_END", "AT_END_STRING"):
                    self.end = True
                elif str(value) not in ("AT_BEGINNING", "AT_BEGINNING_STRING"):
                    raise NoSketch("a boundary of words")
            case "SUBPATTERN":
                self.group(value, pieces, last)
            case "MAX_REPEAT" | "MIN_REPEAT":
                pieces.variable(self.repeat(value, pieces, last))
                self.end = self.end or (last and pieces.out[-1] == "\0**")
            case "BRANCH":
                pieces.variable(self.branch(value))
            case _:
                raise NoSketch(f"`{kind.lower()}`")

    def group(self, value: Any, pieces: _Pieces, last: bool) -> None:
        number, _, _, inner = value
        own = _Pieces()
        if pieces.out and not pieces.out[-1].startswith("\0"):
            own.out.append(pieces.out[-1])  # what stands before decides what a variable is
        before = list(own.out)
        self.read(list(inner), own, last)
        found = own.out
        if before:
            found = [found[0].removeprefix(before[0]), *found[1:]]
            found = found if found[0] else found[1:]
        pieces.extend(found)
        if number is not None:
            self.groups[number] = found

    def repeat(self, value: Any, pieces: _Pieces, last: bool) -> str:
        low, high, inner = value
        [(kind, what)] = list(inner) if len(inner) == 1 else [("SEVERAL", None)]
        if high == 1:
            raise NoSketch("an optional piece")
        if str(kind) == "IN" and _is_digits(what):
            if low == 0:
                raise NoSketch("digits that may be absent")
            self.indices += 1
            if self.indices > len(_INDICES):
                raise NoSketch(f"more than {len(_INDICES)} indices")
            return "{" + _INDICES[self.indices - 1] + "}"
        if str(kind) == "ANY":
            starts = not pieces.out or pieces.out[-1].endswith(".")
            if starts and last:
                if low == 0:
                    self.assume("`.*` takes at least one character")
                return "**"
            self.assume("`.*` takes text of one segment")
            return "*"
        if str(kind) in ("IN", "NOT_LITERAL"):
            self.assume("a set of characters takes any text of one segment")
            return "*"
        raise NoSketch("a repeated piece")

    def branch(self, value: Any) -> str:
        members = []
        for tokens in value[1]:
            own = _Pieces()
            self.read(list(tokens), own, last=False)
            members.append(_word(own.out))
        return "{" + ",".join(members) + "}"

    def assume(self, sentence: str) -> None:
        if sentence not in self.assumed:
            self.assumed.append(sentence)


def _is_digits(items: Any) -> bool:
    return all(str(value) == "CATEGORY_DIGIT" or value == (ord("0"), ord("9")) for _, value in items)


def _word(pieces: list[str]) -> str:
    return "".join(p[1:] if p.startswith("\0") else print_part(Text(p)) if p else "" for p in pieces)


def sketch(pattern: str, template: str) -> tuple[str, str, tuple[str, ...]]:
    r"""The two names of a rule, and what was assumed.

    Raises:
        NoSketch: a pattern of the mapping language cannot say it.

    >>> sketch(r"^blocks\.(\d+)\.attn1\.to_q\.(.*)$", r"blocks.\1.to_q.\2")
    ('blocks.{i}.attn1.to_q.**', 'blocks.{i}.to_q.**', ('`.*` takes at least one character',))
    >>> sketch("^head", "tail")[:2]
    ('head{,.**}', 'tail{,.**}')
    """
    reader, left = _Reader(), _Pieces()
    try:
        tokens = list(_parser.parse(pattern))
    except re.error as error:
        raise NoSketch(f"no regular expression: {error}") from None
    if tokens and str(tokens[-1][1]) in ("AT_END", "AT_END_STRING"):
        tokens.pop()
        reader.end = True
    reader.read(tokens, left, last=True)
    right = _Pieces()
    for part in _template(pattern, template):
        if isinstance(part, int):
            right.extend(reader.groups.get(part, []))
        else:
            right.text(part)
    _same_variables(left.out, right.out)
    tail = ""
    if not reader.end:
        tail = _TAIL
        reader.assume("nothing holds the end of the pattern: it is taken to end where a segment ends")
    return _word(left.out) + tail, _word(right.out) + tail, tuple(reader.assumed)


def _template(pattern: str, template: str) -> list[str | int]:
    """Text and the numbers of groups, in turn."""
    try:
        parsed = _parser.parse_template(template, re.compile(pattern))
    except (re.error, IndexError) as error:
        raise NoSketch(f"a replacement that is an error: {error}") from None
    if isinstance(parsed, tuple):  # Python 3.11: (groups, literals)
        groups, literals = dict(parsed[0]), parsed[1]
        return [groups.get(at, literal) for at, literal in enumerate(literals)]
    return list(parsed)


def _same_variables(left: list[str], right: list[str]) -> None:
    ours = [piece for piece in left if piece.startswith("\0")]
    theirs = [piece for piece in right if piece.startswith("\0")]
    for mark in ("*", "{"):
        # Stars and groups pair by position, indices by name.
        first = [p for p in ours if p[1:2] == mark and p[1:-1].strip("{") not in _INDICES]
        second = [p for p in theirs if p[1:2] == mark and p[1:-1].strip("{") not in _INDICES]
        if first != second:
            raise NoSketch("variables in another order, or left out, on the right")
    if {p for p in ours if p[1:2] == "{"} != {p for p in theirs if p[1:2] == "{"}:
        raise NoSketch("an index that is left out on the right")
