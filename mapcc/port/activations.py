"""FastVideo's activation trace, read and written: one side may come from another process or machine.

A line is ``{"module", "tensor", "step", "abs_mean", "sum", "max", "shape"}`` for each tensor that a module
gives, as its ``fastvideo/hooks/activation_trace.py`` writes it. Sums tell less than the activations do:
nothing of the order of elements. Names differ between the two sides; the mapping says which correspond.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.files import write_text
from mapcc.port.pairs import Pairs
from mapcc.port.spool import Event, Spool

if TYPE_CHECKING:
    from torch import Tensor

_FIGURES = ("abs_mean", "sum", "max")
_MOST = 1 << 30
# Sums lose more digits than their terms do.
NOISE = 1e-4


@dataclass(frozen=True, slots=True)
class Row:
    """One tensor that a module gave. ``call`` counts the module's calls."""

    module: str
    tensor: str
    step: int | None
    call: int
    abs_mean: float
    sum: float
    max: float
    shape: tuple[int, ...]

    @property
    def numel(self) -> int:
        count = 1
        for size in self.shape:
            count *= size
        return count


@dataclass(frozen=True, slots=True)
class Differing:
    """A module of the port whose figures are not those of its official ones."""

    row: Row
    officials: tuple[Row, ...]
    figure: str
    error: float


def write_rows(path: Path, events: Sequence[Event], spool: Spool) -> int:
    """The outputs of all events as lines; how many."""
    lines = []
    for event in sorted(events, key=lambda each: each.ended):
        if not event.module:
            continue  # FastVideo does not name the model itself
        for label, kept in event.outputs:
            lines.append(json.dumps(_line(event.module, label, spool.read(kept))))
    write_text(path, "".join(f"{line}\n" for line in lines))
    return len(lines)


def _line(module: str, label: str, tensor: Tensor) -> dict[str, Any]:
    values = tensor.float()
    return {
        "module": module,
        "tensor": label,
        "step": None,
        "abs_mean": float(values.abs().mean()),
        "sum": float(values.sum()),
        "max": float(values.max()) if values.numel() else 0.0,
        "shape": list(tensor.shape),
    }


def read_rows(path: Path) -> list[Row]:
    """The lines of a trace, in their order.

    Raises:
        MappingError: MC001 if it cannot be read, MC003 for a line that is none of these.
    """
    from mapcc.tensors.disk import read_all

    raw = read_all(path, _MOST)
    if raw is None:
        raise MappingError([Diagnostic("MC003", f"`{path}` has more than {_MOST:,} bytes")])
    calls: dict[tuple[str, str], int] = {}
    out = []
    for number, line in enumerate(raw.decode("utf-8", "replace").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
            name, label = str(content["module"]), str(content["tensor"])
            abs_mean, total, most = (float(content[figure]) for figure in _FIGURES)
            shape = tuple(int(size) for size in content["shape"])
        except (ValueError, KeyError, TypeError) as error:
            help = 'FASTVIDEO_TRACE_STATS="abs_mean,sum,max,shape" writes what is needed'
            message = f"`{path}` line {number} is no activation: {type(error).__name__}: {error}"
            raise MappingError([Diagnostic("MC003", message, help=help)]) from None
        call = calls.get((name, label), 0)
        calls[name, label] = call + 1
        out.append(Row(name, label, content.get("step"), call, abs_mean, total, most, shape))
    return out


def first_differing(
    pairs: Pairs, official: Sequence[Row], ported: Sequence[Row], noise: float = NOISE
) -> tuple[int, Differing | None]:
    """How many modules were compared up to there, and the first whose figures differ by more than noise."""
    theirs = {(row.module, row.call): row for row in official if row.tensor in ("out", "out[0]")}
    ours = {(row.module, row.call): row for row in ported if row.tensor in ("out", "out[0]")}
    holders = {
        own: theirs_ for theirs_all, own_all in pairs.wholes for own, theirs_ in _ends(own_all, theirs_all)
    }
    holders |= pairs.declared
    compared, seen = 0, set()
    for row in ours.values():
        group = _group(pairs, row.module) or ((row.module,), (holders.get(row.module, ""),))
        if group in seen and row.call == 0:
            continue
        seen.add(group)
        mine = [ours[name, row.call] for name in group[0] if (name, row.call) in ours]
        found = [theirs[name, row.call] for name in group[1] if (name, row.call) in theirs]
        if len(mine) != len(group[0]) or len(found) != len(group[1]) or _count(mine) != _count(found):
            continue
        compared += 1
        for figure, error in _errors(mine, found):
            if error > noise:
                return compared, Differing(row, tuple(found), figure, error)
    return compared, None


def _ends(ours: Sequence[str], theirs: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield ours[0], theirs[0]
    yield ours[-1], theirs[-1]


def _group(pairs: Pairs, module: str) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """The ported modules that together are some official ones: q, k and v of a fused projection."""
    owner = pairs.owners.get(module)
    if owner is None:
        return None
    officials, members = set(owner.officials), {module}
    while True:
        more = {name for name, each in pairs.owners.items() if officials & set(each.officials)} - members
        if not more:
            return tuple(sorted(members)), tuple(sorted(officials))
        members |= more
        officials |= {official for name in more for official in pairs.owners[name].officials}


def _count(rows: Sequence[Row]) -> int:
    return sum(row.numel for row in rows)


def _errors(mine: Sequence[Row], theirs: Sequence[Row]) -> Iterator[tuple[str, float]]:
    ours, official = _together(mine), _together(theirs)
    size = max(ours["abs_mean"], official["abs_mean"], 1e-30)
    yield "abs_mean", abs(ours["abs_mean"] - official["abs_mean"]) / size
    # The sum of very many is small against them: it is measured by what could cancel.
    yield "sum", abs(ours["sum"] - official["sum"]) / (size * max(_count(theirs), 1))
    yield "max", abs(ours["max"] - official["max"]) / max(abs(official["max"]), size)


def _together(rows: Sequence[Row]) -> Mapping[str, float]:
    total = max(_count(rows), 1)
    return {
        "abs_mean": sum(row.abs_mean * row.numel for row in rows) / total,
        "sum": sum(row.sum for row in rows),
        "max": max(row.max for row in rows),
    }
