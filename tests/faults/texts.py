"""Mappings damaged at random, fast: words of a text taken out, put in, doubled, exchanged."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import mapcc
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir.yaml_printer import print_yaml

MAPPINGS = [
    path.read_text("utf-8")
    for path in sorted((Path(__file__).resolve().parents[2] / "mappings").rglob("*.mapcc"))
]
YAMLS = [print_yaml(mapcc.parse(text)) for text in MAPPINGS]

_WORD = re.compile(r"\s+|\w+|->|<->|[^\w\s]")
_MARKS = r"""{ } ( ) [ ] , -> <-> | : = == * ** " # \ / - + ... ~ ` @ % ! & ? > < ' ; $ ^ <<"""
_KEYWORDS = "where optional drop keep because create external default use under let dtype i n 0 1 2 -1 1e999"
_PIECES = "{i} {a,b} {x:/a+/} [t=q,k] [e] :_(h_d)_... |_cast_bf16 |_cat **. 999999999999999999999"
_SPACES = [
    "\n",
    " ",
    "\t",
    "\r",
    "\0",
    "\x1b",
    "\x85",
    "é",
    "\u2028",
    "\ufeff",
    "\U0001f600",
    "\n\n",
    "  ",
    "\\\n",
]
DSL_WORDS = [
    *_MARKS.split(),
    *_KEYWORDS.split(),
    *(f" {p} ".replace("_", " ") for p in _PIECES.split()),
    *_SPACES,
]

_SYNTAX = (
    "&a_ *a !!int_ !!python/name:os.system_ !_ <<:_ ?_ -_ :_ [ ] { } , ' \" # _# = @ ` % \\ \\x \\ud800 a.{i}"
)
_SCALARS = "rules rename from to mapping let where keep drop null ~ yes 1:30 0o17 2024-13-45 1e999 .inf a b"
_LINES = [
    "---\n",
    "...\n",
    "%YAML 1.1\n",
    "|\n",
    ">-\n",
    "\n",
    "\n  ",
    "\n    ",
    "\t",
    "\0",
    "\x85",
    "- a\n",
    "a: b\n",
]
YAML_WORDS = [*(word.replace("_", " ") for word in _SYNTAX.split()), *_SCALARS.split(), *_LINES]


def damaged(draw: random.Random, texts: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """A few lines or items of valid texts, after one to four edits; without an end."""
    is_yaml = texts is YAMLS
    lines = [
        line for text in texts for line in re.split(r"\n(?=  - )" if is_yaml else r"\n", text)[1:] if line
    ]
    split = [_WORD.findall(f"{line}\n") for line in lines]
    while True:
        piece = ["rules", ":", "\n"] if is_yaml else []
        for _ in range(1 + int(draw.random() * 3)):
            piece += split[int(draw.random() * len(split))]
        for _ in range(1 + int(draw.random() * 3)):
            _edit(draw, piece, words)
        yield "".join(piece)


def _edit(draw: random.Random, piece: list[str], words: Sequence[str]) -> None:
    at, other = (int(draw.random() * (len(piece) + 1)) for _ in range(2))
    kind = draw.random()
    if kind < 0.45:
        piece.insert(at, words[int(draw.random() * len(words))])
    elif kind < 0.6:
        del piece[at : at + 1 + int(draw.random() * 3)]
    elif kind < 0.75:
        piece[at : at + 1] = [words[int(draw.random() * len(words))]]
    elif kind < 0.85:
        piece[at:at] = piece[other : other + 8] * (1 + int(draw.random() * 2))
    elif kind < 0.95:
        piece[min(at, other) : max(at, other)] = piece[min(at, other) : max(at, other)][::-1]
    else:
        piece.insert(at, chr(int(draw.random() ** 3 * 0x110000)))


def noise(draw: random.Random, words: Sequence[str]) -> Iterator[str]:
    """Words without sense; without an end."""
    while True:
        yield "".join(words[int(draw.random() * len(words))] for _ in range(1 + int(draw.random() * 6)))


def parsed(text: str, name: str) -> bool:
    """Whether it is a mapping; if not, nothing but diagnostics came out, each at a place in it."""
    try:
        mapcc.parse(text, name)
    except MappingError as error:
        told(error.diagnostics, text)
        return False
    return True


def told(diagnostics: Sequence[Diagnostic], text: str) -> None:
    """Something is said, and each at a place in the text."""
    assert diagnostics
    for fault in diagnostics:
        assert fault.message
        if fault.span is not None:
            assert 0 <= fault.span.start <= fault.span.end <= len(text) + 1
