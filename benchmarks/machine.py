"""The machine: its facts, how busy others keep it, and what it does before a run so that runs are alike."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")
FICLONE = 0x40049409
KERNEL_THREADS = "2"

# Touches that much memory and ends, which frees it: a virtual machine has the pages at hand then.
WARM_UP = """\
import mmap, sys
size = int(sys.argv[1])
memory = mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE)
"""


def facts(work: Path) -> str:
    """One line: what ratios were measured on."""
    memory = meminfo()["MemTotal"] / 2**30
    parts = (
        f"{len(os.sched_getaffinity(0))} cores",
        f"{memory:.0f} GiB",
        f"{file_system(work)}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
    )
    return ", ".join(parts)


def meminfo() -> dict[str, int]:
    """``/proc/meminfo``, in bytes."""
    lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}


def file_system(path: Path) -> str:
    """The type of the file system that the path lies on."""
    real, best, kind = str(path.resolve()), "", "unknown"
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, mount, found, *_ = line.split()
        if (real + "/").startswith(mount.rstrip("/") + "/") and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def shares_extents(folder: Path) -> bool:
    """Whether a file of the folder can be cloned there, tried on one."""
    one, two = folder / "clone-from", folder / "clone-to"
    try:
        one.write_bytes(bytes(8192))
        with one.open("rb") as source, two.open("wb") as target:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)
    return True


def busy() -> float:
    """Seconds of all processors, so far, that processes had, or that the host took."""
    words = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, _, _, steal = map(int, words[:8])
    return (user + nice + system + steal) / TICK - _kernel_threads()


def _kernel_threads() -> float:
    """What the kernel's own threads had, as when they write back what a run has written."""
    ticks = 0
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                words = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue  # it has ended meanwhile
            if words[1] == KERNEL_THREADS:
                ticks += int(words[11]) + int(words[12])
    return ticks / TICK


def settle(nbytes: int) -> None:
    """No dirty pages, and that much memory free and touched a moment ago."""
    os.sync()
    wanted = min(nbytes, meminfo()["MemAvailable"] // 2)
    subprocess.run([sys.executable, "-I", "-S", "-c", WARM_UP, str(max(1, wanted))], check=True)


def warm(paths: Iterable[Path]) -> None:
    """Read files into the page cache."""
    buffer = bytearray(1 << 20)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def evict(paths: Iterable[Path]) -> bool:
    """Drop clean files from the page cache; whether they are all out of it."""
    out = True
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            out &= _cached(file.fileno(), path.stat().st_size) == 0
    return out


def _cached(descriptor: int, nbytes: int) -> int:
    """How many pages of a file are in the page cache; 0 where the kernel cannot tell (before 6.5)."""
    span = (ctypes.c_uint64 * 2)(0, nbytes)
    counted = (ctypes.c_uint64 * 5)()
    number = 451  # cachestat(2)
    if ctypes.CDLL(None).syscall(number, descriptor, ctypes.byref(span), ctypes.byref(counted), 0):
        return 0
    return counted[0]
