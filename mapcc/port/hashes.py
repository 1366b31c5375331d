"""What a file or a piece of code is now, as a hash; each file is read once as long as it stays as it is."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from io import FileIO
from pathlib import Path

from xxhash import xxh3_128

from mapcc.plan.parts import PART
from mapcc.port.files import write_text
from mapcc.runtime.blocks import block_count

GONE = "gone"
_CACHE = ".hashes.json"
_WINDOW = 1 << 20


class Hashes:
    """Hashes of contents, kept in the evidence's folder with size and time of each file.

    A terabyte of weights is read once, and not for each question; whoever changes a file changes its time.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / _CACHE
        self._known = _read(self._path)
        self._new = False
        self.progress: Callable[[int], None] | None = None  # told the bytes read so far
        self._read = 0

    def of_file(self, path: Path) -> str:
        """Of the content; ``gone`` if there is no such file."""
        try:
            status = path.stat()
        except OSError:
            return GONE
        stamp = _stamp(status)
        key = str(path.absolute())
        known = self._known.get(key)
        if known is None or known[0] != stamp:
            known = (stamp, self._content(path))
            self._known[key] = known
            self._new = True
        return known[1]

    def of_paths(self, paths: Iterable[Path]) -> str:
        """Of several files, in this order, or of all in a folder by their names."""
        digest = xxh3_128()
        for path in paths:
            for file in sorted(path.rglob("*")) if path.is_dir() else (path,):
                if not file.is_dir():
                    digest.update(f"{file.name}\0{self.of_file(file)}\0".encode())
        return digest.hexdigest()

    def learn(self, path: Path, blocks: Sequence[str]) -> None:
        """A file that was just written, and the hashes of its blocks: it need not be read once more."""
        if blocks:
            self._known[str(path.absolute())] = (_stamp(path.stat()), _of_blocks(blocks))
            self._new = True

    def _content(self, path: Path) -> str:
        blocks = []
        window = memoryview(bytearray(_WINDOW))  # one, of which the processor keeps the pages
        try:
            with path.open("rb", buffering=0) as file:
                for number in range(block_count(path.stat().st_size)):
                    blocks.append(self._block(file, number, window))
        except OSError:
            return GONE
        return _of_blocks(blocks)

    def _block(self, file: FileIO, number: int, window: memoryview) -> str:
        digest, at = xxh3_128(), 0
        file.seek(number * PART)
        while at < PART and (count := file.readinto(window[: min(len(window), PART - at)])):
            digest.update(window[:count])
            at += count
        self._read += at
        if self.progress is not None:
            self.progress(self._read)
        return digest.hexdigest()

    def save(self) -> None:
        if self._new:
            there = {path: list(known) for path, known in sorted(self._known.items()) if Path(path).exists()}
            write_text(self._path, json.dumps(there, indent=1) + "\n")
            # Evidence is for the repository; what this machine has hashed is not.
            write_text(self._path.with_name(".gitignore"), f"{_CACHE}\n.gitignore\n")
            self._new = False


def _stamp(status: os.stat_result) -> str:
    return f"{status.st_size}:{status.st_mtime_ns}:{status.st_ino}"


def _of_blocks(blocks: Iterable[str]) -> str:
    """As the record of a conversion has them: of :data:`PART` bytes each."""
    return xxh3_128("".join(blocks).encode()).hexdigest()


def of_text(text: str) -> str:
    return xxh3_128(text.encode()).hexdigest()


def _read(path: Path) -> dict[str, tuple[str, str]]:
    try:
        return {
            key: (str(stamp), str(digest)) for key, (stamp, digest) in json.loads(path.read_bytes()).items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # a cache: what is not understood is computed anew


# --- code: named so that another machine finds the same file


def code_name(path: Path, workspace: Path) -> str:
    """``models.py`` in the workspace; ``diffusers/models/attention.py`` in an installed package."""
    for root in (workspace, *map(Path, filter(None, sys.path))):
        if path.is_relative_to(root.resolve()):
            return path.relative_to(root.resolve()).as_posix()
    return str(path)


def code_file(name: str, workspace: Path) -> Path:
    """The file that :func:`code_name` has named, or where it would be."""
    roots = (workspace, *map(Path, filter(None, sys.path)))
    return next((root / name for root in roots if (root / name).is_file()), workspace / name)
