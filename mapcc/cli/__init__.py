"""The command line. Importing this imports no framework."""

from __future__ import annotations

import gc


def main() -> None:
    """Run ``mapcc``; never ends in a traceback for a fault of the input."""
    # A command makes very many objects, few of them in cycles, and ends: looking for those costs more.
    gc.set_threshold(200_000, 20, 20)
    from mapcc.cli.app import run

    run()
