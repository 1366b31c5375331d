"""Which dictionary of a checkpoint is meant: it may hold several, and tensors beside them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError

TOP = "."
# The most frequent names first: one of these stands in the help.
_USUAL = (
    "state_dict",
    "model_state_dict",
    "model",
    "module",
    "ema",
    "params_ema",
    "params",
    "net",
    "weights",
)
_DEPTH = 32
_SHOWN = 8


class Chosen(NamedTuple):
    """The tensors of one dictionary, and the names of its other entries."""

    tensors: dict[str, Any]
    skipped: tuple[str, ...]


class _Group(NamedTuple):
    """Tensors below the top: ``*`` in its path stands for any number."""

    path: str
    size: int
    listed: bool


def choose(where: str, top: object, select: str | None) -> Chosen:
    """The tensors that ``select`` names, a dotted path, or ``.`` for the top; without it, the only ones.

    Raises:
        MappingError: MC006 if nothing, or nothing alone, can be meant; MC007 if ``select``
            names no dictionary of tensors.
    """
    groups = list(_groups(top))
    if select is not None:
        chosen = _walk(top, select)
        if not isinstance(chosen, Mapping) or not any(map(is_tensor, chosen.values())):
            raise MappingError([_not_there(where, select, groups)])
        return _taken(where, chosen)
    if not isinstance(top, Mapping):
        raise MappingError([_no_dictionary(where, top)])
    own = sum(map(is_tensor, top.values()))
    if groups:
        raise MappingError([_several(where, own, groups)])
    if not own:
        note = f"it has {_names(top)}" if top else "it is empty"
        raise MappingError([Diagnostic("MC006", f"`{where}` holds no tensors", notes=(note,))])
    return _taken(where, top)


def _taken(where: str, chosen: Mapping[Any, Any]) -> Chosen:
    wrong = [key for key, value in chosen.items() if is_tensor(value) and not isinstance(key, str)]
    if wrong:
        message = f"`{where}` has tensors under {wrong[0]!r}, and a tensor's name is text"
        raise MappingError([Diagnostic("MC006", message)])
    tensors = {key: value for key, value in chosen.items() if is_tensor(value)}
    return Chosen(tensors, tuple(str(key) for key in chosen if key not in tensors))


def _walk(top: object, select: str) -> object:
    """What a dotted path leads to; a key may have dots itself."""
    if select == TOP:
        return top
    if not isinstance(top, Mapping):
        return None
    if select in top:
        return top[select]
    parts = select.split(".")
    for length in range(len(parts) - 1, 0, -1):
        key = ".".join(parts[:length])
        if key in top and (found := _walk(top[key], ".".join(parts[length:]))) is not None:
            return found
    return None


def _groups(top: object) -> Iterator[_Group]:
    """What holds tensors below the top, each object once; a list of steps of an optimizer as one."""
    counts: dict[tuple[str, bool], int] = {}
    seen = {id(top)}
    waiting: list[tuple[tuple[str, ...], object]] = [((), top)]
    while waiting:
        path, one = waiting.pop()
        for key, value in one.items() if isinstance(one, Mapping) else enumerate(_list(one)):
            if is_tensor(value) and path:
                name = re.sub(r"(?<![^.])\d+(?![^.])", "*", ".".join(path))
                group = (name, not isinstance(one, Mapping))
                counts[group] = counts.get(group, 0) + 1
            elif isinstance(value, (Mapping, list, tuple)) and id(value) not in seen and len(path) < _DEPTH:
                seen.add(id(value))
                waiting.append(((*path, str(key)), value))
    for (name, listed), size in sorted(counts.items()):
        yield _Group(name, size, listed)


def _list(value: object) -> list[object]:
    return list(value) if isinstance(value, (list, tuple)) else []


def is_tensor(value: object) -> bool:
    """Whether it is one of torch, which is not imported for the question."""
    return hasattr(value, "storage_offset")


def _several(where: str, own: int, groups: list[_Group]) -> Diagnostic:
    """What there is, and the option for what is meant most often."""
    selectable = [group.path for group in groups if not group.listed and "*" not in group.path]
    usual = [name for name in _USUAL if name in selectable]
    best = TOP if own else (usual or selectable or [""])[0]
    notes = [f"at the top: {_tensors(own)}"] if own else []
    return Diagnostic(
        "MC006",
        f"`{where}` does not say by itself which of its tensors are meant",
        notes=(*notes, *_told(groups)),
        help=f"name the dictionary that is meant: --select {best}" if best else "save its tensors by name",
        names=tuple(fold([group.path for group in groups])),
    )


def _told(groups: list[_Group]) -> Iterator[str]:
    for group in groups[:_SHOWN]:
        what = "in a list" if group.listed else "in it"
        yield f"`{group.path}`: {_tensors(group.size)} {what}"
    if len(groups) > _SHOWN:
        yield f"and {len(groups) - _SHOWN:,} more"


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count:,} tensors"


def _not_there(where: str, select: str, groups: list[_Group]) -> Diagnostic:
    known = [group.path for group in groups if not group.listed]
    found = nearest(select, known, 1)
    help = f"--select {found[0]}" if found else ""
    message = f"`{where}` has no dictionary of tensors at {select!r}"
    return Diagnostic("MC007", message, notes=tuple(_told(groups)), help=help)


def _no_dictionary(where: str, top: object) -> Diagnostic:
    help = "save its tensors by name: torch.save(model.state_dict(), 'weights.pt')"
    return Diagnostic(
        "MC006", f"`{where}` holds {type(top).__name__}, not a dictionary of tensors", help=help
    )


def _names(top: Mapping[Any, Any]) -> str:
    shown = ", ".join(f"`{key}`" for key in list(top)[:_SHOWN])
    return shown if len(top) <= _SHOWN else f"{shown}, and {len(top) - _SHOWN:,} more"
