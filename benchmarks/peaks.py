"""Row 9: how much memory a conversion has at most, at two sizes; it must not depend on the size."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import commands
from benchmarks.cases import CASES
from benchmarks.files import make
from benchmarks.inputs import write_mapping
from benchmarks.layouts import FULL, ONE
from benchmarks.model import Case, Limit, Line, Scale, Settings
from benchmarks.process import peak_memory
from benchmarks.rounds import clear, say

MIB = 2**20
MOVES, COMPUTES, A_TENSOR = 32.0, 150.0, 2000 / MIB
SIZES = (1, 8)
# Smaller than the tensor, at full size.
GIVEN = "128MiB"

WHOLE = "model.weight : o c -> model.weight : c o\n"


@dataclass(frozen=True, slots=True)
class Peak:
    """What is converted, and the limit without what each tensor may add."""

    case: Case
    limit: float

    def scale(self, nbytes: int, times: int) -> Scale:
        """So many GB where the full size is asked for, and in proportion where less is."""
        return Scale(int(times * 1e9 * min(1.0, nbytes / FULL)), 20_000 if times == 1 else 200_000)


def _peaks() -> Iterator[Peak]:
    known = {case.name: case for case in CASES}
    yield Peak(known["rename"], MOVES)
    yield Peak(known["small"], MOVES)
    yield Peak(known["transpose"], COMPUTES)
    yield Peak(known["cast"], COMPUTES)
    yield Peak(Case("9", "one", "one tensor, transposed", ONE, WHOLE, Limit(0)), COMPUTES)


def peaks(settings: Settings) -> Iterator[Line]:
    for peak in _peaks():
        for times in SIZES:
            scale = peak.scale(settings.nbytes, times)
            say(f"  9 memory: {peak.case.name}, {scale.nbytes / 1e9:.2f} GB")
            yield _measure(peak, scale, settings)


def _measure(peak: Peak, scale: Scale, settings: Settings) -> Line:
    source, out = settings.work / "sparse", settings.work / "out"
    nbytes = make(peak.case.layout, scale, source, sparse=True)
    mapping = write_mapping(peak.case, settings.work)
    command = [*commands.mapcc(peak.case, mapping, source, out, settings.flags)]
    note = "zeros, sparse"
    if peak.case.layout is ONE:
        note += _give(command, settings)
    had = peak_memory(command, settings.work)
    tensors = len(peak.case.layout.shapes(scale))
    _clear(source, out)
    return Line(
        "9",
        f"memory_{peak.case.name}",
        f"{peak.case.what}: {tensors:,} tensors",
        Limit(round(peak.limit + tensors * A_TENSOR), "MiB"),
        [had.anonymous / MIB],
        nbytes,
        note=f"{note}; file pages {had.file / MIB:.0f} MiB; {had.samples} samples",
    )


def _give(command: list[str], settings: Settings) -> str:
    """Tell mapcc to make do with less than the tensor, if it takes that."""
    if "--memory" not in settings.flags:
        return "; no --memory"
    command += ["--memory", GIVEN]
    return f"; --memory {GIVEN}"


def _clear(source: Path, out: Path) -> None:
    shutil.rmtree(source)
    clear(out)
