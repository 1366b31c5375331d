"""Many small reads, sorted by where they lie, so that neighbours share one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import numpy as np
import numpy.typing as npt

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import read_at, reading
from mapcc.tensors.spec import Manifest
from mapcc.verify.notation import Index

Raw = npt.NDArray[np.uint8]

GAP = 4096  # a page: what lies closer is read anyway
MOST = 1 << 20
OPEN_FILES = 64


class Reader:
    """The bytes of a key set. A file that is not the one whose header was read is MC002."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self._open: dict[int, tuple[ExitStack, int]] = {}

    def close(self) -> None:
        for stack, _ in self._open.values():
            stack.close()
        self._open.clear()

    def gather(self, files: Index, begins: Index, width: int) -> Raw:
        """``width`` bytes from each place, one row each.

        Raises:
            MappingError: MC001 if a file cannot be read; MC002 if it ends before, or has changed.
        """
        order = np.lexsort((begins, files))
        at, file = begins[order], files[order]
        new = np.ones(len(order), bool)
        new[1:] = (np.diff(file) != 0) | (np.diff(at) > GAP) | (np.diff(at // MOST) != 0)
        firsts = np.flatnonzero(new)
        lasts = np.append(firsts[1:], len(order)) - 1
        sizes = at[lasts] + width - at[firsts]
        blocks = [
            self._read(f, size, begin)
            for f, size, begin in zip(file[firsts].tolist(), sizes.tolist(), at[firsts].tolist(), strict=True)
        ]
        flat = np.frombuffer(b"".join(blocks), np.uint8)
        run = np.cumsum(new) - 1
        starts = np.cumsum(sizes) - sizes
        places = starts[run] + at - at[firsts][run]
        out = np.empty((len(order), width), np.uint8)
        out[order] = flat[places[:, None] + np.arange(width)]
        return out

    def _read(self, file: int, size: int, begin: int) -> bytes:
        found = read_at(self._descriptor(file), size, begin)
        if len(found) < size:
            raise _changed(self.manifest, file, f"it ends at byte {begin + len(found):,}")
        return found

    def _descriptor(self, file: int) -> int:
        known = self._open.get(file)
        if known is not None:
            return known[1]
        if len(self._open) >= OPEN_FILES:
            self._open.pop(next(iter(self._open)))[0].close()
        stack = ExitStack()
        fd, stamp = stack.enter_context(reading(self.manifest.files[file]))
        self._open[file] = stack, fd
        _expect_random(fd)
        if self.manifest.stamps and self.manifest.stamps[file] != stamp:
            raise _changed(self.manifest, file, "it is not the file whose header was read")
        return fd


def _expect_random(fd: int) -> None:
    """Without reading ahead, which reads a hundred times of what is asked for here."""
    if hasattr(os, "posix_fadvise"):  # macOS has none
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)


@contextmanager
def opened(manifest: Manifest) -> Iterator[Reader]:
    """A reader that is closed afterwards."""
    reader = Reader(manifest)
    try:
        yield reader
    finally:
        reader.close()


def _changed(manifest: Manifest, file: int, why: str) -> MappingError:
    message = f"`{manifest.files[file]}` changed while it was compared: {why}"
    return MappingError([Diagnostic("MC002", message, help="compare again when nothing writes it")])
