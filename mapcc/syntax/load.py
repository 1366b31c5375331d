"""Mapping files: found, read, parsed (by their suffix), with the files that they use."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.syntax.parser import MAX_BYTES, parse
from mapcc.syntax.yaml_parser import parse_yaml
from mapcc.text import Source, Span


def parse_source(source: Source, found: Diagnostics) -> rules.Mapping:
    """Text or YAML, by the suffix of the source's name."""
    if source.name.endswith((".yaml", ".yml")):
        return parse_yaml(source, found)
    return parse(source, found)


@dataclass(slots=True)
class Loader:
    """Reads mapping files; each once, and never one that is being read already."""

    found: Diagnostics
    _read: dict[Path, rules.Mapping] = field(default_factory=dict)

    def load(self, path: Path, used_by: Span | None = None) -> rules.Mapping | None:
        """The mapping of a file; None, with a diagnostic, if it cannot be read."""
        key = path.resolve()
        if key in self._read:
            return self._read[key]
        text = self._text(path, used_by)
        if text is None:
            return None
        self._read[key] = parse_source(Source(str(path), text), self.found)
        return self._read[key]

    def used(self, use: rules.Use, by: Path, chain: tuple[Path, ...]) -> tuple[Path, rules.Mapping] | None:
        """The file that ``use`` names, beside the file ``by``; ``chain`` is what uses it already."""
        path = by.parent / use.path
        if path.resolve() in (file.resolve() for file in chain):
            circle = " -> ".join(file.name for file in (*chain, path))
            self.found.add(
                Diagnostic("MC105", f"{use.path!r} uses itself: {circle}", use.span, help="remove one 'use'")
            )
            return None
        mapping = self.load(path, use.span)
        return None if mapping is None else (path, mapping)

    def _text(self, path: Path, used_by: Span | None) -> str | None:
        try:
            if path.stat().st_size > MAX_BYTES:
                self.found.add(Diagnostic("MC103", f"{path}: a mapping has at most 1 MiB", used_by))
                return None
            # UTF-8 with or without a mark; newlines as they are, so that offsets hold.
            return path.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
        except OSError as error:
            self.found.add(
                Diagnostic("MC001", f"{path}: {error.strerror or error}", used_by, help=_siblings(path))
            )
        except UnicodeDecodeError as error:
            message = f"{path} is not UTF-8 text (byte {error.start})"
            self.found.add(Diagnostic("MC001", message, used_by))
        return None


def _siblings(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    from difflib import get_close_matches

    names = sorted(p.name for p in folder.iterdir() if p.suffix in (".mapcc", ".yaml", ".yml"))
    near = get_close_matches(path.name, names, 1, 0.5)
    return f"did you mean {folder / near[0]}?" if near else ""
