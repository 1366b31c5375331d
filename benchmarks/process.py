"""Whole processes: how long one takes, and what memory it has at most."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter, sleep

from benchmarks.machine import busy
from benchmarks.model import BenchmarkError, Run

MAPCC = (sys.executable, "-m", "mapcc")
NAIVE = Path(__file__).parent / "peers" / "naive.py"

# Foreign load that a run is thrown away for: this, and so much of its time on one processor.
FOREIGN, FOREIGN_SHARE = 0.06, 0.10
EVERY = 0.005
MEASURED = ("RssAnon", "RssShmem", "RssFile")


def environment() -> dict[str, str]:
    """Modules are compiled, as those of an installation are; and nobody asks the network."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return kept | {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@cache
def mapcc_flags() -> frozenset[str]:
    """The options that this mapcc's ``convert`` has."""
    done = subprocess.run([*MAPCC, "convert", "--help"], capture_output=True, text=True, check=False)
    words = done.stdout.replace(",", " ").split()
    return frozenset(word for word in words if word.startswith("--"))


def timed(command: Sequence[str], folder: Path) -> Run:
    """Run a command in a folder, and wait for it."""
    with tempfile.TemporaryFile() as said:
        before, started = busy(), perf_counter()
        process = _start(command, folder, said.fileno())
        try:
            _, status, used = os.wait4(process.pid, 0)
        except KeyboardInterrupt:
            process.kill()
            raise
        wall = perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        foreign = max(0.0, busy() - before - used.ru_utime - used.ru_stime)
        _require(process, said.fileno())
    noisy = foreign > FOREIGN + FOREIGN_SHARE * wall
    return Run(wall, used.ru_utime, used.ru_stime, foreign, noisy)


def _start(command: Sequence[str], folder: Path, output: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command,
        cwd=folder,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
    )


def _require(process: subprocess.Popen[bytes], output: int) -> None:
    if process.returncode:
        text = os.pread(output, 1 << 20, 0).decode(errors="replace")
        last = "\n".join(text.splitlines()[-12:])
        raise BenchmarkError(f"ended with {process.returncode}: {process.args!r}\n{last}")


@dataclass(slots=True)
class Peak:
    """The most memory that a process and its children had at once, in bytes.

    ``anonymous`` counts shared anonymous memory too, which some allocators hand out.
    """

    anonymous: int = 0
    file: int = 0
    samples: int = 0

    def add(self, processes: Iterable[str]) -> None:
        anonymous = file = 0
        for process in processes:
            had = _status(process)
            anonymous += had["RssAnon"] + had["RssShmem"]
            file += had["RssFile"]
        self.anonymous, self.file = max(self.anonymous, anonymous), max(self.file, file)
        self.samples += 1


def peak_memory(command: Sequence[str], folder: Path) -> Peak:
    """Run a command and look at its memory every 5 ms."""
    peak = Peak()
    with tempfile.TemporaryFile() as said:
        process = _start(command, folder, said.fileno())
        try:
            while process.poll() is None:
                peak.add(_tree(str(process.pid)))
                sleep(EVERY)
        except KeyboardInterrupt:
            process.kill()
            raise
        _require(process, said.fileno())
    return peak


def _tree(root: str) -> list[str]:
    """A process and all that it has started."""
    found = [root]
    for process in found:
        for task in Path("/proc", process, "task").glob("*/children"):
            try:
                found += task.read_text().split()
            except OSError:
                continue  # it has ended meanwhile
    return found


def _status(process: str) -> dict[str, int]:
    had = dict.fromkeys(MEASURED, 0)
    try:
        lines = Path("/proc", process, "status").read_text().splitlines()
    except OSError:
        return had
    for line in lines:
        name, _, rest = line.partition(":")
        if name in had:
            had[name] = int(rest.split()[0]) * 1024
    return had
