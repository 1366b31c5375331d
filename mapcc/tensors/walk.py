"""The tensors inside of objects that hold objects, each under its dotted path; always with an end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from mapcc.tensors.spec import MAX_NAME, MAX_TENSORS
from mapcc.tensors.values import Recorded, StandIn, mapping_of

MAX_STEPS = 3 * MAX_TENSORS
_DEPTH = 64

Children = Callable[[object], "Iterable[tuple[str, object]] | None"]


class WalkFault(Exception):
    """Why there is no end of it."""


def flattened(top: object, children: Children) -> dict[str, Recorded]:
    """The tensors in ``top``, in the order in which they stand there.

    Args:
        children: what a value holds, by name; None if it holds nothing.

    Raises:
        WalkFault: something is inside of itself, or in so many others that the names have no end.
    """
    found: dict[str, Recorded] = {}
    waiting: list[tuple[str, object, tuple[int, ...]]] = [("", top, ())]
    steps = 0
    while waiting:
        path, value, above = waiting.pop()
        if isinstance(value, Recorded):
            found[path] = value
            continue
        inside = children(value)
        if inside is None:
            continue
        if id(value) in above or len(above) == _DEPTH:
            raise WalkFault(f"`{path[:200]}` is inside of itself, or too deep")
        below = [(_joined(path, name), inner, (*above, id(value))) for name, inner in inside]
        steps += 1 + len(below)
        if steps > MAX_STEPS:
            raise WalkFault(f"it has more than {MAX_STEPS:,} things in each other")
        waiting += reversed(below)
    return found


def _joined(path: str, name: str) -> str:
    if len(path) + len(name) > MAX_NAME:
        raise WalkFault(f"`{path[:200]}` has something in it whose name is longer than {MAX_NAME:,} bytes")
    return f"{path}.{name}" if path else name


def of_dictionaries(value: object) -> Iterable[tuple[str, object]] | None:
    """What a dictionary holds under text, or a module as its ``state_dict`` has it."""
    module = module_state(value)
    entries = mapping_of(value) if module is None else module
    if entries is None:
        return None
    return [(key, inner) for key, inner in entries.items() if isinstance(key, str)]


def module_state(value: object) -> Mapping[object, object] | None:
    """Of a module that was saved whole: its parameters, buffers and modules, in this order."""
    state = mapping_of(value) if isinstance(value, StandIn) else None
    if state is None:
        return None
    parts = [state.get(key) for key in ("_parameters", "_buffers", "_modules")]
    parameters, buffers, modules = parts
    if not isinstance(parameters, dict) or not isinstance(modules, dict):
        return None
    passing = state.get("_non_persistent_buffers_set")
    left_out = passing if isinstance(passing, list) else []
    kept = buffers if isinstance(buffers, dict) else {}
    return {**parameters, **{key: value for key, value in kept.items() if key not in left_out}, **modules}
