"""Small files of a port: written whole, or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from mapcc.runtime.fs import writing


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: who reads it meanwhile sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
