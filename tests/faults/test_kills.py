"""SIGKILL at any time, limits of file sizes, a disk that fills, and eight processes for one output."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from mapcc import api
from mapcc.runtime import execute
from tests.faults.children import ended, result, start
from tests.faults.counts import inputs, randomness, report
from tests.faults.jobs import REFUSED, WAS_THERE, WROTE, Job, content, make_job, quick_folder

KILLS = inputs(ci=200, nightly=2_000)
LIMITS = 50


@pytest.mark.slow
def test_killed_at_any_time() -> None:
    """Several in a row on one job, until it is done in spite of them."""
    random, kills = randomness(), 0
    with quick_folder() as folder:
        job = make_job(folder)
        job.expected  # noqa: B018
        job.clear()
        begin = time.monotonic()
        result(job.run)
        longest = time.monotonic() - begin
        while kills < KILLS:
            job.clear()
            for _ in range(random.randint(1, 6)):
                if killed_after(job, random.random() * longest):
                    kills += 1
                    job.check()
            job.check_rerun()
    # One that was killed may have been done: its folder has its name, and the next run sees it.
    report({"faults": KILLS, "jobs": KILLS // 10}, **job.counts(), jobs=job.rerun_identical)


def killed_after(job: Job, seconds: float) -> bool:
    child = start(job.run)
    time.sleep(seconds)
    os.kill(child, signal.SIGKILL)
    return ended(child) == -signal.SIGKILL


@pytest.mark.slow
def test_limits_of_file_sizes() -> None:
    """EFBIG: Python has SIGXFSZ ignored."""
    with quick_folder() as folder:
        job = make_job(folder)
        largest = max(len(data) for data in job.expected.values())
        for number in range(LIMITS):
            job.clear()
            assert result(lambda at=largest * number // LIMITS: limited(job, at)) == REFUSED
            job.check()
            job.check_rerun()
    report({"faults": LIMITS, "rerun_identical": LIMITS}, **job.counts())


def limited(job: Job, size: int) -> bool:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    return job.run()


FULL = """
import sys
from pathlib import Path
from mapcc import api
from mapcc.errors import MappingError
from mapcc.runtime import Options
from mapcc.plan.memory import Buffers

folder, saved = Path(sys.argv[1]), sys.argv[2]
plan = api.load_plan(saved)
options = Options(sizes=Buffers(1, 16, 256, 64, 64, 8))
for step in range(5):
    filler = folder / "filler"

    def fill(done, total):
        if done * 6 >= total * step and not filler.exists():
            with filler.open("wb", buffering=0) as file:
                try:
                    while file.write(bytes(4096)):
                        pass
                except OSError:
                    pass

    try:
        api.carry_out(plan, folder / "out", progress=fill, running=options)
        sys.exit("the disk was not full")
    except MappingError as error:
        assert [d.code for d in error.diagnostics] == ["MC005"], error
        assert "no space left" in str(error), error
    assert not (folder / "out").exists()
    filler.unlink()
    assert api.carry_out(plan, folder / "out", running=options)
    assert [path.name for path in folder.iterdir()] == ["out"]
    for path in (folder / "out").iterdir():
        assert path.read_bytes() == (Path(sys.argv[3]) / path.name).read_bytes()
        path.unlink()
    (folder / "out").rmdir()
print("full", 5)
"""


def test_a_disk_that_fills(tmp_path: Path) -> None:
    mounted = 'mount -t tmpfs -o size=256k none "$0" && exec "$@"'
    unshared = ["unshare", "-rm", "sh", "-c", mounted, str(tmp_path)]
    try:
        subprocess.run([*unshared, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    with quick_folder() as folder:
        job = make_job(folder)
        job.run()
        api.save_plan(job.plan, folder / "plan.json")
        script = [sys.executable, "-c", FULL, tmp_path, folder / "plan.json", job.out]
        done = subprocess.run([*unshared, *map(str, script)], capture_output=True, text=True, check=False)
    assert done.stdout == "full 5\n", done.stderr
    report({"faults": 5}, faults=5, lost=0, rerun_identical=5)


@pytest.mark.slow
def test_eight_processes_for_one_output() -> None:
    """One does the work; the others say that it is at work, or see that it was done."""
    rounds = 12
    with quick_folder() as folder:
        job = make_job(folder)
        job.expected  # noqa: B018
        for number in range(rounds):
            job.clear()
            gate = time.monotonic() + 0.03
            children = [start(lambda at=gate: raced(job, at)) for _ in range(8)]
            codes = Counter(ended(child) for child in children)
            assert codes[WROTE] == 1, codes
            assert codes.keys() <= {WROTE, WAS_THERE, REFUSED}, (number, codes)
            assert content(job.out) == job.expected
            assert {path.name for path in folder.iterdir()} == {"source.safetensors", "out"}
    report({"races": rounds}, races=rounds)


def raced(job: Job, gate: float) -> bool:
    random = Random(os.getpid())
    time.sleep(max(0.0, gate - time.monotonic()))
    return execute(job.plan, job.out, lambda *_: time.sleep(random.random() / 1000), job.options)


def test_seven_processes_while_one_is_at_work() -> None:
    """The one waits in the middle until the others have ended: each of them must have refused."""
    with quick_folder() as folder:
        job = make_job(folder)
        job.expected  # noqa: B018
        told, tell = os.pipe()
        gate, leave = os.pipe()
        children = [start(lambda: waiting(job, tell, gate, leave)) for _ in range(8)]
        os.close(tell)
        ends = [os.read(told, 1) for _ in range(8)]  # of seven, and that one has begun
        os.close(leave)
        codes = Counter(ended(child) for child in children)
        assert Counter(ends) == {b"e": 7, b"w": 1}
        assert codes == {REFUSED: 7, WROTE: 1}
        assert content(job.out) == job.expected
        assert result(job.run) == WAS_THERE


def waiting(job: Job, tell: int, gate: int, leave: int) -> bool:
    os.close(leave)
    begun = False

    def wait(*_: object) -> None:
        nonlocal begun
        if not begun:
            begun = True
            os.write(tell, b"w")
            os.read(gate, 1)  # until all that could write to it have closed it

    try:
        return execute(job.plan, job.out, wait, job.options)
    finally:
        if not begun:
            os.write(tell, b"e")
