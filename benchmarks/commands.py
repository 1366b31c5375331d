"""The contestants' command lines."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from benchmarks.model import Case
from benchmarks.process import MAPCC, NAIVE

ROOT = Path(__file__).resolve().parents[1]
# Made by `make bench-peers`.
PEERS = ROOT / ".cache" / "bench-peers" / "bin"
SCRIPTS = ROOT / "benchmarks" / "peers"


def mapcc(case: Case, mapping: Path, source: Path, out: Path, flags: frozenset[str]) -> Sequence[str]:
    command = [*MAPCC, "convert", str(mapping), "--source", str(source), "--out", str(out), "--quiet"]
    if not case.synced and "--no-sync" in flags:
        command.append("--no-sync")
    if case.shards:
        # Room for the tensor that would not fit into a third.
        total = sum(path.stat().st_size for path in source.glob("*.safetensors"))
        command += ["--max-shard-size", str(int(total / case.shards * 1.12))]
    return command


def copy(case: Case, source: Path, out: Path) -> Sequence[str]:
    command = ["cp", "-r", *_no_reflink(), str(source), str(out)]
    if not case.synced:
        return command
    return ["sh", "-c", 'out=$1; shift; "$@" && sync "$out"/*', "sh", str(out), *command]


@cache
def _no_reflink() -> tuple[str, ...]:
    """Where a file system shares extents, cp would copy nothing."""
    told = subprocess.run(["cp", "--help"], capture_output=True, text=True, check=False)
    return ("--reflink=never",) if "--reflink" in told.stdout else ()


def naive(case: Case, source: Path, out: Path) -> Sequence[str] | None:
    """The script in torch, or nothing without torch."""
    if importlib.util.find_spec("torch") is None:
        return None
    synced = ("--sync",) if case.synced else ()
    return [sys.executable, str(NAIVE), case.naive, str(source), str(out), *synced]


def peer(name: str, source: Path, out: Path) -> Sequence[str] | None:
    """One of the peers, or nothing if it is not installed."""
    module, _, work = name.partition("-")
    python = PEERS / "python"
    if not any(PEERS.parent.glob(f"lib/python*/site-packages/{module}")):
        return None
    if module == "mergekit":
        return [str(PEERS / "mergekit-yaml"), "--quiet", str(source / "passthrough.yaml"), str(out)]
    return [str(python), str(SCRIPTS / "load_and_save.py"), str(source), str(out), *([work] if work else [])]
