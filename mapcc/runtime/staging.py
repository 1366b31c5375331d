"""An output folder is absent or complete: it grows beside its place, and gets its name by one rename.

    OUT.mapcc-journal    what is finished, and whose work it is; the lock
    OUT.mapcc-partial/   the files

An attempt that was killed, or found the disk full, leaves both; the same command goes on from there.
The journal goes last, after the rename: a crash between the two costs nothing.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from mapcc.runtime.fs import FOLDER, NewFile, cannot_write, door, sync_folder, writing
from mapcc.runtime.journal import SUFFIX as JOURNAL
from mapcc.runtime.journal import Entry, Journal, open_journal
from mapcc.runtime.losses import Counts

PARTIAL = ".mapcc-partial"


_AGAIN = "convert again when nothing else changes that folder"


class _File(NamedTuple):
    """What tells one file from another."""

    device: int
    inode: int
    size: int


def _file(status: os.stat_result) -> _File:
    return _File(status.st_dev, status.st_ino, status.st_size)


class Staging:
    """The folder in which an output grows. Made by :func:`staging`."""

    __slots__ = ("_fd", "_is_done", "_journal", "_made", "_parents", "durable", "folder", "out")

    def __init__(self, out: Path, journal: Journal, parents: Sequence[Path], durable: bool) -> None:
        self.out, self.folder, self.durable = out, out.with_name(out.name + PARTIAL), durable
        self._journal, self._parents = journal, parents
        self._is_done = False
        self._fd: int | None = None
        self._made: dict[str, _File] = {}

    def hold(self) -> None:
        """The folder is there: from now on it is this one, whatever gets its name."""
        with writing(self.folder):
            self._fd = os.open(self.folder, FOLDER | os.O_NOFOLLOW)

    @property
    def finished(self) -> dict[str, Entry]:
        """The shards that an earlier attempt has finished, or this one."""
        return self._journal.entries

    def file(self, name: str, size: int = 0) -> NewFile:
        """A new file; to be closed."""
        return NewFile(self.folder / name, size)

    def finish(self, file: NewFile, blocks: Sequence[str], losses: Counts) -> Entry:
        """A shard is written, and its bytes are on the disk: with its name they survive from now on."""
        with writing(file.path):
            if self.durable:
                sync_folder(self.folder)
        made = self.seal(file.path.name, file.fd)
        entry = Entry(file.path.name, made.size, tuple(blocks), losses)
        self._journal.add(entry)
        return entry

    def seal(self, name: str, fd: int) -> _File:
        """What is finished is this file: the commit looks whether it still is."""
        with writing(self.folder / name):
            made = self._made[name] = _file(os.fstat(fd))
        return made

    def remove(self, name: str) -> None:
        path = self.folder / name
        with writing(path):
            door.unlink(path)

    def keep(self, names: set[str]) -> None:
        """Remove everything else: no file of another attempt can mix in. What is gone is not finished."""
        with writing(self.folder):
            kept = {e.name for e in self.folder.iterdir() if e.is_file() and not e.is_symlink()} & names
            _clear(self.folder, kept)
        for name in self.finished.keys() - kept:
            del self.finished[name]

    def require(self, size: int) -> None:
        """MC005 if the disk has fewer than ``size`` bytes left."""
        with writing(self.folder):
            free = shutil.disk_usage(self.folder).free
        if free < size:
            short = f"{size:,} bytes are needed, {free:,} are free: {size - free:,} too few"
            raise cannot_write(self.out, "the disk is too full", short)

    def commit(self) -> None:
        """Give the folder its name. Nothing else makes an output appear.

        MC005 if somebody has taken away, or exchanged, what it is made of.
        """
        self._check()
        with writing(self.out):
            if self.durable:
                sync_folder(self.folder)
            door.rename(self.folder, self.out)
            self._is_done = True
            if self.durable:
                sync_folder(self.out.parent)
            self._journal.unlink()
        if not self._is_held(self.out):
            raise cannot_write(self.out, "another folder was put in the place of its own", help=_AGAIN)

    def _check(self) -> None:
        """That each file which the output names is there, and is the one that was written."""
        if not self._is_held(self.folder):
            why = f"`{self.folder.name}` was taken away, or exchanged, while it was written"
            raise cannot_write(self.out, why, help=_AGAIN)
        for name, made in self._made.items():
            try:
                found = _file(os.stat(name, dir_fd=self._fd, follow_symlinks=False))
            except OSError:
                found = None
            if found != made:
                self.finished.pop(name, None)
                what = "taken away" if found is None else "exchanged, or has another size"
                raise cannot_write(
                    self.out, f"its file `{name}` was {what}, after it was written", help=_AGAIN
                )

    def _is_held(self, path: Path) -> bool:
        try:
            return self._fd is not None and os.path.samestat(os.fstat(self._fd), path.lstat())
        except OSError:
            return False

    def leave(self) -> None:
        """Without a commit: keep what another attempt can use, and nothing else."""
        if self._is_done:
            return  # the name may be another run's by now
        with suppress(OSError):
            if self.folder.is_symlink():
                return
            # The disk may have been too full even for that; or what is there is somebody else's by now.
            is_made = self.folder.is_dir() and (self._fd is None or self._is_held(self.folder))
            if is_made:
                _clear(self.folder, set(self.finished))
            if self.finished:
                return
            if is_made:
                door.rmdir(self.folder)
                if self.durable:
                    sync_folder(self.out.parent)  # should it stay after all, then with its journal
            if self._journal.is_there():
                door.unlink(self._journal.path)
            for parent in reversed(self._parents):
                door.rmdir(parent)

    def forget(self) -> None:
        """What is finished is not to be trusted either."""
        self._journal.entries.clear()

    def unlock(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._journal.close()


@contextmanager
def staging(out: Path, run: str, *, durable: bool = True) -> Iterator[Staging]:
    """The place where the output ``out`` grows, with what an earlier attempt at ``run`` has left.

    ``out`` has been checked (see :func:`checked_place`). MC005 if another run writes it now, if
    something else is in the way, or if the file system refuses.
    """
    parents = [at for at in reversed(out.parents) if not at.exists()]
    with writing(out.parent):
        for parent in parents:
            with suppress(FileExistsError):
                door.mkdir(parent)
    folder, path = out.with_name(out.name + PARTIAL), out.with_name(out.name + JOURNAL)
    _check_foreign(folder, path)
    journal = open_journal(path, run, durable=durable)
    claimed = Staging(out, journal, parents, durable)
    try:
        if not journal.entries:
            journal.begin(run)
        with writing(folder), suppress(FileExistsError):
            door.mkdir(folder)
        if folder.is_symlink() or not folder.is_dir():
            why = "it is in the way, and not of mapcc's making"
            raise cannot_write(folder, why, help="remove it, or choose another --out")
        claimed.hold()
        if durable:
            with writing(folder):
                sync_folder(folder.parent)  # both names, before anything is in the folder
        yield claimed
    finally:
        claimed.leave()
        claimed.unlock()


def checked_place(out: Path, sources: Sequence[str]) -> Path:
    """``out`` without links. MC005 if no output can be there, or a source is, or would be in it."""
    try:
        place = out.resolve()
        inputs = [Path(source).resolve() for source in sources]
    except (OSError, RuntimeError, ValueError) as error:  # circles of links; a NUL in the path
        raise cannot_write(out, str(error)) from None
    names = [place, place.with_name(place.name + PARTIAL), place.with_name(place.name + JOURNAL)]
    for source in inputs:
        for path in names:
            if source == path or path in source.parents:
                raise cannot_write(out, f"the source `{source}` is there", help="choose another --out")
    if not place.name:
        raise cannot_write(out, "it is the root of the file system")
    above = next(at for at in place.parents if os.path.lexists(at))
    if not above.is_dir():
        raise cannot_write(out, f"`{above.name}` is not a folder", help="choose another --out")
    return place


def is_free(place: Path) -> bool:
    """Whether nothing is there, or an empty folder."""
    with writing(place):
        return not os.path.lexists(place) or (place.is_dir() and not any(place.iterdir()))


def _check_foreign(folder: Path, journal: Path) -> None:
    """A staging folder without a journal is not ours."""
    with writing(folder):
        if not os.path.lexists(folder):
            return
        if folder.is_dir() and not folder.is_symlink() and not any(folder.iterdir()):
            return
        # In this order: another run may be making the two, or finish, meanwhile.
        if os.path.lexists(journal) or not os.path.lexists(folder):
            return
    why = "it is in the way, and not of mapcc's making"
    raise cannot_write(folder, why, help="remove it, or choose another --out")


def _clear(folder: Path, kept: set[str]) -> None:
    for entry in list(folder.iterdir()):
        if entry.name not in kept:
            _remove(entry)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        for entry in list(path.iterdir()):
            _remove(entry)
        door.rmdir(path)
    else:
        door.unlink(path)
