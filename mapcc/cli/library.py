"""Commands for the mappings that mapcc brings along: list, identify; and check without a source."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from mapcc.cli.options import KEYS_HELP, ListFormat, Select, app, make_folder, write_file
from mapcc.cli.output import report, say, say_name
from mapcc.diagnostics.escape import escape

if TYPE_CHECKING:
    from mapcc.library.identify import Match

SHOWN = 6  # lines of names for each kind of difference


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


@app.command(epilog="Example: mapcc identify model.safetensors")
def identify(
    source: Annotated[str, typer.Argument(metavar="SRC", help=KEYS_HELP)],
    select: Select = None,
) -> None:
    """Say which published model a checkpoint is, from its names and shapes, and what fits it.

    Ends with 0 if the library has the model, 1 if not.
    """
    from mapcc import api

    matches = api.identify(source, select=select)
    if not matches or not matches[0].is_this:
        say("unknown: no model of the library has these names and shapes")
        for match in matches[:1]:
            shares = f"{match.named:.0%} of the names but for numbers, {match.same:.0%} with their shapes"
            say(f"nearest: {_named(match)}: {shares}")
        raise SystemExit(1)
    best, *others = matches
    tied = [match for match in others if (match.same, match.present) == (best.same, best.present)]
    for match in (best, *tied):
        _say_model(match, source)
    _say_differences(best)
    for match in [match for match in others if match.is_this and match not in tied][:2]:
        say(f"near: {_named(match)}, but {_difference(match)}")


def _say_model(match: Match, source: str) -> None:
    say(_named(match) + ("" if match.is_exact else f": {match.same:.0%} of what is there"))
    if match.prefix:
        say(f"    under {escape(match.prefix)}")
    for name in match.known.takes:
        folder = f"converted_weights/{name.partition('/')[0]}"
        say(f"    mapcc convert {name} --source {escape(source)} --out {folder}")


def _say_differences(match: Match) -> None:
    for word, names in _differences(match):
        for name in names[:SHOWN]:
            say(f"  {word}: {escape(name)}")
        if len(names) > SHOWN:
            say(f"  {word}: and {len(names) - SHOWN} more")


def _named(match: Match) -> str:
    return escape(f"{match.known.title}, {match.known.size}")


def _difference(match: Match) -> str:
    said = [
        f"{names[0]} is {word}" + (f", and {len(names) - 1} more" if len(names) > 1 else "")
        for word, names in _differences(match)
    ]
    return escape("; ".join(said))


def _differences(match: Match) -> list[tuple[str, tuple[str, ...]]]:
    words = ("absent", "unexpected", "of another shape")
    lists = (match.missing, match.unexpected, match.misshapen)
    return [(word, names) for word, names in zip(words, lists, strict=True) if names]


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
