"""A few hundred damaged inputs of each reader, in every run; ``python -m tests.fuzz`` tries ten thousand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.readers import READERS

# Those that read a mapping or a table match and solve as well: fewer of them.
COSTLY = [reader for reader in READERS if reader in ("mapping", "yaml") or reader.startswith("table-")]


@pytest.mark.slow
@pytest.mark.parametrize(("count", "is_costly"), [(300, False), (40, True)])
def test_diagnostics_only(count: int, is_costly: bool, tmp_path: Path) -> None:
    wanted = [reader for reader in READERS if (reader in COSTLY) == is_costly]
    command = [sys.executable, "-m", "tests.fuzz", f"--count={count}", f"--keep={tmp_path}"]
    command += [f"--reader={reader}" for reader in wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = dict(re.findall(rf"^(\S+): inputs={count} taken=(\d+) refused=\d+ failed=0 ", done.stdout, re.M))
    assert list(found) == wanted
    # Where nothing is ever taken, what stands behind the first check is not tried.
    assert not [reader for reader, taken in found.items() if int(taken) == 0]
