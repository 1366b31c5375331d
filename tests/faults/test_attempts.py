"""What one attempt leaves to the next: what is kept, what is discarded, what is refused untouched."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from mapcc.errors import MappingError
from mapcc.plan import Plan, make_plan
from mapcc.runtime import execute, fs, staging
from tests.faults.doors import failing, watched
from tests.faults.jobs import FEW_BYTES, JOURNAL, PARTIAL, RULES, Job, content, make_job, quick_folder
from tests.runtime.conftest import Lab

OTHER = RULES.replace("x : a b -> x.1 : a b", "x : a b -> x.1 : b a").replace("0.5", "1.5")


@pytest.fixture
def job() -> Iterator[Job]:
    with quick_folder() as folder:
        made = make_job(folder)
        made.expected  # noqa: B018
        yield made


def stop_after(job: Job, shards: int, plan: Plan | None = None) -> set[str]:
    """The disk is full when so many shards are finished; their names."""
    size = sum(file.size for file in job.plan.files[:shards])

    def progress(done: int, total: int) -> None:
        if done >= size:
            raise OSError(errno.ENOSPC, "no space")

    with pytest.raises(OSError, match="no space"):
        execute(plan or job.plan, job.out, progress, FEW_BYTES)
    return {path.name for path in (job.folder / PARTIAL).iterdir()}


def made_by(run: Callable[[], object]) -> set[str]:
    with watched() as calls:
        run()
    return {Path(call.path).name for call in calls if call.name == "create"}


def refused(job: Job, *, plan: Plan | None = None) -> str:
    """Nothing is touched: not a byte, not a name."""
    before = {path: path.lstat().st_mtime_ns for path in job.folder.rglob("*")}
    with pytest.raises(MappingError) as error:
        execute(plan or job.plan, job.out, options=FEW_BYTES)
    assert {path: path.lstat().st_mtime_ns for path in job.folder.rglob("*")} == before
    (found,) = error.value.diagnostics
    assert (found.code, found.exit_code) == ("MC005", 2)
    return " ".join((found.message, *found.notes))


def shard_names(job: Job) -> list[str]:
    return [file.name for file in job.plan.files]


# --- what is kept


def test_a_full_disk_keeps_finished_shards(job: Job) -> None:
    one, two, three = shard_names(job)
    assert stop_after(job, 2) == {one, two} == job.held()
    made = made_by(job.run)
    assert not made & {one, two}
    assert three in made
    assert content(job.out) == job.expected


def test_the_write_that_finds_the_disk_full(job: Job) -> None:
    with watched() as calls:
        job.run()
    number = max(i for i, call in enumerate(calls) if call.path.endswith(shard_names(job)[2]))
    job.clear()
    with failing(number - 2, errno.ENOSPC), pytest.raises(MappingError, match="no space left"):
        job.run()
    assert len(job.held()) == 2
    job.check_rerun()


def test_a_flipped_byte_is_made_again(job: Job) -> None:
    one, two, _ = shard_names(job)
    stop_after(job, 2)
    with (job.folder / PARTIAL / one).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    made = made_by(job.run)
    assert one in made
    assert two not in made
    assert content(job.out) == job.expected


@pytest.mark.parametrize("harm", ["cut", "removed", "a folder", "a link", "unreadable entry"])
def test_a_shard_that_came_to_harm(job: Job, harm: str) -> None:
    one = shard_names(job)[0]
    stop_after(job, 2)
    path = job.folder / PARTIAL / one
    if harm == "cut":
        os.truncate(path, 10)
    elif harm == "unreadable entry":
        lines = (job.folder / JOURNAL).read_bytes().split(b"\n")
        lines[1] = lines[1].replace(one.encode(), one[::-1].encode())
        (job.folder / JOURNAL).write_bytes(b"\n".join(lines))
    else:
        path.unlink()
        if harm == "a folder":
            (path / "deep").mkdir(parents=True)
        elif harm == "a link":
            path.symlink_to(job.folder / "source.safetensors")
    made = made_by(job.run)
    assert one in made
    assert content(job.out) == job.expected
    assert {path.name for path in job.folder.iterdir()} == {"source.safetensors", "out"}


def test_an_attempt_without_hashes_is_no_help(job: Job) -> None:
    blind = replace(FEW_BYTES, hashes=False)
    with pytest.raises(ZeroDivisionError):
        execute(job.plan, job.out, lambda done, total: 1 // (done < total * 0.7), blind)
    assert set(shard_names(job)) <= made_by(job.run)
    assert content(job.out) == job.expected


# --- what is discarded


@pytest.mark.parametrize("change", ["time", "size", "content"])
def test_a_source_that_changed_between_attempts(job: Job, change: str) -> None:
    stop_after(job, 2)
    source = job.folder / "source.safetensors"
    data = source.read_bytes()
    if change == "time":
        os.utime(source, ns=(1, 1))
    elif change == "content":
        source.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    else:
        os.truncate(source, len(data) - 1)
    if change != "size":
        again = plan_of(job.folder, RULES)
        made = made_by(lambda: execute(again, job.out, options=FEW_BYTES))
        assert set(shard_names(job)) <= made
        assert (content(job.out) == job.expected) == (change == "time")
    else:
        with pytest.raises(MappingError) as error:
            job.run()
        assert [d.code for d in error.value.diagnostics] == ["MC002"]
        assert not job.out.exists()


def plan_of(folder: Path, rules: str) -> Plan:
    """A plan for the source as it is."""
    return make_plan(Lab(folder).bound(rules), max_shard_size=250)


def test_files_of_another_mapping_never_mix_in(job: Job) -> None:
    other = plan_of(job.folder, OTHER)
    assert [(f.name, f.size) for f in other.files] == [(f.name, f.size) for f in job.plan.files]
    stop_after(job, 2, plan=other)
    assert set(shard_names(job)) <= made_by(job.run)
    assert content(job.out) == job.expected


def test_the_output_of_another_plan_is_refused(job: Job) -> None:
    job.run()
    assert "made from another plan" in refused(job, plan=plan_of(job.folder, OTHER))
    assert content(job.out) == job.expected


# --- what is recognised


def test_the_output_of_the_same_plan(job: Job) -> None:
    assert job.run()
    assert not job.run()
    (job.out / shard_names(job)[0]).unlink()
    assert "is not there, or has another size" in refused(job)


def test_a_crash_between_the_name_and_the_end(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(staging.Journal, "unlink", lambda _: 1 // 0)
        with pytest.raises(ZeroDivisionError):
            job.run()
    assert (job.folder / JOURNAL).exists()
    assert content(job.out) == job.expected
    assert made_by(job.run) == set()
    assert {path.name for path in job.folder.iterdir()} == {"source.safetensors", "out"}


# --- what is refused


@pytest.mark.parametrize("name", [JOURNAL, PARTIAL])
@pytest.mark.parametrize("kind", ["file", "folder", "link", "dangling", "pipe"])
def test_something_else_in_the_way(job: Job, name: str, kind: str) -> None:
    path, precious = job.folder / name, job.folder / "precious"
    precious.mkdir()
    (precious / "kept").write_text("yes")
    if kind == "file":
        path.write_text("precious")
    elif kind == "folder":
        shutil.copytree(precious, path)
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(precious if kind == "link" else job.folder / "nowhere")
    refused(job)
    assert (precious / "kept").read_text() == "yes"


def test_too_little_room(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """To the byte, before anything is written; finished shards need no room again."""
    needed = job.plan.bytes_written + job.plan.scratch
    kept = sum(file.size for file in job.plan.files[:2])
    for shards, size in ((0, needed), (2, needed - kept)):
        job.clear()
        if shards:
            stop_after(job, shards)
        for free in (size - 1, size):
            usage = type("Usage", (), {"free": free})
            with monkeypatch.context() as patch:
                patch.setattr(staging.shutil, "disk_usage", lambda _, usage=usage: usage)
                if free == size:
                    job.run()
                    continue
                with pytest.raises(MappingError) as error:
                    job.run()
            note = f"{size:,} bytes are needed, {free:,} are free: 1 too few"
            assert error.value.diagnostics[0].notes == (note,)
            assert not job.out.exists()
        assert content(job.out) == job.expected


def test_short_writes_are_continued(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    real = fs.Door.pwrite
    halves = lambda self, fd, data, at: real(self, fd, data[: len(data) // 2 + 1], at)  # noqa: E731
    monkeypatch.setattr(fs.Door, "pwrite", halves)
    job.run()
    assert content(job.out) == job.expected
