"""A conversion that is stopped in one thread leaves nothing that the next one could take for finished."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan import parts, segments
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, blocks, execute, worker
from mapcc.runtime.audit import audit
from mapcc.runtime.maker import Maker
from mapcc.runtime.record import read_record

Lab = Any
Random = Callable[..., Any]

TWO = Options(sizes=Buffers(2, 4096, 256, 64, 64, 8))


@pytest.mark.parametrize(
    "error", [MappingError([Diagnostic("MC005", "the disk is full")]), KeyboardInterrupt()]
)
def test_a_stop_in_the_middle_of_another_threads_boxes(
    lab: Lab, random_tensors: Random, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    monkeypatch.setattr(segments, "ROW", 1)
    tensors = random_tensors({"x": ("F32", (64, 64)), "y": ("F32", (64, 64))})
    plan = lab.plan("x : a b -> u : b a\ny : a b -> v : b a", tensors, max_shard_size=64 * 64 * 4)
    has_begun, has_failed = threading.Event(), threading.Event()
    box, stop = Maker.box, worker.Worker.__init__
    workers: list[Any] = []

    def started(self: Any, *arguments: Any, **options: Any) -> None:
        stop(self, *arguments, **options)
        workers.append(self)

    def failing(self: Maker, segment: Any, transfer: Any, move: Any) -> Iterator[tuple[memoryview, int]]:
        if segment.name == "u":
            has_begun.wait(10)
            has_failed.set()
            raise error
        yield from box(self, segment, transfer, move)
        has_begun.set()
        has_failed.wait(10)
        while not any(one.stopped for one in workers):
            pass

    monkeypatch.setattr(worker.Worker, "__init__", started)
    monkeypatch.setattr(Maker, "box", failing)
    with pytest.raises(type(error)):
        execute(plan, lab.out, options=TWO)
    assert lab.names() == {"source.safetensors"}  # no shard is finished
    monkeypatch.setattr(Maker, "box", box)
    execute(plan, lab.out, options=TWO)
    assert audit(lab.out, read_record(lab.out)) == []
    for source, target in (("x", "u"), ("y", "v")):
        expected = np.frombuffer(tensors[source][2], "<u4").reshape(64, 64).T.tobytes()
        found = [lab.read(path) for path in lab.out.glob("*.safetensors")]
        assert [t[target][2] for t in found if target in t] == [expected]


def test_very_many_parts_of_one_shard(
    lab: Lab, random_tensors: Random, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (parts, blocks, worker):
        monkeypatch.setattr(module, "PART", 16)
    tensors = random_tensors({"x": ("U8", (60_000,))})
    execute(lab.plan("x -> y", tensors), lab.out, options=Options(sizes=Buffers(1, 16), sync=False))
    assert lab.read(lab.out / "model.safetensors")["y"] == tensors["x"]


def test_another_source_of_the_same_names_and_sizes(lab: Lab, random_tensors: Random) -> None:
    """Two fine-tunes of one model have one plan; the output of one is not that of the other."""
    shapes = {"x": ("F32", (64, 64)), "z": ("F32", (9,))}
    rules = "x : a b -> u : b a\nz -> z"
    first = lab.plan(rules, random_tensors(shapes, seed=1))
    execute(first, lab.out)
    assert execute(first, lab.out) is False  # recognised
    with pytest.raises(MappingError, match="already") as refused:
        execute(lab.plan(rules, random_tensors(shapes, seed=2)), lab.out)
    assert refused.value.diagnostics[0].code == "MC005"
