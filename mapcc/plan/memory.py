"""How much memory carrying out a plan takes: buffers of fixed sizes, whatever the tensors' sizes."""

from __future__ import annotations

from dataclasses import dataclass

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan.model import Plan, Run

# What a budget is without --memory.
BUDGET = 128 << 20
# Bytes of the output that are made at a time: they stay in the cache of one core.
WINDOW = 1 << 20
# The most that is read at a time where elements do not lie as the target's do, and is made of it.
SPAN = 32 << 20
MADE = 8 << 20
# Bytes in which rows of a matrix are packed on the way to its columns.
PACKED = 1 << 19
# Elements that a value operation computes at a time: they and what is made of them stay in cache.
BLOCK = 1 << 16
# Bytes that arithmetic takes for each element of a block: what it reads, computes with and gives.
ARITHMETIC = 64
# With less than this a worker cannot work, and with less than that it works slowly.
LEAST = 1 << 16
ENOUGH = 8 << 20


@dataclass(frozen=True, slots=True)
class Buffers:
    """How many threads work, and the buffers of each, in bytes.

    Attributes:
        window: of the output, in its order.
        span: of what is read for elements that lie otherwise.
        made: of what is made of a span; as much again holds what is computed from.
        packed: on the way from a span to what is made.
        block: elements that are computed at a time.
        total: bytes of all buffers of all workers.
    """

    workers: int
    window: int
    span: int = 0
    made: int = 0
    packed: int = 0
    block: int = 0
    total: int = 0


def buffers(plan: Plan, workers: int, budget: int = BUDGET) -> Buffers:
    """The buffers with which at most ``workers`` threads carry out a plan within ``budget`` bytes.

    The interpreter with its libraries (about 40 MB) and the plan itself are not counted.

    Raises:
        MappingError: MC007 if the budget is too small for a single worker.
    """
    made = [segment for file in plan.files for segment in file.segments if not isinstance(segment, Run)]
    moves = bool(made) or bool(plan.folds)
    computes = bool(plan.folds) or any(not t.is_plain for segment in made for t in segment.transfers)
    folding = _for_folds(plan)
    workers = max(1, min(workers, budget // (folding + (ENOUGH if moves else LEAST))))
    share = budget // workers - folding
    if share < LEAST:
        message = f"--memory is too little: {budget:,} bytes, and this takes {folding + LEAST:,}"
        raise MappingError([Diagnostic("MC007", message, help=f"--memory {folding + LEAST}")])
    window = min(WINDOW, _power_of_two(share // 16))
    if not moves:
        return Buffers(workers, window, total=workers * window)
    span, half, packed = min(SPAN, share // 2), min(MADE, share // 8), min(PACKED, share // 16)
    block = min(BLOCK, share // 8 // ARITHMETIC) if computes else 0
    own = window + span + half * (2 if computes else 1) + packed + block * ARITHMETIC + folding
    return Buffers(workers, window, span, half, packed, block, workers * own)


def _for_folds(plan: Plan) -> int:
    # A tile of fixed size and what is made of it; a norm for each row, in F64, and what is made of that.
    dims = [(fold, int(fold.step.number("dim"))) for fold in plan.folds if fold.step is not None]
    if not dims:
        return 0
    return BLOCK * ARITHMETIC + ARITHMETIC * max(fold.shape[dim] for fold, dim in dims)


def _power_of_two(count: int) -> int:
    return 1 << max(12, count.bit_length() - 1)
