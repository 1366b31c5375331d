"""However bytes go from file to file, the output is the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapcc.plan.memory import Buffers
from mapcc.plan.segments import PAGE
from mapcc.runtime import Options, execute
from mapcc.runtime.fs import door
from mapcc.runtime.worker import Copy

Lab = Any
Random = Callable[..., Any]
SHAPES = {
    "first": ("U8", (8,)),
    **{f"t.{i}": ("BF16", (300, 250 + i)) for i in range(4)},
    "turned": ("F32", (200, 100)),
}


@pytest.fixture
def plan(lab: Lab, random_tensors: Random) -> Any:
    return lab.plan(
        "t.* -> u.*\nfirst -> last\nturned : a b -> n : b a", random_tensors(SHAPES), max_shard_size=400_000
    )


def written(plan: Any, out: Path, copy: Copy | None) -> dict[str, bytes]:
    sizes = Buffers(2, 1 << 16, 1 << 16, 1 << 14, 1 << 12, 64)
    execute(plan, out, options=Options(copy=copy, sizes=sizes))
    return {path.name: path.read_bytes() for path in out.iterdir()}


def copied(source: int, offset: int, count: int, fd: int, at: int) -> bool:
    """What a file system that shares blocks does, as far as a reader can tell; and what it insists on."""
    assert offset % PAGE == at % PAGE == count % PAGE == 0
    assert os.pwrite(fd, os.pread(source, count, offset), at) == count
    return True


def test_the_kernel_copies(lab: Lab, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    real = door.copy_range
    monkeypatch.setattr(type(door), "copy_range", lambda _, *call: calls.append(call) or real(*call))
    assert written(plan, lab.folder / "kernel", Copy.KERNEL) == written(plan, lab.out, Copy.WINDOW)
    assert len(calls) >= len(plan.files)


def test_blocks_are_shared(lab: Lab, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out by a probe; the ragged ends, and what is computed, go through memory."""
    expected = written(plan, lab.out, Copy.WINDOW)
    shared = []
    monkeypatch.setattr(type(door), "clone", lambda _, *call: shared.append(call[2]) or copied(*call))
    assert written(plan, lab.folder / "shared", None) == expected
    assert sum(shared) > plan.bytes_written // 2


def test_sharing_ends_halfway(lab: Lab, plan: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Probed on one file system; another file of the source lies on another."""
    expected = written(plan, lab.out, Copy.WINDOW)
    left = iter(range(2))
    monkeypatch.setattr(type(door), "clone", lambda _, *call: next(left, None) is not None and copied(*call))
    assert written(plan, lab.folder / "half", None) == expected


def test_without_hashes_nothing_that_is_shared_is_read(
    lab: Lab, plan: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = written(plan, lab.out, Copy.WINDOW)
    read = []
    real = os.preadv
    monkeypatch.setattr(type(door), "clone", lambda _, *call: copied(*call))
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: read.append(len(views[0])) or real(fd, views, at))
    out = lab.folder / "unread"
    execute(plan, out, options=Options(copy=Copy.REFLINK, hashes=False, sync=False, workers=1))
    assert {p.name: p.read_bytes() for p in out.glob("*.safetensors")} == {
        name: data for name, data in expected.items() if name.endswith(".safetensors")
    }
    turned = 200 * 100 * 4
    assert sum(read) < turned + 8 * 2 * PAGE * len(plan.files)
