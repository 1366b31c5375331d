"""The record beside an output: what it was made from, and the hashes of what was made.

It has no clock, no host and no path: the same input gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.plan.model import Plan
from mapcc.plan.parts import PART
from mapcc.runtime.fs import cannot_write
from mapcc.runtime.journal import Entry
from mapcc.runtime.losses import RuleLosses, by_rule, from_json, to_json
from mapcc.tensors.disk import read_all
from mapcc.tensors.index import shard_fault
from mapcc.tensors.strict_json import JsonFault, loads

RECORD = "mapcc.manifest.json"
_FORMAT = 2
_MOST = 1 << 28


@dataclass(frozen=True, slots=True)
class Record:
    """What a record says.

    Attributes:
        plan: the digest of the plan.
        origin: what the plan was made from: the mapping, its settings, the source.
        files: the shards, with the hashes of their blocks of ``block`` bytes (none if they were not kept).
        values: what the operations of each rule have lost.
        index: the name of the index and the SHA-256 of it, or None.
    """

    plan: str
    origin: dict[str, Any]
    files: tuple[Entry, ...]
    block: int
    index: tuple[str, str] | None
    values: tuple[RuleLosses, ...] = ()


def record_bytes(plan: Plan, digest: str, entries: Sequence[Entry]) -> bytes:
    """The file that :func:`read_record` reads."""
    from hashlib import sha256

    lost = {name: own for entry in entries for name, own in entry.losses.items()}
    files = [
        {"name": entry.name, "size": entry.size, "xxh3_128": list(entry.blocks)}
        for entry in sorted(entries, key=lambda entry: entry.name)
    ]
    content = {
        "mapcc manifest": _FORMAT,
        "plan": digest,
        **plan.origin,
        "index": plan.index and {"name": plan.index.name, "sha256": sha256(plan.index.content).hexdigest()},
        "block": PART,
        "values": to_json(by_rule(plan, lost)),
        "files": files,
    }
    return (json.dumps(content, indent=1) + "\n").encode()


def read_record(folder: Path) -> Record:
    """The record of an output.

    Raises:
        MappingError: MC001 if there is none, MC003 if it is not one.
    """
    path = folder / RECORD
    raw = read_all(path, _MOST)
    try:
        if raw is None:
            raise ValueError(f"it has more than {_MOST:,} bytes")
        content: Any = loads(raw.decode(), "floats")
        if content.pop("mapcc manifest") != _FORMAT:
            raise ValueError("of another version")
        index = content.pop("index")
        files = tuple(_entry(**file) for file in content.pop("files"))
        values = tuple(from_json(content.pop("values")))
        named = index and (str(index["name"]), str(index["sha256"]))
        if named and (rule := shard_fault(named[0].removesuffix(".index.json"))):
            raise ValueError(f"{named[0]!r}: {rule}")
        _check_origin(**{key: content[key] for key in ("mapping", "options", "source") if key in content})
        return Record(content.pop("plan"), content, files, int(content.pop("block")), named, values)
    except (JsonFault, ValueError, KeyError, TypeError, AttributeError) as error:
        message = f"`{path}` is not a manifest of mapcc: {error}"
        raise MappingError([Diagnostic("MC003", message)]) from None


def _entry(*, name: str, size: int, xxh3_128: list[str]) -> Entry:
    if rule := shard_fault(name):
        raise ValueError(f"{name!r}: {rule}")
    if type(size) is not int or not all(isinstance(block, str) for block in xxh3_128):
        raise TypeError(f"of {name!r} there is no size, or no hashes")
    return Entry(name, size, tuple(xxh3_128), {})


def _check_origin(
    mapping: Sequence[Any] = (),
    options: Mapping[str, Any] | None = None,
    source: Mapping[str, Any] | None = None,
) -> None:
    """The parts that verifying reads."""
    for text in mapping:
        if not isinstance(text["name"], str) or not isinstance(text["text"], str):
            raise TypeError("a mapping has no text")
    for text in ("statements", "under"):
        if not isinstance((options or {}).get(text) or "", str):
            raise TypeError(f"its {text} are no text")
    for value in ((options or {}).get("settings") or {}).values():
        if not isinstance(value, int | float | str):
            raise TypeError("a setting is no value")
    for file in (source or {}).get("files", []):
        if not isinstance(file["name"], str) or type(file["size"]) is not int:
            raise TypeError("a file of the source has no name, or no size")


def check_record(out: Path, place: Path, plan: Plan, digest: str) -> None:
    """That the output at ``place`` was made from this plan, and is whole as far as sizes tell. Else MC005."""
    if not place.is_dir():
        raise cannot_write(out, "it is a file", help="choose another --out, or remove it first")
    help = "choose another --out, or remove it first"
    if not (place / RECORD).is_file():
        raise cannot_write(out, "it is there already, and not empty", help=help)
    record = read_record(place)
    if record.plan != digest:
        note = "its manifest tells of another mapping, source or option"
        raise cannot_write(out, "it is there already, made from another plan", note, help=help)
    for file in plan.files:
        path = place / file.name
        if not path.is_file() or path.stat().st_size != file.size:
            note = f"but its file `{file.name}` is not there, or has another size"
            raise cannot_write(out, "it is there already, made from this plan", note, help=help)
