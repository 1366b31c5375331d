"""Regular expressions: those that a segment with holes becomes, and those that a mapping may have."""

from __future__ import annotations

import regex

from mapcc.passes.segments import Segment

INTEGER = "0|[1-9][0-9]{0,17}"

MAX_REGEX = 512
MAX_REPEATS = 1000
_REPEAT = regex.compile(r"\{(\d*)(?:,(\d*))?\}")
# An escape, a set of characters, a group with a mark, a brace; whatever else stands for itself.
_TOKEN = regex.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\([?*]|\{[^{}]*\}?")
_GROUP = regex.compile(r"\(\?(?:[:=!>#]|<[=!]|P?<[A-Za-z]\w*>|[aimsux]*-?[imsx]*:)")


def regex_fault(expression: str) -> str:
    """Why a regular expression is refused; "" if it is not.

    Compiling has no time limit, so length and counted repeats are limited before.
    """
    if len(expression) > MAX_REGEX:
        return f"longer than {MAX_REGEX} characters"
    repeats = 1
    for low, high in _REPEAT.findall(expression):
        repeats *= max(1, int((high or low or "1")[:6]))
    if repeats > MAX_REPEATS:
        return f"its counted repeats multiply to more than {MAX_REPEATS}"
    if expression.count("(") > 32:
        return "more than 32 groups"
    if foreign := _foreign(expression):
        return foreign
    try:
        compiled = regex.compile(expression)
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        return str(error)
    if any(key.startswith("_") for key in compiled.groupindex):
        return "names of groups do not begin with '_'"
    return ""


def _foreign(expression: str) -> str:
    """What would mean something else as a part of a whole segment, or is not of Python's re."""
    for token in _TOKEN.finditer(expression):
        text = token.group()
        if regex.match(r"\\[1-9g]", text):
            return f"no references to groups: {text}"
        if text in ("(?", "(*") and not _GROUP.match(expression, token.start()):
            return f"no flags, conditions or references: {expression[token.start() : token.end() + 2]}"
        if text.startswith("{") and not _REPEAT.fullmatch(text):
            return f"a brace counts repeats, as in {{2,3}}: {text}"
    return ""


def _padded(width: int) -> str:
    """A number with zeros in front, as ``format(i, "03")`` writes it: one text for each number."""
    longer = f"|[1-9][0-9]{{{width},17}}" if width < 18 else ""
    return f"[0-9]{{{width}}}{longer}"


def expression_of(segment: Segment) -> str:
    """What a segment with holes matches; the k-th hole is the group ``_k``."""
    out: list[str] = []
    holes = 0
    for piece in segment:
        if isinstance(piece, str):
            out.append(regex.escape(piece, special_only=True))
            continue
        if piece.regex is not None:
            body = piece.regex
        elif piece.variable.startswith("*"):
            body = ".*"
        else:
            body = _padded(piece.width) if piece.width else INTEGER
        out.append(f"(?P<_{holes}>{body})")
        holes += 1
    return "".join(out)


def matches_to_end(expression: str, text: str, seconds: float = 2.0) -> bool:
    """Whether an expression matches ``text`` from its beginning, or from behind a dot, to its end.

    Raises:
        TimeoutError: it takes longer.
    """
    return regex.match(rf"(?:.*\.)?(?:{expression})$", text, timeout=seconds) is not None
