"""``mapcc port``: a model from its official weights to a converted one."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mapcc.cli.options import ReportFormat, ShardSize, app, size_of
from mapcc.cli.output import fail, report, say, say_name
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
HERE = Path("port.yaml")


def opened(path: Path) -> Port:
    from mapcc.port import read_port

    return read_port(path)


def chosen(port: Port, names: list[str] | None) -> list[Component]:
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
    file: PortFile = HERE,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Download what the port uses of the official weights, at the pinned commit, and record the hashes."""
    from mapcc.cli.progress import progress_for, written_size
    from mapcc.port.fetch import fetch_port

    with progress_for(sys.stderr, quiet) as progress:
        fetched = fetch_port(opened(file), progress)
    size = sum(size for size, _ in fetched.files.values())
    say(
        f"{say_name(str(fetched.folder))}: {plural(len(fetched.files), 'file')}, {written_size(size)}, hashed"
    )


@port_app.command(epilog="Example: mapcc port inspect")
def inspect(file: PortFile = HERE) -> None:
    """Say how the official weights lie there, and whether they must be converted at all."""
    from mapcc.port.layout import inspect_port

    layout, needs = inspect_port(opened(file))
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
def keys(file: PortFile = HERE) -> None:
    """Dump both key sets of every component into converted_weights/MODEL/_mapping/."""
    from mapcc.port.dumps import dump_port

    for path, tensors in dump_port(opened(file)):
        say(f"{say_name(str(path))}: {plural(tensors, 'tensor')}")


@port_app.command(epilog="Example: mapcc port check --format json")
def check(
    file: PortFile = HERE,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to report.")] = ReportFormat.text,
) -> None:
    """Hold every component's mapping against its key sets, and the whole against the target's loader."""
    from mapcc.cli.port_words import words_lines
    from mapcc.port.words import check_port

    checks = list(check_port(opened(file)))
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
    file: PortFile = HERE,
    max_shard_size: ShardSize = "5GB",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> None:
    """Convert all components into converted_weights/MODEL: complete, or as it was before."""
    from mapcc.cli.progress import progress_for, written_size
    from mapcc.port.assembly import convert_port

    port = opened(file)
    with progress_for(sys.stderr, quiet) as progress:
        made = convert_port(
            port, max_shard_size=size_of("--max-shard-size", max_shard_size), progress=progress
        )
    for each in made:
        kept = ", as it was" if each.is_kept else ""
        size = written_size(each.size)
        say(f"{each.name}: {plural(each.tensors, 'tensor')} in {plural(each.files, 'file')}, {size}{kept}")
    say(f"wrote {say_name(str(port.out))}")
