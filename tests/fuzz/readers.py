"""Every reader: how its inputs are damaged, and what may come out. Nothing here imports torch or numpy."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from zlib import crc32

from mapcc import api
from mapcc.api.checking import held, opened_mapping
from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.runtime.journal import open_journal
from mapcc.runtime.record import read_record
from mapcc.tensors.documents import ConfigFile
from mapcc.tensors.keysets import open_keyset
from tests.fuzz.mutate import CODES, TEXTS, damaged
from tests.fuzz.seeds import members, zipped

Damage = Callable[[random.Random, Sequence[bytes]], bytes]


def whole(words: Sequence[bytes]) -> Damage:
    """The file as it lies there."""
    return lambda draw, seeds: damaged(draw, draw.choice(seeds), words, seeds)


def of_header(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """The header of safetensors, mostly with its length put right."""
    raw = draw.choice(seeds)
    size = int.from_bytes(raw[:8], "little")
    header = damaged(draw, raw[8 : 8 + size], TEXTS, [seed[8:] for seed in seeds])
    length = len(header) if draw.random() < 0.9 else draw.choice((0, len(header) + 1, 2**40, 2**64 - 1))
    return length.to_bytes(8, "little") + header + raw[8 + size :]


def of_member(pattern: str, words: Sequence[bytes]) -> Damage:
    """A member of an archive, with the archive put right around it; or, one time in five, the archive."""

    def damage(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
        raw = draw.choice(seeds)
        if draw.random() < 0.2:
            return damaged(draw, raw, words, seeds)
        parts = members(raw)
        name = draw.choice([name for name in parts if re.search(pattern, name)])
        parts[name] = damaged(draw, parts[name], words, [parts[name]])
        return zipped(parts)

    return damage


def of_plan(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """With its hash put right, mostly: else nothing behind that is ever read."""
    raw = damaged(draw, draw.choice(seeds), TEXTS, seeds)
    try:
        document = json.loads(raw)
        text = json.dumps(document["plan"], separators=(",", ":"))
        return json.dumps(document | {"sha256": sha256(text.encode()).hexdigest()}).encode()
    except (ValueError, KeyError, TypeError, RecursionError):
        return raw


def of_journal(draw: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Lines, mostly with their checksums put right."""
    lines = [line.rpartition(b" ")[0] for line in draw.choice(seeds).split(b"\n") if line]
    at = int(draw.random() * len(lines))
    lines[at] = damaged(draw, lines[at], TEXTS, lines).replace(b"\n", b"")
    summed = [b"%s %08x" % (line, crc32(line) if draw.random() < 0.9 else 7) for line in lines]
    return b"\n".join(summed) + b"\n"[int(draw.random() < 0.1) :]


def read_tensors(path: Path) -> None:
    """Ranges of bytes are within their files."""
    manifest = open_keyset(path)
    for spec in manifest.tensors.values():
        assert spec.file is None or 0 < spec.begin <= spec.end <= manifest.stamps[spec.file].size, spec


def read_selected(path: Path) -> None:
    for select in (".", "model", ["model", "half"], "a"):
        with suppress(MappingError):
            open_keyset(path, select=select)


def read_mapping(path: Path) -> None:
    """Parsed, and held against a key set: both with what went wrong as diagnostics."""
    keys = path.with_name("keys.json")
    if crc32(path.read_bytes()) % 50 == 0:  # proofs of fixes take ten times as long
        checked = api.check(path, keys)
    else:
        checked = held(opened_mapping(path, Diagnostics()), keys, None)
    for fault in checked.diagnostics:
        assert fault.message
        text = fault.span.source.text if fault.span is not None else ""
        assert fault.span is None or 0 <= fault.span.start <= fault.span.end <= len(text) + 1


def read_table(dialect: str) -> Callable[[Path], None]:
    def read(path: Path) -> None:
        api.check_table(str(path), dialect, path.with_name("keys.json"))
        api.import_table(str(path), dialect)

    return read


def read_journal(path: Path) -> None:
    open_journal(path, "run", durable=False).close()


READERS: dict[str, tuple[str, Damage, Callable[[Path], object]]] = {
    "safetensors": ("m.safetensors", of_header, read_tensors),
    "index": ("m.safetensors.index.json", whole(TEXTS), read_tensors),
    "archive": ("m.pt", of_member(r"data\.pkl|byteorder", CODES), read_tensors),
    "select": ("m.pt", of_member(r"data\.pkl", CODES), read_selected),
    "script": ("m.pt", of_member(r"\.pkl|\.py$", [*CODES, *TEXTS]), read_tensors),
    "legacy": ("m.pt", whole(CODES), read_tensors),
    "npz": ("m.npz", of_member(r"\.npy", TEXTS), read_tensors),
    "keys": ("m.json", whole(TEXTS), read_tensors),
    "compact": ("m.json", whole(TEXTS), lambda path: open_keyset(path, select="s")),
    "config": ("config.json", whole(TEXTS), lambda path: ConfigFile(path).read()),
    "mapping": ("m.mapcc", whole(TEXTS), read_mapping),
    "yaml": ("m.yaml", whole(TEXTS), read_mapping),
    "plan": ("plan.json", of_plan, api.load_plan),
    "manifest": ("mapcc.manifest.json", whole(TEXTS), lambda path: read_record(path.parent)),
    "journal": ("out.mapcc-journal", of_journal, read_journal),
    **{
        f"table-{dialect}": ("table.py", whole(TEXTS), read_table(dialect))
        for dialect in ("fastvideo", "vllm", "transformers", "torchtitan")
    },
}
SEEDS_OF = {"select": "archive"}
