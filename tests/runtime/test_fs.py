"""The output is absent or complete: refusals, interruptions, what a killed run has left, the disk."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mapcc.errors import MappingError
from mapcc.plan import Plan
from mapcc.runtime import execute, fs, staging
from mapcc.runtime.journal import SUFFIX
from mapcc.runtime.record import RECORD
from mapcc.runtime.staging import PARTIAL
from tests.runtime.conftest import small

Lab = Any
Random = Callable[..., Any]


@pytest.fixture
def plan(lab: Lab, random_tensors: Random) -> Plan:
    shapes = {f"t.{i}": ("BF16", (6, 10)) for i in range(5)} | {"g": ("F32", (4,)), "v": ("F32", (4, 9))}
    rules = "t.{i} : a b -> u.{i} : b a\n(g, v) | weight_norm dim=0 -> w"
    found = lab.plan(rules, random_tensors(shapes), max_shard_size=250)
    assert isinstance(found, Plan)
    return found


def refused(plan: Plan, out: Path) -> str:
    with pytest.raises(MappingError) as error:
        execute(plan, out)
    (found,) = error.value.diagnostics
    assert (found.code, found.exit_code) == ("MC005", 2)
    return " ".join((found.message, *found.notes))


# --- what is refused


def test_an_output_that_is_there(lab: Lab, plan: Plan) -> None:
    lab.out.mkdir()
    (lab.out / "precious").write_text("yes")
    assert "not empty" in refused(plan, lab.out)
    assert lab.names() == {"source.safetensors", "out", "out/precious"}


def test_a_file_in_its_place(lab: Lab, plan: Plan) -> None:
    lab.out.write_text("precious")
    assert "it is a file" in refused(plan, lab.out)


def test_a_source_in_the_output(lab: Lab, plan: Plan) -> None:
    assert "the source" in refused(plan, lab.folder)
    assert "the source" in refused(plan, lab.source)
    (lab.folder / "link").symlink_to(lab.folder)
    assert "the source" in refused(plan, lab.folder / "link")


def test_an_empty_folder_is_taken(lab: Lab, plan: Plan) -> None:
    lab.out.mkdir()
    execute(plan, lab.out)
    assert (lab.out / "model.safetensors.index.json").exists()


def test_a_foreign_folder_under_the_other_name(lab: Lab, plan: Plan) -> None:
    foreign = lab.folder / f"out{PARTIAL}"
    foreign.mkdir()
    (foreign / "precious").write_text("yes")
    assert "not of mapcc's making" in refused(plan, lab.out)
    assert (foreign / "precious").exists()
    assert not lab.out.exists()


def test_links_are_not_followed(lab: Lab, plan: Plan) -> None:
    elsewhere = lab.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("yes")
    (lab.folder / f"out{PARTIAL}").symlink_to(elsewhere)
    refused(plan, lab.out)
    assert (elsewhere / "precious").exists()


def test_another_run(lab: Lab, plan: Plan) -> None:
    busy = lab.folder / f"out{PARTIAL}"
    busy.mkdir()
    (busy / "half").write_text("a file of the other run")
    with (lab.folder / f"out{SUFFIX}").open("w") as journal:
        fcntl.flock(journal, fcntl.LOCK_EX)
        assert f"cannot write `{lab.out}`: another mapcc writes it now" in refused(plan, lab.out)
    assert (busy / "half").exists()


def test_a_full_disk(lab: Lab, plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda _: usage)
    needed = plan.bytes_written + plan.scratch
    assert f"{needed:,} bytes are needed, 100 are free" in refused(plan, lab.out)
    assert lab.names() == {"source.safetensors"}


def test_no_place_for_it(lab: Lab, plan: Plan) -> None:
    (lab.folder / "file").write_text("")
    refused(plan, lab.folder / "file" / "out")
    refused(plan, Path("\0"))


# --- what is left behind


def test_folders_above_are_made_and_removed(lab: Lab, plan: Plan) -> None:
    out = lab.folder / "a" / "b" / "out"
    with pytest.raises(ZeroDivisionError):
        execute(plan, out, lambda *_: 1 // 0)
    assert lab.names() == {"source.safetensors"}
    execute(plan, out)
    assert len(list(out.iterdir())) == len(plan.files) + 2


def test_interrupted_anywhere(lab: Lab, plan: Plan) -> None:
    """Raise in each call of the progress: finished shards alone are left, and the next run goes on."""
    calls: list[tuple[int, int]] = []
    execute(plan, lab.folder / "whole", lambda *numbers: calls.append(numbers), options=small())
    assert calls[0] == (0, plan.bytes_written)
    assert calls[-1] == (plan.bytes_written, plan.bytes_written)
    assert calls == sorted(calls)
    before, whole = lab.names(), read(lab.folder / "whole")
    shards = {f"out{PARTIAL}/{file.name}" for file in plan.files}
    for last in range(len(calls)):
        left = iter(range(last))

        def stop(done: int, total: int, left: Any = left) -> None:
            if next(left, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            execute(plan, lab.out, stop, options=small())
        kept = lab.names() - before
        assert not kept or {f"out{SUFFIX}", f"out{PARTIAL}"} < kept
        assert kept <= {f"out{SUFFIX}", f"out{PARTIAL}"} | shards
        execute(plan, lab.out, options=small())
        assert read(lab.out) == whole
        shutil.rmtree(lab.out)
        assert lab.names() == before


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_what_a_killed_run_has_left(lab: Lab, plan: Plan) -> None:
    """A journal without a lock: what it does not hold of this run is removed."""
    stale = lab.folder / f"out{PARTIAL}"
    (stale / "folder").mkdir(parents=True)
    (stale / plan.files[0].name).write_text("half")
    (lab.folder / f"out{SUFFIX}").write_text('{"mapcc journal": "of another run"}')
    execute(plan, lab.out)
    names = {path.name for path in lab.out.iterdir()}
    assert names == {file.name for file in plan.files} | {"model.safetensors.index.json", RECORD}
    assert lab.names() == {"source.safetensors", "out", *(f"out/{name}" for name in names)}


@pytest.mark.parametrize("name", ["pwrite", "fsync"])
def test_the_disk_fails_from_each_call_on(
    lab: Lab, plan: Plan, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    real = getattr(os, name)
    execute(plan, lab.folder / "whole", options=small())
    before, whole = lab.names(), read(lab.folder / "whole")
    for last in range(1000):
        calls = iter(range(last))

        def fails(*arguments: Any, calls: Any = calls) -> Any:
            if next(calls, None) is None:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(fs.os, name, fails)
            try:
                execute(plan, lab.out, options=small())
            except MappingError as error:
                (found,) = error.diagnostics
            else:
                break
        assert found.code == "MC005"
        assert "no space left" in found.message
        if lab.out.exists():  # with its name it is complete: only that the disk has the name has failed
            assert read(lab.out) == whole
        execute(plan, lab.out, options=small())
        assert read(lab.out) == whole
        shutil.rmtree(lab.out)
        assert lab.names() == before
    assert last > len(plan.files)


def test_modes_follow_the_umask(lab: Lab, plan: Plan) -> None:
    old = os.umask(0o027)
    try:
        execute(plan, lab.out)
    finally:
        os.umask(old)
    assert {path.stat().st_mode & 0o777 for path in lab.out.iterdir()} == {0o640}
    assert lab.out.stat().st_mode & 0o777 == 0o750
