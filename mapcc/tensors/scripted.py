"""TorchScript archives: the parameters and buffers of a module, without its code being run or compiled.

An object of the module is a stand-in with its attributes. Which of them are parameters and
buffers stands in two lines of each class's source, which are read as text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mapcc.tensors.pickled import Archive, PickleFault, unpickle
from mapcc.tensors.values import Recorded, StandIn
from mapcc.tensors.walk import WalkFault, flattened

MAX_CODE = 1 << 26  # bytes of all sources
MAX_FIELDS = 1 << 20  # bytes of one list of names

_LINE = re.compile(rb"^(?:class (\w+)\(Module\):|  __(parameters|buffers)__ = (\[.*\])$)", re.MULTILINE)
_LIST = re.compile(rb'\[\s*(?:"[^"\\]*"\s*,?\s*)*\]')
_FIELD = re.compile(rb'"([^"\\]*)"')


class _Class(NamedTuple):
    parameters: set[str]
    buffers: set[str]


def is_scripted(archive: Archive) -> bool:
    """Whether ``torch.jit.save`` wrote it: it has constants beside the pickle."""
    return f"{archive.root}/constants.pkl" in archive.members


def scripted_state(archive: Archive) -> dict[str, Recorded]:
    """The tensors of the module, under the names and in the order of its ``state_dict()``.

    Raises:
        PickleFault, ZipFault: it is malformed, or it holds what only its own code could read.
    """
    module = unpickle(archive)
    if not isinstance(module, StandIn) or not module.name.startswith("__torch__"):
        what = module.name if isinstance(module, StandIn) else type(module).__name__
        raise PickleFault(f"it holds {what}, not a module", "MC006")
    classes = _classes(archive)

    def inside(value: object) -> Iterable[tuple[str, object]] | None:
        if not isinstance(value, StandIn) or (value is not module and value.name not in classes):
            return None
        known = classes.get(value.name)
        if known is None or not isinstance(value.state, dict):
            raise PickleFault(f"`{value.name}` has a state that only its own code can read", "MC006")
        return _fields(value.state, known)

    try:
        return flattened(module, inside)
    except WalkFault as fault:
        raise PickleFault(str(fault)) from None


def _fields(state: dict[object, object], known: _Class) -> list[tuple[str, object]]:
    """Parameters, then buffers, then modules: the order of ``state_dict``. None is an absent bias."""
    items = [(name, value) for name, value in state.items() if isinstance(name, str)]
    tensors = [
        (name, value)
        for names in (known.parameters, known.buffers)
        for name, value in items
        if name in names and isinstance(value, Recorded)
    ]
    return tensors + [(name, value) for name, value in items if isinstance(value, StandIn)]


def _classes(archive: Archive) -> dict[str, _Class]:
    """The modules among the classes of the sources: ``code/__torch__/a.py`` has those of ``__torch__.a``."""
    start = f"{archive.root}/code/"
    sources = [name for name in archive.members if name.startswith(start) and name.endswith(".py")]
    if sum(archive.members[name].size for name in sources) > MAX_CODE:
        raise PickleFault(f"its sources have more than {MAX_CODE:,} bytes")
    classes: dict[str, _Class] = {}
    for name in sources:
        place = name.removeprefix(start).removesuffix(".py").replace("/", ".")
        current: _Class | None = None
        for line in _LINE.finditer(archive.read(name.removeprefix(f"{archive.root}/"), MAX_CODE) or b""):
            if line[1]:
                current = classes[f"{place}.{line[1].decode(errors='replace')}"] = _Class(set(), set())
            elif current is not None:
                fields = current.parameters if line[2] == b"parameters" else current.buffers
                fields |= _listed(line[3])
    return classes


def _listed(text: bytes) -> set[str]:
    if len(text) > MAX_FIELDS or not _LIST.fullmatch(text):
        raise PickleFault("its sources are malformed")
    return {name.decode(errors="replace") for name in _FIELD.findall(text)}
