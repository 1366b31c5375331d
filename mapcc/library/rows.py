"""The library as a table: what ``mapcc list`` and the pages of the docs show."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from mapcc.diagnostics.suggest import nearest
from mapcc.library.catalog import Entry, catalog
from mapcc.library.known import count_tensors
from mapcc.resources import library_names

_WORD = re.compile(r"[a-z][a-z0-9]{2,}")


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


@dataclass(frozen=True, slots=True)
class Found:
    """What a search gave.

    Attributes:
        unknown: the words that nothing has, each with those that may have been meant.
    """

    rows: tuple[Row, ...]
    unknown: tuple[tuple[str, tuple[str, ...]], ...]


def search(words: Iterable[str]) -> Found:
    """The mappings that have one of the words in their name, their title, or what they say of their models.

    A family's name stands for all of the family, and for no other mapping; without a word, all are given.
    """
    entries = catalog(headers=True)
    wanted = list(words)
    texts = {entry.name: _text(entry) for entry in entries}
    families = {entry.family for entry in entries}
    found: dict[str, None] = {} if wanted else dict.fromkeys(texts)
    unknown: list[tuple[str, tuple[str, ...]]] = []
    for word in wanted:
        asked = word.casefold()
        has = [
            entry.name
            for entry in entries
            if (entry.family == asked if asked in families else asked in texts[entry.name])
        ]
        found |= dict.fromkeys(has)
        if not has:
            unknown.append((word, tuple(_near(asked, texts))))
    return Found(tuple(_rows(entry for entry in entries if entry.name in found)), tuple(unknown))


def _text(entry: Entry) -> str:
    """All that is searched, in small letters."""
    said = (entry.said(topic) for topic in ("source", "target", "proof"))
    sizes = (pair.size for pair in entry.pairs)
    return "\n".join((entry.name, entry.mapping.title or "", *said, *sizes)).casefold()


def _near(word: str, texts: dict[str, str]) -> list[str]:
    """Families, words and names of the library that are like one."""
    if "/" in word:
        return nearest(word, texts)
    families = dict.fromkeys(name.partition("/")[0] for name in texts)
    known = dict.fromkeys(part for text in texts.values() for part in _WORD.findall(text))
    return list(dict.fromkeys([*nearest(word, families, 1), *nearest(word, known)]))


def _rows(entries: Iterable[Entry]) -> Iterator[Row]:
    names = library_names()
    for entry in entries:
        inverse = _other_way(entry)
        yield Row(
            entry.name,
            entry.mapping.title or "",
            entry.said("source"),
            entry.said("target"),
            tuple((pair.size, count_tensors(pair.source)) for pair in entry.pairs),
            inverse if inverse in names else "",
            entry.said("proof"),
        )


def _other_way(entry: Entry) -> str:
    """What the mapping for the other direction is called."""
    family, _, stem = entry.name.partition("/")
    source, to, target = stem.partition("_to_")
    return f"{family}/{target}_to_{source}" if to else ""
