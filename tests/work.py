"""How much work something is, on any machine and however busy: lines that are run, not seconds.

A verdict that depends on seconds says something of the machine. What grows too fast is found by
counting; what never ends, by a guard that is a hundred times longer than it takes.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import pytest


def lines(run: Callable[[], object]) -> int:
    """How many lines of Python ``run`` goes through: the same each time."""
    count = 0

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)
    return count


def assert_grows_with_its_input(
    of: Callable[[int], Callable[[], object]], small: int, times: int = 4
) -> None:
    """``of(n)()`` works on ``n`` of something: ``times`` as many take about ``times`` the lines.

    A quarter more is allowed for logarithms; what grows with the square takes ``times`` as much again.
    """
    of(small)()  # what is computed once, and kept, is no part of it
    few, many = lines(of(small)), lines(of(times * small))
    assert many <= 1.25 * times * few, f"{times} times the input takes {many / few:.1f} times the work"


@contextmanager
def guard(seconds: float = 60.0) -> Iterator[None]:
    """Fails what uses the processor for so long, which is a hang on any machine; waiting does not count."""

    def hang(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"this does not end: it has used the processor for {seconds:g} seconds")

    before = signal.signal(signal.SIGVTALRM, hang)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
