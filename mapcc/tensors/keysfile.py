"""The keys file: a key set without weights, as JSON. One tensor a line: names, types, shapes.

Three forms of an entry are read, and one is written::

    {
      "blocks.0.attn.weight": {"dtype": "BF16", "shape": [3072, 3072]},
      "blocks.0.attn.bias": {"shape": [3072]},
      "blocks.0.attn.scale": [3072]
    }

All of it may stand under ``"keys"``, beside the name of a ``"class"``.
"""

from __future__ import annotations

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.tensors.documents import Document
from mapcc.tensors.dtypes import DTYPES, Dtype, parse_dtype
from mapcc.tensors.spec import MAX_TENSORS, TensorSpec, name_faults, shape_fault

WRAPPER = {"keys", "class"}  # the names of an outermost object that is not yet the key set
_FIELDS = {"dtype", "shape"}
_FORM = 'an entry is {"dtype": "BF16", "shape": [2, 3]}, {"shape": [2, 3]} or [2, 3]'

_Layout = tuple[Dtype | None, tuple[int, ...]]


def read_keys(document: Document) -> dict[str, TensorSpec]:
    """The tensors of a keys file, in its order. ``MappingError`` (MC003) with all faults at once."""
    entries = _unwrapped(document.members)
    if len(entries) > MAX_TENSORS:
        raise MappingError([document.fault(f"a keys file has at most {MAX_TENSORS:,} tensors")])
    tensors: dict[str, TensorSpec] = {}
    layouts: dict[object, _Layout] = {}
    faults: dict[str, list[str]] = {}
    for name, rule in name_faults(entries.keys()).items():
        faults.setdefault(rule, []).append(name)
    make = tuple.__new__  # a third of the time of the constructor
    seen: dict[int, _Layout | str] = {}  # by the entry itself: many names may share one
    for name, entry in entries.items():
        layout = seen.get(id(entry))
        if layout is None:
            layout = seen[id(entry)] = _layout(entry, layouts)
        if isinstance(layout, str):
            faults.setdefault(layout, []).append(name)
        else:
            dtype, shape = layout
            tensors[name] = make(TensorSpec, (name, dtype, shape, None, 0, 0, None))
    if faults:
        help = _several(entries)
        raise MappingError(
            [
                document.fault(rule, names[0], names=tuple(fold(names)), help=help)
                for rule, names in faults.items()
            ]
        )
    return tensors


def _unwrapped(members: dict[str, object]) -> dict[str, object]:
    inner = members.get("keys")
    wrapped = isinstance(inner, dict) and members.keys() <= WRAPPER
    return inner if wrapped and isinstance(members.get("class", ""), str) else members  # type: ignore[return-value]


def _layout(entry: object, known: dict[object, _Layout]) -> _Layout | str:
    """The type and shape of an entry, or the rule that it breaks. Few layouts recur in many entries."""
    word: object = None
    dims = entry
    if isinstance(entry, dict):
        if "shape" not in entry or not entry.keys() <= _FIELDS:
            return _FORM
        word, dims = entry.get("dtype"), entry["shape"]
    if type(dims) is not list or not (word is None or type(word) is str):
        return _FORM
    try:
        return known[(word, *dims)]
    except (KeyError, TypeError):  # new; or a list where a number should be
        rule = shape_fault(dims)
    dtype = None if word is None else parse_dtype(word)
    if rule is None and word is not None and dtype is None:
        rule = _unknown(word)
    return rule or known.setdefault((word, *dims), (dtype, tuple(dims)))


def _unknown(word: str) -> str:
    found = nearest(word.upper(), DTYPES, 1)
    return f"no dtype `{word}` is known" + (f": did you mean {found[0]}?" if found else "")


def _several(entries: dict[str, object]) -> str:
    if all(isinstance(entry, dict) and "keys" in entry for entry in entries.values()):
        return "the file holds several key sets: put the one you mean into a file of its own"
    return ""
