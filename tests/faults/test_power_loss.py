"""Power fails after each call of the door, and the disk has any part of what was not synced."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, execute, staging
from mapcc.runtime.fs import Door, NewFile, sync_folder
from tests.faults.counts import inputs, randomness, report
from tests.faults.disk import Disk, Record, record
from tests.faults.doors import Call, around
from tests.faults.jobs import PARTIAL, Job, content, make_job, quick_folder

pytestmark = [pytest.mark.slow, pytest.mark.power_loss]

STATES = inputs(ci=8_000, nightly=80_000)
OPTIONS = Options(sizes=Buffers(1, 128, 512, 128, 128, 16))
Patch = Callable[[pytest.MonkeyPatch], None]


@contextmanager
def recorded() -> Iterator[list[Record]]:
    records: list[Record] = []

    def step(call: Call, real: Callable[[], Any]) -> Any:
        found = record(call)
        result = real()
        if found is not None:
            if call.name == "pwrite":
                offset, data = found[2]  # type: ignore[misc]
                found = call.name, call.path, (offset, data[:result])
            records.append(found)
        return result

    with around(step):
        yield records


def states(job: Job, records: list[Record], count: int, disk: Disk) -> Iterator[None]:
    """``count`` times a folder as a loss of power may leave it, of each call alike."""
    random = randomness()
    for number in range(len(records) + 1):
        if number:
            disk.apply(records[number - 1])
        for _ in range(-(-count // (len(records) + 1))):
            job.clear()
            disk.crash(job.folder, random)
            yield


def finished(job: Job) -> list[Record]:
    job.expected  # noqa: B018
    with recorded() as records:
        job.run()
    return records


def test_a_run_from_the_start() -> None:
    with quick_folder() as folder:
        job = replace(make_job(folder), options=OPTIONS)
        for _ in states(job, finished(job), STATES // 2, Disk(folder)):
            job.check()
            job.check_rerun()
    report({"faults": STATES // 2, "rerun_identical": STATES // 2}, **job.counts())


def test_a_run_after_another_mapping_was_interrupted() -> None:
    """The shards of both have the same names and sizes: none of the other may ever be taken."""
    with quick_folder() as folder:
        other = replace(make_job(folder, RULES_OF_OTHER), options=OPTIONS)
        job = replace(make_job(folder), options=OPTIONS)
        other.plan = replace(other.plan, sources=job.plan.sources)
        sizes = [[file.size for file in one.plan.files] for one in (job, other)]
        assert sizes[0] == sizes[1]
        disk, records = interrupted(other, job)
        for _ in states(job, records, STATES // 2, disk):
            job.check()
            job.check_rerun()
    report({"faults": STATES // 2, "rerun_identical": STATES // 2}, **job.counts())


def interrupted(other: Job, job: Job) -> tuple[Disk, list[Record]]:
    """The disk when ``other`` was interrupted, and what ``job`` then does to it."""
    job.expected  # noqa: B018
    with recorded() as before, pytest.raises(ZeroDivisionError):
        execute(other.plan, other.out, lambda done, total: 1 // (done < total * 0.7), other.options)
    assert other.held()
    with recorded() as records:
        job.run()
    disk = Disk(job.folder)
    for one in before:
        disk.apply(one)
    return disk, records


RULES_OF_OTHER = """t.{i} : a b -> u.{i} : a b
(g, v) | weight_norm dim=0 -> w
c | scale 2 | cast bf16 -> d
create z : 9 = 1.5
x : a b -> x.1 : b a"""


# --- without one of the syncs, the disk must show it


def no_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Door, "fsync", lambda *_: None)


def no_file_sync(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(NewFile, "sync", lambda _: None)


def no_folder_sync(patch: pytest.MonkeyPatch) -> None:
    def sync(folder: Path) -> None:
        if folder.name != PARTIAL:
            sync_folder(folder)

    patch.setattr(staging, "sync_folder", sync)


@pytest.mark.parametrize("mutant", [no_sync, no_file_sync, no_folder_sync])
def test_the_disk_bites(mutant: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    violations = 0
    with quick_folder() as folder:
        job = replace(make_job(folder), options=OPTIONS)
        job.expected  # noqa: B018
        real = Door.fsync
        with monkeypatch.context() as patch:
            mutant(patch)
            with recorded() as records:
                job.run()
            if Door.fsync is not real:
                records = [one for one in records if one[0] != "fsync"]
        for _ in states(job, records, STATES // 4, Disk(folder)):
            found = content(job.out)
            violations += found is not None and found != job.expected
        shutil.rmtree(job.out, ignore_errors=True)
    print(f"mutant={mutant.__name__} states={STATES // 4} violations={violations}")
    assert violations


def test_old_lines_under_a_new_first_one() -> None:
    """Without the sync after a journal is cut, shards of another run are taken."""
    violations = 0
    with quick_folder() as folder:
        other = replace(make_job(folder, RULES_OF_OTHER), options=OPTIONS)
        job = replace(make_job(folder), options=OPTIONS)
        other.plan = replace(other.plan, sources=job.plan.sources)
        disk, records = interrupted(other, job)
        cut = next(number for number, one in enumerate(records) if one[0] == "truncate")
        assert records[cut + 1][0] == "fsync"
        for _ in states(job, [*records[: cut + 1], *records[cut + 2 : cut + 3]], 400, disk):
            job.run()
            violations += content(job.out) != job.expected
    print(f"mutant=no_sync_of_the_cut states=400 violations={violations}")
    assert violations
