"""The memory that a plan says it takes is what it takes: more is not to be had, and the work is done."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mapcc import api
from mapcc.plan import make_plan
from tests.faults.counts import report
from tests.faults.jobs import quick_folder
from tests.runtime.conftest import Lab

LIMITED = """
import re
import resource
import sys
from pathlib import Path
import numpy
from mapcc import api
from mapcc.plan.memory import buffers
from mapcc.runtime import Options, maker

plan, out, budget = api.load_plan(sys.argv[1]), sys.argv[2], 32 << 20
options = Options(memory=budget, workers=2)
total = buffers(plan, options.threads, budget).total
assert total <= budget
before = int(re.search(r"VmSize:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
room = before + total + int(sys.argv[3])
resource.setrlimit(resource.RLIMIT_AS, (room, room))
api.carry_out(plan, out, running=options)
print(total)
"""
ROWS, COLUMNS = 8_000, 12_500  # 200 MB in BF16
MARGIN = 64 << 20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_an_address_space_of_what_the_plan_says() -> None:
    with quick_folder() as folder:
        lab = Lab(folder)
        lab.write({"x": ("BF16", (ROWS, COLUMNS), b"")})
        begin = lab.source.stat().st_size
        os.truncate(lab.source, begin + 2 * ROWS * COLUMNS)  # a hole, but for one element
        with lab.source.open("r+b") as file:
            file.seek(begin + 2 * (7 * COLUMNS + 11))
            file.write(b"\x34\x12")
        api.save_plan(make_plan(lab.bound("x : a b -> y : b a")), folder / "plan.json")
        ended = [limited(folder, margin) for margin in (MARGIN, -(24 << 20))]
        assert ended[0].returncode == 0, ended[0].stderr
        assert ended[1].returncode, "the limit does not bite"
        with (lab.out / "model.safetensors").open("rb") as file:
            header = int.from_bytes(file.read(8), "little")
            file.seek(8 + header + 2 * (11 * ROWS + 7))
            assert file.read(2) == b"\x34\x12"
    report({"runs": 1}, runs=1, buffers=int(ended[0].stdout), margin=MARGIN)


def limited(folder: Path, margin: int) -> subprocess.CompletedProcess[str]:
    out = folder / ("out" if margin > 0 else "none")
    script = [sys.executable, "-c", LIMITED, folder / "plan.json", out, margin]
    # Each thread that has to wait for another may get an arena of glibc's, which reserves 64 MiB: luck.
    surroundings = os.environ | {"MALLOC_ARENA_MAX": "1"}
    return subprocess.run([*map(str, script)], capture_output=True, text=True, check=False, env=surroundings)
