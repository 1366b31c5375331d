"""The report of a port: what a reviewer, or the next contributor, needs to know. Markdown and JSON."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

from mapcc.port.model import Port
from mapcc.port.parity import as_evidence
from mapcc.port.progress import Standing, standings
from mapcc.port.state import State


def report_of(port: Port) -> dict[str, Any]:
    """Everything as data: only what is recorded, and whether it still holds."""
    state = State(port, still=True)
    now = standings(port)
    inspected = state.evidence("inspect")
    figures = inspected.figures if inspected else {}
    parity: dict[str, Any] = {}
    strict: dict[str, str] = {}
    for component in port.components:
        made = state.evidence("parity", component.name)
        if made is not None:
            parity[component.name] = {
                "passed": made.passed,
                "holds": not state.why_stale(made),
                "largest": as_evidence(made.figures),
                **{key: made.figures.get(key) for key in ("dtype", "atol", "rtol")},
            }
        checked = state.evidence("load", component.name)
        is_loaded = checked is not None and checked.passed and not state.why_stale(checked)
        with_exclusions = "pass_with_documented_exclusions" if component.missing else "pass"
        strict[component.name] = with_exclusions if is_loaded else "not_run" if checked is None else "blocked"
    return {
        "model": port.model,
        "workspace": str(port.folder.resolve()),
        "branch": branch(port),
        "plan": str(port.plan.resolve()) if port.plan.exists() else None,
        "progress": [
            {
                "item": each.item.key,
                "title": each.item.title,
                "status": each.status.value,
                "why": list(each.why),
            }
            for each in now
        ],
        "parity": parity,
        "conversion_state": {
            "conversion_script": "mapcc port convert",
            "converted_weights_dir": str(port.out),
            "source_layout": figures.get("source_layout", "unknown"),
            "needs_conversion": figures.get("needs_conversion", "unknown"),
            "strict_load_status": strict,
            "passthrough_components": [asset.name for asset in port.assets],
        },
        "residual_risks": list(risks(port, now)),
    }


def risks(port: Port, now: Sequence[Standing]) -> list[str]:
    """What is left out on purpose, what was widened, and what is not shown."""
    out = [
        f"{c.name}: {', '.join(e.names)} has no source: {e.because}"
        for c in port.components
        for e in c.missing
    ]
    out += [f"left out of the conversion: {', '.join(each.names)}: {each.because}" for each in port.foreign]
    out += [f"{name} is left out of the gate: {why}" for name, why in port.not_applicable.items()]
    for component in port.components:
        tolerance = component.parity
        if max(tolerance.atol, tolerance.rtol) > 1e-4:
            out.append(
                f"{component.name}: tolerance widened to atol={tolerance.atol:g}, rtol={tolerance.rtol:g}"
            )
    out += [f"not shown: {each.item.title}: {'; '.join(each.why)}" for each in now if not each.done]
    return out


def branch(port: Port) -> str | None:
    """The git branch of the workspace; None outside of git."""
    command = ["git", "-C", str(port.folder.resolve()), "rev-parse", "--abbrev-ref", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def as_markdown(report: dict[str, Any]) -> str:
    done = sum(each["status"] == "done" for each in report["progress"])
    state = report["conversion_state"]
    lines = [
        f"# Port of {report['model']}",
        "",
        f"- Workspace: `{report['workspace']}`",
        f"- Branch: {report['branch'] or 'not in git'}",
        f"- Plan: {report['plan'] or 'none'}",
        f"- Progress: {done} of {len(report['progress'])} items",
        "",
        "## Conversion State",
        "",
        f"- conversion_script: `{state['conversion_script']}`",
        f"- converted_weights_dir: `{state['converted_weights_dir']}`",
        f"- source_layout: {state['source_layout']}",
        f"- needs_conversion: {_words(state['needs_conversion'])}",
        f"- strict_load_status: {_words(state['strict_load_status'])}",
        f"- passthrough_components: {', '.join(state['passthrough_components']) or 'none'}",
        "",
        "## Progress",
        "",
        "| item | status | why |",
        "| --- | --- | --- |",
        *(
            f"| {each['title']} | {each['status']} | {'; '.join(each['why'])} |"
            for each in report["progress"]
        ),
        "",
        "## Parity",
        "",
        "| component | result | largest difference | dtype | atol | rtol |",
        "| --- | --- | --- | --- | --- | --- |",
        *(_parity_row(name, each) for name, each in report["parity"].items()),
        "",
        "## Residual risks",
        "",
        *([f"- {risk}" for risk in report["residual_risks"]] or ["- None."]),
    ]
    return "\n".join(lines) + "\n"


def _progress_row(each: dict[str, Any]) -> str:
    return f"| {each['title']} | {each['status']} | {'; '.join(each['why'])} |"


def _parity_row(name: str, each: dict[str, Any]) -> str:
    result = "stale" if not each["holds"] else "passed" if each["passed"] else "failed"
    return f"| {name} | {result} | {each['largest']} | {each['dtype']} | {each['atol']} | {each['rtol']} |"


def _words(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {word}" for key, word in value.items()) or "none"
    return str(value)
