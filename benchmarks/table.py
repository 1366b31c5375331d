"""The result as a table for people, and as JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.model import Line

HEADS = (
    *("#", "benchmark", "what", "GB", "cp s", "mapcc s"),
    *("measured", "target", "verdict", "naive", "peers", "notes"),
)
RIGHT = {3, 4, 5}


def table(lines: Sequence[Line]) -> str:
    """A table in Markdown, so that it can go into the docs as it is."""
    rows = [HEADS, *(_cells(line) for line in lines)]
    widths = [max(len(row[at]) for row in rows) for at in range(len(HEADS))]
    ruler = ["-" * (width - 1) + ":" if at in RIGHT else "-" * width for at, width in enumerate(widths)]
    return "\n".join([_row(HEADS, widths), _row(ruler, widths), *(_row(row, widths) for row in rows[1:])])


def _row(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cell.rjust(width) if at in RIGHT else cell.ljust(width)
        for at, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
    return f"| {' | '.join(padded)} |"


def _cells(line: Line) -> tuple[str, ...]:
    peers = [f"{name} {value:.1f}" for name, value in line.ratios.items() if name != "naive"]
    absent = [text for text in line.absent if not text.startswith("naive:")]
    naive = f"{line.ratios['naive']:.1f}" if "naive" in line.ratios else ""
    missing = [text.partition(": ")[2] for text in line.absent if text.startswith("naive:")]
    notes = [line.note] if line.note else []
    if line.noisy:
        notes.append(f"{line.noisy} noisy")
    return (
        line.row,
        line.name,
        line.what,
        "" if line.nbytes is None else f"{line.nbytes / 1e9:.2f}",
        *(f"{line.seconds[name]:.2f}" if name in line.seconds else "" for name in ("cp", "mapcc")),
        _measured(line),
        "" if line.limit is None else str(line.limit),
        line.verdict,
        naive or ", ".join(missing),
        ", ".join([*peers, *absent]),
        "; ".join(notes),
    )


def _measured(line: Line) -> str:
    if line.value is None:
        return ""
    if len(line.values) == 1:
        return _number(line.value)
    return f"{_number(line.value)} [{_number(min(line.values))}..{_number(max(line.values))}]"


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def write_json(path: Path, header: Sequence[str], lines: Sequence[Line]) -> None:
    """All that was measured, each value of each round."""
    found = [asdict(line) | {"median": line.value, "verdict": line.verdict} for line in lines]
    path.write_text(json.dumps({"header": list(header), "lines": found}, indent=1) + "\n", "utf-8")
