"""All components converted into one folder, which is complete or as it was before (``port/place.py``).

A component is finished by its own rename, so that an interrupted port goes on with the one that it was at;
one that would come out the same as it is in OUT already is linked from there. Nothing but the last rename
makes OUT appear, with no file in it that this run did not put there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mapcc.api import carry_out, make_plan
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan import Plan
from mapcc.plan.document import digest
from mapcc.port.classes import found_class
from mapcc.port.components import Held, config_file, config_of, hold, mapping_path, statements, unclaimed
from mapcc.port.evidence import Evidence
from mapcc.port.hashes import of_text
from mapcc.port.index import INDEX, file_prefix, index_faults, is_indexed, is_one_file, model_index
from mapcc.port.model import MAPPING_FOLDER, Asset, Component, Port
from mapcc.port.place import (
    MARK,
    STAGE,
    WEIGHTS,
    beside,
    check_place,
    clear,
    copy,
    finish,
    lock,
    mark_text,
    recover,
    tidy,
    write,
)
from mapcc.port.state import State, weights_keys
from mapcc.runtime import Options
from mapcc.runtime.audit import audit
from mapcc.runtime.fs import writing
from mapcc.runtime.record import RECORD, read_record

CONFIG = "config.json"
SHARD = 5_000_000_000  # bytes: what the libraries' own save_pretrained cuts at
_WHOLE = 1 << 62

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Made:
    """A component of the output: how many tensors, files and bytes, and whether it was there already."""

    name: str
    tensors: int
    files: int
    size: int
    is_kept: bool


def convert_port(
    port: Port,
    *,
    max_shard_size: int = SHARD,
    progress: Progress | None = None,
    running: Options | None = None,
) -> tuple[Made, ...]:
    """Write ``port.out``: every component with its config, the assets, the index. Complete, or untouched.

    Args:
        progress: called with the bytes written and the bytes to write, of all components.

    Raises:
        MappingError: all that is wrong with mappings, coverage and index, before a byte is read; MC005 if
            the output cannot be written.
    """
    plans = _plans(port, max_shard_size)
    _check_assets(port)
    check_place(port)
    state = State(port)
    done = _source_size(port)
    total = done + sum(plan.bytes_written for plan in plans.values())
    if progress is not None:
        state.hashes.progress = lambda hashed: progress(min(hashed, done), total)
    with lock(port):
        recover(port)
        weights = {each.name: _weights(state, each) for each in port.components}
        mark = _mark(state, plans, weights)
        state.hashes.progress = None
        if _is_there(state, mark):
            tidy(port)
            _record(state)
            return tuple(_made(each, plans[each.name], True) for each in port.components)
        stage = beside(port, STAGE)
        clear(stage, beside(port, WEIGHTS), weights)
        kept = set()
        for component in port.components:
            plan = plans[component.name]
            if _component(state, component, plan, stage, _shifted(progress, done, total), running):
                kept.add(component.name)
            done += plan.bytes_written
        for asset in port.assets:
            copy(port.weights_folder / asset.origin, stage / asset.name)
        if is_indexed(port):
            write(stage / INDEX, _index_text(port))
        finish(port, stage, mark)
    _record(state)
    return tuple(_made(each, plans[each.name], each.name in kept) for each in port.components)


def _plans(port: Port, max_shard_size: int) -> dict[str, Plan]:
    """What is to be done, of all components; all faults of all of them at once."""
    found: list[Diagnostic] = []
    held: list[Held] = []
    for component in port.components:
        try:
            one = hold(port, component)
        except MappingError as error:
            found += error.diagnostics
        else:
            found += one.checked.diagnostics
            held.append(one)
    found += [] if len(held) < len(port.components) else unclaimed(port)
    found += index_faults(port)
    if any(diagnostic.exit_code for diagnostic in found):
        raise MappingError(found)
    return {each.component.name: _plan(port, each, max_shard_size) for each in held}


def _plan(port: Port, held: Held, max_shard_size: int) -> Plan:
    component = held.component
    return make_plan(
        mapping_path(port, component),
        held.source,
        held.target,
        max_shard_size=_WHOLE if is_one_file(port, component) else max_shard_size,
        prefix=file_prefix(port, component),
        settings=component.settings,
        target_config=config_file(port, component),
        statements=statements(component),
    )


def _check_assets(port: Port) -> None:
    missing = [asset for asset in port.assets if not (port.weights_folder / asset.origin).exists()]
    if missing:
        raise MappingError(_no_asset(port, asset) for asset in missing)


def _no_asset(port: Port, asset: Asset) -> Diagnostic:
    help = (
        "mapcc port fetch"
        if port.weights.repository
        else f"from: what it is called below {port.weights.path}"
    )
    return Diagnostic("MC001", f"`{port.weights_folder / asset.origin}` is not there", asset.span, help=help)


# --- what the output is made of


def _weights(state: State, component: Component) -> str:
    """Of the contents: a plan tells its sources by names and sizes."""
    return of_text(json.dumps(state.all_of(*weights_keys(state.port, component))))


def _mark(state: State, plans: dict[str, Plan], weights: dict[str, str]) -> str:
    """The same for an output that is the same."""
    port = state.port
    parts: list[object] = [[name, digest(plan), weights[name]] for name, plan in plans.items()]
    parts += [[component.name, _config_text(port, component)] for component in port.components]
    parts += [[asset.name, state.now(f"weights {asset.origin}")] for asset in port.assets]
    parts.append(model_index(port) if is_indexed(port) else None)
    state.hashes.save()
    return of_text(json.dumps(parts))


def _is_there(state: State, mark: str) -> bool:
    """Whether the output is what this run would make, to the byte."""
    port = state.port
    try:
        small = {port.out / MAPPING_FOLDER / MARK: mark_text(mark)}
        small |= {port.out / each.name / CONFIG: _config_text(port, each) for each in port.components}
        small |= {port.out / INDEX: _index_text(port)}
        written = all(path.read_text("utf-8") == text for path, text in small.items() if text)
    except (OSError, ValueError):
        return False
    return (
        written
        and all(_is_whole(state, component) for component in port.components)
        and all(_is_same(state, asset) for asset in port.assets)
    )


def _is_whole(state: State, component: Component) -> bool:
    """Whether a component is as it was converted: by its evidence, or else by the hashes of its record."""
    folder = state.port.out / component.name
    if state.holds("convert", component.name):
        return True
    return (folder / RECORD).is_file() and not audit(folder, read_record(folder))


def _is_same(state: State, asset: Asset) -> bool:
    one, two = state.port.weights_folder / asset.origin, state.port.out / asset.name
    if one.is_file():
        return state.hashes.of_file(one) == state.hashes.of_file(two)
    return two.is_dir() and state.hashes.of_paths([one]) == state.hashes.of_paths([two])


def _component(
    state: State,
    component: Component,
    plan: Plan,
    stage: Path,
    progress: Progress | None,
    running: Options | None,
) -> bool:
    """Whether it was taken from the output that is there."""
    folder, before = stage / component.name, state.port.out / component.name
    if folder.exists() and not _is_of(folder, plan):
        shutil.rmtree(folder)
    is_kept = not folder.exists() and _is_of(before, plan) and state.holds("convert", component.name)
    if is_kept:
        names = [file.name for file in plan.files] + ([plan.index.name] if plan.index else [])
        _link(before, folder, [*names, RECORD])
    carry_out(plan, folder, progress=progress, running=running)
    (folder / CONFIG).unlink(missing_ok=True)
    text = _config_text(state.port, component)
    if text:
        write(folder / CONFIG, text)
    return is_kept


def _is_of(folder: Path, plan: Plan) -> bool:
    """Whether a folder is what the plan gives, as far as its record and the sizes of its files tell."""
    if not (folder / RECORD).is_file():
        return False
    try:
        if read_record(folder).plan != digest(plan):
            return False
    except MappingError:
        return False  # it is made anew
    return all((folder / f.name).is_file() and (folder / f.name).stat().st_size == f.size for f in plan.files)


def _link(before: Path, folder: Path, names: list[str]) -> None:
    """The same files once more: they are never changed in place. By copies where the disk has no links."""
    part = folder.with_name(folder.name + ".mapcc-link")
    with writing(folder):
        if part.exists():
            shutil.rmtree(part)
        part.mkdir()
        for name in names:
            try:
                os.link(before / name, part / name)
            except OSError:
                shutil.copyfile(before / name, part / name)
        part.rename(folder)


def _index_text(port: Port) -> str:
    return json.dumps(model_index(port), indent=2) + "\n" if is_indexed(port) else ""


def _config_text(port: Port, component: Component) -> str:
    config = config_of(port, component)
    if config is None:
        return ""
    own = dict(config)
    name = component.target_class.rpartition(".")[2]
    if component.library == "diffusers" or component.library.startswith("fastvideo"):
        own = {"_class_name": name, "_diffusers_version": port.target.version} | own
    elif component.library == "transformers":
        own = {"architectures": [name], **_model_type(component)} | own
    return json.dumps(own, indent=2) + "\n"


def _model_type(component: Component) -> dict[str, str]:
    """What transformers' ``AutoModel`` finds the class by; nothing where the class is not to be had here."""
    try:
        config = getattr(found_class(component), "config_class", None)
    except MappingError:
        return {}
    kind = getattr(config, "model_type", "")
    return {"model_type": kind} if kind else {}


def _source_size(port: Port) -> int:
    """Bytes of all official files, which are hashed first, unless they were before."""
    names = {key for component in port.components for key in weights_keys(port, component)}
    paths = [port.weights_folder / name.removeprefix("weights ") for name in names]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _shifted(progress: Progress | None, before: int, total: int) -> Progress | None:
    return None if progress is None else lambda done, _: progress(before + done, total)


# --- afterwards


def _made(component: Component, plan: Plan, is_kept: bool) -> Made:
    tensors = sum(len(file.tensors) for file in plan.files)
    return Made(component.name, tensors, len(plan.files), plan.bytes_written, is_kept)


def _record(state: State) -> None:
    """That this is what came of these weights, by this mapping."""
    port = state.port
    for component in port.components:
        name = component.name
        keys = (f"mapping {name}", f"settings {name}", *weights_keys(port, component), f"converted {name}")
        record = read_record(port.out / name)
        for file in record.files:
            state.hashes.learn(port.out / name / file.name, file.blocks)
        figures = {"files": [file.name for file in record.files], "plan": record.plan}
        state.record(Evidence("convert", name, True, figures, state.all_of(*keys)))
