"""What is known of tensors without reading them: names, types, shapes, and where the bytes lie."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import NamedTuple

from mapcc.tensors.disk import Stamp
from mapcc.tensors.dtypes import Dtype

MAX_NAME = 4096  # bytes, in UTF-8
MAX_SEGMENTS = 256  # as a pattern has: matching looks at every beginning of a name
_SHORT = 2 * MAX_SEGMENTS - 1  # characters: no such name has more segments, or more bytes
MAX_RANK = 64
MAX_COUNT = 2**63 - 1  # what a signed 64-bit integer holds: every peer counts in these
MAX_TENSORS = 300_000  # of one file, or key set: three times the largest that there are
METADATA = "__metadata__"
# What torch's loaders ask for.
FORMAT = {"format": "pt"}


class TensorSpec(NamedTuple):
    """One tensor. A tuple, because a checkpoint may have a hundred thousand.

    Attributes:
        dtype: None where the key set makes no claim.
        file: index into ``Manifest.files``; None where there are no bytes.
        begin, end: where the bytes lie, counted from the start of that file: from the element
            with index 0 to one past the last byte that an element has.
        strides: how many elements lie from one index to the next, for each dimension; None
            where they lie in row-major order without gaps.
    """

    name: str
    dtype: Dtype | None
    shape: tuple[int, ...]
    file: int | None = None
    begin: int = 0
    end: int = 0
    strides: tuple[int, ...] | None = None

    @property
    def numel(self) -> int:
        """The number of elements; 1 for a scalar."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The size in bytes, of a type smaller than a byte rounded up; ValueError if the type is unknown."""
        if self.dtype is None:
            raise ValueError(f"{self.name!r} has no dtype, so no size")
        return -(-self.numel * self.dtype.bits // 8)


@dataclass(frozen=True, slots=True, eq=False)
class Manifest:
    """A key set: the tensors of a checkpoint or a model, in the order of their source.

    Attributes:
        files: what ``TensorSpec.file`` counts; empty for a key set without bytes.
        stamps: what each file was when its header was read, to be compared after the work.
        where: the source, as it was named.
        config: the ``config.json`` of the source, read when first asked; None if there is none.
        metadata: the ``__metadata__`` of the files; of those that differ between shards, the first.
        differing: its keys that have different values in different files.
        skipped: entries of the source that are no tensors of it: an epoch, an optimizer's state.
    """

    tensors: dict[str, TensorSpec]
    files: tuple[Path, ...]
    where: str
    config: Mapping[str, object] | None
    metadata: dict[str, str]
    stamps: tuple[Stamp, ...] = ()
    skipped: tuple[str, ...] = ()
    differing: tuple[str, ...] = ()

    @property
    def names(self) -> Collection[str]:
        return self.tensors.keys()


def name_fault(name: str) -> str | None:
    """Why no tensor may have this name, or None: the rule of readers and writers alike.

    >>> name_fault("blocks.0.attn.weight")
    >>> name_fault("a\\nb")
    'a name has no control characters'
    >>> name_fault("a" + 256 * ".b")
    'a name has at most 256 segments'
    """
    if name.isprintable() and 0 < len(name) <= _SHORT and name != METADATA:
        return None
    if not name:
        return "a name is not empty"
    if name == METADATA:
        return f"{METADATA} is not a tensor's name: the format keeps it for itself"
    categories = {unicodedata.category(char) for char in name}
    if "Cs" in categories:
        return "a name is Unicode text: it has no lone surrogates"
    if "Cc" in categories:
        return "a name has no control characters"
    if len(name.encode()) > MAX_NAME:
        return f"a name has at most {MAX_NAME} bytes"
    if max(name.count("."), name.count("/")) >= MAX_SEGMENTS:
        return f"a name has at most {MAX_SEGMENTS} segments"
    return None


def name_faults(names: Collection[str]) -> dict[str, str]:
    """The names that no tensor may have, each with the rule that it breaks.

    >>> name_faults({"a", ""})
    {'': 'a name is not empty'}
    """
    if (
        METADATA not in names
        and all(names)
        and max(map(len, names), default=0) <= _SHORT
        and "".join(names).isprintable()
    ):
        return {}  # all at once: one by one is a tenth of the time of a large header
    return {name: rule for name in names if (rule := name_fault(name)) is not None}


def shape_fault(shape: object) -> str | None:
    """Why no tensor has this shape, or None.

    >>> shape_fault([4096, 0])
    >>> shape_fault([3, True])
    'a dimension is a natural number'
    """
    if type(shape) is not list and type(shape) is not tuple:
        return "a shape is a list of dimensions"
    if len(shape) > MAX_RANK:
        return f"a shape has at most {MAX_RANK} dimensions"
    count = 1
    for size in shape:
        if type(size) is not int or size < 0:
            return "a dimension is a natural number"
        count *= size or 1
    # Dimensions of a tensor of no elements are counted too: torch and numpy overflow on them.
    if count > MAX_COUNT:
        return "the product of the dimensions, zeros aside, fits in a signed 64-bit integer"
    return None
