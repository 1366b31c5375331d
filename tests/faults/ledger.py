"""The journal as a test reads it: by its documented form, not by mapcc's reader."""

from __future__ import annotations

import json
from pathlib import Path
from zlib import crc32


def held(folder: Path, run: str) -> set[str]:
    """The shards that the journal in ``folder`` holds of this run, and that are there."""
    path = folder / "out.mapcc-journal"
    if not path.exists():
        return set()
    found = set()
    first, *lines = path.read_bytes().split(b"\n")
    for line in lines if run.encode() in first else ():
        text, _, check = line.rpartition(b" ")
        if check == b"%08x" % crc32(text):
            found.add(json.loads(text)[0])
    return {name for name in found if (folder / "out.mapcc-partial" / name).exists()}
