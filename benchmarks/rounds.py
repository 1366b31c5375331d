"""Rounds: each contestant once, one after the other, and again, so that what slows one slows all."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import machine
from benchmarks.model import BenchmarkError, Round, Run
from benchmarks.process import timed

# So often a run is made if others disturb it; the least disturbed is kept then, and flagged.
TRIES = 3
REQUIRED = ("cp", "python", "mapcc")


@dataclass(frozen=True, slots=True)
class Course:
    """What all contestants of a case have in common.

    Attributes:
        folder: where they run, and where ``out`` is made and removed.
        inputs: the files that they read, in the page cache or out of it.
        held: how much memory is touched and freed before each.
    """

    folder: Path
    out: Path
    inputs: Sequence[Path]
    held: int
    cold: bool = False


def rounds(
    contestants: Mapping[str, Sequence[str]], course: Course, number: int
) -> tuple[list[Round], dict[str, str]]:
    """Rounds of runs, by contestant; and which of them failed, and why.

    Whoever is not required and fails is out; what it did before is forgotten.
    """
    left, failed = dict(contestants), dict[str, str]()
    done: list[dict[str, Run]] = []
    for at in range(number):
        say(f"    round {at + 1} of {number}")
        done.append({})
        for name, command in tuple(left.items()):
            try:
                done[-1][name] = quiet(command, course)
            except BenchmarkError as error:
                if name in REQUIRED:
                    raise
                say(f"    {name} failed: {error}")
                failed[name] = "failed"
                del left[name]
    return [{name: each[name] for name in left} for each in done], failed


def quiet(command: Sequence[str], course: Course) -> Run:
    """A run that nobody disturbed, or the least disturbed of a few."""
    tried: list[Run] = []
    for _ in range(TRIES):
        prepare(course)
        tried.append(timed(command, course.folder))
        if not tried[-1].noisy:
            return tried[-1]
        say(f"    thrown away: others took {tried[-1].foreign:.2f} s of {tried[-1].wall:.2f} s")
    return min(tried, key=lambda run: run.foreign / run.wall)


def prepare(course: Course) -> None:
    """The same state before each run: no output, no dirty pages, the inputs cached or not, memory at hand."""
    clear(course.out)
    if not course.cold:
        machine.warm(course.inputs)
    machine.settle(course.held)
    if course.cold and not machine.evict(course.inputs):
        raise BenchmarkError("the source stays in the page cache: not a cold run")


def clear(out: Path) -> None:
    if out.exists():
        shutil.rmtree(out)


def per_round(done: Sequence[Round], one: str, other: str, of: str = "wall") -> list[float]:
    """The ratio of two contestants in each round."""
    return [getattr(each[one], of) / max(getattr(each[other], of), 1e-9) for each in done]


def noisy(done: Sequence[Round], *names: str) -> int:
    """In how many rounds one of them was disturbed and kept all the same."""
    return sum(any(each[name].noisy for name in names) for each in done)


def say(text: str) -> None:
    """Progress: not part of the result."""
    print(text, file=sys.stderr, flush=True)
