"""The same inputs give the same bytes, whatever order Python's sets have."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.counts import report
from tests.faults.test_reach import COMMANDS, checkpoint

pytestmark = pytest.mark.slow

__all__ = ["checkpoint"]

SEEDS = ("0", "1", "4242")
FAULTY = """\
a.{i}.w -> c.{j}.w
b.{i} -> d.{i} where i <= 1
* -> e.*
drop q because "gone"
{x,y}.{z,t} -> {x,y}.{z,t}
"""
MORE = {
    "check as json": ("check", "faulty.mapcc", "-s", "in", "-t", "target.json", "--format", "json"),
    "check with faults": ("check", "faulty.mapcc", "-s", "in", "-t", "target.json"),
    "check for GitHub": ("check", "faulty.mapcc", "-s", "in", "-t", "target.json", "--format", "github"),
    "fmt to YAML": ("fmt", "m.mapcc", "--to", "yaml"),
    "keys with faults": ("keys", "torn"),
}


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(json.dumps(path.name).encode() + path.read_bytes())
    return whole.hexdigest()


@pytest.mark.converts
@pytest.mark.parametrize("command", [*COMMANDS, *MORE])
def test_two_processes_say_and_write_the_same(command: str, checkpoint: Path) -> None:
    (checkpoint / "faulty.mapcc").write_text(FAULTY, "utf-8")
    (checkpoint / "torn").mkdir()
    for at in range(9):
        (checkpoint / "torn" / f"{at}.safetensors").write_bytes(bytes(at))
    seen = set()
    for seed in SEEDS:
        arguments = (COMMANDS | MORE)[command]
        done = subprocess.run(
            [sys.executable, "-m", "mapcc", *arguments],
            cwd=checkpoint,
            env={**os.environ, "PYTHONHASHSEED": seed, "NO_COLOR": "1"},
            capture_output=True,
            check=False,
        )
        out = checkpoint / "out"
        seen.add((done.returncode, done.stdout, done.stderr, digest(out) if out.exists() else ""))
        if out.exists():
            out.rename(checkpoint / f"kept{seed}")
    (found,) = seen
    assert b"Traceback" not in found[2]
    assert found[1] or found[2]
    report({"processes": 2}, processes=len(SEEDS), bytes=len(found[1]) + len(found[2]))
