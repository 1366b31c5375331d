"""The bytes of an output file by how they are made: byte ranges, windows, boxes.

A *run* is a range of bytes of one source file, and neighbours that continue each other are one: a
rename of a whole shard is a few runs. What is not a run is made in memory. *Gathered* bytes are made
window by window, in the order of the output. *Turned* ones (a transpose) are made box by box: a
box is long on both sides, so that no byte of the source is read twice, and none of the output is
written in crumbs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from mapcc.ir.bound import Move
from mapcc.plan.model import Fill, Folded, Gathered, OutputTensor, Run, Segment, Transfer, Turned

# From so many bytes that lie together on both sides, rows are copied as they lie.
ROW = 4096
PAGE = 4096
_LARGE = 1 << 16


class _Bytes(NamedTuple):
    file: int
    offset: int
    size: int


def segments(tensors: Iterable[OutputTensor]) -> tuple[Segment, ...]:
    """What the bytes behind the header come from, in their order and without gaps."""
    out: list[Segment] = []
    begin = end = file = offset = 0  # the run that is being collected
    for tensor in tensors:
        runs = _runs(tensor)
        if runs is None:
            if end > begin:
                out.append(Run(begin, end, file, offset))
            out.append(_made(tensor))
            begin = end = tensor.end
            continue
        at = tensor.begin
        for run in runs:
            if end == begin or run.file != file or run.offset != offset + (end - begin):
                if end > begin:
                    out.append(Run(begin, end, file, offset))
                begin, file, offset = at, run.file, run.offset
            at += run.size
            end = at
    if end > begin:
        out.append(Run(begin, end, file, offset))
    return tuple(out)


def _runs(tensor: OutputTensor) -> list[_Bytes] | None:
    """The byte ranges that a tensor consists of; None if it does not."""
    width = unit(tensor.dtype.bits)
    runs: list[_Bytes] = []
    for transfer in tensor.transfers:
        origin, move = transfer.origin, transfer.move
        if len(move.dims) > 1 or (move.dims and move.dims[0][1:] != (1, 1)) or not transfer.is_plain:
            return None
        count = (move.dims[0][0] if move.dims else 1) * width
        offset = move.source_offset * width
        match origin:
            case Fill():
                return None
            case Folded(number):
                runs.append(_Bytes(~number, offset, count))
            case _:
                runs.append(_Bytes(origin.file, origin.begin + offset, count))
    return runs


def _made(tensor: OutputTensor) -> Segment:
    width = unit(tensor.dtype.bits)
    shape = (tensor.begin, tensor.end, tensor.name, tensor.transfers)
    is_turned = any(_is_turned(t) for t in tensor.transfers)
    if is_turned and all(_is_long(t, width) for t in tensor.transfers):
        return Turned(*shape)
    return Gathered(*shape)


def _is_long(transfer: Transfer, width: int) -> bool:
    return not isinstance(transfer.origin, Fill) and _target_run(transfer.move) * width >= ROW


def _is_turned(transfer: Transfer) -> bool:
    if not transfer.move.dims:
        return False
    *outer, (size, across, along) = transfer.move.dims
    if (across, along) != (1, 1):
        return True
    return bool(outer) and size * unit(transfer.source.bits) < ROW


def _target_run(move: Move) -> int:
    """How many elements lie together in the target, from the first on."""
    run = 1
    for size, _, along in reversed(move.dims):
        if along != run:
            break
        run *= size
    return run


def alignment(found: Iterable[Segment]) -> int:
    """By how many bytes to shift the data, so that most of it lies in its pages as in the source.

    Then a file system can share the blocks of both files, and the kernel copies whole pages. It is a
    multiple of 8, or 0 where nothing is gained.

    >>> alignment([Run(104, 1 << 20, 0, 4200)])
    0
    >>> alignment([Run(104, 1 << 20, 0, 4208)])
    8
    """
    weights: dict[int, int] = {}
    for segment in found:
        if isinstance(segment, Run) and segment.end - segment.begin >= _LARGE and segment.file >= 0:
            shift = (segment.offset - segment.begin) % PAGE
            weights[shift] = weights.get(shift, 0) + segment.end - segment.begin
    shift = max(weights, key=lambda shift: (weights[shift], -shift), default=0)
    return 0 if shift % 8 else shift


def shifted(found: Iterable[Segment], by: int) -> tuple[Segment, ...]:
    """The same segments, ``by`` bytes later in the output."""
    return tuple(one._replace(begin=one.begin + by, end=one.end + by) for one in found)


def unit(bits: int) -> int:
    """The bytes of what a move counts: an element, or one byte for types smaller than that."""
    return max(8, bits) // 8


def is_gapless(found: Sequence[Segment], begin: int, end: int) -> bool:
    """Whether segments cover ``[begin, end)``, each byte once."""
    if not found:
        return begin == end
    meet = all(a.end == b.begin for a, b in pairwise(found))
    return meet and found[0].begin == begin and found[-1].end == end
