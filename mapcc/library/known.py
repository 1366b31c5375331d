"""The models of the library as key sets: their names but for numbers at once, their tensors when asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from mapcc.library.catalog import Entry
from mapcc.tensors.compact import count_names, is_compact, read_templates
from mapcc.tensors.documents import Document, read_document
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import TensorSpec

Tensors = dict[str, TensorSpec]

_NUMBER = re.compile(r"\{[^{}]*\}|[0-9]+")


@dataclass(frozen=True, eq=False)
class Known:
    """A published model under the names of one side: those that share its key set go by one.

    Attributes:
        takes, gives: mappings whose source it is, and whose target.
        kinds: its names, but for numbers.
    """

    title: str
    size: str
    keys: str
    takes: tuple[str, ...]
    gives: tuple[str, ...]
    kinds: frozenset[str] = field(repr=False)

    @property
    def family(self) -> str:
        return self.title.partition(":")[0]

    @cached_property
    def tensors(self) -> Tensors:
        return dict(open_keyset(self.keys).tensors)

    @cached_property
    def roots(self) -> tuple[str, ...]:
        """What its kinds begin with: the segments that all share; or, where none is, the first ones."""
        shared = shared_segments(self.kinds)
        return (shared,) if shared else tuple({kind.partition(".")[0]: None for kind in self.kinds})

    @cached_property
    def prefix(self) -> str:
        """The segments that all of its names share: those of a component in a single file."""
        return shared_segments(self.tensors)


def shared_segments(names: Iterable[str]) -> str:
    """The segments that all names begin with, the last one of each aside.

    >>> shared_segments(["vae.encoder.0.weight", "vae.encoder.bias"])
    'vae.encoder'
    """
    common: list[str] = []
    for column in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return ".".join(common)


def kind_of(name: str) -> str:
    """A name but for its numbers; of a folded one, too.

    >>> kind_of("blocks.{0..39}.attn.12.weight")
    'blocks.0.attn.0.weight'
    """
    return _NUMBER.sub("0", name)


def known_models(entries: Iterable[Entry]) -> Iterator[Known]:
    """The key sets of the library, each once."""
    found: dict[str, dict[str, list[str]]] = {}
    titles: dict[str, tuple[str, str]] = {}
    for entry in entries:
        for pair in entry.pairs:
            for side, keys in (("source", pair.source), ("target", pair.target)):
                roles = found.setdefault(keys, {"source": [], "target": []})
                roles[side].append(entry.name)
                titles.setdefault(keys, (f"{entry.family}: {entry.said(side)}", pair.size))
    documents: dict[str, Document] = {}
    for keys, roles in found.items():
        kinds = frozenset(map(kind_of, _templates(keys, documents)))
        yield Known(*titles[keys], keys, tuple(roles["source"]), tuple(roles["target"]), kinds)


def count_tensors(keys: str) -> int:
    """The number of tensors of a key set, without their names where they are folded."""
    path, hash, size = keys.rpartition("#")
    document = read_document(Path(path)) if hash else None
    return len(open_keyset(keys).tensors) if document is None else count_names(document, size)


def _templates(keys: str, documents: dict[str, Document]) -> Iterable[str]:
    """The names of a key set, folded where they are written so."""
    path, hash, size = keys.rpartition("#")
    if not hash:
        return open_keyset(keys).tensors
    if path not in documents:
        documents[path] = read_document(Path(path))
    document = documents[path]
    return read_templates(document, size) if is_compact(document) else open_keyset(keys).tensors
