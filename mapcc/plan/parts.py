"""An output file in parts: what one thread does at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from mapcc.ir.bound import Move
from mapcc.plan.boxes import boxes
from mapcc.plan.model import OutputFile, Segment, Transfer, Turned
from mapcc.plan.segments import unit

# Bytes of a part of an output file. A file is hashed in blocks of this size.
PART = 16 << 20


class Stretch(NamedTuple):
    """Bytes that are made in their order; ``first`` numbers the first segment among them."""

    begin: int
    end: int
    first: int


class Boxes(NamedTuple):
    """Boxes of one transfer of a turned tensor."""

    segment: Turned
    transfer: Transfer
    moves: tuple[Move, ...]


Part = Stretch | Boxes


def parts(file: OutputFile, room: int) -> Iterator[Part]:
    """The parts of a file, one at a time; a box has at most ``room`` bytes of the source.

    Stretches end where blocks do, so that each block without a turned tensor is one.
    """
    begin, first = 0, 0
    for number, segment in enumerate((*file.segments, None)):
        if segment is None:
            yield from _stretches(file, begin, file.size, first)
        elif isinstance(segment, Turned):
            yield from _stretches(file, begin, segment.begin, first)
            yield from _turned(segment, room)
            begin, first = segment.end, number + 1


def _stretches(file: OutputFile, begin: int, end: int, first: int) -> Iterator[Stretch]:
    while begin < end:
        stop = min(end, (begin // PART + 1) * PART)
        while first < len(file.segments) and file.segments[first].end <= begin:
            first += 1
        yield Stretch(begin, stop, first)
        begin = stop


def _turned(segment: Turned, room: int) -> Iterator[Boxes]:
    for transfer in segment.transfers:
        width = unit(transfer.source.bits)
        batch: list[Move] = []
        size = 0
        for box in boxes(transfer.move, width, room):
            batch.append(box)
            size += box.numel * width
            if size >= PART:
                yield Boxes(segment, transfer, tuple(batch))
                batch, size = [], 0
        if batch:
            yield Boxes(segment, transfer, tuple(batch))


def is_whole(stretch: Stretch, size: int) -> bool:
    """Whether a stretch is a whole block of a file of ``size`` bytes."""
    return stretch.begin % PART == 0 and (stretch.end % PART == 0 or stretch.end == size)


def covered(segments: tuple[Segment, ...], first: int, begin: int, end: int) -> Iterator[Segment]:
    """The segments that touch ``[begin, end)``, from number ``first`` on."""
    for number in range(first, len(segments)):
        segment = segments[number]
        if segment.begin >= end:
            return
        if segment.end > begin:
            yield segment
