"""What an activation tells without another run: a bias that is not there, a place that is another's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isclose
from typing import TYPE_CHECKING

from mapcc.ir.bound import BoundMapping
from mapcc.port.pairs import module_of, sources_of
from mapcc.port.parity import Pair
from mapcc.port.sides import Compared, Sides, apart
from mapcc.port.spool import Event

if TYPE_CHECKING:
    from torch.nn import Module

_ATTRIBUTES = (int, float, bool, str)


@dataclass(frozen=True, slots=True)
class Repair:
    """What would make the two agree.

    Attributes:
        parameters: of the ported model, whose rules are wrong.
        dropped: official tensors that should not have been.
        of_layers: whole layers are exchanged, so that it is the blocks around the rules that are wrong.
    """

    finding: str
    parameters: tuple[str, ...]
    dropped: tuple[str, ...] = ()
    of_layers: bool = False

    @property
    def modules(self) -> list[str]:
        return list(dict.fromkeys(module_of(name) for name in self.parameters))


def lost_bias(pair: Pair, bound: BoundMapping, sides: Sides, row: Compared, limit: float) -> Repair | None:
    """Whether the difference is the official bias, which the mapping drops or makes zero."""
    import torch

    if row.where != "out" or row.is_whole or len(row.officials) != 1:
        return None
    official = dict(pair.official.named_modules())[row.officials[0]]
    bias = getattr(official, "bias", None)
    source = f"{row.officials[0]}.bias"
    if not isinstance(bias, torch.Tensor) or source in bound.taken:
        return None
    own = f"{row.event.module}.bias"
    kept = row.event.outputs[0][1]
    other = sides.by_call[row.officials[0], row.event.call].outputs[0][1]
    found = sides.pairs.owners[row.event.module].out
    if len(found) != 1 or kept.numel != other.numel:
        return None
    here, there = sides.spool.read(kept), sides.spool.read(other)
    shape = [1] * here.ndim
    shape[1 if found[0].ported_channels and here.ndim > 2 else -1] = -1
    index = torch.as_tensor(found[0].official_index)
    with_bias = here + bias.detach().cpu().to(here.dtype)[index].reshape(shape)
    if apart(there, with_bias) > limit:
        return None
    dropped = (source,) if source in bound.dropped else ()
    parameters: tuple[str, ...] = (own,) if own in bound.given else ()
    if not dropped and not parameters:
        parameters = tuple(name for name in bound.given if module_of(name) == row.event.module)
    return Repair(f"the official bias `{source}` is not added", parameters, dropped)


def mixed_sources(bound: BoundMapping, module: str) -> Repair | None:
    """A module that has its weight from one official module, and its bias from another."""
    own = [name for name in bound.given if module_of(name) == module]
    origins = {name: {module_of(source) for source in sources_of(bound, name)} for name in own}
    kinds = {frozenset(found) for found in origins.values() if found}
    if len(kinds) < 2:
        return None
    told = [
        f"its {name.rpartition('.')[2]} is of {', '.join(sorted(found))}" for name, found in origins.items()
    ]
    return Repair("; ".join(told), tuple(own))


def standing_elsewhere(pair: Pair, sides: Sides, event: Event, limit: float) -> str:
    """Another official module of which this one has the input, where its own has another; "" if none."""
    own = event.inputs[0][1] if event.inputs else None
    owner = sides.pairs.owners.get(event.module)
    if own is None or owner is None:
        return ""
    modules = dict(pair.official.named_modules())
    kinds = {_kind(modules[name]) for name in owner.officials}
    for other in sides.official:
        if other.module in owner.officials or not other.inputs or _kind(modules[other.module]) not in kinds:
            continue
        error = sides.between(other.inputs[0][1], own)
        if error is not None and error <= limit:
            return other.module
    return ""


def _kind(module: Module) -> tuple[object, ...]:
    """The same for modules that could stand for each other."""
    parameters = module.named_parameters(recurse=False)
    return type(module), tuple((name, tuple(value.shape)) for name, value in parameters)


def attributes_that_differ(pair: Pair, module: str, officials: Sequence[str]) -> tuple[str, ...]:
    """Numbers and words of the two modules that differ, under names that are alike: an epsilon, a count."""
    if len(officials) != 1:
        return ()
    ported = dict(pair.ported.named_modules()).get(module)
    official = dict(pair.official.named_modules()).get(officials[0])
    if ported is None or official is None:
        return ()
    ours, theirs = _attributes(ported), _attributes(official)
    found = []
    for name, value in theirs.items():
        for other, mine in ours.items():
            if _same_meaning(name, other) and not _equal(value, mine):
                found.append(f"{name} is {value!r} in the official module, {other} is {mine!r} in the port")
    return tuple(dict.fromkeys(found))


def _attributes(module: object) -> dict[str, object]:
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, _ATTRIBUTES) and not name.startswith("_") and name != "training"
    }


def _same_meaning(a: str, b: str) -> bool:
    return a == b or ("eps" in a and "eps" in b)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return isclose(a, b, rel_tol=1e-9)
    return a == b
