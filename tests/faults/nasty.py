"""Names that are more than names to somebody: to Python, to a regular expression, to a terminal."""

from __future__ import annotations

import random

CONTROLS = [chr(point) for point in (*range(0x20), *range(0x7F, 0xA0))]
MARKS = [
    "\u061c",
    "\u200b",
    "\u200d",
    "\u200e",
    "\u2028",
    "\u2029",
    "\u202a",
    "\u202e",
    "\u2066",
    "\u2069",
    "\ufeff",
]
MARKS += ["\u00ad", "\ud800", "\udfff", "\U000e0001"]
QUOTES = ["'", '"', "\\", "'''", '"""', "\\'", "\\\\", "r'", "{", "}", "{0}", "%s", "$", "#", "`", "&", ";"]
CODE = [
    "\nimport os\n",
    "']\nimport os#",
    "\\N{DIGIT ONE}",
    "\\x41",
    "\\u0041",
    "__import__('os')",
    "\\g<0>",
    "\\1",
]
CODE += [
    "\x1b[31m",
    "\x1b]0;title\x07",
    "\x9b2J",
    "\r\nimport os",
    "{__import__('os')}",
    ".*",
    "(?P<n>",
    "^a$",
]
PLAIN = ["a", "blocks", ".", "0", "weight", "é", "\u5c42", "e\u0301", " ", "_", "-"]

# What a mapping may hold: what prints.
PRINTED = [text for text in (*QUOTES, *CODE, *PLAIN) if text.isprintable()]
ANY = [*CONTROLS, *MARKS, *QUOTES, *CODE, *PLAIN, *PLAIN]


def name(draw: random.Random, pieces: list[str] = ANY) -> str:
    return "".join(draw.choices(pieces, k=draw.randint(1, 6)))
