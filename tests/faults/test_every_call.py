"""Each call of the door fails once, and once the process dies there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mapcc.errors import MappingError
from tests.faults.children import result
from tests.faults.counts import report
from tests.faults.doors import ERRORS, Call, deadly, failing, watched
from tests.faults.jobs import DIED, JOURNAL, PARTIAL, RULES, Job, make_job, quick_folder

SCENARIOS = ("fresh", "resumed", "one shard", "tied")
FLOOR = 200


def scenario(name: str, folder: Path) -> Job:
    if name == "one shard":
        return make_job(folder, max_shard_size=10_000)
    if name == "tied":
        return make_job(folder, f"{RULES}, x.2 : a b")
    job = make_job(folder)
    if name == "resumed":
        interrupt_after(job, 1)
        for left in (JOURNAL, PARTIAL):
            (folder / left).rename(folder.with_name(f"{folder.name}.{left}"))
        job.start = lambda: bring_back(job)
    return job


def interrupt_after(job: Job, shards: int) -> None:
    """Kill the job at later and later calls, until it has finished so many shards."""
    number = 0
    while len(job.held()) < shards:
        job.clear()
        assert result(lambda at=number: killed(job, at)) == DIED
        number += 1
    assert len(job.held()) == shards


def bring_back(job: Job) -> None:
    for name in (JOURNAL, PARTIAL):
        saved, to = job.folder.with_name(f"{job.folder.name}.{name}"), job.folder / name
        if saved.is_dir():
            shutil.copytree(saved, to)
        else:
            shutil.copy(saved, to)


def killed(job: Job, number: int) -> bool:
    with deadly(number, DIED):
        return job.run()


def outcome(job: Job) -> None:
    """A failed call is MC005, or was of no account."""
    try:
        job.run()
    except MappingError as error:
        codes = [d.code for d in error.diagnostics]
    else:
        codes = ["MC005"]
    assert codes == ["MC005"]


def check_what_an_error_leaves(job: Job) -> None:
    """Where nothing was finished, nothing is left."""
    if not job.out.exists() and not job.held():
        assert {path.name for path in job.folder.iterdir()} == {"source.safetensors"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_each_call(name: str) -> None:
    with quick_folder() as within:
        folder = within / "job"
        folder.mkdir()
        job = scenario(name, folder)
        job.expected  # noqa: B018
        job.clear()
        calls: list[Call] = []
        with watched(calls):
            job.run()
        for number, call in enumerate(calls):
            for error in ERRORS[call.name]:
                job.clear()
                with failing(number, error):
                    outcome(job)
                job.check()
                check_what_an_error_leaves(job)
                job.check_rerun()
            job.clear()
            assert result(lambda at=number: killed(job, at)) == DIED
            job.check()
            job.check_rerun()
    assert {call.name for call in calls} >= {"mkdir", "create", "pwrite", "fsync", "rename", "unlink"}
    report({"faults": FLOOR, "rerun_identical": FLOOR}, **job.counts())
