"""Commands for the mappings that mapcc brings along: list; and check without a source."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import ListFormat, app
from mapcc.cli.output import report, say
from mapcc.diagnostics.escape import escape


@app.command("list", epilog="Example: mapcc list wan")
def list_(
    families: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FAMILY", help="Only these."),
    ] = None,
    format: Annotated[ListFormat, typer.Option("--format", help="How to list.")] = ListFormat.text,
) -> None:
    """List the mappings that mapcc brings along; their names stand wherever a mapping file may."""
    from mapcc.library.rows import rows

    listed = list(rows(families or ()))
    if format is ListFormat.json:
        say(json.dumps([row.as_json() for row in listed], indent=1))
        return
    for row in listed:
        say(f"{row.name}  {escape(row.title)}")
        say(f"    {escape(row.source)} {row.arrow} {escape(row.target)}")
        sizes = ", ".join(f"{size} ({count:,})" for size, count in row.sizes)
        say(f"    tensors: {sizes or 'no key sets'}")
        say(f"    proof: {escape(row.proof or 'none')}")
    if not listed:
        say("no such family", sys.stderr)
        raise SystemExit(1)


def check_models(mapping: Path, format: str) -> None:
    """``mapcc check MAPPING`` alone: for each model that the mapping says it is for."""
    from mapcc import api
    from mapcc.cli.summary import summary

    worst = 0
    for pair, checked in api.check_models(mapping):
        if checked.diagnostics:
            report(checked.diagnostics, format, sys.stdout)
        if checked.ok and format == "text":
            say(f"{pair.size}: {summary(checked).splitlines()[0]}")
        worst = max(worst, checked.exit_code)
    raise SystemExit(worst)
