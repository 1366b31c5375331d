"""How much memory a plan takes: buffers of fixed sizes, whatever the tensors' sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapcc.plan.model import Fill, Fold, OutputFile, Transfer

# Bytes of an output tensor that are made at a time.
WINDOW = 16 << 20
# Bytes of a source that are read at a time where its elements do not lie as the target's do.
SPAN = 32 << 20
# Elements that a value operation computes at a time: they and what is made of them stay in cache.
BLOCK = 1 << 16
# Bytes that arithmetic takes for each element of a block: what it reads, computes with and gives.
_ARITHMETIC = 64


def memory_bound(files: Iterable[OutputFile], folds: Sequence[Fold]) -> int:
    """The bytes of all buffers that carrying out a plan takes at one time.

    The interpreter with its libraries (about 40 MB) and the plan itself are not counted.
    """
    transfers = [t for file in files for tensor in file.tensors for t in tensor.transfers]
    total = WINDOW
    if any(not _is_run(transfer) for transfer in transfers):
        total += SPAN
    if any(not transfer.is_plain for transfer in transfers):
        total += 2 * WINDOW + BLOCK * _ARITHMETIC  # a window of what is read, and one of what is made
    # A norm for each row, in F64, and what is made of it.
    rows = max((fold.shape[int(fold.step.number("dim"))] for fold in folds), default=0)
    return total + (BLOCK + rows) * _ARITHMETIC if folds else total


def _is_run(transfer: Transfer) -> bool:
    strides = [(across, along) for _, across, along in transfer.move.dims]
    return isinstance(transfer.origin, Fill) or all(stride == (1, 1) for stride in strides)
