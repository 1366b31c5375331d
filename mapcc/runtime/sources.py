"""The files that are read: opened once, read by position, and checked to have stayed as they were."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan.model import SourceFile
from mapcc.tensors.disk import Stamp, reading, unreadable


class Readable(Protocol):
    """What is read by position."""

    def read_into(self, view: memoryview, offset: int) -> None: ...

    def close(self) -> None: ...


class Writable(Protocol):
    """What is written by position."""

    def write(self, data: memoryview | bytes, offset: int) -> None: ...


class InputFile:
    """An open file."""

    __slots__ = ("fd", "path", "stamp")

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path) as (fd, stamp):
            self.fd, self.stamp = os.dup(fd), stamp

    def read_into(self, view: memoryview, offset: int) -> None:
        """Fill ``view`` from byte ``offset``. MC001 if it cannot be read, MC002 if it ends before."""
        try:
            while view:
                count = os.preadv(self.fd, [view], offset)
                if not count:
                    raise _changed(self.path, f"it ends at byte {offset:,}")
                view, offset = view[count:], offset + count
        except OSError as error:
            raise MappingError([unreadable(self.path, error)]) from None

    def check_unchanged(self, since: Stamp) -> None:
        status = os.fstat(self.fd)
        if Stamp(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) != since:
            raise _changed(self.path, "its size or its time of change is another")

    def close(self) -> None:
        os.close(self.fd)


@contextmanager
def opened(files: Sequence[SourceFile]) -> Iterator[list[InputFile]]:
    """All files of a source. MC001 if one cannot be read, MC002 if it is not what was planned with."""
    inputs: list[InputFile] = []
    try:
        for file in files:
            inputs.append(InputFile(Path(file.path)))
            if file.stamp is not None and inputs[-1].stamp != file.stamp:
                raise _changed(inputs[-1].path, "it is not the file whose header was read")
        yield inputs
    finally:
        for one in inputs:
            one.close()


def _changed(path: Path, why: str) -> MappingError:
    message = f"`{path}` changed during the conversion: {why}"
    help = "convert again when nothing writes it"
    return MappingError([Diagnostic("MC002", message, help=help)])
