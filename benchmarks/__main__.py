"""``python -m benchmarks``: measure, and print a table.

A missed target is no failure; what does not run is one.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import machine
from benchmarks.cases import CASES
from benchmarks.commands import ROOT
from benchmarks.conversions import Timed, against, convert, reflink
from benchmarks.inputs import Inputs
from benchmarks.layouts import FULL
from benchmarks.model import BenchmarkError, Case, Line, Scale, Settings
from benchmarks.peaks import peaks
from benchmarks.process import mapcc_flags
from benchmarks.rounds import clear, say
from benchmarks.startup import checks, starts
from benchmarks.table import table, write_json

GROUPS = {"reflink": "8", "memory": "9", "check": "10", "start": "11"}
# Whose targets are for one size, whatever --gb says.
ABSOLUTE = {"10", "11"}


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = ", ".join([*(case.name for case in CASES), *GROUPS])
    parser.add_argument("--gb", type=float, default=2.2, help="of a checkpoint; the targets are for 2.2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", metavar="NAME,...", help=f"these, or rows by number: {known}")
    parser.add_argument("--peers", action="store_true", help="mergekit and transformers too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured")
    parser.add_argument("--work", type=Path, metavar="DIR", help="where to make the files, some 25 GB")
    return parser


def main() -> int:
    given = options().parse_args()
    wanted = set(filter(None, given.only.split(",")))
    unknown = wanted - {name for case in CASES for name in (case.name, case.row)}
    if unknown := unknown - GROUPS.keys() - set(GROUPS.values()):
        options().error(f"no such benchmark: {', '.join(sorted(unknown))}")
    folder = (given.work or ROOT / ".cache" / "bench").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder, prefix="run-") as temporary:
        settings = Settings(Path(temporary), int(given.gb * 1e9), given.rounds, given.peers, mapcc_flags())
        header = _header(settings)
        lines: list[Line] = []
        ended = _collect(measure(wanted, settings), lines)
    for line in lines:
        line.judged = line.row in ABSOLUTE or settings.nbytes > 0.9 * FULL
    print(*header, "", table(lines), sep="\n")
    if given.json:
        write_json(given.json, header, lines)
    return int(not ended or any(line.failed or "failed" in " ".join(line.absent) for line in lines))


def _collect(measured: Iterable[Line], lines: list[Line]) -> bool:
    """Whether all was measured; what was done before an interruption is not lost."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for line in measured:
            lines.append(line)
    except KeyboardInterrupt:
        say("  interrupted")
        return False
    return True


def _header(settings: Settings) -> list[str]:
    synced = "output not fsynced (--no-sync)"
    if "--no-sync" not in settings.flags:
        synced = "this mapcc has no --no-sync: its output is synced or not as it likes"
    state = f"warm page cache and {synced}, but for row 7"
    rounds = f"{settings.rounds} interleaved rounds of whole processes; median [min..max]"
    return [machine.facts(settings.work), f"{state}; {rounds}"]


def measure(wanted: set[str], settings: Settings) -> Iterator[Line]:
    """The lines of all benchmarks that are wanted; one that does not run gives a line that says so."""
    inputs = Inputs(settings.work, Scale(settings.nbytes))
    cases = [case for case in CASES if not wanted or {case.name, case.row} & wanted]
    inputs.expect(cases)
    measured: list[Timed] = []
    for case in cases:
        yield from _case(case, inputs, settings, measured)
    groups: dict[str, Callable[[], Iterable[Line]]] = {
        "reflink": lambda: [reflink(CASES[0], inputs, settings)],
        "memory": lambda: peaks(settings),
        "check": lambda: checks(settings),
        "start": lambda: starts(settings),
    }
    for name, work in groups.items():
        if not wanted or {name, GROUPS[name]} & wanted:
            yield from _guarded(name, work)
    if measured:
        yield from against(measured)


def _case(case: Case, inputs: Inputs, settings: Settings, measured: list[Timed]) -> Iterator[Line]:
    say(f"  {case.row} {case.name}: {case.what}")
    try:
        done, lines = convert(case, inputs, settings)
        measured.append(done)
        yield from lines
    except (BenchmarkError, OSError) as error:
        yield _failed(case.row, case.name, case.what, error)
    finally:
        inputs.done(case.layout)
        clear(settings.work / "out")
        clear(settings.work / "baseline")


def _guarded(name: str, work: Callable[[], Iterable[Line]]) -> Iterator[Line]:
    try:
        yield from work()
    except (BenchmarkError, OSError) as error:
        yield _failed(GROUPS[name], name, "", error)


def _failed(row: str, name: str, what: str, error: Exception) -> Line:
    say(f"  {name} failed: {error}")
    return Line(row, name, what, failed=True, note=str(error).splitlines()[-1][:120])


if __name__ == "__main__":
    sys.exit(main())
