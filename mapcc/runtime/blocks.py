"""Hashes of a file, block by block: what the journal, resuming and verifying compare."""

from __future__ import annotations

from collections.abc import Callable

from xxhash import xxh3_128

from mapcc.plan.parts import PART

Read = Callable[[memoryview, int], None]


def block_count(size: int) -> int:
    return -(-size // PART)


def read_block(read: Read, number: int, size: int, window: memoryview) -> str:
    """The hash of block ``number`` of a file of ``size`` bytes, read through ``window``."""
    digest = xxh3_128()
    end = min(size, (number + 1) * PART)
    for at in range(number * PART, end, len(window)):
        view = window[: min(len(window), end - at)]
        read(view, at)
        digest.update(view)
    return digest.hexdigest()


def block_range(number: int, size: int) -> tuple[int, int]:
    """The bytes of block ``number``."""
    return number * PART, min(size, (number + 1) * PART)
