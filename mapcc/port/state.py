"""What evidence depends on, as it is now: one hash for each key of :attr:`Evidence.made_of`.

A key is a kind and a name: ``mapping transformer``, ``weights model.safetensors``, ``code models.py``. Asked
again later, the same key gives the same hash unless that very thing has changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.port import evidence
from mapcc.port.components import (
    config_file,
    config_of,
    mapping_path,
    source_keys,
    source_paths,
    statements,
)
from mapcc.port.evidence import Evidence
from mapcc.port.fields import canonical
from mapcc.port.hashes import GONE, Hashes, code_file, of_text
from mapcc.port.model import Component, Port
from mapcc.syntax.load import Loader
from mapcc.tensors.dump import dump_keys

# What of a component its conversion depends on, and what its parity does beside that.
_CONVERSION = (
    "source",
    "prefix",
    "keep_prefix",
    "select",
    "set",
    "keys",
    "class",
    "config",
    "dtype",
    "keep",
    "missing",
)
_PARITY = ("official", "ported", "inputs", "parity", "pairs")


class State:
    """A port, and the hashes of everything in it; files that stay as they are are read once."""

    def __init__(self, port: Port, *, still: bool = False) -> None:
        """``still``: nothing changes as long as this is used, so that nothing need be asked twice."""
        self.port = port
        self.hashes = Hashes(port.evidence)
        self._known: dict[str, str] | None = {} if still else None

    def now(self, key: str) -> str:
        """The hash of what a key names; ``gone`` if it is not there any more."""
        if self._known is None:
            return self._asked(key)
        if key not in self._known:
            self._known[key] = self._asked(key)
        return self._known[key]

    def _asked(self, key: str) -> str:
        kind, _, name = key.partition(" ")
        port = self.port
        if kind in ("weights", "file", "code"):
            root = port.weights_folder if kind == "weights" else port.folder
            path = code_file(name, port.folder) if kind == "code" else root / name
            return self.hashes.of_paths([path]) if path.is_dir() else self.hashes.of_file(path)
        if kind == "section":
            return of_text(canonical(port.plain.get(name)))
        if name not in {each.name for each in port.components}:
            return GONE
        return self._of_component(kind, port.component(name))

    def _of_component(self, kind: str, component: Component) -> str:
        match kind:
            case "mapping":
                return mapping_hash(self.port, component)
            case "settings":
                return self._settings(component, _CONVERSION)
            case "modules":
                return self._settings(component, _PARITY)
            case "names":
                try:
                    return of_text(dump_keys(source_keys(self.port, component)))
                except MappingError:
                    return GONE
            case "converted":
                folder = self.port.out / component.name
                return self.hashes.of_paths([folder]) if folder.is_dir() else GONE
        return GONE

    def _settings(self, component: Component, fields: tuple[str, ...]) -> str:
        sections: Any = self.port.plain.get("components") or {}
        own = {field: sections[component.name].get(field) for field in fields}
        path = config_file(self.port, component)
        own["config file"] = self.hashes.of_file(path) if path else None
        return of_text(canonical(own))

    def all_of(self, *keys: str) -> dict[str, str]:
        found = {key: self.now(key) for key in keys}
        self.hashes.save()
        return found

    def record(self, made: Evidence) -> None:
        """Keep a result with what it depends on now."""
        evidence.save(self.port.evidence, made)
        self.hashes.save()

    def evidence(self, item: str, component: str = "") -> Evidence | None:
        return evidence.load(self.port.evidence, item, component)

    def why_stale(self, made: Evidence) -> tuple[str, ...]:
        """What has changed since; nothing if the evidence holds."""
        now = {key: self.now(key) for key in made.made_of}
        self.hashes.save()
        return tuple(evidence.differences(made.made_of, now))

    def holds(self, item: str, component: str = "") -> bool:
        made = self.evidence(item, component)
        return made is not None and made.passed and not self.why_stale(made)


def converted_keys(port: Port) -> list[str]:
    """What whole pipelines rest on: what was converted, and by which mappings."""
    return [f"{kind} {each.name}" for each in port.components for kind in ("mapping", "converted")]


def weights_keys(port: Port, component: Component) -> list[str]:
    """Of every file that holds its tensors: an index alone tells nothing of them."""
    try:
        files = list(source_keys(port, component).files) or source_paths(port, component)
    except MappingError:
        files = source_paths(port, component)
    root = port.weights_folder
    return [f"weights {f.relative_to(root).as_posix() if f.is_relative_to(root) else f}" for f in files]


def target_key(port: Port, component: Component) -> list[str]:
    """Of what names the target's keys: a file of them, or the code of a factory."""
    where = component.keys or component.ported.module
    if not where.startswith("py:"):
        return [f"file {where}"] if where else []
    file = where.removeprefix("py:").rpartition(":")[0]
    return [f"code {file}"] if file.endswith(".py") else []


# --- the mapping: its text, the texts that it uses, and what port.yaml adds


def mapping_hash(port: Port, component: Component) -> str:
    path = mapping_path(port, component)
    texts = list(mapping_texts(path))
    if not texts:
        return GONE
    settings = canonical(dict(component.settings))
    return of_text(canonical([*texts, settings, statements(component)]))


def mapping_texts(path: Path) -> Iterator[str]:
    """The text of a mapping, then those of the files that it uses, each once; nothing without it."""
    loader = Loader(Diagnostics())
    mapping = loader.load(path)
    if mapping is not None and mapping.source is not None:
        loader.begin(mapping)
        yield mapping.source.text
        yield from _used(mapping.body, path, (path,), loader, {path})


def _used(
    body: tuple[rules.Statement, ...],
    path: Path,
    chain: tuple[Path, ...],
    loader: Loader,
    seen: set[Path],
) -> Iterator[str]:
    for statement in body:
        if isinstance(statement, rules.Use):
            found = loader.used(statement, path, chain)
            if found is not None and found[1].source is not None and found[0] not in seen:
                seen.add(found[0])
                yield found[1].source.text
                yield from _used(found[1].body, found[0], (*chain, found[0]), loader, seen)
        elif isinstance(statement, rules.Block | rules.Default):
            yield from _used(statement.body, path, chain, loader, seen)


def config_text(port: Port, component: Component) -> str:
    """The config as canonical text; "" if there is none."""
    config = config_of(port, component)
    return "" if config is None else canonical(dict(config))
