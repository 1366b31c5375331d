"""All components converted into one folder, which is complete or as it was before.

    OUT.mapcc-port/           where it grows: a folder for each component, then configs, assets, the index
    OUT.mapcc-port-weights    what weights it is made of
    OUT.mapcc-port-journal    the lock
    OUT.mapcc-old/            the one before, between two renames

A component is finished by its own rename, so that an interrupted port goes on with the one that it was at;
one that would come out the same as it is in OUT already is linked from there. Nothing but the last rename
makes OUT appear, with no file in it that this run did not put there.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mapcc.api import carry_out, make_plan
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan import Plan
from mapcc.plan.document import digest
from mapcc.port.components import Held, config_file, config_of, hold, mapping_path, statements, unclaimed
from mapcc.port.evidence import Evidence
from mapcc.port.files import write_text, writing
from mapcc.port.hashes import of_text
from mapcc.port.index import INDEX, file_prefix, index_faults, is_indexed, is_one_file, model_index
from mapcc.port.model import MAPPING_FOLDER, Asset, Component, Port
from mapcc.port.state import State, weights_keys
from mapcc.runtime import Options
from mapcc.runtime.journal import Journal, open_journal
from mapcc.runtime.record import RECORD, read_record

STAGE, JOURNAL, OLD, WEIGHTS = ".mapcc-port", ".mapcc-port-journal", ".mapcc-old", ".mapcc-port-weights"
MARK = "port.json"
CONFIG = "config.json"
SHARD = 5_000_000_000  # bytes: what the libraries' own save_pretrained cuts at
_WHOLE = 1 << 62
_FORMAT = 1

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
    _check_place(port)
    total, done = sum(plan.bytes_written for plan in plans.values()), 0
    state = State(port)
    with _lock(port):
        _recover(port)
        weights = {each.name: _weights(state, each) for each in port.components}
        mark = _mark(state, plans, weights)
        if _is_there(port, mark):
            _tidy(port)
            _record(state)
            return tuple(_made(each, plans[each.name], True) for each in port.components)
        stage = _beside(port, STAGE)
        _clear(stage, _beside(port, WEIGHTS), weights)
        kept = set()
        for component in port.components:
            plan = plans[component.name]
            if _component(state, component, plan, stage, _shifted(progress, done, total), running):
                kept.add(component.name)
            done += plan.bytes_written
        for asset in port.assets:
            _copy(port.weights_folder / asset.origin, stage / asset.name)
        if is_indexed(port):
            _write(stage / INDEX, json.dumps(model_index(port), indent=2) + "\n")
        _finish(port, stage, mark)
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


def _check_place(port: Port) -> None:
    """What is at the output's place is this port's: its key sets, or an output of mapcc. MC005 otherwise."""
    out = port.out
    with writing(out):
        names = {entry.name for entry in out.iterdir()} if out.is_dir() else set()
        strange = out.exists() and not out.is_dir()
    if strange or (names - {MAPPING_FOLDER} and not (out / MAPPING_FOLDER / MARK).is_file()):
        why = "something is there that `mapcc port convert` did not make"
        help = "remove it, or give `out:` another folder"
        raise MappingError([Diagnostic("MC005", f"cannot write `{out}`: {why}", help=help)])


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


def _is_there(port: Port, mark: str) -> bool:
    try:
        known = json.loads((port.out / MAPPING_FOLDER / MARK).read_bytes())
    except (OSError, ValueError):
        return False
    names = [component.name for component in port.components] + [asset.name for asset in port.assets]
    is_whole = all((port.out / name).exists() for name in names)
    return is_whole and known == {"mapcc port": _FORMAT, "made": mark}


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
    text = _config_text(state.port, component)
    if text:
        _write(folder / CONFIG, text)
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


def _config_text(port: Port, component: Component) -> str:
    config = config_of(port, component)
    if config is None:
        return ""
    own = dict(config)
    name = component.target_class.rpartition(".")[2]
    if component.library == "diffusers" or component.library.startswith("fastvideo"):
        own = {"_class_name": name, "_diffusers_version": port.target.version} | own
    elif component.library == "transformers":
        own = {"architectures": [name]} | own
    return json.dumps(own, indent=2) + "\n"


def _copy(origin: Path, to: Path) -> None:
    """A file or a folder as it is; links become what they lead to, as in the Hub's cache."""
    with writing(to):
        if to.is_dir():
            shutil.rmtree(to)
        if origin.is_dir():
            shutil.copytree(origin, to, ignore=shutil.ignore_patterns(".cache"))
        else:
            shutil.copyfile(origin, to)


def _write(path: Path, text: str) -> None:
    with writing(path):
        path.unlink(missing_ok=True)  # never into a file that another output shares
        path.write_text(text, encoding="utf-8")


# --- the place


def _beside(port: Port, suffix: str) -> Path:
    return port.out.with_name(port.out.name + suffix)


@contextmanager
def _lock(port: Port) -> Iterator[Journal]:
    with writing(port.out):
        port.out.parent.mkdir(parents=True, exist_ok=True)
    journal = open_journal(_beside(port, JOURNAL), "port", durable=False)
    try:
        yield journal
        journal.unlink()
    finally:
        journal.close()


def _recover(port: Port) -> None:
    """After a kill between the two renames the old output gets its name back; after them it goes."""
    old = _beside(port, OLD)
    with writing(old):
        if old.exists() and port.out.exists():
            shutil.rmtree(old)
        elif old.exists():
            old.rename(port.out)


def _clear(stage: Path, known: Path, weights: dict[str, str]) -> None:
    """The stage keeps only what was made of the same weights: components of this port, whole or in part."""
    with writing(stage):
        stage.mkdir(exist_ok=True)
        before = json.loads(known.read_bytes()) if known.exists() else {}
        usable = {name for name, digest in weights.items() if before.get(name) == digest}
        for entry in stage.iterdir():
            if entry.name.partition(".mapcc-")[0] in usable:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()
        write_text(known, json.dumps(weights))


def _finish(port: Port, stage: Path, mark: str) -> None:
    dumps, old = stage / MAPPING_FOLDER, _beside(port, OLD)
    with writing(port.out):
        if port.dumps.is_dir():
            _copy(port.dumps, dumps)
        dumps.mkdir(exist_ok=True)
        _write(dumps / MARK, json.dumps({"mapcc port": _FORMAT, "made": mark}) + "\n")
        _sync(stage)
        if port.out.exists():
            port.out.rename(old)
        stage.rename(port.out)
        _sync_folder(port.out.parent)
        if old.exists():
            shutil.rmtree(old)
        _tidy(port)


def _tidy(port: Port) -> None:
    """What a finished run leaves beside its output, if it was stopped on its last steps."""
    stage = _beside(port, STAGE)
    with writing(stage):
        if stage.exists():
            shutil.rmtree(stage)
        _beside(port, WEIGHTS).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """The disk has it all before the name tells of it."""
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    for path in (folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _sync_folder(path)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


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
        figures = {"files": [file.name for file in record.files], "plan": record.plan}
        state.record(Evidence("convert", name, True, figures, state.all_of(*keys)))
