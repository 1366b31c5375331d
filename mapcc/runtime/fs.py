"""The one door to the file system for writes.

An output folder is absent or complete. It grows under another name beside its place and gets its own
by one rename; until then a marker in it says whose it is, and a lock on the marker that it is in use.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError

PARTIAL = ".mapcc-partial"
MARKER = ".mapcc-partial"
_MARKED = b"mapcc writes here; without a running mapcc this folder may be deleted\n"

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC


def cannot_write(path: Path, why: str, *notes: str, help: str = "") -> MappingError:
    """MC005 for ``path``."""
    return MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}", notes=notes, help=help)])


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise cannot_write(path, (error.strerror or str(error)).lower()) from None


class NewFile:
    """A file that was not there before; written at any offset, in any order."""

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        with _writing(path):
            self._fd = os.open(path, _NEW, 0o666)

    def write(self, data: memoryview | bytes, offset: int) -> None:
        """All of ``data``, at byte ``offset``."""
        view = memoryview(data)
        with _writing(self.path):
            while view:
                written = os.pwrite(self._fd, view, offset)
                view, offset = view[written:], offset + written

    def sync(self) -> None:
        """Return when the disk has it all."""
        with _writing(self.path):
            os.fsync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


class Staging:
    """The folder in which an output grows. Made by :func:`staging`."""

    __slots__ = ("_is_done", "_lock", "_parents", "folder", "out")

    def __init__(self, out: Path, folder: Path, lock: int, parents: Sequence[Path]) -> None:
        self.out, self.folder = out, folder
        self._lock, self._parents = lock, parents
        self._is_done = False

    @contextmanager
    def file(self, name: str, *, durable: bool = True) -> Iterator[NewFile]:
        """A new file in it. Unless it is ``durable`` it need not survive a loss of power."""
        file = NewFile(self.folder / name)
        try:
            yield file
            if durable:
                file.sync()
        finally:
            file.close()

    def remove(self, name: str) -> None:
        path = self.folder / name
        with _writing(path):
            path.unlink()

    def require(self, size: int) -> None:
        """MC005 if the disk has fewer than ``size`` bytes left."""
        with _writing(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < size:
            short = f"{size:,} bytes are needed, {free:,} are free: {size - free:,} too few"
            raise cannot_write(self.out, "the disk is too full", short)

    def commit(self) -> None:
        """Give the folder its name. Nothing else makes an output appear."""
        with _writing(self.out):
            (self.folder / MARKER).unlink()
            _sync_folder(self.folder)
            self.folder.rename(self.out)
            self._is_done = True
            _sync_folder(self.out.parent)

    def discard(self) -> None:
        """Leave nothing behind; the marker goes last, so that an interrupted removal can be resumed."""
        if self._is_done:
            return  # the name may be another run's by now
        with suppress(OSError):
            _empty(self.folder)
            (self.folder / MARKER).unlink(missing_ok=True)
            self.folder.rmdir()
            for parent in reversed(self._parents):
                parent.rmdir()

    def unlock(self) -> None:
        os.close(self._lock)


@contextmanager
def staging(out: Path, sources: Sequence[str]) -> Iterator[Staging]:
    """The place where the output ``out`` grows; removed if it is left without :meth:`Staging.commit`.

    MC005 if ``out`` is there and not empty, if one of the files ``sources`` lies in it, if another
    run writes it now, or if the file system refuses.
    """
    place = _checked(out, sources)
    parents = [at for at in reversed(place.parents) if not at.exists()]
    with _writing(place.parent):
        place.parent.mkdir(parents=True, exist_ok=True)
    folder = place.with_name(place.name + PARTIAL)
    claimed = Staging(place, folder, _claim(folder), parents)
    try:
        yield claimed
    finally:
        claimed.discard()
        claimed.unlock()


def _checked(out: Path, sources: Sequence[str]) -> Path:
    try:
        place = out.resolve()
        inputs = [Path(source).resolve() for source in sources]
        is_free = not place.exists() or (place.is_dir() and not any(place.iterdir()))
    except (OSError, RuntimeError, ValueError) as error:  # circles of links; a NUL in the path
        raise cannot_write(out, str(error)) from None
    partial = place.with_name(place.name + PARTIAL)
    for source in inputs:
        for folder in (place, partial):
            if source == folder or folder in source.parents:
                raise cannot_write(out, f"the source `{source}` is there", help="choose another --out")
    if not is_free:
        what = "it is there already, and not empty" if place.is_dir() else "it is a file"
        raise cannot_write(out, what, help="choose another --out, or remove it first")
    if not place.name:
        raise cannot_write(out, "it is the root of the file system")
    above = next(at for at in place.parents if os.path.lexists(at))
    if not above.is_dir():
        raise cannot_write(out, f"`{above.name}` is not a folder", help="choose another --out")
    return place


def _claim(folder: Path) -> int:
    """Make the folder, or take over what a run that died has left; the lock on its marker."""
    with _writing(folder):
        try:
            folder.mkdir()
        except FileExistsError:
            return _claim_stale(folder)
        fd = os.open(folder / MARKER, _NEW, 0o666)
        _lock(fd)
        os.write(fd, _MARKED)
        return fd


def _claim_stale(folder: Path) -> int:
    try:
        fd = os.open(folder / MARKER, _OLD)
    except OSError:
        why = "it is in the way, and not of mapcc's making"
        raise cannot_write(folder, why, help="remove it, or choose another --out") from None
    try:
        _take_lock(folder, fd)
        _empty(folder)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _take_lock(folder: Path, fd: int) -> None:
    if not _lock(fd):
        raise cannot_write(folder, "another mapcc writes it now")
    # Its owner may have finished between the opening and the locking.
    if folder.is_symlink() or not os.path.samestat(os.fstat(fd), (folder / MARKER).stat()):
        raise cannot_write(folder, "another mapcc wrote it just now")


def _lock(fd: int) -> bool:
    """Whether no other process has it. Where the file system has no locks, nobody has."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _empty(folder: Path) -> None:
    for entry in folder.iterdir():
        if entry.name == MARKER:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
