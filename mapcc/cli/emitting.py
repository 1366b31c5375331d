"""Commands that give a mapping as something else: emit-config, emit-script, invert."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import (
    KEYS_HELP,
    AllowUse,
    Drops,
    MappingFile,
    Prefix,
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
    make_folder,
    size_of,
    with_drops,
    write_file,
)
from mapcc.cli.output import report, say, say_name, write


@app.command(
    "emit-config", epilog="Example: mapcc emit-config hunyuan.mapcc --source keys.json --format fastvideo"
)
def emit_config(
    mapping: MappingFile,
    source: Source,
    target: Target = None,
    format: Annotated[
        str, typer.Option("--format", help="fastvideo, sglang, transformers, vllm, torchtitan or json.")
    ] = "fastvideo",
    residual: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--residual",
            metavar="DIR",
            help="Split what cannot be said there off, into a conversion to be done once.",
        ),
    ] = None,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """Print a framework's own config that does what the mapping does, or say which rule it cannot say."""
    from mapcc import api

    options = with_drops(key_options(set_, source_config, target_config, select, under), drop)
    if residual is None:
        write(api.emit_config(mapping, source, target, format=format, **options))
        return
    split = api.split_config(mapping, source, target, format=format, **options)  # type: ignore[arg-type]
    suffix = "json" if format == "json" else "py"
    files = {"conversion.mapcc": split.conversion, "rest.mapcc": split.rest, f"config.{suffix}": split.config}
    make_folder(residual)
    for name, text in files.items():
        if text:
            write_file(residual / name, text)
    place = say_name(str(residual))
    if split.conversion:
        say(f"{place}/conversion.mapcc: {split.tensors} tensors, converted once; the others pass through")
        say(f"{place}/rest.mapcc: what the config says of the result; both together are the mapping (proven)")
    else:
        say("the config says all of the mapping: no conversion is needed")
    say(f"{place}/config.{suffix}: for {format}")


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
    under: Under = "",
    drop: Drops = None,
    allow_use: AllowUse = None,
) -> None:
    """Write a script that converts this checkpoint as `mapcc convert` does; it needs numpy, and no mapcc."""
    from mapcc import api

    text = api.emit_script(
        mapping,
        source,
        target,
        max_shard_size=size_of("--max-shard-size", max_shard_size),
        prefix=prefix,
        **with_drops(key_options(set_, source_config, target_config, select, under), drop),
    )
    if out is None:
        write(text)
    else:
        write_file(out, text)


@app.command(epilog="Example: mapcc invert wan.mapcc --source official.json --target diffusers.json")
def invert(
    mapping: MappingFile,
    source: Annotated[Optional[str], typer.Option("--source", "-s", metavar="SRC", help=KEYS_HELP)] = None,  # noqa: UP045
    target: Target = None,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    allow_use: AllowUse = None,
) -> None:
    """Print the mapping from target to source. With both key sets it is proven before it is printed."""
    from mapcc import api

    options = key_options(set_, source_config, target_config, select, under)
    inverted = api.invert(mapping, source, target, **options)  # type: ignore[arg-type]
    report(inverted.warnings)
    if not inverted.proven:
        say("not proven: give --source and --target, the key sets of the forward mapping", sys.stderr)
    write(inverted.text)
