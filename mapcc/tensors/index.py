"""The index of a sharded checkpoint. The headers of the shards are the truth; the index is a claim."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.documents import Document
from mapcc.tensors.selection import Select
from mapcc.tensors.shards import Shards, leads_outside, read_shards
from mapcc.tensors.spec import name_fault, name_faults
from mapcc.tensors.variants import SUFFIX as SUFFIX
from mapcc.tensors.variants import SUFFIXES

INDEX = f"{SUFFIX}.index.json"  # of those that are written
WEIGHT_MAP = "weight_map"

_AGAIN = (
    "the download or the conversion was not finished, or the index belongs to other files: get them again"
)


def shard_fault(name: str) -> str | None:
    """Why an index may not name this file, or None. It may name plain files beside itself only.

    >>> shard_fault("model-00001-of-00002.safetensors")
    >>> shard_fault("../secret.safetensors")
    'a shard is a plain file name, without folders'
    """
    if PurePosixPath(name).name != name or PureWindowsPath(name).name != name:
        return "a shard is a plain file name, without folders"
    if not name.endswith(SUFFIXES):
        return f"a shard's name ends with {SUFFIX}, or as one of torch.save does: {', '.join(SUFFIXES[1:])}"
    if name.startswith("."):
        return "a shard's name does not begin with a dot"
    if name_fault(name) is not None or len(name.encode()) > 255:
        return "a shard's name has at most 255 bytes, and no control characters"
    return None


def open_index(
    document: Document, anywhere: bool = False, select: Select = None
) -> tuple[tuple[Path, ...], Shards]:
    """The shards that an index names, read, and compared with what it says of them.

    Args:
        anywhere: whether a shard may be a link to outside of the checkpoint's folder.
        select: which dictionary of each shard, if they are archives of torch.

    Raises:
        MappingError: with everything that is wrong: MC003 for the index and for what it
            says of its shards, MC001 and MC002 for the shards themselves.
    """
    weight_map = _weight_map(document)
    folder = document.path.parent
    files = sorted(set(weight_map.values()))
    paths = tuple(folder / file for file in files)
    absent = [path.name for path in paths if not path.exists() and not path.is_symlink()]
    faults = [fault for path in paths if not anywhere and (fault := leads_outside(path, folder))]
    if absent:
        message = f"{len(absent)} of its {len(files)} shards {_are(absent)} not there"
        faults.append(document.fault(message, WEIGHT_MAP, names=tuple(absent), help=_AGAIN))
    if faults:
        raise MappingError(faults)
    numbers = {file: number for number, file in enumerate(files)}
    shards = read_shards(paths, select, {name: numbers[file] for name, file in weight_map.items()})
    faults = list(_differences(document, weight_map, files, shards))
    if faults:
        raise MappingError(faults)
    return paths, shards


def _weight_map(document: Document) -> dict[str, str]:
    weight_map = document.members.get(WEIGHT_MAP)
    if not isinstance(weight_map, dict) or not weight_map:
        raise MappingError([document.fault(f"an index has a {WEIGHT_MAP}, from tensors to files")])
    files = set()
    for name, rule in name_faults(weight_map.keys()).items():
        raise MappingError([document.fault(rule, name, names=(name,))])
    for name, file in weight_map.items():
        if not isinstance(file, str):
            raise MappingError([document.fault("a shard is a file's name", name, names=(name,))])
        files.add(file)
    faults = [document.fault(f"{why}: `{file}`") for file in sorted(files) if (why := shard_fault(file))]
    if len({file.casefold() for file in files}) < len(files):
        faults.append(document.fault("two shards differ in upper and lower case only"))
    if faults:
        raise MappingError(faults)
    return weight_map


def _differences(
    document: Document, weight_map: dict[str, str], files: list[str], shards: Shards
) -> Iterator[Diagnostic]:
    actual = shards.tensors
    listed = [name for name in weight_map if name not in actual]
    unlisted = [name for name in actual if name not in weight_map]
    elsewhere = [
        name
        for name, file in weight_map.items()
        if (spec := actual.get(name)) and spec.file is not None and files[spec.file] != file
        if name not in shards.twice
    ]
    yield from _fault(document, listed, "listed, but in none of the shards")
    yield from _fault(document, unlisted, "in the shards, but not listed")
    yield from _fault(document, elsewhere, "listed in another shard than they are in")
    yield from _fault(document, shards.twice, "in two shards")


def _fault(document: Document, names: Iterable[str], what: str) -> Iterator[Diagnostic]:
    names = list(names)
    if names:
        subject = "1 tensor is" if len(names) == 1 else f"{len(names)} tensors are"
        yield document.fault(f"{subject} {what}", names[0], names=tuple(fold(names)), help=_AGAIN)


def _are(items: list[str]) -> str:
    return "is" if len(items) == 1 else "are"
