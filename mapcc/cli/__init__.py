"""The command line. Importing this imports no framework."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run ``mapcc``; never ends in a traceback for a fault of the input."""
    # A command makes very many objects, few of them in cycles, and ends: looking for those costs more.
    gc.set_threshold(200_000, 20, 20)
    if sys.argv[1:] == ["--version"]:
        # Asked by scripts before anything else, and answered before the tree of commands is built.
        from mapcc import __version__
        from mapcc.cli.output import say

        say(f"mapcc {__version__}")
        return
    from mapcc.cli.app import run

    run()
