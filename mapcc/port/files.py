"""Small files of a port: written whole, or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """MC005 for any ``OSError`` inside."""
    try:
        yield
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}")]) from None


def write_text(path: Path, text: str) -> None:
    """Replace a file in one step: who reads it meanwhile sees the old one or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
