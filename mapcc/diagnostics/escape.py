"""Text that came from files, made safe to print: a name never drives the terminal."""

from __future__ import annotations

import re
from unicodedata import combining, east_asian_width

NAME_LIMIT = 200
TEXT_LIMIT = 4000

_LONG_WORD = re.compile(rf"\S{{{NAME_LIMIT + 1},}}")


def escape(text: str) -> str:
    r"""``text`` with everything that does not print written as ``\x1b``, ``\u202e`` or ``\U000e0001``.

    That is all of Unicode's "other" and "separator" characters but the space: C0 and C1 controls,
    ESC, DEL, bidirectional controls, zero-width characters, U+2028 and U+2029, lone surrogates.
    Newlines too: whoever prints puts his own.

    >>> print(escape("a\x1b[31m\u202eb\n"))
    a\x1b[31m\u202eb\x0a
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _code(ord(char)) for char in text)


def shorten(text: str, limit: int = NAME_LIMIT) -> str:
    """``text`` in at most ``limit`` characters, its middle left out.

    >>> shorten("abcdefghij", 7)
    'ab...ij'
    """
    if len(text) <= limit:
        return text
    keep = max(limit - 3, 2)
    return f"{text[: keep - keep // 2]}...{text[len(text) - keep // 2 :]}"


def prose(text: str) -> str:
    """A message for the terminal: cut where it is absurdly long, long names shortened, escaped."""
    return escape(_LONG_WORD.sub(lambda word: shorten(word[0]), shorten(text, TEXT_LIMIT)))


def cells(text: str) -> int:
    """How many columns of a terminal ``text`` takes: wide characters two, combining ones none.

    >>> cells("a\u0301\u5c42")
    3
    """
    if text.isascii():
        return len(text)
    return sum(0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1 for char in text)


def _code(point: int) -> str:
    if point <= 0xFF:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point <= 0xFFFF else f"\\U{point:08x}"
