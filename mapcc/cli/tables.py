"""Commands that turn a table into a mapping, or hold mappings side by side: import, diff."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import (
    KEYS_HELP,
    AllowUse,
    Dialect,
    ListFormat,
    Select,
    Settings,
    Source,
    SourceConfig,
    Target,
    TargetConfig,
    Under,
    app,
    key_options,
    write_file,
)
from mapcc.cli.output import report, say, write


@app.command("import", epilog="Example: mapcc import wanvideo.py --from fastvideo --source wan/ -o wan.mapcc")
def import_(
    table: Annotated[
        str,
        typer.Argument(
            metavar="TABLE",
            help="FILE.py, FILE.py#NAME (read, not run), FILE.json, py:module:name, transformers:MODEL_TYPE.",
        ),
    ],
    dialect: Annotated[Dialect, typer.Option("--from", help="Whose table it is.")],
    source: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option("--source", "-s", metavar="SRC", help=f"With it the import is exact. {KEYS_HELP}"),
    ] = None,
    target: Target = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="FILE", help="Not to the screen."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="Of the mapping.")] = "",
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
) -> None:
    """Turn a framework's table into a mapping, and say what the table does silently."""
    from mapcc import api

    imported = api.import_table(
        table,
        dialect.value,
        source,
        target,
        name=name,
        source_config=source_config,
        target_config=target_config,
        select=select,
    )
    report(imported.diagnostics)
    if not imported.exact:
        say("not exact: give --source, the keys of the checkpoint", sys.stderr)
    if out is None:
        write(imported.text)
    else:
        write_file(out, imported.text)
    raise SystemExit(max((d.exit_code for d in imported.diagnostics), default=0))


@app.command(epilog="Example: mapcc diff old.mapcc new.mapcc --source wan.safetensors")
def diff(
    mappings: Annotated[
        list[str],
        typer.Argument(metavar="A B...", help="Two mappings; or A, and a chain that shall be the same."),
    ],
    source: Source,
    target: Target = None,
    format: Annotated[ListFormat, typer.Option("--format", help="How to report.")] = ListFormat.text,
    set_: Settings = None,
    source_config: SourceConfig = None,
    target_config: TargetConfig = None,
    select: Select = None,
    under: Under = "",
    allow_use: AllowUse = None,
) -> None:
    """Say where two mappings differ on a key set: which tensors, and which elements.

    Ends with 0 if they are equal, 1 if not, 2 if mapcc could not work.
    """
    from mapcc import api
    from mapcc.cli.differences import difference_lines, differences_json

    a, *chain = mappings
    options = key_options(set_, source_config, target_config, select, under)
    found = api.diff(a, chain, source, target, **options)
    if format is ListFormat.json:
        say(json.dumps(differences_json(found), indent=1))
    else:
        for line in difference_lines(found, a, " then ".join(chain)):
            say(line)
    raise SystemExit(0 if found.equal else 1)
