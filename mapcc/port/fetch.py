"""Official weights at a pinned commit, and only what the port uses; with a record of their hashes.

The download itself is huggingface_hub's, which goes on where it was interrupted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.evidence import Evidence
from mapcc.port.files import write_text
from mapcc.port.model import Port
from mapcc.port.state import State

if TYPE_CHECKING:
    from huggingface_hub import HfApi

Progress = Callable[[int, int], None]

RECORD = "fetched.json"
_STEP = 1 << 22
_INSIDE = ".cache"


@dataclass(frozen=True, slots=True)
class Fetched:
    folder: Path
    revision: str
    files: dict[str, tuple[int, str]]  # size, SHA-256


def fetch_port(port: Port, progress: Progress | None = None) -> Fetched:
    """Download what is not there yet, hash all of it, and record both.

    Of weights that are a path nothing is fetched: they are hashed and recorded.

    Args:
        progress: called with the bytes hashed and the bytes to hash; downloads show their own.

    Raises:
        MappingError: MC915: the Hub does not answer, or has no such file; MC001: the path is not there.
    """
    folder = port.weights_folder
    if port.weights.repository:
        _download(port, folder)
    if not folder.is_dir():
        help = "weights: {path: FOLDER}"
        raise MappingError([Diagnostic("MC001", f"`{folder}` is no folder", port.weights.span, help=help)])
    files = _all_hashed(folder, progress)
    fetched = Fetched(folder, port.weights.revision, files)
    if port.weights.repository:
        record = {
            "repository": port.weights.repository,
            "revision": port.weights.revision,
            "files": {name: {"size": size, "sha256": digest} for name, (size, digest) in files.items()},
        }
        write_text(folder / RECORD, json.dumps(record, indent=1) + "\n")
    state = State(port)
    used = sorted({source for c in port.components for source in c.sources} | {a.origin for a in port.assets})
    figures = {
        "repository": port.weights.repository,
        "revision": port.weights.revision,
        "files": {name: digest for name, (_, digest) in files.items()},
    }
    made_of = state.all_of("section weights", *(f"weights {source}" for source in used))
    state.record(Evidence("fetch", "", True, figures, made_of))
    return fetched


def _download(port: Port, folder: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    repository, revision = port.weights.repository, port.weights.revision
    try:
        there = HfApi().list_repo_files(repository, revision=revision)
        wanted = wanted_files(port, there)
        snapshot_download(repository, revision=revision, local_dir=folder, allow_patterns=wanted)
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        help = "the same command goes on where this one stopped"
        message = f"`{repository}` at {revision[:12]} cannot be fetched: {why}"
        raise MappingError([Diagnostic("MC915", message, port.weights.span, help=help)]) from None


def wanted_files(port: Port, there: list[str]) -> list[str]:
    """Of the repository's files, those that components and assets name, with their shards and configs.

    Raises:
        MappingError: MC915 for each name that the repository does not have.
    """
    names = [(source, component.span) for component in port.components for source in component.sources]
    names += [(asset.origin, asset.span) for asset in port.assets]
    for component in port.components:
        config = component.config
        if isinstance(config, str) and not (port.folder / config).exists():
            names.append((config, component.span))  # not beside port.yaml: then it is the repository's
    wanted: dict[str, None] = {}
    missing = []
    for name, span in names:
        found = list(_matching(name, there))
        if not found:
            missing.append(Diagnostic("MC915", f"`{port.weights.repository}` has no `{name}`", span))
        wanted |= dict.fromkeys(found)
    if missing:
        raise MappingError(missing)
    wanted |= dict.fromkeys(name for name in there if name in ("model_index.json", "LICENSE", "README.md"))
    return list(wanted)


def _matching(name: str, there: list[str]) -> Iterator[str]:
    """A file; the shards of an index; all of a folder."""
    name = "" if name == "." else name.rstrip("/")
    for file in there:
        folder, _, own = file.rpartition("/")
        is_shard = name.endswith(".index.json") and own.startswith(name.rpartition("/")[2].partition(".")[0])
        same_folder = folder == name.rpartition("/")[0]
        if file == name or file.startswith(f"{name}/" if name else "") or (is_shard and same_folder):
            yield file


def head_of(repository: str, branch: str = "main", api: HfApi | None = None) -> str:
    """The commit that a branch is at now.

    Raises:
        MappingError: MC915.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        info: Any = (api or HfApi()).repo_info(repository, revision=branch)
    except (HfHubHTTPError, OSError, ValueError) as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MappingError([Diagnostic("MC915", f"`{repository}` cannot be asked: {why}")]) from None
    return str(info.sha)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and _INSIDE not in parts and path.name != RECORD:
            yield path


def _all_hashed(folder: Path, progress: Progress | None) -> dict[str, tuple[int, str]]:
    """The size and the SHA-256 of each file, by its name."""
    paths = list(_files(folder))
    total, done = sum(path.stat().st_size for path in paths), 0
    out: dict[str, tuple[int, str]] = {}
    for path in paths:
        digest, size = sha256(), 0
        with path.open("rb") as file:
            while block := file.read(_STEP):
                digest.update(block)
                size += len(block)
                if progress is not None:
                    progress(done + size, total)
        done += size
        out[path.relative_to(folder).as_posix()] = (size, digest.hexdigest())
    return out
