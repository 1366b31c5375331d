"""Strided reads with tiny buffers against a reference that takes element by element."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.ir.bound import Move
from mapcc.plan.moves import extent
from mapcc.runtime import gather as module
from mapcc.runtime.gather import UNSIGNED, Gatherer, access
from mapcc.runtime.sources import InputFile

SIZE = 4096
BEGIN = 24


@pytest.fixture(scope="module")
def data() -> bytes:
    return np.random.default_rng(0).bytes(BEGIN + SIZE)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> InputFile:
    path = tmp_path_factory.mktemp("gather") / "data"
    path.write_bytes(data)
    return InputFile(path)


@st.composite
def moves(draw: st.DrawFn) -> Move:
    dims: list[tuple[int, int, int]] = []
    along = draw(st.integers(1, 2))
    for _ in range(draw(st.integers(0, 4))):
        size = draw(st.integers(2, 4))
        dims.insert(0, (size, draw(st.one_of(st.just(0), st.integers(1, 40))), along))
        along = size * along + draw(st.integers(0, 2))
    return Move(0, draw(st.integers(0, 4)), 0, draw(st.integers(0, 9)), tuple(dims))


@given(
    moves(), st.sampled_from([1, 2, 4, 8]), st.integers(8, 512), st.sampled_from([0, 16, 1 << 13]), st.data()
)
def test_gather(
    file: InputFile, data: bytes, move: Move, width: int, span: int, gap: int, draw: st.DataObject
) -> None:
    low, high = extent(move)
    first = draw.draw(st.integers(0, low))
    into = np.full((high - first) * width, 0xAA, np.uint8)
    expected = into.copy().view(UNSIGNED[width])
    source = np.frombuffer(data, np.uint8)[BEGIN:].view(UNSIGNED[width])
    for position in product(*(range(size) for size, _, _ in move.dims)):
        steps = list(zip(position, move.dims, strict=True))
        target = move.target_offset + sum(at * along for at, (_, _, along) in steps)
        expected[target - first] = source[move.source_offset + sum(at * s for at, (_, s, _) in steps)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GAP", gap)
        Gatherer(np.empty(span, np.uint8)).gather(file, BEGIN, move, width, into, first)
    assert into.tobytes() == expected.tobytes()


@given(moves(), st.integers(0, 50), st.integers(1, 100))
def test_what_is_read_fits_and_is_wanted(move: Move, gap: int, room: int) -> None:
    how = access(move.dims, gap, room)
    if how.cut is not None:
        assert move.dims[how.cut][0] > 1
        return
    reads = how.span
    for k in how.loops:
        reads *= move.dims[k][0]
    assert reads <= room
    assert sorted(how.loops + how.piece) == [k for k, (_, across, _) in enumerate(move.dims) if across]


def test_rows_that_stay_whole_need_no_buffer(file: InputFile, data: bytes) -> None:
    """Runs go straight to their places, however long they are."""
    into = np.empty(1024, np.uint8)
    move = Move(0, 0, 0, 0, ((2, 2048, 512), (512, 1, 1)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "strided", None)
        Gatherer(np.empty(1024, np.uint8)).gather(file, 0, move._replace(dims=((512, 1, 1),)), 1, into, 0)
        patch.setattr(module, "GAP", 100)
        Gatherer(np.empty(1024, np.uint8)).gather(file, 0, move, 1, into, 0)
    assert into.tobytes() == data[:512] + data[2048 : 2048 + 512]
