"""Whole conversions: readable by others, refused where the source changes, small in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapcc.errors import MappingError
from mapcc.plan import make_plan
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, execute
from mapcc.tensors.keysets import open_keyset

Lab = Any
Random = Callable[..., Any]
SHAPES = {f"t.{i}.w": ("F32", (i + 1, 7)) for i in range(6)}


def test_safetensors_reads_it(lab: Lab, random_tensors: Random) -> None:
    load_file = pytest.importorskip("safetensors.numpy").load_file
    tensors = random_tensors(SHAPES)
    plan = lab.plan("t.{i}.w : a b -> u.{i} : b a", tensors, max_shard_size=200)
    execute(plan, lab.out)
    index = json.loads((lab.out / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) == len(plan.files) > 1
    assert index["metadata"]["total_size"] == sum(len(data) for _, _, data in tensors.values())
    for name, file in index["weight_map"].items():
        _, shape, data = tensors[f"t.{name[2:]}.w"]
        expected = np.frombuffer(data, np.uint32).reshape(shape).T
        assert (load_file(lab.out / file)[name].view(np.uint32) == expected).all()


def test_shards_are_read_back_as_one(lab: Lab, random_tensors: Random) -> None:
    tensors = random_tensors(SHAPES)
    execute(lab.plan("** -> **", tensors, max_shard_size=100), lab.out)
    assert list(open_keyset(lab.out).tensors) != []
    back = lab.folder / "back"
    execute(make_plan(lab.bound("** -> **", lab.out)), back)
    assert lab.read(back / "model.safetensors") == tensors


def test_the_same_plan_gives_the_same_bytes(lab: Lab, random_tensors: Random) -> None:
    plan = lab.plan("t.{i}.w : a b | scale 0.3 -> u.{i} : b a\ndtype bf16", random_tensors(SHAPES))
    for name, window in (("one", 1 << 24), ("two", 8), ("three", 72)):
        sizes = Buffers(1, window, window, max(16, window), 64, 8)
        execute(plan, lab.folder / name, options=Options(sizes=sizes))
    one, two, three = ((lab.folder / n / "model.safetensors").read_bytes() for n in ("one", "two", "three"))
    assert one == two == three


def test_no_tensors_at_all(lab: Lab) -> None:
    execute(lab.plan("create a : 3 = 0.5 | cast f16", {}), lab.out)
    assert lab.read(lab.out / "model.safetensors") == {"a": ("F16", (3,), b"\x00\x38" * 3)}


# --- sources that change


def changed(plan: Any, out: Path, progress: Any = None) -> str:
    with pytest.raises(MappingError) as error:
        execute(plan, out, progress)
    (found,) = error.value.diagnostics
    assert found.code == "MC002"
    assert not out.exists()
    return found.message


def test_a_source_that_changed_before(lab: Lab, random_tensors: Random) -> None:
    plan = lab.plan("** -> **", random_tensors(SHAPES))
    os.utime(lab.source, ns=(1, 1))
    assert "not the file whose header was read" in changed(plan, lab.out)


def test_a_source_that_changes_meanwhile(lab: Lab, random_tensors: Random) -> None:
    plan = lab.plan("** -> **", random_tensors(SHAPES))
    assert "its time of change" in changed(plan, lab.out, lambda *_: os.utime(lab.source, ns=(1, 1)))
    assert lab.names() == {"source.safetensors"}


def test_a_source_that_is_cut_short_meanwhile(lab: Lab, random_tensors: Random) -> None:
    plan = lab.plan("** -> **", random_tensors(SHAPES))
    size = lab.source.stat().st_size - 4
    assert f"ends at byte {size:,}" in changed(plan, lab.out, lambda *_: os.truncate(lab.source, size))


def test_a_source_that_is_gone(lab: Lab, random_tensors: Random) -> None:
    plan = lab.plan("** -> **", random_tensors(SHAPES))
    lab.source.unlink()
    with pytest.raises(MappingError) as error:
        execute(plan, lab.out)
    assert [d.code for d in error.value.diagnostics] == ["MC001"]
    assert lab.names() == set()


def test_the_source_is_only_read(lab: Lab, random_tensors: Random) -> None:
    lab.write(random_tensors(SHAPES))
    lab.source.chmod(0o400)
    before = lab.source.read_bytes(), lab.source.stat().st_mtime_ns
    execute(make_plan(lab.bound("** -> **")), lab.out)
    assert (lab.source.read_bytes(), lab.source.stat().st_mtime_ns) == before


# --- memory

MEASURED = """
import sys
from pathlib import Path
from mapcc.diagnostics.model import Diagnostics
from mapcc.passes.check import bind
from mapcc.plan import make_plan
from mapcc.plan.memory import buffers
from mapcc.runtime import execute
from mapcc.syntax.load import parse_source
from mapcc.tensors.keysets import open_keyset
from mapcc.text import Source

source, rule, out = sys.argv[1:]
found = Diagnostics()
parsed = parse_source(Source("m.mapcc", f'mapping m "a test"\\n\\n{rule}\\n'), found)
plan = make_plan(bind(parsed, Path("m.mapcc"), open_keyset(source), None, {}, found))

def anonymous():
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024

before, peak = anonymous(), 0

def progress(done, total):
    global peak
    peak = max(peak, anonymous())

execute(plan, Path(out), progress)
print(peak, peak - before, buffers(plan, 2).total, *sorted({"torch", "ml_dtypes"} & sys.modules.keys()))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
@pytest.mark.parametrize(
    ("rule", "imported"),
    [
        ("x : a b -> y : b a", []),
        ("x : a b -> y : a b", []),
        ("x : a (b 2) | scale 2 | cast f32 -> y : 2 a b", []),
    ],
)
def test_memory_does_not_grow_with_the_tensor(lab: Lab, rule: str, imported: list[str]) -> None:
    shape = (16_384, 32_768)  # 1 GiB in BF16; a hole, so that the source takes no place on the disk
    tensors = {"x": ("BF16", shape, b"")}
    lab.write(tensors)
    os.truncate(lab.source, lab.source.stat().st_size + 2 * shape[0] * shape[1])
    command = [sys.executable, "-c", MEASURED, str(lab.source), rule, str(lab.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    peak, grown, bound, *modules = done.stdout.split()
    assert int(peak) < 150 << 20
    # The arrays of value operations are freed and taken again, and malloc keeps some.
    assert int(grown) < int(bound) + (8 << 20)
    assert modules == imported
    # What was written is of zeros only, and takes gigabytes: do not leave it to the next test.
    for path in lab.out.iterdir():
        path.unlink()
