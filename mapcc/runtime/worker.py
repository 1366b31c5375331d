"""What one thread does: parts of the output, through buffers of its own."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from xxhash import xxh3_128

from mapcc.plan.memory import Buffers
from mapcc.plan.model import Gathered, OutputFile, Run, Turned
from mapcc.plan.parts import PART, Boxes, Part, Stretch, covered, is_whole
from mapcc.plan.segments import PAGE
from mapcc.runtime.fs import NewFile
from mapcc.runtime.inputs import Inputs
from mapcc.runtime.losses import Tally
from mapcc.runtime.sources import Readable, Writable

if TYPE_CHECKING:
    from mapcc.runtime.maker import Maker


class Sheet(Protocol):
    """A file that is written, on the disk or in memory."""

    @property
    def output(self) -> OutputFile: ...

    @property
    def file(self) -> Writable: ...

    @property
    def blocks(self) -> list[str | None]: ...

    def count(self, tally: Tally) -> None: ...


@dataclass(slots=True)
class Elsewhere:
    """A sheet that is no shard: what is made goes to memory, or to a comparison."""

    output: OutputFile
    file: Writable
    blocks: list[str | None] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    def count(self, tally: Tally) -> None:
        self.tally.merge(tally)


class Copy(Enum):
    """How bytes that do not change go from file to file."""

    WINDOW = "window"  # through memory, by windows that stay in the cache
    KERNEL = "kernel"  # copy_file_range(2)
    REFLINK = "reflink"  # the file system lets both files have the same blocks


# Shorter ranges are not worth a call that copies or shares them.
_SHARED = 1 << 16


class Worker:
    """``done`` counts bytes of the output."""

    def __init__(self, inputs: Inputs, sizes: Buffers, copy: Copy, *, hashes: bool) -> None:
        self.inputs, self.sizes, self.copy, self.hashes = inputs, sizes, copy, hashes
        # Private: Python's anonymous mapping is memory that is shared, which has no large pages.
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.window = memoryview(mmap.mmap(-1, sizes.window, flags=flags))
        self.done = 0
        self.stopped = False
        self._maker: Maker | None = None

    @property
    def maker(self) -> Maker:
        if self._maker is None:
            from mapcc.runtime.maker import Maker  # numpy, which byte ranges do without

            self._maker = Maker(self.inputs, self.sizes)
        return self._maker

    def make(self, shard: Sheet, part: Part) -> None:
        match part:
            case Stretch():
                self._stretch(shard, part)
            case Boxes(segment, transfer, moves):
                for box in moves:
                    if self.stopped:
                        return
                    for view, at in self.maker.box(segment, transfer, box):
                        shard.file.write(view, at)
                        self.done += len(view)
        if self._maker is not None:
            shard.count(self._maker.take_tally())

    def _stretch(self, shard: Sheet, part: Stretch) -> None:
        """Windows that are aligned in the output, whatever lies in them."""
        digest = xxh3_128() if self.hashes and is_whole(part, shard.output.size) else None
        shared = self._share(shard, part)
        size = self.sizes.window
        at = part.begin
        while at < part.end and not self.stopped:
            stop = min((at // size + 1) * size, part.end)
            own = list(_outside(at, stop, shared))
            view = self.window[: stop - at]
            for begin, end in own if digest is None else [(at, stop)]:
                self._fill(shard, part.first, begin, end, view[begin - at : end - at])
            if digest is not None:
                digest.update(view)
            for begin, end in own:
                shard.file.write(view[begin - at : end - at], begin)
            self.done += stop - at
            at = stop
        if digest is not None and at >= part.end:
            shard.blocks[part.begin // PART] = digest.hexdigest()

    def _fill(self, shard: Sheet, first: int, low: int, high: int, view: memoryview) -> None:
        """Bytes ``low`` to ``high`` of the file."""
        header = shard.output.header
        if low < len(header):
            head = header[low:high]
            view[: len(head)] = head
        for segment in covered(shard.output.segments, first, low, high):
            begin, end = max(low, segment.begin), min(high, segment.end)
            piece = view[begin - low : end - low]
            match segment:
                case Run(start, _, file, offset):
                    self._input(file).read_into(piece, offset + begin - start)
                case Gathered():
                    self.maker.fill(segment, begin, end, piece)
                case Turned():
                    raise AssertionError("a stretch ends before a turned tensor")

    def _input(self, file: int) -> Readable:
        return self.inputs.files[file] if file >= 0 else self.maker.fold(~file)

    def _share(self, shard: Sheet, part: Stretch) -> list[tuple[int, int]]:
        """The ranges that the kernel has copied, or that both files share from now on."""
        found: list[tuple[int, int]] = []
        if self.copy is Copy.WINDOW:
            return found
        for segment in covered(shard.output.segments, part.first, part.begin, part.end):
            if not isinstance(segment, Run) or segment.file < 0:
                continue
            begin, end = max(part.begin, segment.begin), min(part.end, segment.end)
            if self.copy is Copy.REFLINK:
                begin, end = -(-begin // PAGE) * PAGE, end // PAGE * PAGE
            offset = segment.offset + begin - segment.begin
            if end - begin >= _SHARED and self._copied(shard, segment.file, offset, begin, end):
                found.append((begin, end))
        return found

    def _copied(self, shard: Sheet, file: int, offset: int, begin: int, end: int) -> bool:
        source = self.inputs.files[file]
        assert isinstance(shard.file, NewFile)
        if self.copy is Copy.KERNEL:
            return shard.file.copy_from(source.fd, offset, begin, end)
        return offset % PAGE == 0 and shard.file.clone_from(source.fd, offset, begin, end)


def _outside(low: int, high: int, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What of ``[low, high)`` is in none of the ranges, which are in order.

    >>> list(_outside(0, 10, [(2, 4), (8, 12)]))
    [(0, 2), (4, 8)]
    """
    for begin, end in ranges:
        if begin >= high:
            break
        if low < begin:
            yield low, begin
        low = max(low, end)
    if low < high:
        yield low, high
