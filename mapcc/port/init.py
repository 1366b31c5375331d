"""A new port: ``port.yaml`` and ``PLAN.md``, with what can be found out, and word of what was assumed."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.port.files import write_text
from mapcc.port.layout import PREFIXES, Found, Layout, layout_of, names_of_index
from mapcc.port.model import PLAN, PORT, Port
from mapcc.port.plan_file import plan_text
from mapcc.port.read import parse_port
from mapcc.text import Source


@dataclass(slots=True)
class Wishes:
    """What the caller knows; "" for what is to be found out."""

    model: str
    repository: str = ""
    revision: str = ""
    path: str = ""
    target: str = ""
    pipeline: str = ""
    version: str = ""
    family: str = ""
    official: str = ""
    file: str = ""  # the only one of the weights, where they were named by it
    said: list[str] = field(default_factory=list)  # what was inferred, for the caller to tell


def init_port(folder: Path, wishes: Wishes) -> Port:
    """Write both files.

    Raises:
        MappingError: MC005: there is a port already; MC007: something is missing that nothing tells; what is
            wrong with the result.
    """
    path = folder / PORT
    if path.exists():
        help = "edit it, or choose another folder"
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: it is there already", help=help)])
    text = port_text(folder, wishes)
    found = Diagnostics()
    port = parse_port(Source(str(path), text), found)
    if port is None or found.errors:
        raise MappingError(found)
    write_text(path, text)
    if not (folder / PLAN).exists():
        write_text(folder / PLAN, plan_text(port))
    return port


def port_text(folder: Path, wishes: Wishes) -> str:
    """The file's text; what was inferred is said in it, too."""
    if wishes.path and (folder / wishes.path).is_file():
        place = Path(wishes.path)
        wishes.file, wishes.path = place.name, str(place.parent)
        wishes.said.append(f"weights: {wishes.path}, of which {wishes.file} is the source")
    if not wishes.repository and not wishes.path:
        there = folder / "official_weights" / wishes.model
        if not there.is_dir():
            help = "--weights official_weights/NAME, or --repository OWNER/NAME"
            raise MappingError([Diagnostic("MC007", "where are the official weights?", help=help)])
        wishes.path = f"official_weights/{wishes.model}"
        wishes.said.append(f"weights: {wishes.path}, since it is there")
    root = folder / (wishes.path or f"official_weights/{wishes.model}")
    layout = layout_of(root) if root.is_dir() else None
    if layout is not None:
        wishes.said.append(f"layout: {layout.word}: {layout.reason}")
    _complete(wishes, root)
    return "\n".join(_lines(wishes, root, layout)) + "\n"


def _complete(wishes: Wishes, root: Path) -> None:
    if not wishes.target:
        wishes.target = "diffusers" if (root / "model_index.json").exists() or wishes.pipeline else "python"
        wishes.said.append(f"target: {wishes.target}")
    if not wishes.family:
        wishes.family = re.sub(r"\W+", "_", wishes.model.lower())
        wishes.said.append(f"family: {wishes.family}, from the model's name")
    if wishes.target == "python":
        return
    if not wishes.pipeline:
        wishes.pipeline = _pipeline_of(root)
        if not wishes.pipeline:
            help = "--pipeline WanPipeline"
            raise MappingError([Diagnostic("MC007", "which pipeline class loads the result?", help=help)])
        wishes.said.append(f"pipeline: {wishes.pipeline}, from the model_index.json of the weights")
    if not wishes.version:
        try:
            wishes.version = version("diffusers")
            wishes.said.append(f"version: {wishes.version}, of the Diffusers that is installed")
        except PackageNotFoundError:
            help = "--diffusers-version 0.42.1"
            message = "which version of Diffusers shall model_index.json name?"
            raise MappingError([Diagnostic("MC007", message, help=help)]) from None


def _pipeline_of(root: Path) -> str:
    try:
        return str(json.loads((root / "model_index.json").read_bytes())["_class_name"])
    except (OSError, ValueError, KeyError):
        return ""


def _lines(wishes: Wishes, root: Path, layout: Layout | None) -> Iterator[str]:
    yield f"# The port of {wishes.model}: read and checked by `mapcc port`."
    yield f"model: {wishes.model}"
    yield f"family: {wishes.family}"
    if wishes.official:
        yield f"official: {{repository: {json.dumps(wishes.official)}}}"
    if wishes.repository:
        yield f"weights: {{repository: {wishes.repository}, revision: {json.dumps(wishes.revision)}}}"
    else:
        yield f"weights: {{path: {json.dumps(wishes.path)}}}"
    if wishes.target == "python":
        yield "target: {kind: python}"
    else:
        named = f"pipeline: {wishes.pipeline}, version: {json.dumps(wishes.version)}"
        yield f"target: {{kind: {wishes.target}, {named}}}"
    yield "components:"
    yield from _components(wishes, root, layout)
    assets = list(_assets(root)) if layout is not None and layout.word == "diffusers" else []
    if assets:
        yield "assets:"
        yield from assets


def _components(wishes: Wishes, root: Path, layout: Layout | None) -> Iterator[str]:
    found = [each for each in layout.checkpoints if not each.problem] if layout else []
    found = [each for each in found if wishes.file in ("", each.path)]
    if not found:
        wishes.said.append("components: one, `transformer`; its source and mapping are to be filled in")
        yield from _component("transformer", "model.safetensors", "", "", {})
        return
    names: dict[str, None] = {}
    for each in found:
        for prefix in each.prefixes or ("",):
            name = PREFIXES[prefix] if prefix else _name_of(each, len(found))
            while name in names:
                name += "_2"
            names[name] = None
            mapping = each.mapping
            if mapping:
                wishes.said.append(f"{name}: {each.model}: {mapping}")
            index = names_of_index(root).get(name)
            more = {"select": json.dumps(each.select)} if each.select else {}
            if each.select:
                wishes.said.append(f"{name}: `{each.select}` of {each.path}, which has several dictionaries")
            more |= {"class": ".".join(index)} if index else {}
            yield from _component(name, each.path, prefix, mapping, more)


def _component(name: str, source: str, prefix: str, mapping: str, more: dict[str, str]) -> Iterator[str]:
    yield f"  {name}:"
    yield f"    source: {json.dumps(source)}"
    if prefix:
        yield f"    prefix: {json.dumps(prefix)}"
    yield f"    mapping: {mapping or f'{name}.mapcc'}" + ("" if mapping else "  # to be written")
    for key, value in more.items():
        yield f"    {key}: {value}"


def _name_of(found: Found, count: int) -> str:
    """A folder is called what its component is; a single checkpoint is the DiT."""
    folder = found.path.partition("/")[0] if "/" in found.path else ""
    if folder:
        return folder
    return "transformer" if count == 1 else re.sub(r"\W+", "_", found.path.partition(".")[0].lower())


def _assets(root: Path) -> Iterator[str]:
    """What the index names and has no weights: schedulers, tokenizers."""
    for name, (library, kind) in sorted(names_of_index(root).items()):
        folder = root / name
        has_weights = any(folder.glob("*.safetensors")) or any(folder.glob("*.bin"))
        if folder.is_dir() and not has_weights:
            yield f"  {name}: {{from: {name}, class: {library}.{kind}}}"


def make_worktree(folder: Path, model: str) -> Path:
    """A git worktree beside the repository, on a branch of its own: ``port/MODEL``.

    Raises:
        MappingError: MC005: git refuses.
    """
    top = _git(folder, "rev-parse", "--show-toplevel")
    place = Path(top).with_name(f"{Path(top).name}-port-{model}")
    _git(folder, "worktree", "add", "-b", f"port/{model}", str(place))
    return place


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise MappingError([Diagnostic("MC005", f"git cannot be run: {error}")]) from None
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1] if done.stderr.strip() else "it failed"
        raise MappingError([Diagnostic("MC005", f"`git {' '.join(arguments)}`: {why}")])
    return done.stdout.strip()
