"""``mapcc port``: what shows that a port is right, from parity to the gate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.output import fail, say, say_name, write
from mapcc.cli.port import HERE, Components, PortFile, chosen, opened, port_app
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.render import plural


@port_app.command(epilog="Example: mapcc port parity transformer --write-test")
def parity(
    components: Components = None,
    file: PortFile = HERE,
    write_test: Annotated[
        bool, typer.Option("--write-test", help="Write the parity test for pytest, too.")
    ] = False,
) -> None:
    """Run official and ported modules on the same inputs; `pipeline` compares whole pipelines' outputs."""
    from mapcc.cli.port_words import output_lines
    from mapcc.cli.progress import steps_to
    from mapcc.port.generated import write_test as written
    from mapcc.port.outputs import run_pipeline
    from mapcc.port.parity import parity_fault, run_parity

    port = opened(file)
    names = [name for name in components or () if name != "pipeline"]
    wants_pipeline = "pipeline" in (components or ())
    faults = []
    for component in chosen(port, names) if names or not wants_pipeline else ():
        result = run_parity(port, component, steps_to(sys.stderr))
        for line in output_lines(result.component, result.outputs):
            say(line)
        faults += [fault for fault in (parity_fault(port, result),) if fault]
        if write_test:
            say(f"wrote {say_name(str(written(port, component)))}")
    if wants_pipeline:
        outputs = run_pipeline(port)
        for line in output_lines("pipeline", outputs):
            say(line)
        if not outputs or not all(output.ok for output in outputs):
            faults.append(Diagnostic("MC916", "the pipelines' outputs differ", help="mapcc port trace"))
    if faults:
        fail(faults)


@port_app.command(epilog="Example: mapcc port trace transformer")
def trace(
    components: Components = None,
    file: PortFile = HERE,
    write_official: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--write-official", metavar="FILE", help="Its activations, as FastVideo writes them."),
    ] = None,
    write_ported: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--write-ported", metavar="FILE", help="The same of the port."),
    ] = None,
    official: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--official", metavar="FILE", help="A trace from elsewhere, instead of running it."),
    ] = None,
    ported: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--ported", metavar="FILE", help="The same of the port."),
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="List every activation that was compared.")] = False,
) -> None:
    """Name the first module at which the port and the official model part, and the rule behind it."""
    from mapcc.cli.port_words import differing_lines, trace_lines
    from mapcc.port.trace_files import compare_traces
    from mapcc.port.trace_files import write_trace as written

    port = opened(file)
    ends = 0
    for component in chosen(port, components):
        for which, path in (("official", write_official), ("ported", write_ported)):
            if path is not None:
                count = written(port, component, which, path)
                say(f"wrote {say_name(str(path))}: {plural(count, 'activation')}")
        if official is not None or ported is not None:
            compared, found = compare_traces(port, component, official, ported)
            lines, is_same = differing_lines(component.name, compared, found), found is None
        elif write_official is not None or write_ported is not None:
            continue
        else:
            from mapcc.cli.progress import steps_to
            from mapcc.port.trace import run_trace

            traced = run_trace(port, component, steps_to(sys.stderr))
            lines, is_same = trace_lines(traced, rows), traced.divergence is None
        for line in lines:
            say(line)
        ends = ends if is_same else 1
    raise SystemExit(ends)


@port_app.command(epilog="Example: mapcc port review transformer --by 'A. Reviewer'")
def review(
    components: Components = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who has read the mapping.")] = "",
    file: PortFile = HERE,
) -> None:
    """Record that somebody has read a mapping, as it is now, and takes it for right."""
    from mapcc.port.components import mapping_path
    from mapcc.port.review import review as reviewed

    if not by.strip():
        fail([Diagnostic("MC007", "who has reviewed it?", help="--by NAME")])
    port = opened(file)
    for component in chosen(port, components):
        reviewed(port, component, by)
        say(f"{component.name}: {say_name(str(mapping_path(port, component)))} accepted by {escape(by)}")


@port_app.command(epilog="Example: mapcc port compare a.mp4 b.mp4 --sheet worst.png")
def compare(
    a: Annotated[Optional[Path], typer.Argument(metavar="A", help="Latents, an image, a video.")] = None,  # noqa: UP045
    b: Annotated[Optional[Path], typer.Argument(metavar="B", help="Another of its kind.")] = None,  # noqa: UP045
    file: PortFile = HERE,
    minimum: Annotated[float, typer.Option("--minimum", help="SSIM of the worst frame.")] = 0.98,
    atol: Annotated[float, typer.Option("--atol", help="For latents.")] = 1e-4,
    rtol: Annotated[float, typer.Option("--rtol", help="For latents.")] = 1e-4,
    sheet: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--sheet", metavar="PNG", help="The worst frames of both, and their difference."),
    ] = None,
) -> None:
    """Compare two outputs: SSIM and PSNR of images and videos, the distance of latents.

    Without A and B: those that port.yaml names under `ssim`, for the gate.
    """
    from mapcc.cli.port_words import comparison_lines
    from mapcc.port.outputs import run_ssim
    from mapcc.port.pictures import compare_outputs

    if (a is None) != (b is None):
        raise typer.BadParameter("two outputs, or none for those that port.yaml names")
    if a is None or b is None:
        port = opened(file)
        found = run_ssim(port, sheet)
        minimum = port.ssim.minimum if port.ssim else minimum
    else:
        found = compare_outputs(a, b, atol=atol, rtol=rtol, sheet=sheet)
    for line in comparison_lines(found, minimum):
        say(line)
    if sheet is not None and found.frames is not None:
        say(f"wrote {say_name(str(sheet))}")
    raise SystemExit(0 if found.passed(minimum) else 1)


@port_app.command(epilog="Example: mapcc port example")
def example(file: PortFile = HERE) -> None:
    """Run the port's example, and see that it writes its output."""
    from mapcc.port.outputs import run_example

    say(f"{say_name(str(run_example(opened(file))))} is there")


@port_app.command(epilog="Example: mapcc port status")
def status(file: PortFile = HERE) -> None:
    """Show each item with what its evidence says today, and tick the boxes of PLAN.md accordingly."""
    from mapcc.cli.port_words import standing_lines
    from mapcc.port.plan_file import update_plan
    from mapcc.port.progress import standings

    port = opened(file)
    now = standings(port)
    for line in standing_lines(now):
        say(line)
    for key in update_plan(port, now):
        say(f"{say_name(str(port.plan))} has no box for `{key}`", sys.stderr)


@port_app.command(epilog="Example: mapcc port gate")
def gate(file: PortFile = HERE) -> None:
    """Pass only on evidence that holds today; otherwise list what is missing, and end with 1."""
    from mapcc.cli.port_words import standing_lines
    from mapcc.port.progress import standings

    now = [standing for standing in standings(opened(file)) if standing.item.in_gate]
    for line in standing_lines(now):
        say(line)
    missing = sum(not standing.done for standing in now)
    say(f"gate: {'passed' if not missing else f'not passed: {missing} of {len(now)} items are missing'}")
    raise SystemExit(1 if missing else 0)


@port_app.command("report", epilog="Example: mapcc port report --format json > report.json")
def report_(
    file: PortFile = HERE,
    format: Annotated[str, typer.Option("--format", metavar="md|json", help="How to report.")] = "md",
) -> None:
    """Write what a reviewer needs: workspace, progress, parity, what is left out, what is not shown."""
    from mapcc.port.report import as_markdown, report_of

    if format not in ("md", "json"):
        fail([Diagnostic("MC007", f"no format {format!r}", help="md, or json")])
    found = report_of(opened(file))
    write(as_markdown(found) if format == "md" else json.dumps(found, indent=1) + "\n")
