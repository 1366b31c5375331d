"""Mapping files: found, read, parsed (by their suffix), with the files that they use."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Edit, Fix
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.resources import library_mapping, library_names, mappings
from mapcc.syntax.budget import (
    MAX_CHAIN,
    MAX_STATEMENTS,
    MAX_WORDS,
    allowed_folders,
    count_statements,
    count_words,
)
from mapcc.syntax.parser import MAX_BYTES, parse
from mapcc.tensors.disk import read_all
from mapcc.text import Source, Span

LIBRARY = "library:"  # before the name of what lies there, in an output's record
_SHOWN = 3
# Whoever prints a mapping prints its comments too: none of them may drive the terminal, or end a line where
# an editor sees none. In quotes such a character is written as an escape.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def parse_source(source: Source, found: Diagnostics) -> rules.Mapping:
    """Text or YAML, by the suffix of the source's name."""
    if (control := _CONTROL.search(source.text)) is not None:
        message = f"unexpected character {control[0]!a}: a mapping has no control characters"
        help = "in quotes it is written as an escape" if control[0] >= "\x80" else ""
        found.add(Diagnostic("MC101", message, Span(source, *control.span()), help=help))
        return rules.Mapping(None, None, (), source=source)
    if _words(source) > MAX_WORDS:
        found.add(_too_long(Span(source, 0, 0), "a mapping has"))
        return rules.Mapping(None, None, (), source=source)
    if _is_yaml(source):
        from mapcc.syntax.yaml_parser import parse_yaml  # most mappings are text

        return parse_yaml(source, found)
    return parse(source, found)


def _is_yaml(source: Source) -> bool:
    return source.name.endswith((".yaml", ".yml"))


def _words(source: Source) -> int:
    # A comment of YAML may be a part of a text, and the other way round.
    return count_words(source.text, comments=_is_yaml(source)) if len(source.text) > MAX_WORDS else 0


def _too_long(span: Span, what: str) -> Diagnostic:
    message = f"{what} at most {MAX_WORDS:,} words and signs"
    return Diagnostic("MC103", message, span, help="{i}, * and {a,b} say many names in one rule")


@dataclass(slots=True)
class Loader:
    """Reads mapping files; each once, and never one that is being read already.

    Attributes:
        is_closed: nothing is read but the library, and what was given by ``preload``.
    """

    found: Diagnostics
    is_closed: bool = False
    _read: dict[Path, rules.Mapping | None] = field(default_factory=dict)
    _identities: dict[Path, Path] = field(default_factory=dict)
    _statements: dict[Path, int] = field(default_factory=dict)
    _words: int = 0
    _spent: int = 0

    def load(self, path: Path, used_by: Span | None = None, named: str = "") -> rules.Mapping | None:
        """The mapping of a file; None, with diagnostics, if it cannot be read or is none.

        Args:
            named: how it was asked for, where that is not its path.
        """
        key = self._identity(path)
        if key not in self._read:
            before = len(self.found)
            text = self._text(path, used_by, named or path.as_posix())
            mapping = None if text is None else self._parsed(Source(str(path), text))
            self._read[key] = mapping if len(self.found) == before else None
        return self._read[key]

    def preload(self, path: Path, text: str) -> None:
        """As if ``path`` were a file with this text."""
        mapping = self._parsed(Source(str(path), text))
        self._read[self._identity(path)] = mapping

    def begin(self, mapping: rules.Mapping) -> None:
        """A mapping is gone through from its top: what it uses is counted from now on."""
        self._spent = count_statements(mapping.body)

    def texts(self) -> Iterator[tuple[Path, str]]:
        """The files that were read, by the names under which they were first, and what they say."""
        for mapping in self._read.values():
            if mapping is not None and mapping.source is not None:
                yield Path(mapping.source.name), mapping.source.text

    def used(self, use: rules.Use, by: Path, chain: tuple[Path, ...]) -> tuple[Path, rules.Mapping] | None:
        """The file that ``use`` names, beside the file ``by``; ``chain`` is what uses it already."""
        if self.is_spent:
            return None  # that was told
        self._spent += 1
        path = self._place(use.path, by)
        if not self._is_allowed(path, chain[0]):
            self.found.add(_outside(use, chain[0]))
            return None
        if self._identity(path) in map(self._identity, chain):
            circle = " -> ".join(file.name for file in (*chain, path))
            self.found.add(
                Diagnostic("MC105", f"{use.path!r} uses itself: {circle}", use.span, help="remove one 'use'")
            )
            return None
        if len(chain) > MAX_CHAIN:
            message = f"mappings use each other more than {MAX_CHAIN} deep"
            self.found.add(Diagnostic("MC103", message, use.span))
            return None
        mapping = self.load(path, use.span, use.path)
        return (path, mapping) if mapping is not None and self._is_affordable(use, path, mapping) else None

    @property
    def is_spent(self) -> bool:
        """Whether there were more statements than a mapping may have; that is told."""
        return self._spent > MAX_STATEMENTS

    def _is_affordable(self, use: rules.Use, path: Path, mapping: rules.Mapping) -> bool:
        """Whether the statements so far, and these, are few enough: each counts as often as it is used."""
        key = self._identity(path)
        if key not in self._statements:
            self._statements[key] = count_statements(mapping.body)
        self._spent += self._statements[key]
        if not self.is_spent:
            return True
        message = f"with all that it uses, a mapping has at most {MAX_STATEMENTS:,} statements"
        help = "each counts as often as it is used"
        self.found.add(Diagnostic("MC103", message, use.span, help=help))
        return False

    def _is_allowed(self, path: Path, top: Path) -> bool:
        """Whether a file lies below the folder of the first mapping, in the library, or where it may."""
        key = self._identity(path)
        if key in self._read:
            return True
        folders = [mappings()] if self.is_closed else [mappings(), top.parent, *allowed_folders()]
        return any(key.is_relative_to(self._identity(folder)) for folder in folders)

    def _identity(self, path: Path) -> Path:
        """The file behind a path, by whatever name; a path that leads nowhere stays what it is."""
        if path not in self._identities:
            try:
                self._identities[path] = path.resolve()
            except (OSError, RuntimeError, ValueError):  # a circle of links; a NUL
                self._identities[path] = path.absolute()
        return self._identities[path]

    def _place(self, named: str, by: Path) -> Path:
        """A file beside the one that uses it goes before a mapping of the library with that name."""
        beside = by.parent / named
        recorded = Path(
            f"{LIBRARY}{named}.mapcc"
        )  # of an output's record: the library may have changed since
        if self._identity(beside) not in self._read and self._identity(recorded) in self._read:
            return recorded
        shipped = library_mapping(named)
        return beside if shipped is None or beside.exists() else shipped

    def _parsed(self, source: Source) -> rules.Mapping | None:
        self._words += 100 + count_words(source.text, comments=_is_yaml(source))
        if self._read and self._words > MAX_WORDS:
            self.found.add(_too_long(Span(source, 0, 0), "a mapping and the files that it uses have"))
            return None
        return parse_source(source, self.found)

    def _text(self, path: Path, used_by: Span | None, named: str) -> str | None:
        try:
            raw = read_all(path, MAX_BYTES)
        except MappingError as error:
            self.found.extend(_unread(diagnostic, named, path, used_by) for diagnostic in error.diagnostics)
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


def _unread(fault: Diagnostic, named: str, path: Path, used_by: Span | None) -> Diagnostic:
    """Why a file is not read, and which mappings of the library have a name like the one asked for."""
    near = [] if os.path.lexists(path) else near_library_names(named)
    if not near:
        return replace(fault, span=used_by)
    help = f"did you mean {' or '.join(near)}, of the library?"
    if fault.help.startswith("did you mean"):
        help = f"{help} Or {fault.help.removeprefix('did you ')}"
    return replace(fault, span=used_by, help=help, fixes=_renamed(named, near, used_by))


def _renamed(named: str, near: list[str], used_by: Span | None) -> tuple[Fix, ...]:
    """A name of the library that is right but for an ending."""
    if used_by is None or named.removesuffix(".mapcc") != near[0] or used_by.text.count(named) != 1:
        return ()
    start = used_by.start + used_by.text.index(named)
    edit = Edit(Span(used_by.source, start, start + len(named)), near[0])
    return (Fix("say it by its name in the library", (edit,), certain=True),)


def near_library_names(named: str) -> list[str]:
    """The mappings of the library that may have been meant, the likeliest first."""
    wanted, known = named.removesuffix(".mapcc"), library_names()
    if wanted in known:
        return [wanted]
    family = wanted.partition("/")[0] + "/"
    return nearest(wanted, known) or [name for name in known if name.startswith(family)][:_SHOWN]


def _outside(use: rules.Use, top: Path) -> Diagnostic:
    folder = "" if str(top.parent) == "." else f" `{top.parent}`"
    message = f"{use.path!r} lies outside of the mapping's folder{folder}"
    help = "copy it there, or allow its folder: --allow-use DIR"
    return Diagnostic("MC109", message, use.span, help=help)
