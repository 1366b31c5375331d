"""A few hundred damaged inputs of each reader, in every run; ``python -m tests.fuzz`` tries ten thousand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

COUNT = 200


@pytest.mark.slow
def test_diagnostics_only(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", f"--count={COUNT}", f"--keep={tmp_path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = dict(re.findall(rf"^(\S+): inputs={COUNT} taken=(\d+) refused=\d+ failed=0 ", done.stdout, re.M))
    assert found.keys() == READERS.keys()
    # Where nothing is ever taken, what stands behind the first check is not tried.
    assert not [reader for reader, taken in found.items() if int(taken) == 0]
