"""One file of the output while it is written, by one thread or by several."""

from __future__ import annotations

import os
from collections.abc import Iterator
from threading import Lock
from typing import TYPE_CHECKING

from mapcc.errors import MappingError
from mapcc.plan.model import OutputFile
from mapcc.plan.parts import Part, parts
from mapcc.runtime.blocks import block_count, block_range, read_block
from mapcc.runtime.fs import NewFile, cannot_write
from mapcc.runtime.losses import Tally
from mapcc.runtime.sources import InputFile
from mapcc.runtime.staging import Staging

if TYPE_CHECKING:
    from mapcc.runtime.worker import Worker


class Shard:
    """Started once, made part by part, and finished once."""

    def __init__(self, output: OutputFile, stage: Staging, *, verify: bool, allocate: bool) -> None:
        self.output, self.stage = output, stage
        self.verify, self._allocate = verify, allocate
        self.blocks: list[str | None] = [None] * block_count(output.size)
        self._room = 0
        self._tally = Tally()
        self._lock = Lock()
        self._file: NewFile | None = None

    @property
    def file(self) -> NewFile:
        assert self._file is not None
        return self._file

    def start(self, worker: Worker) -> bool:
        """Whether there is something to make: not if an earlier attempt has, and it is still so."""
        name, size = self.output.name, self.output.size
        if name in self.stage.finished:
            if self._is_unharmed(worker):
                if not worker.hashes:  # as an attempt has it that was not interrupted
                    self.stage.finished[name] = self.stage.finished[name]._replace(blocks=())
                worker.done += size
                return False
            del self.stage.finished[name]
            self.stage.remove(name)
        self._room = worker.sizes.span
        self._file = self.stage.file(name, size if self._allocate else 0)
        return True

    def _is_unharmed(self, worker: Worker) -> bool:
        entry = self.stage.finished[self.output.name]
        try:
            file = InputFile(self.stage.folder / entry.name)
        except MappingError:
            return False  # what cannot be read is made again
        try:
            if not file.stamp.size == entry.size == self.output.size:
                return False
            if len(entry.blocks) != len(self.blocks):
                return False  # an attempt without hashes
            is_right = all(
                block == read_block(file.read_into, number, entry.size, worker.window)
                for number, block in enumerate(entry.blocks)
            )
            self.stage.seal(entry.name, file.fd)
            return is_right
        except MappingError:
            return False
        finally:
            file.close()

    def count(self, tally: Tally) -> None:
        """What the making of a part has lost: from any thread."""
        with self._lock:
            self._tally.merge(tally)

    def parts(self) -> Iterator[Part]:
        return parts(self.output, self._room)

    def finish(self, worker: Worker) -> None:
        """All parts are made: the file is flushed, read back, and entered in the journal."""
        if self.stage.durable:
            self.file.sync()
        size = self.output.size
        if os.fstat(self.file.fd).st_size != size:
            raise cannot_write(self.file.path, f"it has not {size:,} bytes, as was planned")
        for number, block in enumerate(self.blocks if worker.hashes else ()):
            if block is None or self.verify:
                found = read_block(self.file.read_into, number, size, worker.window)
                if block not in (None, found):
                    begin, end = block_range(number, size)
                    why = f"bytes {begin:,} to {end:,} are read back otherwise than they were written"
                    raise cannot_write(self.file.path, why, help="check the disk and the memory")
                self.blocks[number] = found
        blocks = [block for block in self.blocks if block is not None]
        self.stage.finish(self.file, blocks, self._tally.counts())
        self.close()

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
