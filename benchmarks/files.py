"""Safetensors files, written as a stream and read for their hashes, by no library that is measured."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import BinaryIO

import numpy as np

from benchmarks.model import Layout, Scale, Shapes

SIZES = {"BF16": 2, "F32": 4}
CHUNK = 16 << 20


def make(layout: Layout, scale: Scale, folder: Path, *, sparse: bool = False) -> int:
    """Write a checkpoint: its size in bytes. A sparse one is all zeros and takes no space.

    The bits of BF16 are arbitrary, as they are only moved; F32, which is cast, gets normal numbers.
    """
    folder.mkdir(parents=True)
    parts = _cut(layout.shapes(scale), layout.files)
    width = max(1, len(parts))
    random = np.random.Generator(np.random.SFC64(0))
    total = 0
    places: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        name = "model.safetensors" if width == 1 else f"model-{number:05}-of-{width:05}.safetensors"
        places |= dict.fromkeys(part, name)
        with (folder / name).open("wb") as file:
            nbytes = _header(file, part, layout.dtype)
            total += nbytes
            if sparse:
                file.truncate(file.tell() + nbytes)
            else:
                _fill(file, nbytes, layout.dtype, random)
    if width > 1:
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index), "utf-8")
    return total


def _cut(shapes: Shapes, files: int) -> Sequence[Shapes]:
    """As many parts of about the same size, each of tensors that are neighbours."""
    parts: list[dict[str, tuple[int, ...]]] = [{} for _ in range(files)]
    total, before = sum(map(prod, shapes.values())), 0
    for name, shape in shapes.items():
        parts[before * files // total][name] = shape
        before += prod(shape)
    return [part for part in parts if part]


def _header(file: BinaryIO, shapes: Shapes, dtype: str) -> int:
    """Write the header: how many bytes of data belong behind it."""
    entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, shape in shapes.items():
        end = at + prod(shape) * SIZES[dtype]
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, end]}
        at = end
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(struct.pack("<Q", len(text)) + text)
    return at


def _fill(file: BinaryIO, nbytes: int, dtype: str, random: np.random.Generator) -> None:
    for start in range(0, nbytes, CHUNK):
        count = min(CHUNK, nbytes - start)
        if dtype == "F32":
            file.write(random.standard_normal(count // 4, np.float32).tobytes())
        else:
            file.write(random.integers(0, 2**64, -(-count // 8), np.uint64).tobytes()[:count])


def hashes(folder: Path) -> dict[str, tuple[str, tuple[int, ...], str]]:
    """Each tensor of a checkpoint, in however many files: its type, shape and SHA-256."""
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            for name, dtype, shape, data in _tensors(file):
                found[name] = (dtype, shape, hashlib.sha256(data).hexdigest())
    return found


def _tensors(file: BinaryIO) -> Iterator[tuple[str, str, tuple[int, ...], bytes]]:
    (length,) = struct.unpack("<Q", file.read(8))
    entries: Mapping[str, dict[str, object]] = json.loads(file.read(length))
    for name, entry in entries.items():
        if name == "__metadata__":
            continue
        match entry:
            case {"dtype": str(dtype), "shape": [*shape], "data_offsets": [int(start), int(end)]}:
                file.seek(8 + length + start)
                yield name, dtype, tuple(int(str(n)) for n in shape), file.read(end - start)
            case _:
                raise ValueError(f"not an entry of a safetensors header: {name}: {entry}")


def size(folder: Path) -> int:
    """How many bytes the checkpoint's files have."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
