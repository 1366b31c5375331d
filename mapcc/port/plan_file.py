"""PLAN.md: its seven sections, and boxes that only evidence ticks.

A box that is mapcc's ends with ``<!-- mapcc: KEY -->``; every other line is the author's, and stays as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mapcc.port.files import write_text
from mapcc.port.model import Port
from mapcc.port.progress import SECTIONS, Standing, items

_BOX = re.compile(r"^(\s*[-*] \[)[ xX](\] .*<!-- mapcc: ([\w.-]+(?: [\w.-]+)?) -->\s*)$", re.MULTILINE)


def plan_text(port: Port) -> str:
    """A new plan: every box open."""
    lines = [f"# Port of {port.model}", ""]
    for number, title in enumerate(SECTIONS, start=1):
        lines += [f"## {number}. {title}", "", *_about(port, number)]
        lines += [
            f"- [ ] {item.title} (`{item.command}`) <!-- mapcc: {item.key} -->"
            for item in items(port)
            if item.section == number
        ]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _about(port: Port, section: int) -> list[str]:
    weights = port.weights
    match section:
        case 1:
            where = f"{weights.repository} at {weights.revision}" if weights.repository else weights.path
            return [
                f"- Official code: {port.official or 'not named yet'}",
                f"- Weights: {where}",
                f"- Target: {port.target.kind}",
                f"- Output: `{port.out_folder or f'converted_weights/{port.model}'}`",
                "",
            ]
        case 2:
            rows = [
                f"| `{c.name}` | `{c.prefix or ', '.join(c.sources)}` | `{c.mapping}` |"
                for c in port.components
            ]
            return ["| component | official | mapping |", "| --- | --- | --- |", *rows, ""]
        case 7:
            missing = [
                f"- `{c.name}`: {', '.join(e.names)}: {e.because}" for c in port.components for e in c.missing
            ]
            foreign = [f"- left out: {', '.join(each.names)}: {each.because}" for each in port.foreign]
            return missing + foreign or ["- None known yet."]
        case _:
            return []


def ticked(text: str, standings: Sequence[Standing]) -> str:
    """The plan with its boxes as the evidence has them; boxes of items that are no more are open.

    >>> ticked("- [x] a <!-- mapcc: fetch -->", [])
    '- [ ] a <!-- mapcc: fetch -->'
    """
    done = {standing.item.key for standing in standings if standing.done}
    return _BOX.sub(lambda box: f"{box[1]}{'x' if box[3] in done else ' '}{box[2]}", text)


def update_plan(port: Port, standings: Sequence[Standing]) -> tuple[str, ...]:
    """Tick and untick the boxes; the keys of items that the plan has no box for."""
    try:
        before = port.plan.read_text("utf-8")
    except FileNotFoundError:
        before = plan_text(port)
    except (OSError, UnicodeDecodeError):
        return tuple(standing.item.key for standing in standings)
    after = ticked(before, standings)
    if after != before or not port.plan.exists():
        write_text(port.plan, after)
    known = {box[3] for box in _BOX.finditer(after)}
    return tuple(standing.item.key for standing in standings if standing.item.key not in known)
