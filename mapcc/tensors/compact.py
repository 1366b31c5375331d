"""Compact key sets: several sizes of one model in one JSON file, layers and experts folded.

::

    {
      "sizes": ["1_3b", "14b"],
      "numbers": {"n1": [1536, 5120], "n2": [29, 39]},
      "groups": [
        {"sizes": ["1_3b", "14b"], "keys": {
          "blocks.{0..n2}.attn.q.weight": "BF16 [n1, n1]"
        }}
      ]
    }

``{0..3,7}`` stands for those indices, both ends of a range included. A number by its name is that of the
size which is read. Names with braces cannot be written so.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import product
from math import prod

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.tensors.documents import Document
from mapcc.tensors.dtypes import Dtype, parse_dtype
from mapcc.tensors.spec import MAX_NAME, MAX_TENSORS, TensorSpec, name_faults, shape_fault

MEMBERS = {"sizes", "numbers", "groups"}
SIZE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")

_LAYOUT = re.compile(r"(?:([A-Za-z0-9_]+) )?\[(.*)\]")
_INDICES = re.compile(r"\{([^{}]*)\}")
_FORM = 'an entry is "BF16 [2, 3]" or "[2, 3]", with numbers or their names'
_MOST = f"a key set has at most {MAX_TENSORS:,} tensors"
_LONGEST = 100_000  # indices in one pair of braces


class _Fault(Exception):
    """What is wrong, and the key at which it stands."""

    def __init__(self, rule: str, key: str | None = None) -> None:
        super().__init__(rule)
        self.rule, self.key = rule, key


def is_compact(document: Document) -> bool:
    return document.members.keys() == MEMBERS and isinstance(document.members["groups"], list)


def size_names(document: Document) -> tuple[str, ...]:
    """The sizes of a compact file. ``MappingError`` (MC003) if they are malformed."""
    try:
        return _size_names(document)
    except _Fault as fault:
        raise MappingError([document.fault(fault.rule, fault.key)]) from None


def read_compact(document: Document, select: str | None) -> dict[str, TensorSpec]:
    """The tensors of one size.

    Raises:
        MappingError: MC003 if the file is malformed, MC007 if ``select`` names no size of it, or
            there are several and none is named.
    """
    sizes = size_names(document)
    if select is None and len(sizes) > 1:
        message = f"`{document.path}` has the key sets of several sizes: {', '.join(sizes)}"
        raise MappingError([Diagnostic("MC007", message, help=f"name one: --select {sizes[0]}")])
    if select is not None and select not in sizes:
        message = f"`{document.path}` has no size {select!r}: it has {', '.join(sizes)}"
        near = nearest(select, sizes, 1)
        raise MappingError([Diagnostic("MC007", message, help=f"--select {(near or sizes)[0]}")])
    try:
        return _tensors(document, sizes.index(select or sizes[0]), sizes)
    except _Fault as fault:
        raise MappingError([document.fault(fault.rule, fault.key)]) from None


def read_templates(document: Document, size: str) -> list[str]:
    """The names of one size as they are written, folded. ``MappingError`` (MC003) if they are malformed."""
    try:
        return [pattern for pattern, _ in _entries(document, size, size_names(document))]
    except _Fault as fault:
        raise MappingError([document.fault(fault.rule, fault.key)]) from None


def count_names(document: Document, size: str) -> int:
    """How many tensors one size has. ``MappingError`` (MC003) if the file is malformed."""
    try:
        sizes = size_names(document)
        numbers = _numbers(document, sizes.index(size), len(sizes))
        patterns = (pattern for pattern, _ in _entries(document, size, sizes))
        return sum(_count(pattern, numbers) for pattern in patterns)
    except _Fault as fault:
        raise MappingError([document.fault(fault.rule, fault.key)]) from None


def _size_names(document: Document) -> tuple[str, ...]:
    sizes = document.members["sizes"]
    if not isinstance(sizes, list) or not sizes or not all(isinstance(size, str) for size in sizes):
        raise _Fault("'sizes' is a list of names", "sizes")
    if bad := [size for size in sizes if not SIZE.fullmatch(size)]:
        raise _Fault(f"{bad[0]!r} is no name of a size: letters, digits, '_', '-', '.'", "sizes")
    if len(set(sizes)) < len(sizes):
        raise _Fault("a size stands twice", "sizes")
    return tuple(sizes)


def _tensors(document: Document, at: int, sizes: tuple[str, ...]) -> dict[str, TensorSpec]:
    numbers = _numbers(document, at, len(sizes))
    tensors: dict[str, TensorSpec] = {}
    for pattern, layout in _entries(document, sizes[at], sizes):
        dtype, shape = _layout(pattern, layout, numbers)
        for name in _names(pattern, numbers, MAX_TENSORS - len(tensors)):
            if name in tensors:
                raise _Fault(f"`{name}` stands twice", pattern)
            tensors[name] = TensorSpec(name, dtype, shape)
    for name, rule in name_faults(tensors.keys()).items():
        raise _Fault(f"{rule}: {name!r}")
    return tensors


def _numbers(document: Document, at: int, count: int) -> dict[str, int]:
    table = document.members["numbers"]
    if not isinstance(table, dict):
        raise _Fault("'numbers' is a table of names", "numbers")
    for name, values in table.items():
        listed = isinstance(values, list) and len(values) == count
        if not listed or not all(value is None or type(value) is int for value in values):
            raise _Fault("a number has one value, or null, for each size", name)
    return {name: values[at] for name, values in table.items() if values[at] is not None}


def _entries(document: Document, size: str, sizes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Those of one size: patterns of names, and layouts."""
    groups = document.members["groups"]
    assert isinstance(groups, list)
    for group in groups:
        if not isinstance(group, dict) or group.keys() != {"sizes", "keys"}:
            raise _Fault("a group has 'sizes' and 'keys'", "groups")
        members, keys = group["sizes"], group["keys"]
        if not isinstance(members, list) or not isinstance(keys, dict):
            raise _Fault("a group has a list of sizes and a table of keys", "groups")
        if unknown := [name for name in members if name not in sizes]:
            raise _Fault(f"no size {unknown[0]!r} is listed at the top", "groups")
        if size in members:
            for pattern, layout in keys.items():
                if not isinstance(layout, str):
                    raise _Fault(_FORM, pattern)
                yield pattern, layout


def _layout(pattern: str, text: str, numbers: dict[str, int]) -> tuple[Dtype | None, tuple[int, ...]]:
    match = _LAYOUT.fullmatch(text) if len(text) <= MAX_NAME else None
    if match is None:
        raise _Fault(_FORM, pattern)
    word, dims = match[1], match[2].split(",") if match[2].strip() else []
    dtype = parse_dtype(word) if word else None
    if word and dtype is None:
        raise _Fault(f"no dtype `{word}` is known", pattern)
    shape = tuple(_number(dim.strip(), numbers, pattern) for dim in dims)
    if rule := shape_fault(shape):
        raise _Fault(rule, pattern)
    return dtype, shape


def _number(text: str, numbers: dict[str, int], pattern: str) -> int:
    if re.fullmatch(r"[0-9]{1,18}", text):
        return int(text)
    if text not in numbers:
        raise _Fault(f"no number is called {text!r} in this size", pattern)
    return numbers[text]


def _names(pattern: str, numbers: dict[str, int], room: int) -> Iterator[str]:
    parts = _INDICES.split(pattern)
    texts, braces = parts[::2], parts[1::2]
    if any("{" in text or "}" in text for text in texts):
        raise _Fault("braces hold indices, and do not nest", pattern)
    if sum(map(len, texts)) > MAX_NAME:
        raise _Fault(f"a name has at most {MAX_NAME:,} bytes", pattern[:MAX_NAME])
    choices = []
    count = 1
    for brace in braces:
        choices.append(_indices(brace, numbers, pattern, room))
        count *= len(choices[-1])
        if count > room:
            raise _Fault(_MOST, pattern)
    for indices in product(*choices):
        yield texts[0] + "".join(f"{index}{text}" for index, text in zip(indices, texts[1:], strict=True))


def _count(pattern: str, numbers: dict[str, int]) -> int:
    braces = _INDICES.findall(pattern)
    return prod((len(_indices(brace, numbers, pattern, MAX_TENSORS)) for brace in braces), start=1)


def _indices(text: str, numbers: dict[str, int], pattern: str, room: int) -> Sequence[int]:
    found: list[int] = []
    for run in text.split(","):
        low, dots, high = run.partition("..")
        first = _number(low.strip(), numbers, pattern)
        last = _number(high.strip(), numbers, pattern) if dots else first
        if not first <= last <= first + _LONGEST:
            raise _Fault(f"{run.strip()!r} is no range of indices", pattern)
        found += range(first, last + 1)
        if len(found) > room:
            raise _Fault(_MOST, pattern)
    return found
