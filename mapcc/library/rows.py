"""The library as a table: what ``mapcc list`` and the pages of the docs show."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mapcc.library.catalog import Entry, catalog
from mapcc.tensors.keysets import open_keyset


@dataclass(frozen=True, slots=True)
class Row:
    """One mapping: its models with the number of their tensors, and what it says of itself."""

    name: str
    title: str
    source: str
    target: str
    sizes: tuple[tuple[str, int], ...]
    inverse: str
    proof: str

    @property
    def arrow(self) -> str:
        """``<->`` where the library has the other direction too."""
        return "<->" if self.inverse else "->"

    def as_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "title": self.title,
            "source": self.source,
            "target": self.target,
            "sizes": dict(self.sizes),
            "inverse": self.inverse or None,
            "proof": self.proof or None,
        }


def rows(families: Iterable[str] = ()) -> Iterator[Row]:
    entries = catalog(families=families)
    names = {entry.name for entry in entries}
    for entry in entries:
        inverse = _other_way(entry)
        yield Row(
            entry.name,
            entry.mapping.title or "",
            entry.said("source"),
            entry.said("target"),
            tuple((pair.size, len(open_keyset(pair.source).tensors)) for pair in entry.pairs),
            inverse if inverse in names else "",
            entry.said("proof"),
        )


def _other_way(entry: Entry) -> str:
    """What the mapping for the other direction is called."""
    family, _, stem = entry.name.partition("/")
    source, to, target = stem.partition("_to_")
    return f"{family}/{target}_to_{source}" if to else ""
