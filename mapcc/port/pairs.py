"""Which module of the official model is which of the port, as the mapping says it, parameter by parameter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from mapcc.ir.bound import BoundMapping, Instance
from mapcc.port.features import Features, axes_of, correspondence, has_channels

if TYPE_CHECKING:
    from torch.nn import Module

    from mapcc.port.features import Indices

_ORDER = ("weight", "bias")


@dataclass(frozen=True, slots=True)
class Owner:
    """A module with parameters of its own, and what the mapping says of its activations.

    Attributes:
        out, into: features that come out and go in; empty where the mapping does not tell.
        is_comparable: whether its activations are those of its officials at all.
        officials: the modules that its parameters come from.
    """

    name: str
    officials: tuple[str, ...]
    out: tuple[Features, ...] = ()
    into: tuple[Features, ...] = ()
    is_comparable: bool = True


@dataclass(frozen=True, slots=True)
class Pairs:
    """Both models side by side.

    Attributes:
        owners: by the ported module's name.
        wholes: ported modules whose parameters all come from one official module, which has no others:
            several on either side if one does nothing but hold the next.
    """

    owners: Mapping[str, Owner]
    wholes: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
    declared: Mapping[str, str] = field(default_factory=dict)


# An index of layers: norm1 and norm2 are no layers.
LAYER = re.compile(r"(?<![^.])[0-9]+(?![^.])")


def in_any_layer(name: str) -> str:
    """The same for the same module of every layer.

    >>> in_any_layer("blocks.12.norm1")
    'blocks.0.norm1'
    """
    return LAYER.sub("0", name)


def module_of(parameter: str) -> str:
    """``blocks.0.to_q`` of ``blocks.0.to_q.weight``."""
    return parameter.rpartition(".")[0]


def pairs_of(
    bound: BoundMapping,
    official: Mapping[str, Module],
    ported: Mapping[str, Module],
    declared: Mapping[str, str],
) -> Pairs:
    """Modules by name on both sides; ``declared`` are pairs without weights, official to ported."""
    by_module: dict[str, list[str]] = {}
    for target in bound.given:
        by_module.setdefault(module_of(target), []).append(target)
    owners = {
        name: _owner(name, parameters, bound, official, ported[name])
        for name, parameters in by_module.items()
        # A table that a whole block owns says nothing of the features that the block gives.
        if name in ported and not _holds_others(name, by_module)
    }
    return Pairs(owners, tuple(_wholes(bound, official, ported)), {p: o for o, p in declared.items()})


def _holds_others(name: str, modules: Mapping[str, object]) -> bool:
    return not name or any(other.startswith(f"{name}.") for other in modules)


def _is_holder(module: Module) -> bool:
    children = getattr(module, "children", tuple)  # of a file of activations, there is no module
    return any(True for child in children() for _ in child.parameters())


def same_names(
    ported: Mapping[str, Module], official: Mapping[str, Module], declared: Mapping[str, str]
) -> Pairs:
    """Each module of the port with the official one of the same name."""
    both = [name for name in ported if name in official and name]
    owners = {name: Owner(name, (name,)) for name in both if [*ported[name].parameters(recurse=False)]}
    wholes = tuple(((name,), (name,)) for name in both if name not in owners)
    return Pairs(owners, wholes, {p: o for o, p in declared.items()})


def _owner(
    name: str, parameters: list[str], bound: BoundMapping, official: Mapping[str, Module], module: Module
) -> Owner:
    ordered = sorted(parameters, key=lambda each: _rank(each))
    sources = dict.fromkeys(
        module_of(source)
        for parameter in ordered
        for source in sources_of(bound, parameter)
        if module_of(source) in official
    )
    # What goes into a module that holds others goes into these first, and not to its own weight.
    telling = {name: official[name] for name in sources if not _is_holder(official[name])}
    out: tuple[Features, ...] = ()
    into: tuple[Features, ...] = ()
    for parameter in ordered:
        instance, number = bound.given[parameter]
        axes = axes_of(module, instance.layout.target_shapes[number])
        out = out or tuple(_features(bound, instance, number, telling, module, axes.out, outwards=True))
        if not _is_bias(parameter) and not into:
            into = tuple(_features(bound, instance, number, telling, module, axes.into, outwards=False))
    return Owner(name, tuple(sources), out, into, is_comparable=bool(telling) or not sources)


def _rank(parameter: str) -> tuple[int, str]:
    leaf = parameter.rpartition(".")[2]
    return (_ORDER.index(leaf) if leaf in _ORDER else len(_ORDER)), leaf


def _is_bias(parameter: str) -> bool:
    return parameter.rpartition(".")[2] == "bias"


def sources_of(bound: BoundMapping, target: str) -> list[str]:
    """The official tensors that a ported one is made of."""
    instance, number = bound.given[target]
    used = dict.fromkeys(move.source for move in instance.layout.moves if move.target == number)
    return [name for operand in used for name in instance.sources[operand]]


def _features(
    bound: BoundMapping,
    instance: Instance,
    number: int,
    official: Mapping[str, Module],
    module: Module,
    axis: int,
    *,
    outwards: bool,
) -> Iterator[Features]:
    shapes, axes, owners = [], [], []
    for operand in instance.sources:
        shape = bound.source.tensors[operand[-1]].shape if operand else ()
        theirs = official.get(module_of(operand[-1])) if operand else None
        own = axes_of(theirs, shape) if theirs is not None else None
        shapes.append(shape)
        axes.append(0 if own is None else own.out if outwards else own.into)
        owners.append(module_of(operand[-1]) if operand else "")
    found = correspondence(instance, number, shapes, axis, axes) or []
    merged: dict[str, list[tuple[Indices, Indices]]] = {}
    for source, here, there in found:
        if owners[source] in official:
            merged.setdefault(owners[source], []).append((here, there))
    for owner, parts in merged.items():
        if not outwards:
            # Each piece of a fused weight takes all that goes in.
            parts = parts[:1]
        shape = next(s for s, name in zip(shapes, owners, strict=True) if name == owner)
        yield Features(
            owner,
            np.concatenate([part[0] for part in parts]),
            np.concatenate([part[1] for part in parts]),
            has_channels(module, instance.layout.target_shapes[number]),
            has_channels(official[owner], shape),
        )


# --- modules that hold others


def _wholes(
    bound: BoundMapping, official: Mapping[str, Module], ported: Mapping[str, Module]
) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    goes_to: dict[str, set[str]] = {}
    comes_from: dict[str, set[str]] = {}
    for target in bound.given:
        for source in sources_of(bound, target):
            goes_to.setdefault(source, set()).add(target)
            comes_from.setdefault(target, set()).add(source)
    theirs, ours = _held(goes_to, official), _held(comes_from, ported)
    for parameters, names in ours.items():
        sources = frozenset(source for parameter in parameters for source in comes_from[parameter])
        officials = theirs.get(sources)
        back = frozenset(target for source in sources for target in goes_to[source])
        if officials and back == parameters:
            yield tuple(officials), tuple(names)


def _held(parameters: Mapping[str, object], modules: Mapping[str, Module]) -> dict[frozenset[str], list[str]]:
    """For each set of parameters the modules that hold just these, the outermost first."""
    under: dict[str, set[str]] = {}
    for parameter in parameters:
        at = module_of(parameter)
        while True:
            if at in modules:
                under.setdefault(at, set()).add(parameter)
            if not at:
                break
            at = module_of(at)
    out: dict[frozenset[str], list[str]] = {}
    for name in sorted(under, key=lambda each: (each.count(".") + bool(each), each)):
        out.setdefault(frozenset(under[name]), []).append(name)
    return out
