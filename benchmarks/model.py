"""What is measured, against what, and what came of it: the values that the other modules pass on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Scale:
    """How large an input is: in bytes, and, where many small tensors are the point, in tensors."""

    nbytes: int
    tensors: int = 20_000


@dataclass(frozen=True, slots=True)
class Layout:
    """A checkpoint to be made: its type, its tensors at a scale, and in how many files they lie."""

    name: str
    dtype: str
    shapes: Callable[[Scale], Shapes]
    files: int = 3


@dataclass(frozen=True, slots=True)
class Limit:
    """A target: ``value`` of ``unit`` at most, or at least."""

    value: float
    unit: str = "x"
    stretch: float | None = None
    least: bool = False

    def met(self, value: float) -> bool:
        return value >= self.value if self.least else value <= self.value

    def __str__(self) -> str:
        return f"{'>=' if self.least else '<='} {self.value:g} {self.unit}"


@dataclass(frozen=True, slots=True)
class Case:
    """One conversion that is timed.

    Attributes:
        work: the function of ``peers/naive.py`` that does the same; two cases may share one.
        baseline: whether ``cp`` copies the source's bytes, or the output's, if that is smaller.
        peers: who else does the same job.
        shards: in how many files the output shall lie; as mapcc likes, if not said.
    """

    row: str
    name: str
    what: str
    layout: Layout
    mapping: str
    limit: Limit
    work: str = ""
    baseline: str = "source"
    peers: tuple[str, ...] = ()
    shards: int = 0
    synced: bool = False
    cold: bool = False

    @property
    def naive(self) -> str:
        return self.work or self.name


@dataclass(frozen=True, slots=True)
class Run:
    """One process, from start to end, in seconds; ``foreign`` is what others took of the processors."""

    wall: float
    user: float
    system: float
    foreign: float
    noisy: bool

    @property
    def cpu(self) -> float:
        return self.user + self.system


Round = Mapping[str, Run]


@dataclass(slots=True)
class Line:
    """A line of the table.

    Attributes:
        values: per round, in the limit's unit; none: ``note`` says why.
        seconds, ratios: medians by contestant, and those to cp.
        absent: who did not take part, and why.
        noisy: in how many rounds others disturbed a run and it was kept all the same.
        judged: whether the input has the size that the target is for.
    """

    row: str
    name: str
    what: str
    limit: Limit | None = None
    values: Sequence[float] = ()
    nbytes: int | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, float] = field(default_factory=dict)
    absent: tuple[str, ...] = ()
    noisy: int = 0
    failed: bool = False
    judged: bool = True
    note: str = ""

    @property
    def value(self) -> float | None:
        return median(self.values) if self.values else None

    @property
    def verdict(self) -> str:
        if self.failed:
            return "FAILED"
        if self.value is None:
            return "not measured"
        if self.limit is None:
            return ""
        if not self.judged:
            return "too small to tell"
        doubt = "?" if 2 * self.noisy > len(self.values) else ""
        return ("met" if self.limit.met(self.value) else "missed") + doubt


class BenchmarkError(Exception):
    """Something did not run: a command failed, or two outputs differ."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What was asked for on the command line, and what this mapcc can do."""

    work: Path
    nbytes: int
    rounds: int
    peers: bool
    flags: frozenset[str]
