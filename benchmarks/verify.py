"""A fast engine that is wrong does not win: mapcc's output and the naive script's, tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import commands
from benchmarks.files import hashes
from benchmarks.inputs import checkpoint, write_mapping
from benchmarks.model import BenchmarkError, Case, Scale
from benchmarks.process import mapcc_flags, timed
from benchmarks.rounds import say

TINY = Scale(2_000_000, 200)


def verify(case: Case, work: Path) -> bool:
    """Convert a tiny checkpoint both ways; False if there is no torch to do it with.

    Raises:
        BenchmarkError: a tensor differs in name, type, shape or content.
    """
    with TemporaryDirectory(dir=work, prefix="tiny-") as temporary:
        folder = Path(temporary)
        source = checkpoint(case.layout, TINY, folder / "source")
        ours, theirs = folder / "mapcc", folder / "naive"
        naive = commands.naive(case, source, theirs)
        if naive is None:
            return False
        timed(commands.mapcc(case, write_mapping(case, folder), source, ours, mapcc_flags()), folder)
        timed(naive, folder)
        compare(case.name, ours, theirs)
    return True


def same_values(case: Case, peer: str, work: Path) -> bool:
    """Whether a peer's tensors are those of the naive script; its names are its own."""
    with TemporaryDirectory(dir=work, prefix="tiny-") as temporary:
        folder = Path(temporary)
        source = checkpoint(case.layout, TINY, folder / "source")
        theirs, naive = folder / "peer", folder / "naive"
        both = {
            theirs: commands.peer(peer, source, theirs),
            naive: commands.naive(case, source, naive),
        }
        found: list[list[tuple[str, tuple[int, ...], str]]] = []
        for out, command in both.items():
            if command is None:
                continue
            try:
                timed(command, folder)
            except BenchmarkError as error:
                say(f"    {peer} failed: {error}")
                return False
            found.append(sorted(hashes(out).values()))
    return found[0] == found[-1]


def compare(name: str, ours: Path, theirs: Path) -> None:
    found, wanted = hashes(ours), hashes(theirs)
    wrong = sorted(n for n in found.keys() | wanted.keys() if found.get(n) != wanted.get(n))
    if wrong or not found:
        raise BenchmarkError(f"{name}: {len(wrong)} of {len(wanted)} tensors differ, {wrong[:3]}")
