"""Moves cut to windows, and moves in bytes, against enumeration of every element."""

from __future__ import annotations

from itertools import pairwise, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.ir.bound import Move
from mapcc.passes.moves import in_bytes, unaligned
from mapcc.plan.moves import clip, elements_read, extent


def pairs(move: Move) -> list[tuple[int, int]]:
    """Every (target, source) pair of elements, by target."""
    found = []
    for position in product(*(range(size) for size, _, _ in move.dims)):
        steps = list(zip(position, move.dims, strict=True))
        source = move.source_offset + sum(at * across for at, (_, across, _) in steps)
        target = move.target_offset + sum(at * along for at, (_, _, along) in steps)
        found.append((target, source))
    return sorted(found)


@st.composite
def moves(draw: st.DrawFn) -> Move:
    """Any source strides (0 repeats); target strides that do not overlap, with gaps between."""
    dims: list[tuple[int, int, int]] = []
    along = draw(st.integers(1, 3))
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.integers(2, 5))
        dims.insert(0, (size, draw(st.integers(0, 9)), along))
        along = size * along + draw(st.integers(0, 3))
    return Move(1, draw(st.integers(0, 20)), 2, draw(st.integers(0, 20)), tuple(dims))


@given(moves(), st.integers(0, 60), st.integers(1, 60))
def test_clip_keeps_the_elements_of_the_window(move: Move, low: int, size: int) -> None:
    parts = clip(move, low, low + size)
    expected = [pair for pair in pairs(move) if low <= pair[0] < low + size]
    assert sorted(pair for part in parts for pair in pairs(part)) == expected
    assert all(a.target_offset < b.target_offset for a, b in pairwise(parts))
    assert len(parts) <= 2 * len(move.dims) + 1
    assert all(extent > 1 for part in parts for extent, _, _ in part.dims)


@given(moves(), st.integers(1, 40))
def test_windows_together_are_the_move(move: Move, step: int) -> None:
    low, high = extent(move)
    windows = range(low - low % step, high, step)
    assert [p for at in windows for part in clip(move, at, at + step) for p in pairs(part)] == pairs(move)


@given(moves())
def test_extent_and_elements_read(move: Move) -> None:
    found = pairs(move)
    assert extent(move) == (found[0][0], found[-1][0] + 1)
    assert elements_read(move) >= len({source for _, source in found})


@given(moves(), st.sampled_from([4, 6]), st.data())
def test_in_bytes_moves_the_same_bits(move: Move, bits: int, data: st.DataObject) -> None:
    if data.draw(st.booleans()):  # as it is in a real type: a run inside, and the rest in whole bytes
        run = data.draw(st.sampled_from([4, 8, 12]))
        dims = tuple((size, across * run, along * run) for size, across, along in move.dims)
        source, target = move.source_offset * run, move.target_offset * run
        move = Move(1, source, 2, target, (*dims, (run, 1, 1)))
        assert not unaligned(move, bits)
    if unaligned(move, bits):
        with pytest.raises(ValueError, match="takes a byte apart"):
            in_bytes(move, bits)
        return
    as_bits = {
        (target * bits + bit, source * bits + bit) for target, source in pairs(move) for bit in range(bits)
    }
    assert as_bits == {
        (target * 8 + bit, source * 8 + bit)
        for target, source in pairs(in_bytes(move, bits))
        for bit in range(8)
    }


def test_whole_bytes_are_never_unaligned() -> None:
    assert not unaligned(Move(0, 1, 0, 3, ((2, 1, 3), (3, 2, 1))), 8)
