"""Progress of long work: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import TextIO

from mapcc.cli.output import say

Progress = Callable[[int, int], None]

LOG_SECONDS = 10.0


@contextmanager
def progress_for(stream: TextIO, quiet: bool) -> Iterator[Progress | None]:
    """A callback for bytes done and bytes in all; None if nobody wants to see it."""
    if quiet:
        yield None
    elif stream.isatty():
        with _bar(stream) as progress:
            yield progress
    else:
        yield _log(stream)


@contextmanager
def _bar(stream: TextIO) -> Iterator[Progress]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("convert"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task("convert", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _log(stream: TextIO) -> Progress:
    started = last = monotonic()
    is_done = False

    def progress(done: int, total: int) -> None:
        nonlocal last, is_done
        now = monotonic()
        if is_done:
            return
        is_done = done >= total
        if now - last < LOG_SECONDS and done < total:
            return
        if done >= total and now - started < 1:
            return
        last = now
        rate = done / max(now - started, 1e-9)
        left = (total - done) / rate if rate else 0
        say(
            f"{written_size(done)} of {written_size(total)}, {written_size(int(rate))}/s, {left:.0f} s left",
            stream,
        )

    return progress


def steps_to(stream: TextIO) -> Callable[[str], None]:
    """Tells steps of work that has no bytes: on a terminal; in a log, once it takes long."""
    started = monotonic()

    def tell(step: str) -> None:
        if stream.isatty() or monotonic() - started > LOG_SECONDS:
            say(step, stream)

    return tell


def written_size(count: int) -> str:
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
