"""The line of source that a span marks, cut to a window and made safe to print."""

from __future__ import annotations

from mapcc.diagnostics.escape import cells, escape
from mapcc.text import Span

WINDOW = 120
_BEFORE = 40  # how much of a long line stays in view left of the mark


def snippet(span: Span, mark: str = "^") -> tuple[str, str]:
    """The first line of ``span`` and the marks that stand under it, equally indented.

    A line longer than the window is cut around the span, so that a mapping (or a keys
    file) of one line of a megabyte costs one line of screen. A span over several lines
    is marked to the end of its first.
    """
    number, column = span.source.position(span.start)
    line = span.source.line(number)
    start = min(column - 1, len(line))
    end = min(start + (span.end - span.start), len(line))
    low, high = _window(start, len(line))
    left = ("..." if low else "") + _shown(line[low:start])
    marked = _shown(line[start : min(end, high)])
    right = _shown(line[min(end, high) : high]) + ("..." if high < len(line) else "")
    return left + marked + right, " " * cells(left) + mark * max(cells(marked), 1)


def _window(start: int, length: int) -> tuple[int, int]:
    if length <= WINDOW:
        return 0, length
    low = max(0, min(start - _BEFORE, length - WINDOW))
    return low, low + WINDOW


def _shown(text: str) -> str:
    return escape(text.replace("\t", "    "))
