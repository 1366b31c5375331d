"""The command line. Importing this imports no framework."""

from __future__ import annotations


def main() -> None:
    """Run ``mapcc``; never ends in a traceback for a fault of the input."""
    from mapcc.cli.app import run

    run()
