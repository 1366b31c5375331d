"""Commands that read headers and mappings: check, show, keys, fmt, explain."""

from __future__ import annotations

import json
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mapcc.cli.options import (
    KEYS_HELP,
    AllowUse,
    Dialect,
    Drops,
    ListFormat,
    MappingFile,
    MappingForm,
    ReportFormat,
    Select,
    Settings,
    Side,
    Source,
    SourceConfig,
    Target,
    TargetConfig,
    Under,
    app,
    key_options,
    with_drops,
    write_file,
)
from mapcc.cli.output import fail, report, say, say_name, write
from mapcc.diagnostics.model import Diagnostic

if TYPE_CHECKING:
    from mapcc.tensors.spec import Manifest


@app.command(epilog="Example: mapcc check wan.mapcc --source wan.safetensors --target keys.json")
def check(
    mapping: MappingFile,
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--source", "-s", metavar="SRC", help=f"{KEYS_HELP} Without it: the models that MAPPING names."
        ),
    ] = None,
    target: Target = None,
    dialect: Annotated[
        Optional[Dialect],  # noqa: UP045
        typer.Option("--from", help="MAPPING is a table of this framework: see mapcc import."),
    ] = None,
    parts: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(
            "--parts", metavar="FILE", help="Once for each of a chain of mappings that shall be this one."
        ),
    ] = None,
    lint: Annotated[
        bool, typer.Option("--lint", help="Warn, too, of what no shape and no name can tell to be wrong.")
    ] = False,
    fix: Annotated[
        bool, typer.Option("--fix", help="Edit MAPPING where a fix leaves no choice, and check what is left.")
    ] = False,
    diff: Annotated[
        bool, typer.Option("--diff", help="With --fix: print what it would change, and write nothing.")
    ] = False,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to report.")] = ReportFormat.text,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """Hold a mapping against its key sets; no weight is read.

    Ends with 0 if it is clean, 1 if something is wrong with the input, 2 if mapcc could not work.
    """
    from mapcc import api

    _fix_goes_with(fix, diff, source, dialect)
    if source is None:
        from mapcc.cli.library import check_models

        if (
            dialect
            or parts
            or lint
            or target
            or set_
            or source_config
            or target_config
            or select
            or under
            or drop
        ):
            message, help = "what a mapping is held against is missing", "--source SRC"
            fail([Diagnostic("MC007", message, help=help)])
        check_models(mapping, format.value)
    options = with_drops(key_options(set_, source_config, target_config, select, under), drop)
    if dialect is None:
        checked = api.check(mapping, source, target, **options)  # type: ignore[arg-type]
    else:
        if under or drop:
            message = "--under and --drop are for mappings, and this is a table"
            fail([Diagnostic("MC007", message, help="mapcc import makes a mapping of it")])
        del options["settings"], options["under"], options["statements"]
        checked = api.check_table(str(mapping), dialect.value, source, target, **options)  # type: ignore[arg-type]
    if lint and checked.ok:
        checked = api.linted(checked)
    if fix:
        from mapcc.cli.fixing import fixed

        checked = fixed(checked, lint, diff, sys.stdout if format is ReportFormat.text else sys.stderr)
    if parts and checked.ok:
        checked = api.check_parts(checked, parts, target, **options)
    report(checked.diagnostics, format.value, sys.stderr if diff else sys.stdout)
    if format is ReportFormat.text and checked.bound is not None and checked.ok:
        from mapcc.cli.summary import summary

        say(summary(checked))
    raise SystemExit(checked.exit_code)


def _fix_goes_with(fix: bool, diff: bool, source: str | None, dialect: Dialect | None) -> None:
    if diff and not fix:
        fail([Diagnostic("MC007", "--diff goes with --fix", help="--fix --diff")])
    if fix and (source is None or dialect is not None):
        message = "--fix edits a mapping that is held against a key set"
        help = "--source SRC" if dialect is None else "mapcc import makes a mapping of a table"
        fail([Diagnostic("MC007", message, help=help)])


@app.command(epilog="Example: mapcc show wan.mapcc -s keys.json --filter 'blocks.0.*.to_q.*'")
def show(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    filter: Annotated[
        str, typer.Option("--filter", "-f", metavar="GLOB", help="Only names that match, or contain this.")
    ] = "",
    side: Annotated[Side, typer.Option("--side", help="Whose tensors to list.")] = Side.target,
    format: Annotated[ListFormat, typer.Option("--format", help="How to list.")] = ListFormat.text,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """List each tensor of one side with what it comes from: where does this one go?"""
    from mapcc import api
    from mapcc.cli.summary import shown_json, shown_lines

    options = with_drops(key_options(set_, source_config, target_config, select, under), drop)
    shown = [
        s
        for s in api.show(mapping, source, target, side=side.value, **options)
        if not filter or fnmatchcase(s.name, filter) or filter in s.name
    ]
    if not shown:
        fail(
            [
                Diagnostic(
                    "MC007", f"no {side.value} tensor matches {filter!r}", help="a part of a name, or a glob"
                )
            ]
        )
    if format is ListFormat.json:
        say(json.dumps([shown_json(s) for s in shown], indent=1))
        return
    for s in shown:
        for line in shown_lines(s, side.value):
            say(line)


@app.command(epilog="Example: mapcc keys model.safetensors > model.keys.json")
def keys(
    sources: Annotated[list[str], typer.Argument(metavar="SRC", help=KEYS_HELP)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Not to the screen.")
    ] = None,
    select: Select = None,
    compact: Annotated[
        bool,
        typer.Option("--compact", help="Fold layers and experts; several sizes as SIZE=SRC in one file."),
    ] = False,
) -> None:
    """Write the names, types and shapes of a checkpoint or model; only headers are read."""
    from mapcc.tensors.compacting import compact_text
    from mapcc.tensors.dump import dump_keys

    if compact:
        text = compact_text(dict(_sized(source, select) for source in sources))
    elif len(sources) > 1:
        message, help = "several key sets go into one file with --compact", "mapcc keys a=A b=B --compact"
        fail([Diagnostic("MC007", message, help=help)])
    else:
        text = dump_keys(_opened(sources[0], select))
    if out is None:
        write(text)
    else:
        write_file(out, text)


def _sized(source: str, select: list[str] | None) -> tuple[str, Manifest]:
    """``SIZE=SRC``, or a source alone: then its size is called by its file."""
    size, equals, path = source.partition("=")
    return (size, _opened(path, select)) if equals else (Path(source).stem, _opened(source, select))


def _opened(source: str, select: list[str] | None) -> Manifest:
    from mapcc import api
    from mapcc.diagnostics.fold import fold
    from mapcc.tensors.parts import part_of_set
    from mapcc.tensors.quantised.words import describe_containers

    manifest = api.keys(source, select=select)
    if manifest.skipped:
        say(f"left out: {say_name(', '.join(fold(manifest.skipped, 8)))}", sys.stderr)
    if (part := part_of_set(manifest)) is not None:
        say(say_name(part.message), sys.stderr)
    for container in describe_containers(manifest):
        say(f"quantised: {container}", sys.stderr)
    return manifest


@app.command(epilog="Example: mapcc fmt wan.mapcc --to yaml")
def fmt(
    mapping: MappingFile,
    to: Annotated[Optional[MappingForm], typer.Option("--to", help="Turn one form into the other.")] = None,  # noqa: UP045
    write_back: Annotated[bool, typer.Option("--write", "-w", help="Into the file itself.")] = False,
    check_only: Annotated[bool, typer.Option("--check", help="Only say whether it is formatted.")] = False,
) -> None:
    """Print a mapping in its canonical form; comments stay."""
    from mapcc import api

    form = to.value if to else "yaml" if mapping.suffix in (".yaml", ".yml") else "text"
    loaded = api.load_mapping(mapping)
    text = api.format_mapping(loaded, form)
    if check_only:
        same = loaded.source is not None and loaded.source.text == text
        say(f"{say_name(str(mapping))}: {'formatted' if same else 'would change'}")
        raise SystemExit(0 if same else 1)
    if write_back:
        write_file(mapping, text)
    else:
        write(text)


@app.command(epilog="Example: mapcc explain MC401")
def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="Such as MC401.")]) -> None:
    """Explain a diagnostic's code, with an example that gives it and one that does not."""
    from mapcc import resources
    from mapcc.diagnostics.codes import CODES

    known = code.upper() if not code.isdigit() else f"MC{code}"
    if known not in CODES:
        help = f"codes go from {min(CODES)} to {max(CODES)}"
        fail([Diagnostic("MC007", f"no code {code!r}", help=help)])
    write((resources.code_pages() / f"{known}.md").read_text(encoding="utf-8"))
