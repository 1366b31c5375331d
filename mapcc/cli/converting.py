"""Commands about weights: plan, convert, verify."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import (
    KEYS_HELP,
    AllowUse,
    CopyMode,
    Drops,
    MappingFile,
    Memory,
    Prefix,
    ReportFormat,
    Select,
    Settings,
    ShardSize,
    Source,
    SourceConfig,
    Target,
    TargetConfig,
    Under,
    app,
    key_options,
    size_of,
    with_drops,
)
from mapcc.cli.output import report, say, say_name
from mapcc.diagnostics.model import Diagnostic


@app.command(epilog="Example: mapcc plan wan.mapcc --source wan/ -o wan.plan.json")
def plan(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="For convert --plan.")
    ] = None,
    max_shard_size: ShardSize = "5GB",
    prefix: Prefix = "model",
    memory: Memory = "128MiB",
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """Show what convert would do: files, ranges, memory, disk. No weight is read."""
    from mapcc import api
    from mapcc.cli.planned import plan_lines

    options = with_drops(key_options(set_, source_config, target_config, select, under), drop)
    made = api.make_plan(
        mapping,
        source,
        target,
        max_shard_size=size_of("--max-shard-size", max_shard_size),
        prefix=prefix,
        warned=_warn,
        **options,  # type: ignore[arg-type]
    )
    if out is not None:
        api.save_plan(made, out)
    for line in plan_lines(made, size_of("--memory", memory)):
        say(line)


def _warn(warnings: Sequence[Diagnostic]) -> None:
    report(tuple(warnings), "text", sys.stderr)


@app.command(epilog="Example: mapcc convert wan.mapcc --source wan/ --out converted_weights/wan")
def convert(
    mapping: Annotated[Path | None, typer.Argument(metavar="MAPPING", help="A .mapcc or .yaml file.")] = None,
    source: Annotated[Optional[str], typer.Option("--source", "-s", metavar="SRC", help=KEYS_HELP)] = None,  # noqa: UP045
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="DIR", help="A directory that does not exist yet."),
    ] = None,
    target: Target = None,
    plan: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--plan", metavar="FILE", help="Do what `mapcc plan -o FILE` has shown, and no other."),
    ] = None,
    max_shard_size: ShardSize = "5GB",
    prefix: Prefix = "model",
    memory: Memory = "128MiB",
    workers: Annotated[int, typer.Option("--workers", min=0, help="Threads; 0: as many as processors.")] = 0,
    sync: Annotated[
        bool,
        typer.Option("--sync/--no-sync", help="Wait for the disk, so that a loss of power costs nothing."),
    ] = True,
    hashes: Annotated[
        bool, typer.Option("--hash/--no-hash", help="Keep hashes, to resume and to verify.")
    ] = True,
    hash_source: Annotated[
        bool,
        typer.Option(
            "--hash-source", help="SHA-256 of the source's files in the manifest: reads them once more."
        ),
    ] = False,
    copy: Annotated[CopyMode, typer.Option("--copy", help="How bytes go from file to file.")] = CopyMode.auto,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """Convert a checkpoint. The output directory is absent or complete, never half written.

    After an interruption the same command goes on where it stopped.
    """
    from mapcc import api
    from mapcc.cli.planned import cost_line, left_out_lines
    from mapcc.cli.progress import progress_for, written_size
    from mapcc.cli.summary import loss_lines
    from mapcc.runtime import Options
    from mapcc.runtime.worker import Copy

    given = {"MAPPING": mapping, "--source": source}
    if out is None:
        raise typer.BadParameter("where to? --out converted_weights/NAME")
    if plan is not None:
        if any(value is not None for value in (*given.values(), target)):
            raise typer.BadParameter("the plan says all: give --plan and --out alone")
        made = api.load_plan(plan)
    else:
        missing = [name for name, value in given.items() if value is None]
        if mapping is None or source is None:
            raise typer.BadParameter(f"there is no {' and no '.join(missing)}, and no --plan")
        made = api.make_plan(
            mapping,
            source,
            target,
            max_shard_size=size_of("--max-shard-size", max_shard_size),
            prefix=prefix,
            hash_source=hash_source,
            warned=_warn,
            **with_drops(key_options(set_, source_config, target_config, select, under), drop),  # type: ignore[arg-type]
        )
    mode = None if copy is CopyMode.auto else Copy(copy.value)
    running = Options(size_of("--memory", memory), workers, sync, hashes=hashes, copy=mode)
    if not quiet:
        for line in (cost_line(made, running), *left_out_lines(made)):
            say(line, sys.stderr)
    with progress_for(sys.stderr, quiet) as progress:
        is_new = api.carry_out(made, out, progress=progress, running=running)
    tensors = sum(len(file.tensors) for file in made.files)
    size = written_size(sum(file.size - len(file.header) for file in made.files))
    files = "one file" if len(made.files) == 1 else f"{len(made.files)} files"
    done = "wrote" if is_new else "already there, from the same plan:"
    say(f"{done} {say_name(str(out))}: {tensors} tensors in {files}, {size}")
    for line in loss_lines(api.values_lost(out)):
        say(line)


@app.command(epilog="Example: mapcc verify converted_weights/wan --source wan/")
def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="What mapcc convert has written.")],
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--source", "-s", metavar="SRC", help="What it was made from: compare values, too."),
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=0, help="Elements of a tensor, by chance.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Of the chance.")] = 0,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to report.")] = ReportFormat.text,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    source_config: SourceConfig = None,
    select: Select = None,
) -> None:
    """Check that an output is still what was written and, given the source, what the mapping says."""
    from mapcc import api
    from mapcc.cli.progress import progress_for

    with progress_for(sys.stderr, quiet) as progress:
        found = api.verify_output(
            out,
            source,
            samples=samples,
            seed=seed,
            source_config=source_config,
            select=select,
            progress=progress,
        )
    report(found, format.value, sys.stdout)
    if not found and format is ReportFormat.text:
        compared = "every byte as it was written" + (", values as the mapping says" if source else "")
        say(f"{say_name(str(out))}: {compared}")
    raise SystemExit(max((d.exit_code for d in found), default=0))
