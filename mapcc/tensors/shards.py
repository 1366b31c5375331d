"""The tensors of several files as one key set, and which files a checkpoint may reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import Stamp
from mapcc.tensors.selection import Select
from mapcc.tensors.spec import TensorSpec
from mapcc.tensors.weights import read_weights

_HUB = ("models--", "datasets--", "spaces--")


@dataclass(frozen=True, slots=True)
class Shards:
    """What the headers of some files say together.

    Attributes:
        tensors: by name; one that two files hold is here as in the first of them.
        twice: the names that two files hold, with the second file's index.
        skipped: entries of the files that are no tensors, and tensors that an index has in another file.
        is_chosen: whether these are the tensors that were selected, or all of them.
        differing: keys of the metadata on which the files do not agree.
    """

    tensors: dict[str, TensorSpec]
    metadata: dict[str, str]
    stamps: tuple[Stamp, ...]
    twice: dict[str, int]
    skipped: tuple[str, ...] = ()
    is_chosen: bool = False
    differing: tuple[str, ...] = ()


def read_shards(
    paths: Sequence[Path], select: Select = None, claims: Mapping[str, int] | None = None
) -> Shards:
    """Reads the headers of ``paths``. ``MappingError`` with the faults of all of them at once.

    Args:
        claims: which of the files has a tensor that several have: the others are of before it was mended.
    """
    claims = claims or {}
    shards = Shards({}, {}, (), {})
    skipped: dict[str, None] = {}
    differing: set[str] = set()
    stamps: list[Stamp] = []
    faults: list[Diagnostic] = []
    chosen = 0
    for file, path in enumerate(paths):
        try:
            header = read_weights(path, file, select)
        except MappingError as error:
            faults.extend(error.diagnostics)
            continue
        for spec in header.tensors:
            known = shards.tensors.setdefault(spec.name, spec)
            if known is spec:
                continue
            if (claimed := claims.get(spec.name)) in (known.file, file):
                stale = known.file if claimed == file else file
                skipped[f"{spec.name} of {paths[stale or 0].name} (the index has it elsewhere)"] = None
                shards.tensors[spec.name] = spec if claimed == file else known
            else:
                shards.twice.setdefault(spec.name, file)
        for key, text in header.metadata.items():
            if shards.metadata.setdefault(key, text) != text:
                differing.add(key)
        stamps.append(header.stamp)
        skipped |= dict.fromkeys(header.skipped)
        chosen += header.is_chosen
    if faults:
        raise MappingError(faults)
    return Shards(
        shards.tensors,
        shards.metadata,
        tuple(stamps),
        shards.twice,
        tuple(skipped),
        chosen > 0,
        tuple(sorted(differing)),
    )


def leads_outside(path: Path, root: Path) -> Diagnostic | None:
    """MC001 if ``path``, found in the checkpoint ``root``, is a link to outside of it.

    A snapshot of the Hub's cache is all links to ``../../blobs``: so the folder of its
    repository counts as inside.
    """
    try:
        target, home = path.resolve(), root.resolve()
    except (OSError, RuntimeError):  # a circle of links: opening it says so better
        return None
    folders = [home, *(at.parents[1] for at in (home, *home.parents) if _is_snapshot(at))]
    if any(target.is_relative_to(folder) for folder in folders):
        return None
    return Diagnostic(
        "MC001",
        f"`{path}` is a link to `{target}`, outside of the checkpoint",
        help="name that file itself, or put a copy in the link's place",
    )


def _is_snapshot(path: Path) -> bool:
    return path.parent.name == "snapshots" and path.parent.parent.name.startswith(_HUB)
