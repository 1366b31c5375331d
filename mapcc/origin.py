"""What a conversion is made from, for the record beside its output: the mapping's text, the source.

Nothing of it tells where or when: no path, no host, no clock.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from mapcc.resources import library_name
from mapcc.syntax.load import LIBRARY, Loader
from mapcc.tensors.disk import read_at, reading
from mapcc.tensors.safetensors import LENGTH, MAX_HEADER
from mapcc.tensors.spec import Manifest

_REVISION = re.compile(r"/snapshots/([0-9a-f]{40})/")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_STEP = 1 << 22


def origin(
    loader: Loader,
    main: Path,
    source: Manifest,
    options: Mapping[str, object],
    *,
    hash_source: bool = False,
    left_out: int = 0,
    metadata_left_out: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, Any]:
    """The values of the record: ``mapping``, ``options`` and ``source``.

    Args:
        loader: what has read the mapping ``main`` and the files that it uses.
        options: with which it was held and planned.
        hash_source: read every file of the source for its SHA-256; otherwise it is given where the
            Hub's cache tells it.
        left_out: how many tensors of the source lie outside of the prefix that was asked for.
        metadata_left_out: the keys of its metadata that are not carried over, by why.
    """
    return {
        "mapping": [
            {"name": name, "sha256": sha256(text.encode()).hexdigest(), "text": text}
            for name, text in _texts(loader, main)
        ],
        "options": {name: value for name, value in sorted(options.items()) if value is not None},
        "source": {
            "revision": next(filter(None, map(_revision, source.files)), None),
            "files": [_file(path, hash_source) for path in source.files],
            **({"left_out": left_out} if left_out else {}),
            **({"metadata_left_out": metadata_left_out} if metadata_left_out else {}),
        },
    }


def _texts(loader: Loader, main: Path) -> Iterator[tuple[str, str]]:
    """The mapping first, and what it uses by paths from there, or by names of the library."""
    texts = {_recorded_name(path, main): text for path, text in loader.texts()}
    yield from sorted(texts.items(), key=lambda read: (read[0] != main.name, read[0]))


def _recorded_name(path: Path, main: Path) -> str:
    if path == main:
        return main.name
    name = library_name(path)
    if name is not None and library_name(main) is None:
        return f"{LIBRARY}{name}{path.suffix}"
    return Path(os.path.relpath(path, main.parent)).as_posix()


def _revision(path: Path) -> str | None:
    """The commit, of a file in the Hub's cache."""
    found = _REVISION.search(path.absolute().as_posix())
    return found[1] if found else None


def _file(path: Path, hash_all: bool) -> dict[str, object]:
    # The Hub's cache names a large file by its SHA-256.
    blob = path.resolve().name
    with reading(path) as (fd, stamp):
        known = blob if path.is_symlink() and _SHA256.fullmatch(blob) else None
        digest = _sha256(fd, stamp.size) if hash_all else known
        return {"name": path.name, "size": stamp.size, "header_sha256": _header(fd), "sha256": digest}


def _header(fd: int) -> str | None:
    length = int.from_bytes(read_at(fd, LENGTH, 0), "little")
    if length > MAX_HEADER:
        return None  # no safetensors file
    return sha256(read_at(fd, LENGTH + length, 0)).hexdigest()


def _sha256(fd: int, size: int) -> str:
    digest = sha256()
    for at in range(0, size, _STEP):
        digest.update(read_at(fd, min(_STEP, size - at), at))
    return digest.hexdigest()
