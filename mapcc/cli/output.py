"""The only module that prints."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NoReturn, TextIO

from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.render import render_github, render_json, render_text, tally


def say(text: str, stream: TextIO | None = None) -> None:
    with reader_may_go():
        print(text, file=stream or sys.stdout)


def write(text: str, stream: TextIO | None = None) -> None:
    """Text as it is, for files and pipes."""
    with reader_may_go():
        (stream or sys.stdout).write(text)


@contextmanager
def reader_may_go() -> Iterator[None]:
    """The reader of a pipe went away (``| head``): nothing is wrong, and nothing more is to be said."""
    try:
        yield
    except BrokenPipeError:
        # What is buffered still must go somewhere, or Python complains when it ends.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        raise SystemExit(0) from None


def say_name(name: str) -> str:
    return escape(name)


def wants_color(stream: TextIO) -> bool:
    return stream.isatty() and "NO_COLOR" not in os.environ


def report(diagnostics: Sequence[Diagnostic], format: str = "text", stream: TextIO | None = None) -> None:
    """Diagnostics in one of the three formats; text ends with a tally."""
    out = stream or sys.stderr
    match format:
        case "json":
            say(render_json(diagnostics), out)
        case "github":
            if diagnostics:
                say(render_github(diagnostics).rstrip("\n"), out)
        case _:
            if diagnostics:
                say(render_text(diagnostics, color=wants_color(out)).rstrip("\n"), out)
                say("\n" + tally(diagnostics), out)


def fail(diagnostics: Iterable[Diagnostic]) -> NoReturn:
    """Report to the error stream, and end with the exit code that the worst of them asks for."""
    listed = tuple(diagnostics)
    report(listed)
    raise SystemExit(max((d.exit_code for d in listed), default=2))
