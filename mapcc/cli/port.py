"""``mapcc port``: a model from its official weights to a passed gate."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mapcc.cli.options import ReportFormat, ShardSize, app, size_of
from mapcc.cli.output import fail, report, say, say_name, write
from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.render import plural
from mapcc.diagnostics.suggest import nearest

if TYPE_CHECKING:
    from mapcc.port.model import Component, Port

port_app = typer.Typer(
    name="port",
    no_args_is_help=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Carry a model from its official weights to a passed alignment gate, with evidence for each step.",
    epilog="Example: mapcc port init wan --weights official_weights/wan",
)
app.add_typer(port_app)

PortFile = Annotated[Path, typer.Option("--port", "-p", metavar="FILE", help="The port.yaml, or its folder.")]
Components = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Argument(metavar="COMPONENT", help="Only these; without any: all."),
]
_HERE = Path("port.yaml")


def _opened(path: Path) -> Port:
    from mapcc.port import read_port

    return read_port(path)


def _chosen(port: Port, names: list[str] | None) -> list[Component]:
    known = [component.name for component in port.components]
    for name in names or ():
        if name not in known:
            near = nearest(name, known, 1)
            help = f"did you mean `{near[0]}`?" if near else f"there is {', '.join(known)}"
            fail([Diagnostic("MC007", f"the port has no component {name!r}", help=help)])
    return [port.component(name) for name in names or known]


@port_app.command(epilog="Example: mapcc port init wan --weights official_weights/wan --target diffusers")
def init(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The folder's name in converted_weights/.")],
    repository: Annotated[str, typer.Option("--repository", metavar="OWNER/NAME", help="On the Hub.")] = "",
    revision: Annotated[str, typer.Option("--revision", help="A commit; a branch becomes its commit.")] = "",
    weights: Annotated[str, typer.Option("--weights", metavar="DIR", help="Where they lie already.")] = "",
    target: Annotated[str, typer.Option("--target", help="diffusers, fastvideo or python.")] = "",
    pipeline: Annotated[str, typer.Option("--pipeline", metavar="CLASS", help="For model_index.json.")] = "",
    diffusers_version: Annotated[str, typer.Option("--diffusers-version", help="For model_index.json.")] = "",
    family: Annotated[str, typer.Option("--family", help="Its folder in tests/local_tests/.")] = "",
    official: Annotated[str, typer.Option("--official", metavar="URL", help="The official code.")] = "",
    worktree: Annotated[
        bool, typer.Option("--worktree", help="In a git worktree of its own, on the branch port/MODEL.")
    ] = False,
    folder: Annotated[Path, typer.Option("--folder", metavar="DIR", help="Where port.yaml goes.")] = Path(),
) -> None:
    """Begin a port: port.yaml and PLAN.md, with all that names and headers tell."""
    from mapcc.port.init import Wishes, init_port, make_worktree

    if sys.stdin.isatty() and not (repository or weights):
        weights = typer.prompt("Where do the official weights lie?", default=f"official_weights/{model}")
    if sys.stdin.isatty() and not target:
        target = typer.prompt("Target (diffusers, fastvideo, python)", default="diffusers")
    if repository:
        from mapcc.port.fetch import head_of

        commit = revision if len(revision) == 40 else head_of(repository, revision or "main")
        if commit != revision:
            say(f"revision: {commit}, which {say_name(revision or 'main')} is at now")
        revision = commit
    if worktree:
        folder = make_worktree(folder, model)
        say(f"worktree: {say_name(str(folder))}, on the branch port/{model}")
    wishes = Wishes(
        *(model, repository, revision, weights, target, pipeline, diffusers_version, family, official)
    )
    port = init_port(folder, wishes)
    for line in wishes.said:
        say(escape(line))
    say(f"wrote {say_name(str(port.path))} and {say_name(str(port.plan))}; next: mapcc port check")


@port_app.command(epilog="Example: mapcc port fetch")
def fetch(
    port: PortFile = _HERE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Download what the port uses of the official weights, at the pinned commit, and record the hashes."""
    from mapcc.cli.progress import progress_for, written_size
    from mapcc.port.fetch import fetch_port

    with progress_for(sys.stderr, quiet) as progress:
        fetched = fetch_port(_opened(port), progress)
    size = sum(size for size, _ in fetched.files.values())
    say(
        f"{say_name(str(fetched.folder))}: {plural(len(fetched.files), 'file')}, {written_size(size)}, hashed"
    )


@port_app.command(epilog="Example: mapcc port inspect")
def inspect(port: PortFile = _HERE) -> None:
    """Say how the official weights lie there, and whether they must be converted at all."""
    from mapcc.port.layout import inspect_port

    layout, needs = inspect_port(_opened(port))
    say(f"layout: {layout.word}: {escape(layout.reason)}")
    for found in layout.checkpoints:
        inside = f", of {', '.join(found.prefixes)}" if found.prefixes else ""
        known = f": {found.model}" if found.model else ""
        told = found.problem or f"{plural(found.tensors, 'tensor')}{inside}{known}"
        say(f"  {say_name(found.path)}: {escape(told)}")
    for need in needs:
        say(f"{need.component}: needs_conversion: {need.needs_conversion}")
        for reason in need.reasons:
            say(f"  {escape(reason)}")


@port_app.command(epilog="Example: mapcc port keys")
def keys(port: PortFile = _HERE) -> None:
    """Dump both key sets of every component into converted_weights/MODEL/_mapping/."""
    from mapcc.port.dumps import dump_port

    for path, tensors in dump_port(_opened(port)):
        say(f"{say_name(str(path))}: {plural(tensors, 'tensor')}")


@port_app.command(epilog="Example: mapcc port check --format json")
def check(
    port: PortFile = _HERE,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to report.")] = ReportFormat.text,
) -> None:
    """Hold every component's mapping against its key sets, and the whole against the target's loader."""
    from mapcc.cli.port_words import words_lines
    from mapcc.port.words import check_port

    checks = list(check_port(_opened(port)))
    found = [diagnostic for checked in checks for diagnostic in checked.diagnostics]
    if format is ReportFormat.json:
        named = {checked.name: checked.words.as_json() for checked in checks if checked.name}
        say(json.dumps({"components": named, "ok": all(checked.ok for checked in checks)}, indent=1))
    elif format is ReportFormat.text:
        for checked in checks:
            if checked.name:
                for line in words_lines(checked):
                    say(line)
    if format is not ReportFormat.json:
        report(found, format.value, sys.stdout)
    raise SystemExit(max((diagnostic.exit_code for diagnostic in found), default=0))


@port_app.command(epilog="Example: mapcc port convert")
def convert(
    port: PortFile = _HERE,
    max_shard_size: ShardSize = "5GB",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Convert all components into converted_weights/MODEL: complete, or as it was before."""
    from mapcc.cli.progress import progress_for, written_size
    from mapcc.port.assembly import convert_port

    opened = _opened(port)
    with progress_for(sys.stderr, quiet) as progress:
        made = convert_port(
            opened, max_shard_size=size_of("--max-shard-size", max_shard_size), progress=progress
        )
    for each in made:
        kept = ", as it was" if each.is_kept else ""
        size = written_size(each.size)
        say(f"{each.name}: {plural(each.tensors, 'tensor')} in {plural(each.files, 'file')}, {size}{kept}")
    say(f"wrote {say_name(str(opened.out))}")


@port_app.command(epilog="Example: mapcc port parity transformer --write-test")
def parity(
    components: Components = None,
    port: PortFile = _HERE,
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

    opened = _opened(port)
    names = [name for name in components or () if name != "pipeline"]
    wants_pipeline = "pipeline" in (components or ())
    faults = []
    for component in _chosen(opened, names) if names or not wants_pipeline else ():
        result = run_parity(opened, component, steps_to(sys.stderr))
        for line in output_lines(result.component, result.outputs):
            say(line)
        faults += [fault for fault in (parity_fault(opened, result),) if fault]
        if write_test:
            say(f"wrote {say_name(str(written(opened, component)))}")
    if wants_pipeline:
        outputs = run_pipeline(opened)
        for line in output_lines("pipeline", outputs):
            say(line)
        if not outputs or not all(output.ok for output in outputs):
            faults.append(Diagnostic("MC916", "the pipelines' outputs differ", help="mapcc port trace"))
    if faults:
        fail(faults)


@port_app.command(epilog="Example: mapcc port trace transformer")
def trace(
    components: Components = None,
    port: PortFile = _HERE,
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

    opened = _opened(port)
    ends = 0
    for component in _chosen(opened, components):
        for which, path in (("official", write_official), ("ported", write_ported)):
            if path is not None:
                count = written(opened, component, which, path)
                say(f"wrote {say_name(str(path))}: {plural(count, 'activation')}")
        if official is not None or ported is not None:
            compared, found = compare_traces(opened, component, official, ported)
            lines, is_same = differing_lines(component.name, compared, found), found is None
        elif write_official is not None or write_ported is not None:
            continue
        else:
            from mapcc.cli.progress import steps_to
            from mapcc.port.trace import run_trace

            traced = run_trace(opened, component, steps_to(sys.stderr))
            lines, is_same = trace_lines(traced, rows), traced.divergence is None
        for line in lines:
            say(line)
        ends = ends if is_same else 1
    raise SystemExit(ends)


@port_app.command(epilog="Example: mapcc port review transformer --by 'A. Reviewer'")
def review(
    components: Components = None,
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Who has read the mapping.")] = "",
    port: PortFile = _HERE,
) -> None:
    """Record that somebody has read a mapping, as it is now, and takes it for right."""
    from mapcc.port.components import mapping_path
    from mapcc.port.review import review as reviewed

    if not by.strip():
        fail([Diagnostic("MC007", "who has reviewed it?", help="--by NAME")])
    opened = _opened(port)
    for component in _chosen(opened, components):
        reviewed(opened, component, by)
        say(f"{component.name}: {say_name(str(mapping_path(opened, component)))} accepted by {escape(by)}")


@port_app.command(epilog="Example: mapcc port compare a.mp4 b.mp4 --sheet worst.png")
def compare(
    a: Annotated[Optional[Path], typer.Argument(metavar="A", help="Latents, an image, a video.")] = None,  # noqa: UP045
    b: Annotated[Optional[Path], typer.Argument(metavar="B", help="Another of its kind.")] = None,  # noqa: UP045
    port: PortFile = _HERE,
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
        opened = _opened(port)
        found = run_ssim(opened, sheet)
        minimum = opened.ssim.minimum if opened.ssim else minimum
    else:
        found = compare_outputs(a, b, atol=atol, rtol=rtol, sheet=sheet)
    for line in comparison_lines(found, minimum):
        say(line)
    if sheet is not None and found.frames is not None:
        say(f"wrote {say_name(str(sheet))}")
    raise SystemExit(0 if found.passed(minimum) else 1)


@port_app.command(epilog="Example: mapcc port example")
def example(port: PortFile = _HERE) -> None:
    """Run the port's example, and see that it writes its output."""
    from mapcc.port.outputs import run_example

    say(f"{say_name(str(run_example(_opened(port))))} is there")


@port_app.command(epilog="Example: mapcc port status")
def status(port: PortFile = _HERE) -> None:
    """Show each item with what its evidence says today, and tick the boxes of PLAN.md accordingly."""
    from mapcc.cli.port_words import standing_lines
    from mapcc.port.plan_file import update_plan
    from mapcc.port.progress import standings

    opened = _opened(port)
    now = standings(opened)
    for line in standing_lines(now):
        say(line)
    for key in update_plan(opened, now):
        say(f"{say_name(str(opened.plan))} has no box for `{key}`", sys.stderr)


@port_app.command(epilog="Example: mapcc port gate")
def gate(port: PortFile = _HERE) -> None:
    """Pass only on evidence that holds today; otherwise list what is missing, and end with 1."""
    from mapcc.cli.port_words import standing_lines
    from mapcc.port.progress import standings

    now = [standing for standing in standings(_opened(port)) if standing.item.in_gate]
    for line in standing_lines(now):
        say(line)
    missing = sum(not standing.done for standing in now)
    say(f"gate: {'passed' if not missing else f'not passed: {missing} of {len(now)} items are missing'}")
    raise SystemExit(1 if missing else 0)


@port_app.command("report", epilog="Example: mapcc port report --format json > report.json")
def report_(
    port: PortFile = _HERE,
    format: Annotated[str, typer.Option("--format", metavar="md|json", help="How to report.")] = "md",
) -> None:
    """Write what a reviewer needs: workspace, progress, parity, what is left out, what is not shown."""
    from mapcc.port.report import as_markdown, report_of

    if format not in ("md", "json"):
        fail([Diagnostic("MC007", f"no format {format!r}", help="md, or json")])
    found = report_of(_opened(port))
    write(as_markdown(found) if format == "md" else json.dumps(found, indent=1) + "\n")
