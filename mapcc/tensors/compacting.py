"""Key sets to a compact file: what :mod:`mapcc.tensors.compact` reads back as the same."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.compact import SIZE
from mapcc.tensors.spec import Manifest

_INDEX = re.compile(r"(?<![^./])(?:0|[1-9][0-9]{0,8})(?![^./])")

_Layout = tuple[str, tuple[int, ...]]
_Run = tuple[int, int]
_Indices = tuple[_Run, ...]  # of one place: ranges, both ends included


class _Entry(NamedTuple):
    """Tensors of one size with one layout, whose indices are a product."""

    texts: tuple[str, ...]
    places: tuple[_Indices, ...]
    layout: _Layout

    def likeness(self) -> object:
        """What two sizes share: all but the ends of ranges, and the dimensions."""
        places = tuple(
            (indices[0][0], "..") if len(indices) == 1 and indices[0][0] < indices[0][1] else indices
            for indices in self.places
        )
        return self.texts, places, self.layout[0], len(self.layout[1])

    def numbers(self) -> tuple[int, ...]:
        """What may differ from size to size."""
        ends = (
            indices[0][1] for indices in self.places if len(indices) == 1 and indices[0][0] < indices[0][1]
        )
        return (*ends, *self.layout[1])


def compact_text(manifests: Mapping[str, Manifest]) -> str:
    """The key sets of several sizes as one file, in ASCII: what differs between them has a name.

    Raises:
        MappingError: MC007: a size has a name that cannot be; MC003: a tensor's name has braces.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> from mapcc.tensors.spec import TensorSpec
    >>> def model(layers, d):
    ...     names = [f"b.{i}.w" for i in range(layers)]
    ...     specs = {name: TensorSpec(name, DTYPES["F32"], (d, 4)) for name in names}
    ...     return Manifest(specs, (), "", None, {})
    >>> print(compact_text({"small": model(2, 8), "large": model(3, 16)}), end="")
    {
      "sizes": ["small", "large"],
      "numbers": {
        "n1": [1, 2],
        "n2": [8, 16]
      },
      "groups": [
        {"sizes": ["small", "large"], "keys": {
          "b.{0..n1}.w": "F32 [n2, 4]"
        }}
      ]
    }
    """
    _check(manifests)
    rows = _aligned({size: _entries(manifest) for size, manifest in manifests.items()})
    sizes = list(manifests)
    names: dict[tuple[int | None, ...], str] = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    # Numbers of all sizes first: those of few may be the same.
    for row in sorted(rows, key=len, reverse=True):
        members = tuple(size for size in sizes if size in row)
        groups.setdefault(members, []).append(_line(row, members, sizes, names))
    lines = [
        f'    {{"sizes": {json.dumps(members)}, "keys": {{\n{_joined(keys, 6)}\n    }}}}'
        for members, keys in groups.items()
    ]
    numbers = [f'"{name}": {json.dumps(values)}' for values, name in names.items()]
    table = f"{{\n{_joined(numbers, 4)}\n  }}" if numbers else "{}"
    head = f'{{\n  "sizes": {json.dumps(sizes)},\n  "numbers": {table},\n  "groups": [\n'
    return head + ",\n".join(lines) + "\n  ]\n}\n"


def _joined(lines: Iterable[str], indent: int) -> str:
    return ",\n".join(" " * indent + line for line in lines)


def _check(manifests: Mapping[str, Manifest]) -> None:
    if bad := [size for size in manifests if not SIZE.fullmatch(size)]:
        message = f"{bad[0]!r} is no name of a size"
        raise MappingError([Diagnostic("MC007", message, help="letters, digits, '_', '-', '.': t2v_1_3b")])
    for manifest in manifests.values():
        if braces := [name for name in manifest.tensors if "{" in name or "}" in name]:
            message = "names with braces cannot be folded"
            help = "write the plain form: leave --compact out"
            raise MappingError([Diagnostic("MC003", message, help=help, names=tuple(fold(braces)))])


def _entries(manifest: Manifest) -> list[_Entry]:
    """Names with the same text around their indices and the same layout, folded."""
    families: dict[tuple[tuple[str, ...], _Layout], list[tuple[int, ...]]] = {}
    for spec in manifest.tensors.values():
        texts = tuple(_INDEX.split(spec.name))
        dtype = "" if spec.dtype is None else spec.dtype.name
        indices = tuple(int(digits) for digits in _INDEX.findall(spec.name))
        families.setdefault((texts, (dtype, spec.shape)), []).append(indices)
    return [
        _Entry(texts, places, layout)
        for (texts, layout), indices in families.items()
        for places in _products(indices)
    ]


def _products(indices: list[tuple[int, ...]]) -> list[tuple[_Indices, ...]]:
    """Tuples of indices as few products of ranges."""
    if not indices[0]:
        return [()]
    after: dict[int, list[tuple[int, ...]]] = {}
    for first, *rest in indices:
        after.setdefault(first, []).append(tuple(rest))
    alike: dict[frozenset[tuple[int, ...]], list[int]] = {}
    for first, rests in after.items():
        alike.setdefault(frozenset(rests), []).append(first)
    return [
        (_runs(sorted(firsts)), *inner)
        for rests, firsts in alike.items()
        for inner in _products(sorted(rests))
    ]


def _runs(numbers: list[int]) -> _Indices:
    runs: list[_Run] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return tuple(runs)


def _aligned(entries: Mapping[str, list[_Entry]]) -> list[dict[str, _Entry]]:
    """A row for each kind of entry: what it is in each size that has it."""
    rows: dict[object, dict[str, _Entry]] = {}
    for size, listed in entries.items():
        seen: Counter[object] = Counter()
        for entry in listed:
            likeness = entry.likeness()
            rows.setdefault((likeness, seen[likeness]), {})[size] = entry
            seen[likeness] += 1
    return list(rows.values())


def _line(
    row: Mapping[str, _Entry],
    members: tuple[str, ...],
    sizes: list[str],
    names: dict[tuple[int | None, ...], str],
) -> str:
    """One entry of the file: numbers that differ between its sizes are called by name."""
    columns = zip(*(row[size].numbers() for size in members), strict=True)
    words = iter([_word(dict(zip(members, column, strict=True)), sizes, names) for column in columns])
    entry = row[members[0]]
    name = entry.texts[0]
    for indices, text in zip(entry.places, entry.texts[1:], strict=True):
        name += _braces(indices, words) + text
    dims = ", ".join(words)
    dtype = f"{entry.layout[0]} " if entry.layout[0] else ""
    return f'{json.dumps(name)}: "{dtype}[{dims}]"'


def _braces(indices: _Indices, words: Iterable[str]) -> str:
    if len(indices) == 1:
        first, last = indices[0]
        return str(first) if first == last else f"{{{first}..{next(iter(words))}}}"
    return "{" + ",".join(str(a) if a == b else f"{a}..{b}" for a, b in indices) + "}"


def _word(values: Mapping[str, int], sizes: list[str], names: dict[tuple[int | None, ...], str]) -> str:
    distinct = set(values.values())
    if len(distinct) == 1:
        return str(distinct.pop())
    for known, name in names.items():
        if all(known[sizes.index(size)] == value for size, value in values.items()):
            return name
    name = f"n{len(names) + 1}"
    names[tuple(values.get(size) for size in sizes)] = name
    return name
