"""The files of the output: which tensors go into which, their headers, and the index."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from math import prod

from mapcc.plan.lower import Lowered
from mapcc.plan.model import IndexFile, OutputFile, OutputTensor
from mapcc.plan.segments import alignment, segments, shifted
from mapcc.tensors.index import INDEX, SUFFIX
from mapcc.tensors.safetensors import header_bytes, padded


def divide(tensors: Sequence[Lowered], max_size: int) -> list[list[Lowered]]:
    """Shards of at most ``max_size`` bytes of tensors, in the order given; a larger tensor is alone."""
    shards: list[list[Lowered]] = [[]]
    size = 0
    for tensor in tensors:
        own = nbytes(tensor)
        if shards[-1] and size + own > max_size:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += own
    return shards


def nbytes(tensor: Lowered) -> int:
    return prod(tensor.shape) * tensor.dtype.bits // 8


def output_files(
    shards: Sequence[Sequence[Lowered]], prefix: str, metadata: Mapping[str, str]
) -> tuple[OutputFile, ...]:
    """Every file with the exact place of every tensor, named as the Hub's libraries name them."""
    count = len(shards)
    return tuple(
        _output_file(_name(prefix, at, count), shard, metadata) for at, shard in enumerate(shards, 1)
    )


def _name(prefix: str, at: int, count: int) -> str:
    return f"{prefix}{SUFFIX}" if count == 1 else f"{prefix}-{at:05}-of-{count:05}{SUFFIX}"


def _output_file(name: str, shard: Sequence[Lowered], metadata: Mapping[str, str]) -> OutputFile:
    header, places = header_bytes([(t.name, t.dtype, t.shape) for t in shard], metadata)
    tensors = tuple(
        OutputTensor(tensor.name, tensor.dtype, tensor.shape, begin, end, tensor.transfers)
        for tensor, (begin, end) in zip(shard, places, strict=True)
    )
    found = segments(tensors)
    if shift := alignment(found):
        header, found = padded(header, shift), shifted(found, shift)
        tensors = tuple(t._replace(begin=t.begin + shift, end=t.end + shift) for t in tensors)
    size = tensors[-1].end if tensors else len(header)
    return OutputFile(name, header, size, tensors, found)


def index_file(files: Sequence[OutputFile], prefix: str) -> IndexFile | None:
    """The index of several files, byte for byte as transformers writes it; None for one file."""
    if len(files) == 1:
        return None
    total = sum(file.size - len(file.header) for file in files)
    weight_map = {tensor.name: file.name for file in files for tensor in file.tensors}
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    content = json.dumps(index, indent=2, sort_keys=True) + "\n"
    return IndexFile(f"{prefix}{INDEX}", content.encode())
