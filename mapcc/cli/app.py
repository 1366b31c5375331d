"""The commands. Each is a few lines: read the options, call the library, print."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote
from typing import Annotated, Optional

import typer

from mapcc import __version__
from mapcc.cli.output import fail, reader_may_go, report, say, say_name, write
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError

app = typer.Typer(
    name="mapcc",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="The compiler for model weights: check, convert and emit declarative weight mappings.",
)


class ReportFormat(StrEnum):
    text = "text"
    json = "json"
    github = "github"


class ListFormat(StrEnum):
    text = "text"
    json = "json"


class MappingForm(StrEnum):
    text = "text"
    yaml = "yaml"


class CopyMode(StrEnum):
    auto = "auto"
    window = "window"
    kernel = "kernel"
    reflink = "reflink"


class Side(StrEnum):
    target = "target"
    source = "source"


MappingFile = Annotated[Path, typer.Argument(metavar="MAPPING", help="A .mapcc or .yaml file.")]
KEYS_HELP = (
    "A .safetensors file, an archive of torch.save or TorchScript (.pt, .pth, .bin, .ckpt), an .npz, "
    "a directory, an index.json, a keys file, or py:module:callable."
)
Source = Annotated[str, typer.Option("--source", "-s", metavar="SRC", help=KEYS_HELP)]
Target = Annotated[Optional[str], typer.Option("--target", "-t", metavar="SRC", help="The wanted key set.")]  # noqa: UP045
Settings = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option("--set", metavar="NAME=VALUE", help="A value for one of the mapping's lets."),
]
SourceConfig = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--source-config", metavar="FILE", help="config.json of the source."),
]
TargetConfig = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--target-config", metavar="FILE", help="config.json of the target."),
]
ShardSize = Annotated[str, typer.Option("--max-shard-size", metavar="SIZE", help="Of one file: 5GB, 500MB.")]
Prefix = Annotated[str, typer.Option("--prefix", help="Of the file names: model, diffusion_pytorch_model.")]
Memory = Annotated[
    str, typer.Option("--memory", metavar="SIZE", help="Of all buffers, whatever the tensors' sizes.")
]
Select = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--select", metavar="PATH", help="The dictionary of the source that is meant: state_dict, model.ema."
    ),
]


def _options(
    settings: list[str] | None,
    source_config: Path | None,
    target_config: Path | None,
    select: str | None = None,
) -> dict[str, object]:
    return {
        "settings": dict(_setting(text) for text in settings or ()),
        "source_config": source_config,
        "target_config": target_config,
        "select": select,
    }


def _setting(text: str) -> tuple[str, int | float | str]:
    name, equals, value = text.partition("=")
    if not equals or not name.isidentifier():
        fail([Diagnostic("MC007", f"--set {text} is not NAME=VALUE", help=f"--set {name or 'NAME'}=VALUE")])
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            continue
    return name, value


def _version(wanted: bool) -> None:
    if wanted:
        say(f"mapcc {__version__}")
        raise typer.Exit()


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command(epilog="Example: mapcc check wan.mapcc --source wan.safetensors --target keys.json")
def check(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    format: Annotated[ReportFormat, typer.Option("--format", help="How to report.")] = ReportFormat.text,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
) -> None:
    """Hold a mapping against its key sets; no weight is read.

    Ends with 0 if it is clean, 1 if something is wrong with the input, 2 if mapcc could not work.
    """
    from mapcc import api

    checked = api.check(mapping, source, target, **_options(set_, source_config, target_config, select))  # type: ignore[arg-type]
    report(checked.diagnostics, format.value, sys.stdout)
    if format is ReportFormat.text and checked.bound is not None and checked.ok:
        from mapcc.cli.summary import summary

        say(summary(checked))
    raise SystemExit(checked.exit_code)


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
) -> None:
    """Show what convert would do: files, ranges, memory, disk. No weight is read."""
    from mapcc import api
    from mapcc.cli.planned import plan_lines

    options = _options(set_, source_config, target_config, select)
    made = api.make_plan(
        mapping,
        source,
        target,
        max_shard_size=_size("--max-shard-size", max_shard_size),
        prefix=prefix,
        **options,  # type: ignore[arg-type]
    )
    if out is not None:
        api.save_plan(made, out)
    for line in plan_lines(made, _size("--memory", memory)):
        say(line)


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
) -> None:
    """Convert a checkpoint. The output directory is absent or complete, never half written.

    After an interruption the same command goes on where it stopped.
    """
    from mapcc import api
    from mapcc.cli.planned import cost_line
    from mapcc.cli.progress import progress_for, written_size
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
            max_shard_size=_size("--max-shard-size", max_shard_size),
            prefix=prefix,
            hash_source=hash_source,
            **_options(set_, source_config, target_config, select),  # type: ignore[arg-type]
        )
    mode = None if copy is CopyMode.auto else Copy(copy.value)
    running = Options(_size("--memory", memory), workers, sync, hashes=hashes, copy=mode)
    if not quiet:
        say(cost_line(made, running), sys.stderr)
    with progress_for(sys.stderr, quiet) as progress:
        is_new = api.carry_out(made, out, progress=progress, running=running)
    tensors = sum(len(file.tensors) for file in made.files)
    size = written_size(sum(file.size - len(file.header) for file in made.files))
    files = "one file" if len(made.files) == 1 else f"{len(made.files)} files"
    done = "wrote" if is_new else "already there, from the same plan:"
    say(f"{done} {say_name(str(out))}: {tensors} tensors in {files}, {size}")


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


def _size(option: str, text: str) -> int:
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    digits = text.rstrip("BGIKMbgikm ")
    unit = text[len(digits) :].strip().upper()
    try:
        size = int(float(digits) * units[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        message = f"{option} {text} is not a size"
        fail([Diagnostic("MC007", message, help=f"{option} 5GB, or 500MB")])
    return size


@app.command(
    "emit-config", epilog="Example: mapcc emit-config hunyuan.mapcc --source keys.json --format fastvideo"
)
def emit_config(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    format: Annotated[str, typer.Option("--format", help="fastvideo.")] = "fastvideo",
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
) -> None:
    """Print a framework's own config that does what the mapping does, or say which rule it cannot say."""
    from mapcc import api

    write(
        api.emit_config(
            mapping, source, target, format=format, **_options(set_, source_config, target_config, select)
        )
    )


@app.command(
    "emit-script", epilog="Example: mapcc emit-script wan.mapcc --source wan.safetensors -o convert.py"
)
def emit_script(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Not to the screen.")
    ] = None,
    max_shard_size: ShardSize = "5GB",
    prefix: Prefix = "model",
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
) -> None:
    """Write a script that converts this checkpoint as `mapcc convert` does; it needs numpy, and no mapcc."""
    from mapcc import api

    text = api.emit_script(
        mapping,
        source,
        target,
        max_shard_size=_size("--max-shard-size", max_shard_size),
        prefix=prefix,
        **_options(set_, source_config, target_config, select),
    )
    if out is None:
        write(text)
    else:
        _write_file(out, text)


@app.command(epilog="Example: mapcc keys model.safetensors > model.keys.json")
def keys(
    source: Annotated[str, typer.Argument(metavar="SRC", help=KEYS_HELP)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Not to the screen.")
    ] = None,
    select: Select = None,
) -> None:
    """Write the names, types and shapes of a checkpoint or model; only headers are read."""
    from mapcc import api
    from mapcc.diagnostics.fold import fold
    from mapcc.tensors.dump import dump_keys

    manifest = api.keys(source, select=select)
    if manifest.skipped:
        say(f"not tensors, left out: {say_name(', '.join(fold(manifest.skipped, 8)))}", sys.stderr)
    text = dump_keys(manifest)
    if out is None:
        write(text)
    else:
        _write_file(out, text)


def _write_file(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        help = "" if path.parent.is_dir() else f"mkdir -p {quote(str(path.parent))}"
        fail([Diagnostic("MC005", f"cannot write `{path}`: {why}", help=help)])


@app.command(epilog="Example: mapcc invert wan.mapcc --source official.json --target diffusers.json")
def invert(
    mapping: MappingFile,
    source: Annotated[Optional[str], typer.Option("--source", "-s", metavar="SRC", help=KEYS_HELP)] = None,  # noqa: UP045
    target: Target = None,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
) -> None:
    """Print the mapping from target to source. With both key sets it is proven before it is printed."""
    from mapcc import api

    inverted = api.invert(mapping, source, target, **_options(set_, source_config, target_config, select))  # type: ignore[arg-type]
    report(inverted.warnings)
    if not inverted.proven:
        say("not proven: give --source and --target, the key sets of the forward mapping", sys.stderr)
    write(inverted.text)


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
        _write_file(mapping, text)
    else:
        write(text)


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
) -> None:
    """List each tensor of one side with what it comes from: where does this one go?"""
    from mapcc import api
    from mapcc.cli.summary import shown_json, shown_lines

    options = _options(set_, source_config, target_config, select)
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


@app.command(epilog="Example: mapcc explain MC401")
def explain(code: Annotated[str, typer.Argument(metavar="CODE", help="Such as MC401.")]) -> None:
    """Explain a diagnostic's code, with an example that gives it and one that does not."""
    from mapcc import resources
    from mapcc.diagnostics.codes import CODES

    known = code.upper()
    if known not in CODES:
        help = f"codes go from {min(CODES)} to {max(CODES)}"
        fail([Diagnostic("MC007", f"no code {code!r}", help=help)])
    write((resources.code_pages() / f"{known}.md").read_text(encoding="utf-8"))


def run() -> None:
    """The entry point: diagnostics instead of tracebacks."""
    try:
        if any("\0" in argument for argument in sys.argv):
            fail([Diagnostic("MC007", "an argument has a NUL in it")])
        app(prog_name="mapcc")
    except MappingError as error:
        fail(error.diagnostics)
    except KeyboardInterrupt:
        say("interrupted: nothing was left half written; the same command goes on", sys.stderr)
        raise SystemExit(130) from None
    except Exception:
        # Not the user's fault, so not exit code 1, which is Python's own for a traceback.
        import traceback

        traceback.print_exc()
        say("mapcc: this is a bug in mapcc: please report it with the lines above", sys.stderr)
        raise SystemExit(2) from None
    finally:
        with reader_may_go():
            sys.stdout.flush()
