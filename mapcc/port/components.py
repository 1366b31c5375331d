"""A component's two key sets and its mapping, held against each other."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from mapcc.api import Checked, check, keys
from mapcc.api.checking import STATEMENTS
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.render import plural
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.port.model import Component, Excluded, Port
from mapcc.resources import library_mapping
from mapcc.tensors.spec import Manifest


@dataclass(frozen=True, slots=True)
class Held:
    """A component with everything that a check of it needs."""

    component: Component
    source: Manifest
    target: Manifest | None
    checked: Checked


def mapping_path(port: Port, component: Component) -> Path:
    """The mapping's file: beside ``port.yaml``, or the library's."""
    path = port.folder / component.mapping
    return path if path.exists() else library_mapping(component.mapping) or path


def source_paths(port: Port, component: Component) -> list[Path]:
    return [port.weights_folder / source for source in component.sources]


def source_keys(port: Port, component: Component) -> Manifest:
    """The component's official tensors, under the names that they have without its prefix.

    Raises:
        MappingError: a file cannot be read; MC911 if nothing has the prefix.
    """
    config = port.folder / component.source_config if component.source_config else None
    opened = [
        keys(path, config=config, select=component.select or None) for path in source_paths(port, component)
    ]
    whole = joined(opened)
    if not component.prefix:
        return whole
    length = 0 if component.keep_prefix else len(component.prefix)
    own = {
        name[length:]: spec._replace(name=name[length:])
        for name, spec in whole.tensors.items()
        if name.startswith(component.prefix)
    }
    if not own:
        raise MappingError([_no_such_prefix(component, whole)])
    return replace(whole, tensors=own)


def _no_such_prefix(component: Component, whole: Manifest) -> Diagnostic:
    heads = dict.fromkeys(name.partition(".")[0] + "." for name in whole.tensors)
    near = nearest(component.prefix, heads, 1)
    return Diagnostic(
        "MC911",
        f"no tensor of `{whole.where}` begins with {component.prefix!r}",
        component.span,
        help=f"did you mean `prefix: {near[0]}`?" if near else f"there is {', '.join(list(heads)[:8])}",
    )


def joined(parts: list[Manifest]) -> Manifest:
    """Several sources as one; MC003 if two have a tensor of the same name."""
    first, *rest = parts
    for other in rest:
        twice = first.tensors.keys() & other.tensors.keys()
        if twice:
            message = f"`{first.where}` and `{other.where}` have tensors of the same name"
            raise MappingError([Diagnostic("MC003", message, names=tuple(fold(sorted(twice))))])
        shift = len(first.files)
        moved = {
            name: spec if spec.file is None else spec._replace(file=spec.file + shift)
            for name, spec in other.tensors.items()
        }
        first = replace(
            first,
            tensors=first.tensors | moved,
            files=first.files + other.files,
            stamps=first.stamps + other.stamps,
            metadata=other.metadata | first.metadata,
        )
    return first


def target_keys(port: Port, component: Component) -> Manifest | None:
    """What the ported module wants: from a keys file, a factory, or its class and config.

    Raises:
        MappingError: what is named cannot be read or built.
    """
    config = config_file(port, component)
    if component.keys:
        return keys(place(port, component.keys), config=config)
    if component.ported.module:
        return keys(place(port, component.ported.module), config=config)
    if component.target_class and component.config is not None:
        from mapcc.port.classes import class_keys

        return class_keys(port, component)
    return None


def place(port: Port, where: str) -> str:
    """A path beside ``port.yaml``; ``py:`` names a file of it, or a module."""
    if not where.startswith("py:"):
        return str(port.folder / where)
    place, colon, name = where.removeprefix("py:").rpartition(":")
    return f"py:{port.folder / place}{colon}{name}" if place.endswith(".py") else where


def config_file(port: Port, component: Component) -> Path | None:
    if not isinstance(component.config, str):
        return None
    beside = port.folder / component.config
    return beside if beside.exists() else port.weights_folder / component.config


def config_of(port: Port, component: Component) -> Mapping[str, object] | None:
    """What its ``config.json`` says; None if none is named.

    Raises:
        MappingError: MC001 or MC003.
    """
    path = config_file(port, component)
    if path is None:
        return component.config if isinstance(component.config, Mapping) else None
    from mapcc.tensors.documents import ConfigFile

    return ConfigFile(path)


def statements(component: Component) -> str:
    """What ``port.yaml`` adds to the mapping, in the mapping's language."""
    lines = [
        f"external {', '.join(each.names)} because {json.dumps(each.because, ensure_ascii=False)}"
        for each in component.missing
    ]
    if component.dtype:
        keeps = [
            f"keep {dtype + ' ' if dtype else ''}: {', '.join(names)}" for dtype, names in component.keep
        ]
        inside = "".join(f"\n  {keep}" for keep in keeps)
        lines.append(f"dtype {component.dtype}" + (f" {{{inside}\n}}" if keeps else ""))
    return "".join(f"{line}\n" for line in lines)


def hold(port: Port, component: Component) -> Held:
    """Its mapping against both sides, from headers alone.

    Raises:
        MappingError: a key set cannot be read.
    """
    source, target = source_keys(port, component), target_keys(port, component)
    checked = check(
        mapping_path(port, component),
        source,
        target,
        settings=component.settings,
        target_config=config_file(port, component),
        statements=statements(component),
    )
    told = tuple(_in_port(diagnostic, component) for diagnostic in checked.diagnostics)
    return Held(component, source, target, replace(checked, diagnostics=told))


def _in_port(diagnostic: Diagnostic, component: Component) -> Diagnostic:
    """What is wrong with `missing` or `dtype` is shown where port.yaml says it."""
    span = diagnostic.span
    if span is None or span.source.name != STATEMENTS:
        return diagnostic
    place = component.missing[0].span if component.missing else component.span
    return replace(diagnostic, span=place, label="", notes=(*diagnostic.notes, f"it says: {span.text}"))


# --- a file of several components


def unclaimed(port: Port) -> Iterator[Diagnostic]:
    """MC911 for tensors that no component takes, or two do; of files that several components share."""
    for path, sharing in _shared(port).items():
        whole = keys(path, select=sharing[0].select or None)
        prefixes = {each.name: each.prefix for each in sharing}
        left, twice = [], []
        for name in whole.tensors:
            owners = sum(name.startswith(prefix) for prefix in prefixes.values())
            if owners > 1:
                twice.append(name)
            elif not owners and not is_excluded(name, port.foreign):
                left.append(name)
        if twice:
            help = "give each component a prefix of its own"
            message = f"`{path}`: two components take the same tensors"
            yield Diagnostic("MC911", message, sharing[-1].span, names=tuple(fold(twice)), help=help)
        if left:
            heads = fold(dict.fromkeys(name.partition(".")[0] + ".*" for name in left), 4)
            help = f'foreign: [{{names: ["{heads[0]}"], because: "..."}}], or a component that takes them'
            message = f"`{path}`: {plural(len(left), 'tensor')} that no component takes"
            yield Diagnostic("MC911", message, sharing[0].span, names=tuple(fold(left)), help=help)


def _shared(port: Port) -> dict[Path, list[Component]]:
    """Files that are taken apart by prefixes, with the components that take from them."""
    users: dict[Path, list[Component]] = {}
    for component in port.components:
        for path in source_paths(port, component):
            users.setdefault(path, []).append(component)
    return {path: own for path, own in users.items() if any(each.prefix for each in own)}


def is_excluded(name: str, excluded: Iterable[Excluded]) -> bool:
    return any(fnmatchcase(name, pattern) for each in excluded for pattern in each.names)
