"""``mapcc docs``: the pages about the library."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Optional

import typer

from mapcc.cli.options import app, make_folder, write_file
from mapcc.cli.output import say, say_name


@app.command(epilog="Example: mapcc docs --out docs/library")
def docs(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Where the pages go.")],
    families: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Argument(metavar="FAMILY", help="Only these."),
    ] = None,
) -> None:
    """Write the library's pages: what goes where, what is lost, and who proved it; and their index."""
    from mapcc import api

    pages = dict(api.library_pages(*(families or ())))
    if len(pages) < 2:
        say("no such family", sys.stderr)
        raise SystemExit(1)
    make_folder(out)
    for name, text in pages.items():
        write_file(out / name, text)
    place = say_name(str(out))
    say(f"{place}: {len(pages) - 1} pages and their index")
