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


class Side(StrEnum):
    target = "target"
    source = "source"


MappingFile = Annotated[Path, typer.Argument(metavar="MAPPING", help="A .mapcc or .yaml file.")]
KEYS_HELP = "A .safetensors file, a directory, an index.json, a keys file, or py:module:callable."
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


def _options(
    settings: list[str] | None, source_config: Path | None, target_config: Path | None
) -> dict[str, object]:
    return {
        "settings": dict(_setting(text) for text in settings or ()),
        "source_config": source_config,
        "target_config": target_config,
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
) -> None:
    """Hold a mapping against its key sets; no weight is read.

    Ends with 0 if it is clean, 1 if something is wrong with the input, 2 if mapcc could not work.
    """
    from mapcc import api

    checked = api.check(mapping, source, target, **_options(set_, source_config, target_config))  # type: ignore[arg-type]
    report(checked.diagnostics, format.value, sys.stdout)
    if format is ReportFormat.text and checked.bound is not None and checked.ok:
        from mapcc.cli.summary import summary

        say(summary(checked))
    raise SystemExit(checked.exit_code)


@app.command(epilog="Example: mapcc convert wan.mapcc --source wan/ --out converted_weights/wan")
def convert(
    mapping: MappingFile,
    source: Source,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="A directory that does not exist yet.")
    ],
    target: Target = None,
    max_shard_size: Annotated[
        str, typer.Option("--max-shard-size", metavar="SIZE", help="Of one file: 5GB, 500MB.")
    ] = "5GB",
    prefix: Annotated[str, typer.Option("--prefix", help="Of the file names.")] = "model",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
) -> None:
    """Convert a checkpoint. The output directory is absent or complete, never half written."""
    from mapcc import api
    from mapcc.cli.progress import progress_for, written_size

    with progress_for(sys.stderr, quiet) as progress:
        written = api.convert(
            mapping,
            source,
            out,
            target,
            max_shard_size=_size(max_shard_size),
            prefix=prefix,
            progress=progress,
            **_options(set_, source_config, target_config),
        )
    manifest = api.keys(written)
    size = written_size(sum(spec.nbytes for spec in manifest.tensors.values()))
    files = "one file" if len(manifest.files) == 1 else f"{len(manifest.files)} files"
    say(f"wrote {say_name(str(written))}: {len(manifest.tensors)} tensors in {files}, {size}")


def _size(text: str) -> int:
    units = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
    digits = text.rstrip("BGIKMbgikm ")
    unit = text[len(digits) :].strip().upper()
    try:
        size = int(float(digits) * units[unit])
    except (ValueError, KeyError, OverflowError):
        size = 0
    if size <= 0:
        message = f"--max-shard-size {text} is not a size"
        fail([Diagnostic("MC007", message, help="--max-shard-size 5GB, or 500MB")])
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
) -> None:
    """Print a framework's own config that does what the mapping does, or say which rule it cannot say."""
    from mapcc import api

    write(
        api.emit_config(
            mapping, source, target, format=format, **_options(set_, source_config, target_config)
        )
    )


@app.command(epilog="Example: mapcc keys model.safetensors > model.keys.json")
def keys(
    source: Annotated[str, typer.Argument(metavar="SRC", help=KEYS_HELP)],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="FILE", help="Not to the screen.")
    ] = None,
) -> None:
    """Write the names, types and shapes of a checkpoint or model; only headers are read."""
    from mapcc import api
    from mapcc.tensors.dump import dump_keys

    text = dump_keys(api.keys(source))
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
) -> None:
    """Print the mapping from target to source. With both key sets it is proven before it is printed."""
    from mapcc import api

    inverted = api.invert(mapping, source, target, **_options(set_, source_config, target_config))  # type: ignore[arg-type]
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
) -> None:
    """List each tensor of one side with what it comes from: where does this one go?"""
    from mapcc import api
    from mapcc.cli.summary import shown_json, shown_lines

    options = _options(set_, source_config, target_config)
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
        app(prog_name="mapcc")
    except MappingError as error:
        fail(error.diagnostics)
    except KeyboardInterrupt:
        say("interrupted: nothing was left half written", sys.stderr)
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
