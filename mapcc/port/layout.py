"""How official weights lie there, in FastVideo's words, and whether they need to be converted at all."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from mapcc.api import emit_config, identify
from mapcc.api import keys as key_set
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.components import config_file, hold, mapping_path, source_paths, statements
from mapcc.port.evidence import Evidence
from mapcc.port.model import Component, Port
from mapcc.port.state import State
from mapcc.tensors.selection import USUAL
from mapcc.tensors.spec import Manifest

LAYOUTS = ("diffusers", "raw_official", "monolithic", "separate_components", "mixed", "custom")
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".npz")
# What the first segments of names in one file of several components are, and what the component is called.
PREFIXES = {
    "model.diffusion_model.": "transformer",
    "first_stage_model.": "vae",
    "cond_stage_model.": "text_encoder",
    "conditioner.embedders.": "text_encoder",
    "text_encoders.": "text_encoder",
    "text_encoder.": "text_encoder",
    "text_encoder_2.": "text_encoder_2",
    "transformer.": "transformer",
    "unet.": "unet",
    "vae.": "vae",
    "audio_vae.": "audio_vae",
    "vocoder.": "vocoder",
    "image_encoder.": "image_encoder",
}


@dataclass(frozen=True, slots=True)
class Found:
    """One checkpoint below the weights: ``prefixes`` of the components in it, if it has several.

    Attributes:
        path: below the weights; "." for the folder itself.
        model: what the library takes it for; "" if it is not in it.
        mapping: a mapping of the library that takes it as its source.
        select: the dictionary that is meant, where the file has several and one has a usual name.
    """

    path: str
    tensors: int
    prefixes: tuple[str, ...] = ()
    model: str = ""
    mapping: str = ""
    problem: str = ""
    select: str = ""


@dataclass(frozen=True, slots=True)
class Layout:
    word: str
    checkpoints: tuple[Found, ...]
    reason: str


def layout_of(folder: Path, selects: Mapping[str, str] | None = None) -> Layout:
    """The layout of a folder of weights, from names and headers.

    Args:
        selects: of files that hold several dictionaries, the one that is meant.
    """
    found = tuple(_found(folder, path, selects or {}) for path in _checkpoints(folder))
    inside = [each for each in found if "/" in each.path]
    outside = [each for each in found if "/" not in each.path]
    if (folder / "model_index.json").is_file():
        if outside:
            return Layout("mixed", found, "a model_index.json, and checkpoints beside its components")
        return Layout("diffusers", found, "it has a model_index.json")
    readable = [each for each in found if not each.problem]
    if not readable:
        return Layout("custom", found, "no checkpoint in it that mapcc reads")
    if len(readable) == 1 and len(readable[0].prefixes) > 1:
        return Layout("monolithic", found, f"one checkpoint with {', '.join(readable[0].prefixes)}")
    if len(readable) == 1:
        return Layout("raw_official", found, "one checkpoint of one model")
    if inside and outside:
        return Layout("mixed", found, "checkpoints in folders, and others beside them")
    return Layout("separate_components", found, f"{len(readable)} checkpoints of one component each")


def _checkpoints(folder: Path) -> Iterator[Path]:
    """Checkpoints: a file, or the folder of an index or of shards."""
    for place in (folder, *sorted(path for path in folder.rglob("*") if path.is_dir())):
        parts = place.relative_to(folder).parts
        if any(part.startswith((".", "_")) for part in parts):
            continue
        files = sorted(path for path in place.iterdir() if path.suffix in _WEIGHTS and path.is_file())
        indexes = sorted(place.glob("*.index.json"))
        if indexes or (len(files) > 1 and all("-of-" in path.name for path in files)):
            yield indexes[0] if len(indexes) == 1 else place
        else:
            yield from files


def _found(folder: Path, path: Path, selects: Mapping[str, str]) -> Found:
    name = path.relative_to(folder).as_posix()
    try:
        manifest, select = _opened(path, selects.get(name))
    except MappingError as error:
        return Found(name, 0, problem=error.diagnostics[0].message)
    prefixes = tuple(prefix for prefix in PREFIXES if any(n.startswith(prefix) for n in manifest.tensors))
    # A single model may call a part of itself "transformer".
    prefixes = prefixes if len(prefixes) > 1 else ()
    model, mapping = _known(manifest) if not prefixes else ("", "")
    return Found(name, len(manifest.tensors), prefixes, model, mapping, select=select)


def _opened(path: Path, select: str | None) -> tuple[Manifest, str]:
    """The key set; of several dictionaries the one that is called as weights usually are."""
    try:
        return key_set(path, select=select), select or ""
    except MappingError:
        for usual in USUAL if select is None else ():
            with suppress(MappingError):
                return key_set(path, select=usual), usual
        raise


def _known(manifest: Manifest) -> tuple[str, str]:
    match = next(iter(identify(manifest)), None)
    if match is None or not match.is_this:
        return "", ""
    return f"{match.known.title} ({match.known.size})", next(iter(match.known.takes), "")


# --- conversion, or a config?


@dataclass(frozen=True, slots=True)
class Need:
    """Whether a component must be converted: ``yes``, ``no`` or ``unknown``, and why."""

    component: str
    needs_conversion: str
    reasons: tuple[str, ...]


def need_of(port: Port, component: Component) -> Need:
    """FastVideo needs no conversion where its config can say every rule; everybody else does.

    Raises:
        MappingError: a key set cannot be read.
    """
    held = hold(port, component)
    if not held.checked.ok:
        first = next(d for d in held.checked.diagnostics if d.exit_code)
        return Need(component.name, "unknown", (f"the mapping does not check clean: {first.message}",))
    if port.target.kind != "fastvideo":
        bound = held.checked.bound
        same = bound is not None and all(
            instance.sources == (instance.targets,) for instance in bound.instances
        )
        if same and not component.dtype:
            return Need(component.name, "no", ("every tensor has its name and its shape already",))
        return Need(
            component.name,
            "yes",
            (f"{port.target.kind} has no table that renames: names must be right in the files",),
        )
    if component.prefix:
        return Need(component.name, "yes", ("it lies in one file with other components",))
    try:
        emit_config(
            mapping_path(port, component),
            held.source,
            held.target,
            format="fastvideo",
            settings=component.settings,
            target_config=config_file(port, component),
            statements=statements(component),
        )
    except MappingError as error:
        reasons = tuple(_reason(d.message, d.span.line if d.span else 0) for d in error.diagnostics)
        return Need(component.name, "yes", reasons)
    source = source_paths(port, component)[0]
    command = f"mapcc emit-config {mapping_path(port, component)} --source {source} --format fastvideo"
    return Need(component.name, "no", ("every rule can be said in param_names_mapping", command))


def _reason(message: str, line: int) -> str:
    return f"line {line}: {message}" if line else message


def inspect_port(port: Port) -> tuple[Layout, tuple[Need, ...]]:
    """Layout and needs, recorded.

    Raises:
        MappingError: MC001: the weights are not there; a key set cannot be read.
    """
    if not port.weights_folder.is_dir():
        help = "mapcc port fetch" if port.weights.repository else "weights: {path: FOLDER}"
        message = f"`{port.weights_folder}` is no folder"
        raise MappingError([Diagnostic("MC001", message, port.weights.span, help=help)])
    selects = {source: each.select for each in port.components for source in each.sources if each.select}
    layout = layout_of(port.weights_folder, selects)
    needs = tuple(need_of(port, component) for component in port.components)
    state = State(port)
    figures = {
        "source_layout": layout.word,
        "needs_conversion": {need.component: need.needs_conversion for need in needs},
    }
    keys = [f"{kind} {c.name}" for c in port.components for kind in ("mapping", "settings", "names")]
    state.record(Evidence("inspect", "", layout.word in LAYOUTS, figures, state.all_of(*keys)))
    return layout, needs


def names_of_index(folder: Path) -> dict[str, Sequence[str]]:
    """The components that a ``model_index.json`` names, each with its library and class."""
    try:
        content = json.loads((folder / "model_index.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return {name: value for name, value in content.items() if isinstance(value, list) and len(value) == 2}
