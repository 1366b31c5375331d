"""A finished output held against the hashes of its record."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan.parts import PART
from mapcc.runtime.blocks import block_count, block_range, read_block
from mapcc.runtime.journal import Entry
from mapcc.runtime.record import RECORD, Record
from mapcc.runtime.sources import InputFile
from mapcc.tensors.disk import listing, read_all
from mapcc.tensors.safetensors import read_header

Progress = Callable[[int, int], None]
_WINDOW = 1 << 20
_THREADS = 4


def audit(folder: Path, record: Record, progress: Progress | None = None) -> list[Diagnostic]:
    """What of an output is no more as it was written, or cannot be told to be: MC504 for each file.

    Raises:
        MappingError: MC001 if a file cannot be read, MC003 for a record of hashes that this version
            cannot compute.
    """
    if record.block != PART:
        message = f"the hashes in `{folder / RECORD}` are of blocks of {record.block:,} bytes"
        raise MappingError([Diagnostic("MC003", message, help="verify with the mapcc that converted")])
    found = list(_strangers(folder, record))
    total, done = sum(entry.size for entry in record.files), 0
    with ThreadPoolExecutor(_THREADS) as pool:
        for entry, diagnostic in zip(
            record.files, pool.map(lambda entry: _file(folder, entry), record.files), strict=True
        ):
            done += entry.size
            found += [diagnostic] if diagnostic else []
            if progress is not None:
                progress(done, total)
    return found


def _strangers(folder: Path, record: Record) -> Iterator[Diagnostic]:
    known = {entry.name for entry in record.files}
    for name in listing(folder) or ():
        if name.endswith(".safetensors") and name not in known:
            message = f"`{folder / name}` is not of this conversion: the manifest does not name it"
            yield Diagnostic("MC504", message, help="move it elsewhere: loaders would read it")
    if record.index is not None:
        name, digest = record.index
        content = read_all(folder / name, 1 << 28) if (folder / name).exists() else None
        if content is None or sha256(content).hexdigest() != digest:
            message = f"`{folder / name}` is not there, or not as it was written"
            yield Diagnostic("MC504", message, help="convert it again")


def _file(folder: Path, entry: Entry) -> Diagnostic | None:
    path = folder / entry.name
    if not path.exists():
        return Diagnostic("MC504", f"`{path}` is not there", help="convert it again")
    file = InputFile(path)
    try:
        if file.stamp.size != entry.size:
            sizes = f"it has {file.stamp.size:,} bytes, and was written with {entry.size:,}"
            return Diagnostic("MC504", f"`{path}` is damaged", notes=(sizes,), help="convert it again")
        if len(entry.blocks) != block_count(entry.size):
            message = f"`{path}` cannot be verified: the conversion kept no hashes of it"
            return Diagnostic("MC504", message, help="convert it again, without --no-hash")
        window = memoryview(mmap.mmap(-1, _WINDOW))
        wrong = [
            number
            for number in range(block_count(entry.size))
            if read_block(file.read_into, number, entry.size, window) != entry.blocks[number]
        ]
    finally:
        file.close()
    return _damaged(path, entry, wrong) if wrong else None


def _damaged(path: Path, entry: Entry, wrong: list[int]) -> Diagnostic:
    """With the tensors that lie where the hashes differ."""
    ranges = [block_range(number, entry.size) for number in wrong]
    notes = [f"bytes {begin:,} to {end:,} are not what was written" for begin, end in ranges[:8]]
    if len(ranges) > 8:
        notes.append(f"and {len(ranges) - 8} more ranges")
    try:
        tensors = read_header(path).tensors
    except MappingError:
        tensors = []
        notes.append("the header cannot be read any more")
    names = [t.name for t in tensors if any(t.begin < end and t.end > begin for begin, end in ranges)]
    message = f"`{path}` is damaged, or was changed after the conversion"
    return Diagnostic("MC504", message, notes=tuple(notes), help="convert it again", names=tuple(fold(names)))
