"""Marked names to a pattern and a replacement template, for ``re.sub``.

A marker stands in a name for a variable that stays open: one lone surrogate, of which no tensor's name
has any (see ``tensors/spec.py``). What is not a marker is text, whatever it looks like.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

FIRST_MARK, LAST_MARK = 0xD800, 0xDFFF

# An index as mapcc reads one: \d would take leading zeros too, and digits of other scripts.
INDEX = "(0|[1-9][0-9]*)"


def mark(number: int) -> str:
    """The marker of the variable with this number."""
    assert FIRST_MARK + number <= LAST_MARK
    return chr(FIRST_MARK + number)


@dataclass(frozen=True, slots=True)
class Kinds:
    """The variable that each marker stands for, and what parts a source name into segments."""

    variables: dict[str, str]
    separator: str

    def expression(self, mark: str, is_segment: bool) -> str:
        """What the matcher lets the variable be, as a group."""
        variable = self.variables[mark]
        if variable.startswith("**"):
            return "(.+)"
        if variable.startswith("*"):
            other = f"\\{self.separator}" if self.separator in "\\]^-" else self.separator
            return f"([^{other}]{'+' if is_segment else '*'})"
        return INDEX


def translate(source: str, target: str, kinds: Kinds) -> tuple[str, str]:
    r"""The pattern and the template of two marked names.

    >>> kinds = Kinds({"\ud800": "i", "\ud801": "*1"}, ".")
    >>> print(*translate("a.\ud800.\ud801", "b\ud8002.\ud801", kinds))
    ^a\.(0|[1-9][0-9]*)\.([^.]+)$ b\g<1>2.\2
    """
    numbers: dict[str, int] = {}
    segments: list[str] = []
    for segment in source.split(kinds.separator):
        out: list[str] = []
        for chunk in _chunks(segment):
            if not _is_mark(chunk):
                out.append(re.escape(chunk))
            elif chunk in numbers:
                out.append(f"(?:\\{numbers[chunk]})")  # parted from digits that follow
            else:
                numbers[chunk] = len(numbers) + 1
                out.append(kinds.expression(chunk, chunk == segment))
        segments.append("".join(out))
    return f"^{re.escape(kinds.separator).join(segments)}$", _template(target, numbers)


def _template(target: str, numbers: dict[str, int]) -> str:
    out: list[str] = []
    chunks = _chunks(target)
    for chunk, following in zip(chunks, [*chunks[1:], ""], strict=True):
        if not _is_mark(chunk):
            out.append(chunk.replace("\\", "\\\\"))
        elif numbers[chunk] > 9 or following[:1].isdigit():
            out.append(f"\\g<{numbers[chunk]}>")  # \1 and a digit would be another group, or an octal number
        else:
            out.append(f"\\{numbers[chunk]}")
    return "".join(out)


def _is_mark(chunk: str) -> bool:
    return len(chunk) == 1 and FIRST_MARK <= ord(chunk) <= LAST_MARK


def _chunks(text: str) -> list[str]:
    return [chunk for chunk in re.split(r"([\ud800-\udfff])", text) if chunk]
