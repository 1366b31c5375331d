"""Rows 1 to 8 and 12: conversions against cp, the naive script and the peers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import commands, machine
from benchmarks.files import size
from benchmarks.inputs import Inputs, write_mapping
from benchmarks.layouts import ONE
from benchmarks.model import Case, Limit, Line, Round, Scale, Settings
from benchmarks.process import timed
from benchmarks.rounds import Course, clear, noisy, per_round, quiet, rounds
from benchmarks.verify import same_values, verify

# Times the source: the memory of a script that loads all and saves all, and its output.
HELD = 3
PER_TENSOR = Limit(8, "us user/tensor")
EXTENTS = Limit(0.1, "s")


@dataclass(frozen=True, slots=True)
class Timed:
    """A case with its rounds; who is absent, and why."""

    case: Case
    rounds: Sequence[Round]
    absent: Mapping[str, str]

    def has(self, name: str) -> bool:
        return all(name in each for each in self.rounds)


def convert(case: Case, inputs: Inputs, settings: Settings) -> tuple[Timed, list[Line]]:
    """Measure one case: its rounds, for row 12, and its lines."""
    compared = verify(case, settings.work)
    source, out = inputs.source(case.layout), settings.work / "out"
    command = commands.mapcc(case, write_mapping(case, settings.work), source, out, settings.flags)
    files = sorted(source.glob("*.safetensors"))
    course = Course(settings.work, out, files, HELD * size(source), case.cold)
    compete, absent = _contestants(case, command, source, out, settings)
    copied = _baseline(case, command, source, course)
    compete = {"cp": commands.copy(case, copied, out)} | compete
    done, failed = rounds(compete, course, settings.rounds)
    measured = Timed(case, done, absent | failed)
    lines = [_line(measured, size(copied), compared)]
    lines += _more(measured, course, settings)
    clear(settings.work / "baseline")
    clear(out)
    return measured, lines


def _contestants(
    case: Case, command: Sequence[str], source: Path, out: Path, settings: Settings
) -> tuple[dict[str, Sequence[str]], dict[str, str]]:
    """Who takes part, mapcc first; and who does not, and why."""
    others = {"naive": commands.naive(case, source, out)}
    wrong: dict[str, str] = {}
    for name in case.peers if settings.peers else ():
        others[name] = commands.peer(name, source, out)
        if others[name] is not None and not same_values(case, name, settings.work):
            wrong[name] = "failed: its output is another"
    compete = {name: other for name, other in others.items() if other is not None and name not in wrong}
    absent = {name: "not installed" for name, other in others.items() if other is None}
    return {"mapcc": command} | compete, absent | wrong


def _baseline(case: Case, command: Sequence[str], source: Path, course: Course) -> Path:
    """What cp copies: the source, or the output of a run that does not count."""
    if case.baseline == "source":
        return source
    clear(course.out)
    timed(command, course.folder)
    return course.out.rename(course.folder / "baseline")


def _line(measured: Timed, nbytes: int, compared: bool) -> Line:
    case, done = measured.case, measured.rounds
    names = list(done[0])
    others = [name for name in names[2:] if measured.has(name)]
    return Line(
        case.row,
        case.name,
        case.what,
        case.limit,
        per_round(done, "mapcc", "cp"),
        nbytes,
        {name: median(each[name].wall for each in done) for name in ("cp", "mapcc", *others)},
        {name: median(per_round(done, name, "cp")) for name in others},
        tuple(f"{name}: {why}" for name, why in measured.absent.items()),
        noisy(done, "cp", "mapcc"),
        note="" if compared else "output not compared: no torch",
    )


def _more(measured: Timed, course: Course, settings: Settings) -> Iterator[Line]:
    """What a target asks for besides time."""
    case, done = measured.case, measured.rounds
    flagged = noisy(done, "cp", "mapcc")
    if case.row == "1":
        limit = Limit(1.0, "x cp's CPU")
        values = per_round(done, "mapcc", "cp", "cpu")
        yield Line(case.row, f"{case.name}_cpu", "processor time of it", limit, values, noisy=flagged)
    if case.name == "small":
        spent = _start(course, settings)
        count = Scale(0).tensors
        values = [(each["mapcc"].user - spent) / count * 1e6 for each in done]
        what = "user time a tensor, above a conversion of one"
        yield Line(case.row, "small_user", what, PER_TENSOR, values, noisy=flagged)


def _start(course: Course, settings: Settings) -> float:
    """The user time of a conversion of next to nothing."""
    one = Case("", "start", "", ONE, "keep **\n", PER_TENSOR)
    source = Inputs(settings.work, Scale(2048)).source(ONE)
    command = commands.mapcc(one, write_mapping(one, settings.work), source, course.out, settings.flags)
    own = Course(course.folder, course.out, [*source.iterdir()], 1 << 20)
    spent = median(quiet(command, own).user for _ in range(settings.rounds))
    clear(source)
    return spent


def reflink(case: Case, inputs: Inputs, settings: Settings) -> Line:
    """Row 8: what is left to do where the output may share the source's extents."""
    line = Line("8", "reflink", "rename where files share extents", EXTENTS)
    if not machine.shares_extents(settings.work):
        line.note = f"no such file system: {machine.file_system(settings.work)}"
        return line
    source, out = inputs.source(case.layout), settings.work / "out"
    course = Course(settings.work, out, sorted(source.glob("*.safetensors")), 1 << 20)
    command = commands.mapcc(case, write_mapping(case, settings.work), source, out, settings.flags)
    done, _ = rounds({"mapcc": command}, course, settings.rounds)
    line.values, line.nbytes = [each["mapcc"].wall for each in done], size(source)
    line.noisy = noisy(done, "mapcc")
    clear(out)
    return line


def against(measured: Sequence[Timed]) -> Iterator[Line]:
    """Row 12: by how much others are slower at the same work, in the case where they come nearest."""
    moved = [one for one in measured if one.case.naive != "transpose"]
    transposed = [one for one in measured if one.case.naive == "transpose"]
    yield _nearest("naive", moved, Limit(5, "x as fast", least=True), "load_file, save_file; not transposed")
    yield _nearest("naive", transposed, Limit(3, "x as fast", least=True), "load_file, save_file; transposed")
    for peer in ("mergekit", "transformers", "transformers-split"):
        yield _nearest(peer, measured, Limit(10, "x as fast", least=True), peer)


def _nearest(name: str, measured: Sequence[Timed], limit: Limit, what: str) -> Line:
    line = Line("12", f"against_{name}", what, limit)
    found = [(one, per_round(one.rounds, name, "mapcc")) for one in measured if one.has(name)]
    if not found:
        why = {one.absent[name] for one in measured if name in one.absent}
        line.note = ", ".join(sorted(why)) or "not asked for"
        return line
    nearest, line.values = min(found, key=lambda pair: median(pair[1]))
    line.note = f"least of {len(found)}: {nearest.case.name}"
    line.noisy = noisy(nearest.rounds, name, "mapcc")
    return line
