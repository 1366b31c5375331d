"""Checkpoints of safetensors files: read with care, written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable, Iterable
from itertools import chain
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from mapcc.emit.standalone.rearrange import whole

# The tables of a script have these names there.
SOURCE_FILES: list[str] = []
SOURCE: list[Any] = []
DROPPED: list[Any] = []
OUTPUTS: list[Any] = []
FILES: list[tuple[str, int, int]] = []
INDEX_FILE = ""
METADATA: dict[str, str] = {}

BITS = {"BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8}
BITS |= {"F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64}
BITS |= {"I8": 8, "I16": 16, "I32": 32, "I64": 64, "U8": 8, "U16": 16, "U32": 32, "U64": 64}


Found = namedtuple("Found", "dtype shape path begin")
Output = namedtuple("Output", "name dtype shape make inputs sizes")


def nbytes(dtype: str, shape: Iterable[int]) -> int:
    return prod(shape) * BITS[dtype] // 8


def read_header(path: Path) -> dict[str, Found]:
    """The tensors of a file in their order, which must fill it without gaps."""
    with path.open("rb") as file:
        at = base = 8 + int.from_bytes(file.read(8), "little")
        members = json.loads(file.read(min(base - 8, 100_000_000)))
    members.pop("__metadata__", None)
    found = {}
    for name, entry in sorted(members.items(), key=lambda member: member[1]["data_offsets"]):
        found[name] = Found(entry["dtype"], tuple(entry["shape"]), path, at)
        at += nbytes(entry["dtype"], entry["shape"])
        if entry["data_offsets"] != [found[name].begin - base, at - base]:
            raise ValueError(f"{name!a} does not lie behind the tensor before it")
    if at != path.stat().st_size:
        raise ValueError(f"its tensors end at byte {at:,}, and it ends at {path.stat().st_size:,}")
    return found


def read_headers(paths: Iterable[Path]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for path in paths:
        try:
            tensors = read_header(path)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"cannot read {str(path)!a}: {error!r:.200}") from None
        if twice := found.keys() & tensors.keys():
            raise ValueError(f"{min(twice)!a} is in two files")
        found |= tensors
    return found


def differences(found: dict[str, Found], source: Iterable[Any], dropped: Iterable[Any]) -> list[str]:
    """Everything in which the source is not what this script is for."""
    wanted = {name: f"{dtype} {list(shape)}" for name, dtype, shape in source}
    has = {name: f"{tensor.dtype} {list(tensor.shape)}" for name, tensor in found.items()}
    ignored = {name for (name,) in dropped}
    out = [f"{name!a} is missing" for name in wanted if name not in has]
    out += [f"{name!a} is unexpected" for name in has if name not in wanted and name not in ignored]
    both = [name for name in wanted if name in has and has[name] != wanted[name]]
    return out + [f"{name!a} is {has[name]}, and should be {wanted[name]}" for name in both]


def in_order(rows: Iterable[Any], found: dict[str, Found]) -> list[Output]:
    """The outputs, as their first inputs lie in the source; those without inputs or elements are last."""
    places = {name: place for place, name in enumerate(found)}
    outputs = []
    for name, *row in rows:
        if len(row) == 1:  # renamed
            row = [found[row[0]].dtype, found[row[0]].shape, whole, row, {}]
        outputs.append(Output(name, *row))
    return sorted(outputs, key=lambda one: places[first] if (first := first_of(one)) else len(places))


def first_of(output: Output) -> str:
    return names_of(output)[0] if output.inputs and prod(output.shape) else ""


def names_of(output: Output) -> list[str]:
    return [name for one in output.inputs for name in ([one] if isinstance(one, str) else one)]


def header(outputs: Iterable[Output], metadata: dict[str, str], size: int) -> bytes:
    """The first ``size`` bytes of a file: the length, the header, and spaces."""
    entries: dict[str, Any] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for name, dtype, shape, *_ in outputs:
        begin, end = end, end + nbytes(dtype, shape)
        entries[name] = {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(entries, ensure_ascii=False, separators=(",", ":")).encode()
    if len(text) > size - 8:
        raise ValueError("the tensors lie in another order than this script is for: emit it again")
    return (size - 8).to_bytes(8, "little") + text.ljust(size - 8)


def index_json(shards: Iterable[tuple[str, Iterable[Output]]]) -> bytes:
    """Which file each tensor is in."""
    parts = [(file, output) for file, outputs in shards for output in outputs]
    total = sum(nbytes(output.dtype, output.shape) for _, output in parts)
    weight_map = {output.name: file for file, output in parts}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    return (json.dumps(index, indent=2, sort_keys=True) + "\n").encode()


def tensor_bytes(output: Output, found: dict[str, Found], held: dict[str, Any]) -> Any:
    """The bytes of an output; ``held`` are the elements of its inputs, as unsigned numbers: their bits."""
    names = names_of(output)
    for name in held.keys() - names:
        del held[name]
    for name in names:
        if name not in held:
            dtype, shape, path, begin = found[name]
            raw = np.fromfile(path, np.uint8, nbytes(dtype, shape), offset=begin)
            if raw.size != nbytes(dtype, shape):
                raise ValueError(f"{name!a} is cut short: the source changed")
            held[name] = raw.view(f"<u{max(8, BITS[dtype]) // 8}")
    inputs = [held[one] if isinstance(one, str) else [held[name] for name in one] for one in output.inputs]
    try:
        made = output.make(*inputs, **{key: int(size) for key, size in output.sizes.items()})
    except ValueError as error:
        raise ValueError(f"{output.name!a}: {error}") from None
    flat = np.ascontiguousarray(made).reshape(-1).view(np.uint8)
    if flat.size != nbytes(output.dtype, output.shape):
        raise ValueError(f"{output.name!a} has {flat.size:,} bytes")
    return flat


def checked_out(source: Path, out: Path, size: int) -> Path:
    """Where the output grows until it is complete."""
    partial = out.with_name(out.name + ".partial")
    for path in (out, partial):
        if os.path.lexists(path):
            raise ValueError(f"{str(path)!a} is there already")
    if source.is_dir() and source.resolve() in out.parents:
        raise ValueError(f"{str(out)!a} would be inside of the source")
    if not out.parent.is_dir():
        raise ValueError(f"{str(out.parent)!a} is not a folder")
    if (free := shutil.disk_usage(out.parent).free) < size:
        raise ValueError(f"{size:,} bytes are needed, {free:,} are free")
    return partial


def convert(source: Path, out: Path, tell: Callable[[str], object]) -> None:
    """Write ``out``. ValueError or OSError, where that cannot be: then nothing is left behind."""
    folder = source if source.is_dir() else source.parent
    is_alone = not source.is_dir() and len(SOURCE_FILES) == 1
    paths = [source] if is_alone else [folder / name for name in SOURCE_FILES]
    found = read_headers(paths)
    times = [path.stat().st_mtime_ns for path in paths]
    if wrong := differences(found, SOURCE, DROPPED):
        raise ValueError("\n  ".join([f"the source differs in {len(wrong)} places:", *wrong]))
    outputs, shards = in_order(OUTPUTS, found), []
    for name, count, size in FILES:
        shards.append((name, outputs[:count], header(outputs[:count], METADATA, size)))
        outputs = outputs[count:]
    out = out.resolve()
    partial = checked_out(source, out, sum(nbytes(o.dtype, o.shape) for _, own, _ in shards for o in own))
    partial.mkdir()
    try:
        for name, own, head in shards:
            held: dict[str, Any] = {}
            write_file(partial / name, chain([head], (tensor_bytes(one, found, held) for one in own)))
            tell(f"{name}: {len(own)} tensors")
        if INDEX_FILE:
            write_file(partial / INDEX_FILE, [index_json((name, own) for name, own, _ in shards)])
        if times != [path.stat().st_mtime_ns for path in paths]:
            raise ValueError("the source changed while it was read")
        partial.rename(out)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise


def write_file(path: Path, parts: Iterable[Any]) -> None:
    """A new file that is on the disk when this returns."""
    with path.open("xb") as file:
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
