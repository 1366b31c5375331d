"""JSON files beside weights: an index, a keys file, a config. Read strictly, faults shown in their text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import read_all
from mapcc.tensors.strict_json import JsonFault, Numbers, find_key, load_entries
from mapcc.text import Source, Span

# The Hub's own limit for an index is 10 MB; a checkpoint of 60 layers with 384 experts needs 14.
MAX_DOCUMENT = 100_000_000


@dataclass(frozen=True, slots=True)
class Document:
    """A JSON file: its text, kept for the faults found later, and its outermost object."""

    path: Path
    text: str
    members: dict[str, object]

    def fault(self, rule: str, key: str | None = None, **more: object) -> Diagnostic:
        """MC003 for this file; with a ``key``, where that first stands in the text."""
        return _fault(self.path, rule, self.text, None if key is None else find_key(self.text, key), **more)


def read_document(path: Path, numbers: Numbers = "naturals") -> Document:
    """Reads a JSON file whose outermost value is an object.

    Raises:
        MappingError: MC001 if there is no file to read; MC003 if it is longer than
            ``MAX_DOCUMENT``, not UTF-8, or not the JSON that ``strict_json`` takes.
    """
    raw = read_all(path, MAX_DOCUMENT)
    if raw is None:
        raise MappingError([_fault(path, f"it has more than {MAX_DOCUMENT:,} bytes")])
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        raise MappingError([_fault(path, f"it is not UTF-8 at byte {error.start:,}")]) from None
    del raw
    try:
        members = load_entries(text, numbers)
    except JsonFault as fault:
        raise MappingError([_fault(path, fault.rule, text, _one(fault.at))]) from None
    if not isinstance(members, dict):
        raise MappingError([_fault(path, "it is not a JSON object", text, _one(0))])
    return Document(path, text, members)


class ConfigFile(Mapping[str, object]):
    """A ``config.json``, read when first asked: most mappings never ask. That may raise ``MappingError``."""

    __slots__ = ("_members", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, object] | None = None

    def read(self) -> dict[str, object]:
        if self._members is None:
            self._members = read_document(self.path, "floats").members
        return self._members

    def __getitem__(self, key: str) -> object:
        return self.read()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())


def _one(at: int | None) -> tuple[int, int] | None:
    return None if at is None else (at, at + 1)


def _fault(
    path: Path, rule: str, text: str = "", at: tuple[int, int] | None = None, **more: object
) -> Diagnostic:
    span = None if at is None else Span(Source(str(path), text), *at)
    return Diagnostic("MC003", f"malformed `{path}`: {rule}", span, **more)  # type: ignore[arg-type]
