"""Where the output of a port grows, and how it gets its name.

OUT.mapcc-port/           where it grows: a folder for each component, then configs, assets, the index
OUT.mapcc-port-weights    what weights it is made of
OUT.mapcc-port-journal    the lock
OUT.mapcc-old/            the one before, between two renames
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.files import write_text
from mapcc.port.model import MAPPING_FOLDER, Port
from mapcc.runtime.fs import sync_folder, writing
from mapcc.runtime.journal import Journal, open_journal

STAGE, JOURNAL, OLD, WEIGHTS = ".mapcc-port", ".mapcc-port-journal", ".mapcc-old", ".mapcc-port-weights"
MARK = "port.json"
_FORMAT = 1


def check_place(port: Port) -> None:
    """What is at the output's place is this port's: its key sets, or an output of mapcc. MC005 otherwise."""
    out = port.out
    with writing(out):
        names = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
        strange = out.exists() and not out.is_dir()
    if strange or (names - {MAPPING_FOLDER} and not (out / MAPPING_FOLDER / MARK).is_file()):
        why = "something is there that `mapcc port convert` did not make"
        help = "remove it, or give `out:` another folder"
        raise MappingError([Diagnostic("MC005", f"cannot write `{out}`: {why}", help=help)])


def mark_text(mark: str) -> str:
    """What the file :data:`MARK` says of an output."""
    return json.dumps({"mapcc port": _FORMAT, "made": mark}) + "\n"


def beside(port: Port, suffix: str) -> Path:
    return port.out.with_name(port.out.name + suffix)


@contextmanager
def lock(port: Port) -> Iterator[Journal]:
    with writing(port.out):
        port.out.parent.mkdir(parents=True, exist_ok=True)
    journal = open_journal(beside(port, JOURNAL), "port", durable=False)
    try:
        yield journal
        journal.unlink()
    finally:
        journal.close()


def recover(port: Port) -> None:
    """After a kill between the two renames the old output gets its name back; after them it goes."""
    old = beside(port, OLD)
    with writing(old):
        if old.exists() and port.out.exists():
            shutil.rmtree(old)
        elif old.exists():
            old.rename(port.out)


def clear(stage: Path, known: Path, weights: dict[str, str]) -> None:
    """The stage keeps only what was made of the same weights: components of this port, whole or in part."""
    with writing(stage):
        stage.mkdir(exist_ok=True)
        before = json.loads(known.read_bytes()) if known.exists() else {}
        usable = {name for name, digest in weights.items() if before.get(name) == digest}
        for entry in stage.iterdir():
            if entry.name.partition(".mapcc-")[0] in usable:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        write_text(known, json.dumps(weights))


def finish(port: Port, stage: Path, mark: str) -> None:
    dumps, old = stage / MAPPING_FOLDER, beside(port, OLD)
    with writing(port.out):
        if port.dumps.is_dir():
            copy(port.dumps, dumps)
        dumps.mkdir(exist_ok=True)
        write(dumps / MARK, mark_text(mark))
        sync_all(stage)
        if port.out.exists():
            port.out.rename(old)
        stage.rename(port.out)
        sync_folder(port.out.parent)
        if old.exists():
            shutil.rmtree(old)
        tidy(port)


def tidy(port: Port) -> None:
    """What a finished run leaves beside its output, if it was stopped on its last steps."""
    stage = beside(port, STAGE)
    with writing(stage):
        if stage.exists():
            shutil.rmtree(stage)
        beside(port, WEIGHTS).unlink(missing_ok=True)


def sync_all(folder: Path) -> None:
    """The disk has it all before the name tells of it."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        sync_folder(path)


def copy(origin: Path, to: Path) -> None:
    """A file or a folder as it is; links become what they lead to, as in the Hub's cache."""
    with writing(to):
        if to.is_dir():
            shutil.rmtree(to)
        if origin.is_dir():
            shutil.copytree(origin, to, ignore=shutil.ignore_patterns(".cache"))
        else:
            shutil.copyfile(origin, to)


def write(path: Path, text: str) -> None:
    with writing(path):
        path.unlink(missing_ok=True)  # never into a file that another output shares
        path.write_text(text, encoding="utf-8")
