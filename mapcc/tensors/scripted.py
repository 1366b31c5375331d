"""TorchScript archives: the parameters and buffers of a module, without its code being run or compiled.

An object of the module becomes a bag of its attributes. Which of them are parameters and
buffers stands in two lines of each class's source, which are read as text.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mapcc.tensors.pickled import Archive, PickleFault, unpickle
from mapcc.tensors.selection import is_tensor

MAX_CODE = 1 << 26  # bytes of one source
MAX_MODULES = 100_000

_CLASS = re.compile(r"^class (\w+)(\(Module\))?[(:]|^\S", re.MULTILINE)
_FIELDS = re.compile(r"^  __(parameters|buffers)__ = (\[.*\])$", re.MULTILINE)
_NAME = re.compile(rb"c(__torch__[\w.]*|torch\.jit\._pickle)\n(\w+)\n")
_HELPERS = (
    "build_intlist",
    "build_doublelist",
    "build_boollist",
    "build_tensorlist",
    "build_tensor_from_id",
    "restore_type_tag",
)


class _Class(NamedTuple):
    parameters: frozenset[str]
    buffers: frozenset[str]


class _Bag:
    """What stands for an object of a class of the archive."""

    name = ""
    state: object = None

    def __new__(cls, *_: object) -> _Bag:
        return object.__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        self.state = state


def is_scripted(archive: Archive) -> bool:
    """Whether ``torch.jit.save`` wrote it: it has constants beside the pickle."""
    return f"{archive.root}/constants.pkl" in archive.members


def scripted_state(archive: Archive, path: Path) -> dict[str, Any]:
    """The tensors of the module, under the names and in the order of its ``state_dict()``.

    Raises:
        PickleFault, ZipFault: it is malformed, or it holds what only its own code could read.
        MappingError: MC001 if torch is absent or too old.
    """
    module = unpickle(archive, _stand_ins(archive.read("data.pkl") or b""), path)
    if not isinstance(module, _Bag):
        raise PickleFault(f"it holds {type(module).__name__}, not a module", "MC006")
    classes = dict(_classes(archive))
    state: dict[str, Any] = {}
    waiting = [("", module)]
    for _ in range(MAX_MODULES):
        if not waiting:
            return state
        prefix, one = waiting.pop()
        known = classes.get(one.name)
        if known is None or not isinstance(one.state, dict):
            raise PickleFault(f"`{one.name}` has a state that only its own code can read", "MC006")
        own = _tensors(one.state, known)
        state |= {f"{prefix}{name}": tensor for name, tensor in own}
        inside = [(name, value) for name, value in one.state.items() if isinstance(value, _Bag)]
        waiting += [(f"{prefix}{name}.", value) for name, value in reversed(inside) if value.name in classes]
    raise PickleFault(f"it has more than {MAX_MODULES:,} modules, or one that is inside of itself")


def _tensors(state: dict[Any, Any], known: _Class) -> list[tuple[str, Any]]:
    """Parameters, then buffers: the order of ``state_dict``. None is an absent bias."""
    fields = (known.parameters, known.buffers)
    return [
        (name, value)
        for names in fields
        for name, value in state.items()
        if name in names and is_tensor(value)
    ]


def _stand_ins(raw: bytes) -> dict[str, object]:
    """What stands for each class of the archive that its pickle names."""
    found = {(place.decode(), name.decode()) for place, name in _NAME.findall(raw)}
    return {
        f"{place}.{name}": type("Bag", (_Bag,), {"name": f"{place}.{name}"})
        if place.startswith("__torch__")
        else _same
        for place, name in found
        if place.startswith("__torch__") or name in _HELPERS
    }


def _same(value: object, *_: object) -> object:
    return value


def _classes(archive: Archive) -> Iterator[tuple[str, _Class]]:
    """The modules among the classes of the sources: ``code/__torch__/a.py`` has those of ``__torch__.a``."""
    start = f"{archive.root}/code/"
    for name in archive.members:
        if name.startswith(start) and name.endswith(".py"):
            place = name.removeprefix(start).removesuffix(".py").replace("/", ".")
            text = (archive.read(name.removeprefix(f"{archive.root}/"), MAX_CODE) or b"").decode(
                errors="replace"
            )
            heads = list(_CLASS.finditer(text))
            ends = [*(head.start() for head in heads[1:]), len(text)]
            for head, end in zip(heads, ends, strict=True):
                if head[2]:
                    yield f"{place}.{head[1]}", _class(text[head.end() : end])


def _class(body: str) -> _Class:
    fields = {"parameters": frozenset[str](), "buffers": frozenset[str]()}
    for kind, listed in _FIELDS.findall(body):
        try:
            fields[kind] = frozenset(ast.literal_eval(listed))
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            raise PickleFault("its sources are malformed") from None
    return _Class(fields["parameters"], fields["buffers"])
