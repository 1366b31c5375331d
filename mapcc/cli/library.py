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
    words: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="WORD", help="Only these: a family, or a word of a name, a title, a model."),
    ] = None,
    format: Annotated[ListFormat, typer.Option("--format", help="How to list.")] = ListFormat.text,
) -> None:
    """List the mappings that mapcc brings along; their names stand wherever a mapping file may.

    Ends with 1 if there is none for one of the words.
    """
    from mapcc.library.rows import search

    found = search(words or ())
    if format is ListFormat.json:
        say(json.dumps([row.as_json() for row in found.rows], indent=1))
    else:
        for row in found.rows:
            say(f"{row.name}  {escape(row.title)}")
            say(f"    {escape(row.source)} {row.arrow} {escape(row.target)}")
            sizes = ", ".join(f"{size} ({count:,})" for size, count in row.sizes)
            say(f"    tensors: {sizes or 'no key sets'}")
            say(f"    proof: {escape(row.proof or 'none')}")
    for word, near in found.unknown:
        meant = f": did you mean {' or '.join(near)}?" if near else ""
        say(f"no mapping for {escape(repr(word))}{meant}", sys.stderr)
    raise SystemExit(1 if found.unknown else 0)


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
