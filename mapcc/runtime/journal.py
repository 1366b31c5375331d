"""What a conversion has finished, beside the output that is not there yet: one line a shard.

The journal is also the lock: who holds the lock on it owns the staging folder. Only what a line
of it says is believed, never a file's size: a file of the right size may be full of holes.
"""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import NamedTuple
from zlib import crc32

from mapcc.runtime.fs import cannot_write, door, writing
from mapcc.runtime.losses import Counts
from mapcc.tensors.strict_json import JsonFault, loads

SUFFIX = ".mapcc-journal"
_OPEN = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_HEAD = b'{"mapcc journal":'
_MOST = 1 << 28  # bytes: of a journal, at 1 PB of output


class Entry(NamedTuple):
    """A shard that is on the disk, the hashes of its blocks, and what its tensors have lost."""

    name: str
    size: int
    blocks: tuple[str, ...]
    losses: Counts


@dataclass(slots=True)
class Journal:
    """An open, locked journal. ``entries`` are those of an earlier attempt at the same work."""

    path: Path
    fd: int
    durable: bool
    entries: dict[str, Entry]
    end: int
    is_torn: bool
    lock: Lock = field(default_factory=Lock)

    def begin(self, run: str) -> None:
        """Forget what is in it. The first line says which work this is."""
        with writing(self.path):
            door.truncate(self.fd)
            if self.durable and self.end:
                door.fsync(self.fd)  # or a loss of power could leave old lines under the new first one
        self.entries, self.end, self.is_torn = {}, 0, False
        self._append(json.dumps({"mapcc journal": run}))

    def add(self, entry: Entry) -> None:
        """Returns when the disk has the line. Any thread may call it."""
        with self.lock:
            self._append(json.dumps(entry))
            self.entries[entry.name] = entry

    def _append(self, text: str) -> None:
        data = text.encode()
        # The checksum tells a line that a loss of power has torn; a new line must not continue it.
        line = b"%s%s %08x\n" % (b"\n" if self.is_torn else b"", data, crc32(data))
        self.is_torn = True
        with writing(self.path):
            view = memoryview(line)
            while view:
                written = door.pwrite(self.fd, view, self.end)
                view, self.end = view[written:], self.end + written
            if self.durable:
                door.fsync(self.fd)
        self.is_torn = False

    def unlink(self) -> None:
        """Remove it, unless somebody has, or has put another in its place."""
        with writing(self.path):
            if self.is_there():
                door.unlink(self.path)

    def is_there(self) -> bool:
        """Whether the file of that name is still this one."""
        return _is_there(self.fd, self.path)

    def close(self) -> None:
        os.close(self.fd)


def open_journal(path: Path, run: str, *, durable: bool) -> Journal:
    """The journal at ``path``, locked by this process; made if there is none.

    Raises:
        MappingError: MC005 if another process has it, or something else lies there.
    """
    with writing(path):
        while True:
            fd = _opened(path)
            try:
                if not _lock(fd):
                    raise cannot_write(path.with_suffix(""), "another mapcc writes it now")
                if _is_there(fd, path):
                    return _read(path, fd, run, durable)
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)  # its owner finished between the opening and the locking


def _opened(path: Path) -> int:
    while True:
        try:
            return door.create(path)
        except FileExistsError:
            pass
        try:
            return os.open(path, _OPEN)
        except FileNotFoundError:
            continue


def _is_there(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.lstat())
    except FileNotFoundError:
        return False


def _lock(fd: int) -> bool:
    """Whether no other process has it. Where the file system has no locks, nobody has."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _read(path: Path, fd: int, run: str, durable: bool) -> Journal:
    data = os.pread(fd, min(os.fstat(fd).st_size, _MOST), 0)
    # Zeros: what a loss of power may leave of a line that was never on the disk.
    if any(byte not in (0, head) for byte, head in zip(data, _HEAD, strict=False)):
        why = "it is in the way, and not of mapcc's making"
        raise cannot_write(path, why, help="remove it, or choose another --out")
    first, *lines = data.split(b"\n")
    entries: dict[str, Entry] = {}
    if _content(first) == {"mapcc journal": run}:
        for line in lines:
            match _content(line):
                case [str(name), int(size), [*blocks], dict(losses)]:
                    entries[name] = Entry(name, size, tuple(map(str, blocks)), losses)
    is_torn = bool(data) and not data.endswith(b"\n")
    return Journal(path, fd, durable, entries, len(data), is_torn)


def _content(line: bytes) -> object:
    """What a line says; None if it is not whole."""
    text, _, check = line.rpartition(b" ")
    if check != b"%08x" % crc32(text):
        return None
    try:
        return loads(text.decode())
    except (JsonFault, UnicodeDecodeError):
        return None
