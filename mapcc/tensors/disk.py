"""The door to files that are read: regular files alone, by position, never by mapping."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError

# O_NONBLOCK: a FIFO must be refused, not waited for. O_NOCTTY: a terminal must not become ours.
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_STEP = 1 << 27
_SIBLINGS = 10_000


class Stamp(NamedTuple):
    """What tells whether a file is still the one that was read."""

    device: int
    inode: int
    size: int
    mtime_ns: int


@contextmanager
def reading(path: Path) -> Iterator[tuple[int, Stamp]]:
    """A descriptor of a regular file, and its stamp.

    MC001 if there is no such file to read, and for any ``OSError`` while it is read.
    """
    try:
        fd = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise MappingError([unreadable(path, error)]) from None
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise MappingError([Diagnostic("MC001", f"`{path}` is not a regular file")])
        yield fd, Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    except OSError as error:
        raise MappingError([unreadable(path, error)]) from None
    finally:
        os.close(fd)


def read_at(fd: int, size: int, offset: int) -> bytes:
    """``size`` bytes from ``offset``; fewer only where the file ends. ``OSError`` passes."""
    parts = []
    while size > 0 and (part := os.pread(fd, min(size, _STEP), offset)):
        parts.append(part)
        size -= len(part)
        offset += len(part)
    return b"".join(parts)


def read_all(path: Path, limit: int) -> bytes | None:
    """All of a file; None if it is longer than ``limit`` bytes. MC001 if it cannot be read."""
    with reading(path) as (fd, stamp):
        if stamp.size > limit:
            return None
        return read_at(fd, stamp.size, 0)


def listing(path: Path) -> list[str] | None:
    """The names in a folder, sorted, hidden ones aside; None if it is none. MC001 if it cannot be read."""
    try:
        if not path.is_dir():
            return None
        return sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    except (OSError, ValueError) as error:
        raise MappingError([unreadable(path, error)]) from None


def unreadable(path: Path, error: OSError | ValueError) -> Diagnostic:
    """Why ``path`` cannot be read, and what stands near it that may have been meant."""
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return Diagnostic("MC001", f"cannot read `{path}`: {why.lower()}", help=_meant(path, error))


def _meant(path: Path, error: OSError | ValueError) -> str:
    if not isinstance(error, FileNotFoundError):
        return ""
    if path.is_symlink():
        return f"it is a link to `{path.readlink()}`, and that is not there"
    parent = path.parent
    while not parent.is_dir() and parent != parent.parent:
        path, parent = parent, parent.parent
    try:
        siblings = [entry.name for entry in islice(parent.iterdir(), _SIBLINGS)]
    except OSError:
        return ""
    found = [f"`{parent / name}`" for name in nearest(path.name, siblings)]
    if found:
        return f"did you mean {' or '.join(found)}?"
    return "" if parent == Path() else f"`{parent}` has nothing of a similar name"
