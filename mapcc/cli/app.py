"""The commands. Each is a few lines: read the options, call the library, print."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import Annotated

import typer

from mapcc import __version__
from mapcc.cli import (
    checking,
    converting,
    emitting,
    library,
    library_models,
    library_pages,
    lora,
    port,
    port_proof,
    tables,
)
from mapcc.cli.options import app
from mapcc.cli.output import fail, reader_may_go, say
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError

# Each of these adds its commands to the application, in this order.
COMMANDS = (
    checking,
    converting,
    emitting,
    library,
    library_models,
    library_pages,
    lora,
    tables,
    port,
    port_proof,
)


# What an installation may do without, and how to get it.
EXTRAS = {"torch": "port", "PIL": "port", "skimage": "port", "av": "port"}


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


@cache
def _command() -> Callable[..., object]:
    """Made once in a process: that takes longer than most commands on small files."""
    return typer.main.get_command(app)


def run() -> None:
    """The entry point: diagnostics instead of tracebacks."""
    try:
        if any("\0" in argument for argument in sys.argv):
            fail([Diagnostic("MC007", "an argument has a NUL in it")])
        _command()(prog_name="mapcc")
    except MappingError as error:
        fail(error.diagnostics)
    except ModuleNotFoundError as error:
        extra = EXTRAS.get((error.name or "").partition(".")[0])
        if extra is None:
            raise
        help = f"pip install 'mapcc[{extra}]'"
        fail([Diagnostic("MC004", f"`{error.name}` is not installed", help=help)])
    except OSError as error:
        # Of a file that no reader of mapcc's own has opened: a path that is too long, a disk that is gone.
        where = f"`{error.filename}`: " if error.filename else ""
        fail([Diagnostic("MC001", f"{where}{(error.strerror or str(error)).lower()}")])
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
