"""The library: what there is, and whether a mapping holds for its own models."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.api.checking import Checked, MappingLike, check, opened_mapping, raise_if_any
from mapcc.diagnostics.model import Diagnostics
from mapcc.library.catalog import Entry, Pair, catalog, models_of
from mapcc.library.pages import pages


def library(*families: str) -> tuple[Entry, ...]:
    """The mappings that mapcc brings along, by name; all, or those of some families.

    >>> "llama/meta_to_hf" in [each.name for each in library("llama")]
    True
    """
    return catalog(families=families)


def check_models(mapping: MappingLike) -> Iterator[tuple[Pair, Checked]]:
    """A mapping held against each of the models that its ``about keys`` names, both sides.

    Raises:
        MappingError: MC007: it names none; or what it names cannot be read.
    """
    found = Diagnostics()
    opened = opened_mapping(mapping, found)
    raise_if_any(found)
    assert opened.mapping is not None
    for pair in models_of(opened.mapping, opened.path, "name a key set: --source SRC"):
        yield pair, check(opened.path, pair.source, pair.target)


def library_pages(*families: str) -> Iterator[tuple[str, str]]:
    """The library's pages in Markdown, by file name: an index, and a page for each family.

    Raises:
        MappingError: a mapping does not fit the key sets that it names.
    """
    return pages(catalog(families=families))
