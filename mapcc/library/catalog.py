"""What the library holds, read from the headers of its mappings: ``about`` statements are all there is."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from mapcc import resources
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.syntax.load import Loader
from mapcc.tensors.compact import is_compact, size_names
from mapcc.tensors.documents import read_document

_HEADER = re.compile(r"\s*(?:#|$|mapping |about )")


@dataclass(frozen=True, slots=True)
class Pair:
    """The key sets of both sides of one published model, as :func:`mapcc.keys` takes them."""

    size: str
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A mapping of the library.

    Attributes:
        name: what stands for it wherever a mapping file may: ``wan/official_to_diffusers``.
        pairs: its published models, in the order of its source's sizes.
    """

    name: str
    path: Path
    mapping: rules.Mapping
    pairs: tuple[Pair, ...]

    @property
    def family(self) -> str:
        return self.name.partition("/")[0]

    def said(self, topic: str) -> str:
        """What it says about a topic, or nothing."""
        return "; ".join(self.mapping.about(topic))


def catalog(
    root: Path | None = None, families: Iterable[str] = (), *, headers: bool = False
) -> tuple[Entry, ...]:
    """All mappings below ``root`` (the library's own folder), by name; or those of some families.

    Args:
        headers: read no further than what each says of itself: in ``mapping`` there are no rules then.

    Raises:
        MappingError: one cannot be read.
    """
    root = root or resources.mappings()
    wanted = set(families)
    found = [
        entry(path, headers=headers)
        for path in sorted(root.glob("*/*.mapcc")) + sorted(root.glob("*/*.yaml"))
        if not wanted or path.parent.name in wanted
    ]
    return tuple(sorted(found, key=lambda each: each.name))


def entry(path: Path, *, headers: bool = False) -> Entry:
    """One mapping, with the models it says it is for."""
    diagnostics = Diagnostics()
    loader = Loader(diagnostics)
    if headers and path.suffix == ".mapcc":
        loader.preload(path, _header(path.read_text(encoding="utf-8")))
    mapping = loader.load(path)
    if mapping is None or diagnostics.errors:
        raise MappingError(diagnostics)
    return Entry(f"{path.parent.name}/{path.stem}", path, mapping, declared_pairs(mapping, path))


def _header(text: str) -> str:
    """The lines before the first rule."""
    return "".join(takewhile(_HEADER.match, text.splitlines(keepends=True)))


def declared_pairs(mapping: rules.Mapping, path: Path) -> tuple[Pair, ...]:
    """The pairs of key sets that ``about keys "A -> B"`` names, beside the mapping's own file.

    Raises:
        MappingError: MC007: it is said in another way, or two files share no size.
    """
    return tuple(pair for said in mapping.about("keys") for pair in _pairs(said, path))


def _pairs(said: str, path: Path) -> list[Pair]:
    left, arrow, right = (part.strip() for part in said.partition("->"))
    if not (left and arrow and right):
        raise MappingError([_fault(path, f"{said!r} names no two key sets", 'about keys "a.json -> b.json"')])
    source, target = _sized(path.parent / left), _sized(path.parent / right)
    shared = [size for size in source if size in target]
    if not shared:
        help = f"there is {', '.join(source)}, and {', '.join(target)}"
        raise MappingError([_fault(path, f"`{left}` and `{right}` have no size in common", help)])
    return [Pair(size, source[size], target[size]) for size in shared]


def models_of(mapping: rules.Mapping, path: Path, help: str) -> tuple[Pair, ...]:
    """The same, of a mapping that must name some; ``help`` says what to type where it names none.

    Raises:
        MappingError: MC007: it names none; or what it names cannot be read.
    """
    pairs = declared_pairs(mapping, path)
    if not pairs:
        raise MappingError([Diagnostic("MC007", f"`{path}` names no key sets of its own", help=help)])
    return pairs


def _sized(path: Path) -> dict[str, str]:
    """Each size of a file, and how it is opened; a file with one key set has the size ``base``."""
    name, hash, size = path.name.partition("#")
    document = read_document(path.with_name(name))
    sizes = size_names(document) if is_compact(document) else ("base",)
    if not is_compact(document):
        return {"base": str(path)}
    return {each: f"{path.with_name(name)}#{each}" for each in sizes if not hash or each == size}


def _fault(path: Path, message: str, help: str) -> Diagnostic:
    return Diagnostic("MC007", f"`{path.name}`: {message}", help=help)
