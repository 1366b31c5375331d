"""The one door to the file system for writes.

Nothing else in mapcc changes a file while it converts: each change is one method of :class:`Door`,
so that a test can count them, fail any of them, and tell what a loss of power would leave.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError

NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC

# linux/fs.h: _IOW(0x94, 13, struct file_clone_range)
_FICLONERANGE = 0x4020940D
# What a file system says that cannot do it. The write that follows tells of a full disk.
_NO_SUCH_CALL = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EXDEV, errno.ENOTTY, errno.EPERM}


class Door:
    """The system calls that change something, each as it is: ``OSError`` passes."""

    def mkdir(self, path: Path) -> None:
        path.mkdir()

    def create(self, path: Path) -> int:
        """A descriptor of a file that was not there before."""
        return os.open(path, NEW, 0o666)

    def pwrite(self, fd: int, data: memoryview, offset: int) -> int:
        return os.pwrite(fd, data, offset)

    def allocate(self, fd: int, size: int) -> bool:
        """Whether the file system has set ``size`` bytes aside. It may not know how to."""
        # Not os.posix_fallocate: where the file system cannot do it, glibc writes to every block.
        call = _fallocate()
        if call is None or not size or call(fd, 0, 0, size) == 0:
            return call is not None
        error = ctypes.get_errno()
        if error in _NO_SUCH_CALL:
            return False
        raise OSError(error, os.strerror(error))

    def clone(self, source: int, offset: int, count: int, fd: int, at: int) -> bool:
        """Whether the two files share the blocks of this range from now on."""
        try:
            fcntl.ioctl(fd, _FICLONERANGE, struct.pack("qQQQ", source, offset, count, at))
        except OSError as error:
            if error.errno in _NO_SUCH_CALL:
                return False
            raise
        return True

    def copy_range(self, source: int, offset: int, count: int, fd: int, at: int) -> int:
        return os.copy_file_range(source, fd, count, offset, at)

    def truncate(self, fd: int) -> None:
        os.ftruncate(fd, 0)

    def fsync(self, fd: int) -> None:
        os.fsync(fd)

    def close(self, fd: int) -> None:
        os.close(fd)

    def rename(self, path: Path, to: Path) -> None:
        path.rename(to)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def rmdir(self, path: Path) -> None:
        path.rmdir()


door = Door()


@cache
def _fallocate() -> Any:
    """fallocate(2) itself; None where the C library has none."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if call is not None:
        call.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    return call


def cannot_write(path: Path, why: str, *notes: str, help: str = "") -> MappingError:
    """MC005 for ``path``."""
    return MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}", notes=notes, help=help)])


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """MC005 for any ``OSError`` inside."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, (error.strerror or str(error)).lower()) from None


class NewFile:
    """A file that was not there before; written at any offset, in any order, by any thread."""

    __slots__ = ("fd", "path")

    def __init__(self, path: Path, size: int = 0) -> None:
        """``size``: what is to be set aside for it, if the file system can."""
        self.path = path
        with writing(path):
            self.fd = door.create(path)
            try:
                door.allocate(self.fd, size)
            except BaseException:
                os.close(self.fd)
                raise

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """All of ``data``, at byte ``offset``."""
        view = memoryview(data)
        try:
            while view:
                written = door.pwrite(self.fd, view, offset)
                view, offset = view[written:], offset + written
        except OSError as error:
            raise cannot_write(self.path, (error.strerror or str(error)).lower()) from None

    def clone_from(self, source: int, offset: int, begin: int, end: int) -> bool:
        """Whether bytes ``begin`` to ``end`` are now those of ``source`` from ``offset``, by sharing them."""
        with writing(self.path):
            return door.clone(source, offset, end - begin, self.fd, begin)

    def copy_from(self, source: int, offset: int, begin: int, end: int) -> bool:
        """The same by a copy that the kernel makes; False where it cannot."""
        try:
            while begin < end:
                count = door.copy_range(source, offset, end - begin, self.fd, begin)
                if not count:
                    return False  # the source ends: reading it will tell
                offset, begin = offset + count, begin + count
        except OSError as error:
            if error.errno in _NO_SUCH_CALL:
                return False
            raise cannot_write(self.path, (error.strerror or str(error)).lower()) from None
        return True

    def read_into(self, view: memoryview, offset: int) -> None:
        """What was written, to be hashed."""
        with writing(self.path):
            while view:
                count = os.preadv(self.fd, [view], offset)
                if not count:
                    raise cannot_write(self.path, f"it ends at byte {offset:,}")
                view, offset = view[count:], offset + count

    def sync(self) -> None:
        """Return when the disk has it all."""
        with writing(self.path):
            door.fsync(self.fd)

    def close(self) -> None:
        with writing(self.path):
            door.close(self.fd)


def sync_folder(folder: Path) -> None:
    """Return when the disk has the names in it. ``OSError`` passes."""
    fd = os.open(folder, FOLDER)
    try:
        door.fsync(fd)
    finally:
        os.close(fd)
