"""The library: what there is, which model a checkpoint is, and whether a mapping holds for its own models."""

from __future__ import annotations

from collections.abc import Iterator

from mapcc.api.checking import Checked, KeySet, MappingLike, check, keys, opened_mapping, raise_if_any
from mapcc.diagnostics.model import Diagnostics
from mapcc.library.catalog import Entry, Pair, catalog, models_of
from mapcc.library.identify import Match, known_models
from mapcc.library.identify import identify as identified
from mapcc.library.pages import pages
from mapcc.tensors.selection import Select


def library(*families: str) -> tuple[Entry, ...]:
    """The mappings that mapcc brings along, by name; all, or those of some families.

    >>> "llama/meta_to_hf" in [each.name for each in library("llama")]
    True
    """
    return catalog(families=families)


def identify(source: KeySet, *, select: Select = None) -> tuple[Match, ...]:
    """The published models that a checkpoint resembles, the likeliest first; only headers are read.

    Where ``matches[0].is_this`` is false, or there is none, the library does not have the model.

    Raises:
        MappingError: the checkpoint cannot be read.
    """
    return identified(keys(source, select=select), known_models(catalog()))


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
