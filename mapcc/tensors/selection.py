"""Which tensors of a checkpoint are meant: it may hold several dictionaries, and tensors beside them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from shlex import quote
from typing import NamedTuple

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.tensors.spec import TensorSpec
from mapcc.tensors.values import Recorded, StandIn, mapping_of
from mapcc.tensors.walk import flattened, module_state, of_dictionaries

TOP = "."
Select = str | Sequence[str] | None

# The most frequent names first: one of these stands in the help.
USUAL = (
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
# What a trainer needs to go on, and nobody else.
_TRAINING = re.compile(
    r"(?:^|[._])(optim\w*|opt|\w*schedulers?|\w*scaler|loops|callbacks|grads?)(?:$|[._])", re.I
)
_DEPTH = 32
_SHOWN = 8
_LONGEST = 200  # characters of a key, as it is shown
_PREFIXES = 100_000


class Chosen(NamedTuple):
    """The tensors that are meant, and the names of the other entries beside them."""

    tensors: dict[str, Recorded]
    skipped: tuple[str, ...]


class _Group(NamedTuple):
    """Tensors below the top: ``*`` in its path stands for any number."""

    path: str
    size: int
    listed: bool


def selects(select: Select) -> tuple[str, ...]:
    """The dotted paths that are asked for, each once.

    >>> selects("a.b"), selects(["a", "b", "a"]), selects(None)
    (('a.b',), ('a', 'b'), ())
    """
    if select is None:
        return ()
    return (select,) if isinstance(select, str) else tuple(dict.fromkeys(select))


def as_written(select: Select) -> str | list[str] | None:
    """The same for a record in JSON."""
    paths = selects(select)
    return list(paths) if len(paths) > 1 else next(iter(paths), None)


def choose(where: str, top: object, select: Select = None) -> Chosen:
    """The tensors that ``select`` names: a dotted path, or ``.`` for the top; without it, the only ones.

    A dictionary that has tensors itself stands for those. One that has none stands for all in the
    dictionaries inside of it, under dotted names. Of several paths each keeps its own in front of the names.

    Raises:
        MappingError: MC006 if nothing, or nothing alone, can be meant; MC007 if ``select``
            names no dictionary of tensors.
        WalkFault: dictionaries that hold each other.
    """
    groups = list(_groups(top))
    paths = selects(select)
    if not paths:
        return _only(where, top, groups)
    found = {path: _named(where, top, path) for path in paths}
    wrong = [_not_there(where, path, groups) for path, chosen in found.items() if chosen is None]
    if wrong:
        raise MappingError(wrong)
    tensors: dict[str, Recorded] = {}
    skipped: dict[str, None] = {}
    for path, chosen in found.items():
        prefix = "" if len(paths) == 1 or path == TOP else f"{path}."
        tensors |= {f"{prefix}{name}": tensor for name, tensor in (chosen or Chosen({}, ())).tensors.items()}
        skipped |= dict.fromkeys((chosen or Chosen({}, ())).skipped)
    inside = {path.partition(".")[0] for path in paths if path != TOP} if len(paths) > 1 else set()
    return Chosen(tensors, tuple(name for name in skipped if name not in inside))


def select_names(
    where: str, tensors: Mapping[str, TensorSpec], paths: Sequence[str]
) -> dict[str, TensorSpec]:
    """The same for a source without dictionaries: the tensors whose names begin with a path, without it.

    Raises:
        MappingError: MC007 if none do.
    """
    chosen: dict[str, TensorSpec] = {}
    wrong: list[Diagnostic] = []
    for path in paths:
        prefix = "" if path == TOP else f"{path}."
        cut = len(prefix) if len(paths) == 1 else 0
        found = {name[cut:]: spec for name, spec in tensors.items() if name.startswith(prefix)}
        if not found:
            wrong.append(_no_prefix(where, path, tensors))
        chosen |= {name: spec._replace(name=name) for name, spec in found.items()}
    if wrong:
        raise MappingError(wrong)
    return chosen


def _only(where: str, top: object, groups: list[_Group]) -> Chosen:
    if module_state(top) is not None:
        return _taken(where, top)
    entries = mapping_of(top)
    own = sum(map(is_tensor, (entries or {}).values()))
    if entries is None or (isinstance(top, StandIn) and not groups and not own):
        raise MappingError([_no_dictionary(where, top)])
    if groups:
        raise MappingError([_several(where, own, groups)])
    if not own:
        notes = (f"it has {_names(entries)}" if entries else "it is empty", *_arrays(entries))
        raise MappingError([Diagnostic("MC006", f"`{where}` holds no tensors", notes=notes)])
    return _taken(where, top)


def _named(where: str, top: object, path: str) -> Chosen | None:
    """What a path leads to: a dictionary, or the tensors of one whose names begin with the rest of it."""
    for dictionary, rest in _walk(top, path) if path else ():
        if is_tensor(dictionary):
            continue
        chosen = _taken(where, dictionary) if not rest else _beginning(dictionary, f"{rest}.")
        if chosen.tensors:
            return chosen
    return None


def _beginning(dictionary: object, prefix: str) -> Chosen:
    entries = mapping_of(dictionary) or {}
    whole = flattened(dictionary, of_dictionaries) if module_state(dictionary) is not None else {}
    found = {
        key[len(prefix) :]: value
        for key, value in (whole or entries).items()
        if isinstance(key, str) and key.startswith(prefix) and isinstance(value, Recorded)
    }
    return Chosen(found, ())


def _walk(top: object, select: str) -> Iterator[tuple[object, str]]:
    """Where a dotted path may lead, and what of it is left; a key may have dots itself."""
    if select == TOP:
        yield top, ""
        return
    waiting = [(top, select)]
    last = []
    for _ in range(1000):  # a path of a few words; never a search without end
        if not waiting:
            break
        at, rest = waiting.pop()
        entries = module_state(at) or mapping_of(at)
        if entries is None:
            continue
        if rest in entries:
            yield entries[rest], ""
        last.append((at, rest))
        cuts = [cut.start() for cut in re.finditer(r"\.", rest)]
        waiting += [(entries[rest[:cut]], rest[cut + 1 :]) for cut in cuts if rest[:cut] in entries]
    yield from reversed(last)


def _taken(where: str, chosen: object) -> Chosen:
    entries = mapping_of(chosen) or {}
    if module_state(chosen) is not None or not any(map(is_tensor, entries.values())):
        tensors = flattened(chosen, of_dictionaries)
        heads = {name.partition(".")[0] for name in tensors}
        left = () if module_state(chosen) is not None else entries
        return Chosen(tensors, tuple(shown(key) for key in left if _head(key) not in heads))
    wrong = [key for key, value in entries.items() if is_tensor(value) and not isinstance(key, str)]
    if wrong:
        message = f"`{where}` has tensors under {shown(wrong[0])}, and a tensor's name is text"
        raise MappingError([Diagnostic("MC006", message)])
    own = {
        key: value for key, value in entries.items() if isinstance(key, str) and isinstance(value, Recorded)
    }
    return Chosen(own, tuple(shown(key) for key in entries if key not in own))


def _head(key: object) -> str | None:
    return key.partition(".")[0] if isinstance(key, str) else None


def shown(key: object) -> str:
    """A key, as short as it is to be printed."""
    if isinstance(key, str):
        return key if len(key) <= _LONGEST else f"{key[:_LONGEST]}..."
    if isinstance(key, (tuple, bytes)):
        return f"{repr(key[:8])[:_LONGEST]}"
    return str(key) if isinstance(key, (int, float)) else type(key).__name__


def _groups(top: object) -> Iterator[_Group]:
    """What holds tensors below the top, each object once; a list of steps of an optimizer as one."""
    counts: dict[tuple[str, bool], int] = {}
    seen = {id(top)}
    waiting: list[tuple[tuple[str, ...], object]] = [] if module_state(top) is not None else [((), top)]
    while waiting:
        path, one = waiting.pop()
        entries = mapping_of(one)
        for key, value in entries.items() if entries is not None else enumerate(_list(one)):
            if is_tensor(value):
                if path:
                    _count(counts, path, entries is None, 1)
            elif id(value) not in seen and len(path) < _DEPTH:
                seen.add(id(value))
                if module_state(value) is not None:
                    _count(counts, (*path, shown(key)), False, len(flattened(value, of_dictionaries)))
                elif isinstance(value, (list, tuple)) or mapping_of(value) is not None:
                    waiting.append(((*path, shown(key)), value))
    for (name, listed), size in sorted(counts.items()):
        yield _Group(name, size, listed)


def _count(counts: dict[tuple[str, bool], int], path: tuple[str, ...], listed: bool, size: int) -> None:
    if size:
        group = (re.sub(r"(?<![^.])\d+(?![^.])", "*", ".".join(path)), listed)
        counts[group] = counts.get(group, 0) + size


def _list(value: object) -> Sequence[object]:
    return value if isinstance(value, (list, tuple)) else ()


def is_tensor(value: object) -> bool:
    return isinstance(value, Recorded)


def _several(where: str, own: int, groups: list[_Group]) -> Diagnostic:
    """What there is, and the option for what is meant most often."""
    best = _best(own, groups)
    notes = [f"at the top: {_tensors(own)}"] if own else []
    help = (
        f"name the dictionary that is meant: --select {quote(best)}" if best else "save its tensors by name"
    )
    alike = [group.path for group in groups if _is_selectable(group)]
    is_plain = not own and len(alike) == len(groups) > 1
    if is_plain and not any(_TRAINING.search(path) or _usual(path) < len(USUAL) for path in alike):
        several = " ".join(f"--select {quote(path)}" for path in alike[:_SHOWN])
        help += f"; or several, each under its own name: {several}; or all of them: --select {TOP}"
    return Diagnostic(
        "MC006",
        f"`{where}` does not say by itself which of its tensors are meant",
        notes=(*notes, *_told(groups)),
        help=help,
        names=tuple(fold([group.path for group in groups])),
    )


def _best(own: int, groups: list[_Group]) -> str:
    """The dictionary that is meant most often: by its name, never one of a trainer, then by its size."""
    weights = [group for group in groups if _is_selectable(group) and not _TRAINING.search(group.path)]
    first = min(weights, key=lambda group: (_usual(group.path), -group.size), default=None)
    is_training = len(weights) < len(groups)
    if own and (first is None or (not is_training and own >= first.size)):
        return TOP
    if first is not None:
        return first.path
    return next((group.path for group in groups if _is_selectable(group)), "")


def _usual(path: str) -> int:
    return USUAL.index(path) if path in USUAL else len(USUAL)


def _is_selectable(group: _Group) -> bool:
    return not group.listed and "*" not in group.path and "..." not in group.path


def _told(groups: list[_Group]) -> Iterator[str]:
    for group in groups[:_SHOWN]:
        what = "in a list" if group.listed else "in it"
        yield f"`{group.path}`: {_tensors(group.size)} {what}"
    if len(groups) > _SHOWN:
        yield f"and {len(groups) - _SHOWN:,} more"


def _tensors(count: int) -> str:
    return "1 tensor" if count == 1 else f"{count:,} tensors"


def _not_there(where: str, select: str, groups: list[_Group]) -> Diagnostic:
    known = [group.path for group in groups if _is_selectable(group)]
    found = nearest(select, known, 1)
    help = f"--select {quote(found[0])}" if found else ""
    message = f"`{where}` has no dictionary of tensors at {select!r}"
    return Diagnostic("MC007", message, notes=tuple(_told(groups)), help=help)


def _no_prefix(where: str, select: str, names: Collection[str]) -> Diagnostic:
    known: dict[str, None] = {}
    for name in names:
        parts = name.split(".")[:8]
        known |= dict.fromkeys(".".join(parts[:count]) for count in range(1, len(parts)))
        if len(known) > _PREFIXES:
            break
    found = nearest(select, list(known), 1)
    tops = list(dict.fromkeys(path.partition(".")[0] for path in known))
    notes = (f"names begin with: {', '.join(fold(tops, _SHOWN))}",) if tops else ()
    help = f"--select {quote(found[0])}" if found else "leave --select out"
    return Diagnostic("MC007", f"`{where}` has no tensors below {select!r}", notes=notes, help=help)


def _no_dictionary(where: str, top: object) -> Diagnostic:
    what = top.name if isinstance(top, StandIn) else "Tensor" if is_tensor(top) else type(top).__name__
    help = "save its tensors by name: torch.save(model.state_dict(), 'weights.pt')"
    return Diagnostic("MC006", f"`{where}` holds {what}, not a dictionary of tensors", help=help)


def _arrays(entries: Mapping[object, object]) -> Iterator[str]:
    """Arrays of numpy are no tensors: their bytes are within the pickle, and their type is an object."""
    if any(
        isinstance(value, StandIn) and value.name.endswith("multiarray._reconstruct")
        for value in entries.values()
    ):
        yield "arrays of numpy are not read: save them with numpy.savez, or as tensors (torch.from_numpy)"


def _names(entries: Mapping[object, object]) -> str:
    keys = ", ".join(f"`{shown(key)}`" for key in list(entries)[:_SHOWN])
    return keys if len(entries) <= _SHOWN else f"{keys}, and {len(entries) - _SHOWN:,} more"
