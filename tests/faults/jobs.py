"""Conversions that are disturbed, and what must hold after each disturbance."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mapcc.plan import Plan
from mapcc.plan.document import digest, run_key
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, execute
from tests.faults.doors import watched
from tests.faults.ledger import held
from tests.runtime.conftest import Lab, Tensors

FEW_BYTES = Options(sizes=Buffers(1, 16, 256, 64, 64, 8))
JOURNAL, PARTIAL = "out.mapcc-journal", "out.mapcc-partial"
# How a disturbed process ends: the folder's new content is there, was there already, or mapcc refused.
WROTE, WAS_THERE, REFUSED, DIED = 0, 3, 2, 9
Bytes = dict[str, bytes]

RULES = """t.{i} : a b -> u.{i} : b a
(g, v) | weight_norm dim=0 -> w
c | cast bf16 -> d
create z : 9 = 0.5
x : a b -> x.1 : a b"""
SHAPES = {
    "t.0": ("BF16", (6, 10), 120),
    "t.1": ("BF16", (6, 10), 120),
    "g": ("F32", (4,), 16),
    "v": ("F32", (4, 9), 144),
    "c": ("F32", (20,), 80),
    "x": ("U8", (5, 20), 100),
}


def tensors(seed: int = 0) -> Tensors:
    """Numbers without NaN: what arithmetic makes of those is no matter here."""
    data = bytes((7 * i + seed) % 120 for i in range(144))
    return {name: (dtype, shape, data[:size]) for name, (dtype, shape, size) in SHAPES.items()}


def content(folder: Path) -> Bytes | None:
    """The files of a folder, None if it is not there."""
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else None


@dataclass
class Job:
    """One conversion in a folder of its own: ``source.safetensors`` there, to ``out``."""

    folder: Path
    plan: Plan
    options: Options = FEW_BYTES
    faults: int = 0
    lost: int = 0
    rerun_identical: int = 0
    start: Callable[[], None] = field(default=lambda: None)

    def __post_init__(self) -> None:
        self.out = self.folder / "out"
        self.source = self._source()

    def _source(self) -> tuple[bytes, int]:
        path = self.folder / "source.safetensors"
        return path.read_bytes(), path.stat().st_mtime_ns

    @cached_property
    def expected(self) -> Bytes:
        """What an undisturbed run writes."""
        whole = self.folder / "whole"
        execute(self.plan, whole, options=self.options)
        found = content(whole)
        shutil.rmtree(whole)
        assert found is not None
        return found

    def held(self) -> set[str]:
        """The shards that are finished."""
        return held(
            self.folder,
            run_key(self.plan, digest(self.plan), [s.stamp for s in self.plan.sources if s.stamp]),
        )

    def run(self, out: Path | None = None) -> bool:
        return execute(self.plan, out or self.out, options=self.options)

    def clear(self) -> None:
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != "source.safetensors":
                path.unlink()
        self.start()

    def check(self) -> None:
        """After a fault: the source as it was, the output absent or right, and nothing else about."""
        self.faults += 1
        assert self._source() == self.source
        assert {p.name for p in self.folder.iterdir()} <= {"source.safetensors", "out", JOURNAL, PARTIAL}
        if (found := content(self.out)) is not None and found != self.expected:
            self.lost += 1
        assert not self.lost

    def check_rerun(self) -> None:
        """The same command again: it ends the work, leaves nothing over, and keeps what was finished."""
        kept = self.held()
        with watched() as calls:
            self.run()
        made = {Path(call.path).name for call in calls if call.name in ("create", "pwrite")}
        assert not made & kept, "a finished shard was made again"
        assert content(self.out) == self.expected
        assert {path.name for path in self.folder.iterdir()} == {"source.safetensors", "out"}
        assert self._source() == self.source
        self.rerun_identical += 1

    def counts(self) -> dict[str, int]:
        return {"faults": self.faults, "lost": self.lost, "rerun_identical": self.rerun_identical}


def make_job(folder: Path, rules: str = RULES, max_shard_size: int = 250) -> Job:
    """A job of three shards; of one with a large ``max_shard_size``."""
    lab = Lab(folder)
    return Job(folder, lab.plan(rules, tensors(), max_shard_size=max_shard_size))


@contextmanager
def quick_folder() -> Iterator[Path]:
    """A folder in memory, where the system has that: thousands of runs wait for no disk."""
    memory = Path("/dev/shm")
    within = memory if os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(dir=within))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)
