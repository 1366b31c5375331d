"""What a mapping may cost: its work grows with its text, and its text is bounded, over all files together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from mapcc.ir import rules
from mapcc.syntax.comments import OPAQUE

MAX_WORDS = 80_000
MAX_STATEMENTS = 10_000
MAX_CHAIN = 32

_WORD = re.compile(r"\w+|[^\w\s]")

# Folders from which a mapping may use files though they are not below its own.
_ALLOWED: ContextVar[tuple[Path, ...]] = ContextVar("allowed", default=())


def count_words(text: str, comments: bool = False) -> int:
    """The words and signs of a mapping, which is what reading it costs; a quoted text is one.

    >>> count_words('a.{i} -> "b c"  # or d')
    8
    """
    code = text if comments else OPAQUE.sub(lambda found: "" if found["comment"] else " x ", text)
    return sum(1 for _ in _WORD.finditer(code))


def count_statements(body: Sequence[rules.Statement]) -> int:
    """The statements of a body, those in its blocks too."""
    return sum(
        1 + (count_statements(one.body) if isinstance(one, rules.Block | rules.Default) else 0)
        for one in body
    )


@contextmanager
def uses_allowed(*folders: str | Path) -> Iterator[None]:
    """Let mappings use files of these folders too.

    Otherwise they use what lies below the folder of the first mapping, and the library.
    """
    token = _ALLOWED.set((*_ALLOWED.get(), *map(Path, folders)))
    try:
        yield
    finally:
        _ALLOWED.reset(token)


def allowed_folders() -> tuple[Path, ...]:
    return _ALLOWED.get()
