"""Mapping files: found, read, parsed (by their suffix), with the files that they use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.syntax.parser import MAX_BYTES, parse
from mapcc.tensors.disk import read_all
from mapcc.text import Source, Span

# As in YAML. Whoever prints a mapping prints its comments too, and none of them may drive the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")


def parse_source(source: Source, found: Diagnostics) -> rules.Mapping:
    """Text or YAML, by the suffix of the source's name."""
    if source.name.endswith((".yaml", ".yml")):
        from mapcc.syntax.yaml_parser import parse_yaml  # most mappings are text

        return parse_yaml(source, found)
    return parse(source, found)


@dataclass(slots=True)
class Loader:
    """Reads mapping files; each once, and never one that is being read already."""

    found: Diagnostics
    _read: dict[Path, rules.Mapping | None] = field(default_factory=dict)

    def load(self, path: Path, used_by: Span | None = None) -> rules.Mapping | None:
        """The mapping of a file; None, with diagnostics, if it cannot be read or is none."""
        key = _identity(path)
        if key not in self._read:
            before = len(self.found)
            text = self._text(path, used_by)
            mapping = None if text is None else self._parsed(Source(str(path), text))
            self._read[key] = mapping if len(self.found) == before else None
        return self._read[key]

    def preload(self, path: Path, text: str) -> None:
        """As if ``path`` were a file with this text."""
        mapping = self._parsed(Source(str(path), text))
        self._read[_identity(path)] = mapping

    def texts(self) -> Iterator[tuple[Path, str]]:
        """The files that were read, by the names under which they were first, and what they say."""
        for mapping in self._read.values():
            if mapping is not None and mapping.source is not None:
                yield Path(mapping.source.name), mapping.source.text

    def used(self, use: rules.Use, by: Path, chain: tuple[Path, ...]) -> tuple[Path, rules.Mapping] | None:
        """The file that ``use`` names, beside the file ``by``; ``chain`` is what uses it already."""
        path = by.parent / use.path
        if _identity(path) in map(_identity, chain):
            circle = " -> ".join(file.name for file in (*chain, path))
            self.found.add(
                Diagnostic("MC105", f"{use.path!r} uses itself: {circle}", use.span, help="remove one 'use'")
            )
            return None
        mapping = self.load(path, use.span)
        return None if mapping is None else (path, mapping)

    def _parsed(self, source: Source) -> rules.Mapping | None:
        if (control := _CONTROL.search(source.text)) is not None:
            message = f"unexpected character {control[0]!r}: a mapping has no control characters"
            self.found.add(Diagnostic("MC101", message, Span(source, *control.span())))
            return None
        return parse_source(source, self.found)

    def _text(self, path: Path, used_by: Span | None) -> str | None:
        try:
            raw = read_all(path, MAX_BYTES)
        except MappingError as error:
            self.found.extend(replace(diagnostic, span=used_by) for diagnostic in error.diagnostics)
            return None
        if raw is None:
            self.found.add(Diagnostic("MC103", f"`{path}`: a mapping has at most 1 MiB", used_by))
            return None
        try:
            # UTF-8 with or without a mark; newlines as they are, so that offsets hold.
            return raw.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except UnicodeDecodeError as error:
            message = f"`{path}` is not UTF-8 text (byte {error.start})"
            self.found.add(Diagnostic("MC001", message, used_by))
            return None


def _identity(path: Path) -> Path:
    """The file behind a path, by whatever name; a path that leads nowhere stays what it is."""
    try:
        return path.resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links; a NUL
        return path.absolute()
