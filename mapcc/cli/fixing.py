"""``check --fix``: what is certain is written into the mapping's files, and told."""

from __future__ import annotations

from typing import TextIO

from mapcc import api
from mapcc.api import Checked, Mended
from mapcc.cli.output import fail, say, say_name, write
from mapcc.diagnostics.edits import difference
from mapcc.diagnostics.escape import escape
from mapcc.errors import MappingError


def fixed(checked: Checked, is_linted: bool, is_dry: bool, stream: TextIO) -> Checked:
    """The check of what the fixes leave; with ``is_dry`` they are printed as a difference instead."""
    mended = api.mended(checked, lint=is_linted)
    if is_dry:
        _show(mended, stream)
        return checked
    try:
        api.write_mended(mended)
    except MappingError as error:
        fail(error.diagnostics)
    for fix in mended.applied:
        say(f"{say_name(str(fix.edits[0].span))}: {escape(fix.title)}", stream)
    return mended.checked


def _show(mended: Mended, stream: TextIO) -> None:
    for name, text in mended.after.items():
        write(difference(name, mended.before[name], text), stream)
