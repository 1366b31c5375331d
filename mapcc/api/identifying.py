"""Which model a checkpoint is, and what can be done with it: only what was tried on its own names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from mapcc.api.checking import Checked, KeySet, check, keys, load_mapping
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.expr import Number
from mapcc.library.catalog import catalog
from mapcc.library.identify import Match, Part, parts
from mapcc.library.identify import identify as identified
from mapcc.library.known import known_models
from mapcc.passes.check import Setting
from mapcc.passes.leftover import patterns_of
from mapcc.passes.under import OPTION as UNDER
from mapcc.passes.wrappers import bare, statements
from mapcc.tensors.quantised.recognise import quantised
from mapcc.tensors.selection import Select
from mapcc.tensors.spec import Manifest, TensorSpec

DROP = "--drop"
_TRIED = 6  # mappings for one model
_DROPS = 8  # patterns in one command


@dataclass(frozen=True, slots=True)
class Fit:
    """A mapping, held against a model of the checkpoint.

    Attributes:
        under: the prefix that it was held under; "" for none.
        drops: patterns of names that it does not know, and was told to leave out.
        settings: its lets, with the values that it was held with.
        match: how like its own model the checkpoint is.
        is_guessed: nothing tells that these values are the model's own: it is of no size that is known.
        dropped: what the mapping itself leaves out: its reasons, each with folded names.
        problem: why it does not fit; None if it does.
    """

    mapping: str
    match: Match
    under: str
    drops: tuple[str, ...]
    settings: Mapping[str, Setting]
    is_guessed: bool
    dropped: tuple[tuple[str, tuple[str, ...]], ...]
    problem: Diagnostic | None


@dataclass(frozen=True, slots=True)
class Fitted:
    """One model of a checkpoint, and the mappings that were tried on it."""

    part: Part
    fits: tuple[Fit, ...]


@dataclass(frozen=True, slots=True)
class Identified:
    """What a checkpoint holds.

    Attributes:
        models: those of the library that are in it, the largest first.
        rest: folded names that belong to none of them.
        nearest: where there is none: the model that it resembles most, if any.
        unwrap: where the models were only seen without the wrappers that training left in the names: the
            lines of a mapping that takes them off. No mapping was tried then.
        unpack: where the models were only seen without what quantisation has put beside their weights: how
            to get the weights themselves. No mapping was tried then either.
    """

    source: Manifest
    models: tuple[Fitted, ...]
    rest: tuple[str, ...]
    nearest: Match | None
    unwrap: tuple[str, ...] = ()
    unpack: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        return any(fitted.part.best.is_this for fitted in self.models)


def identify(source: KeySet, *, select: Select = None) -> tuple[Match, ...]:
    """The published models that a checkpoint resembles, the likeliest first; only headers are read.

    Where ``matches[0].is_this`` is false, or there is none, the library does not have the model.

    Raises:
        MappingError: the checkpoint cannot be read.
    """
    return identified(keys(source, select=select), known_models(catalog(headers=True)))


def identify_parts(source: KeySet, *, select: Select = None) -> Identified:
    """All models in a checkpoint, each with the mappings that take it, held against its names.

    Raises:
        MappingError: the checkpoint cannot be read.
    """
    checkpoint = keys(source, select=select)
    matches = identified(checkpoint, known_models(catalog(headers=True)))
    found = tuple(Fitted(part, tuple(_fits(checkpoint, part))) for part in parts(matches))
    of_some = frozenset().union(*(_all_names(fitted) for fitted in found))
    rest = tuple(fold(name for name in checkpoint.tensors if name not in of_some))
    if not found:
        inner = _without_wrappers(checkpoint) or _without_scales(checkpoint)
        if inner is not None:
            return inner
    return Identified(checkpoint, found, rest if found else (), matches[0] if matches and not found else None)


def _without_wrappers(checkpoint: Manifest) -> Identified | None:
    """The models that the names are of once the wrappers of training are off; None if there are none."""
    names = {name: bare(name) for name in checkpoint.tensors}
    if len(set(names.values())) < len(names) or all(name == short for name, short in names.items()):
        return None
    tensors = {names[name]: spec for name, spec in checkpoint.tensors.items()}
    matches = identified(replace(checkpoint, tensors=tensors), known_models(catalog(headers=True)))
    found = tuple(Fitted(part, ()) for part in parts(matches))
    return Identified(checkpoint, found, (), None, tuple(statements(names))) if found else None


def _without_scales(checkpoint: Manifest) -> Identified | None:
    """The models that the names are of without what belongs to quantised weights; None if there are none."""
    found = quantised(checkpoint)
    if not found.weights:
        return None
    tensors: dict[str, TensorSpec] = {}
    for name, spec in checkpoint.tensors.items():
        weight = found.weights.get(name)
        if weight is not None:
            kept = {"": name, "_blocks": weight.stem}
            tensors[kept.get(weight.container.main, f"{weight.stem}weight")] = spec
        elif name not in found.owner and name not in found.markers:
            tensors[name] = spec
    matches = identified(replace(checkpoint, tensors=tensors), known_models(catalog(headers=True)))
    models = tuple(Fitted(part, ()) for part in parts(matches))
    ways = dict.fromkeys(weight.container.way_out for weight in found.weights.values())
    return Identified(checkpoint, models, (), None, (), tuple(ways)) if models else None


def _all_names(fitted: Fitted) -> frozenset[str]:
    best = fitted.part.best
    return best.names.union(best.prefix + name for name in best.strange)


def _fits(checkpoint: Manifest, part: Part) -> Iterator[Fit]:
    """Every mapping of the families that the model may be of, whose source is named as it is."""
    like = part.equals if part.best.is_this else [match for match in part.matches if match.is_like]
    families = {match.known.family for match in like}
    tried: dict[str, Match] = {}
    for match in part.matches:
        if match.known.family in families and match.prefix == part.prefix:
            for name in match.known.takes:
                tried.setdefault(name, match)
    for name, match in list(tried.items())[:_TRIED]:
        yield _fit(checkpoint, name, match, part.best)


def _fit(checkpoint: Manifest, name: str, match: Match, best: Match) -> Fit:
    lets = _lets(name)
    settings = {**lets, **_of_config(lets, checkpoint.config)}
    own = match.known.prefix
    under = match.prefix.rstrip(".") or (own if own and not _is_alone(checkpoint, own) else "")
    checked = check(name, checkpoint, settings=settings, under=under)
    drops: tuple[str, ...] = ()
    if not checked.ok:
        drops = _drops(checked, under if match.prefix else "", best)
        if drops:
            again = check(name, checkpoint, settings=settings, under=under, statements=drop_statements(drops))
            checked, drops = (again, drops) if again.ok else (checked, ())
    problem = next((d for d in checked.diagnostics if d.exit_code), None)
    dropped = tuple(_dropped(checked.bound)) if checked.bound and not problem else ()
    return Fit(name, match, under, drops, settings, bool(lets) and not match.is_this, dropped, problem)


def _is_alone(checkpoint: Manifest, prefix: str) -> bool:
    return all(name.startswith(prefix + ".") for name in checkpoint.tensors)


# --- lets


def _lets(name: str) -> dict[str, Setting]:
    """The numbers of a mapping that ``--set`` overrides."""
    body = load_mapping(name).body
    lets = (each for each in body if isinstance(each, rules.Let))
    return {let.name: let.value.value for let in lets if isinstance(let.value, Number)}


def _of_config(lets: Mapping[str, Setting], config: Mapping[str, object] | None) -> dict[str, Setting]:
    """Those that the checkpoint's config says, under the name that it has there."""
    if config is None:
        return {}
    heads, width = config.get("num_attention_heads"), config.get("hidden_size")
    said = {"heads": heads, "layers": config.get("num_hidden_layers"), "head_dim": config.get("head_dim")}
    if said["head_dim"] is None and isinstance(heads, int) and isinstance(width, int) and heads:
        said["head_dim"] = width // heads
    found = {name: said.get(name, config.get(name)) for name in lets}
    return {name: value for name, value in found.items() if type(value) is int and value > 0}


# --- what the mapping does not know, and what it leaves out itself


def _drops(checked: Checked, under: str, best: Match) -> tuple[str, ...]:
    """Patterns for what no rule takes, if that is all that is wrong; as they are named beneath the prefix.

    None for a mapping that does not know what the model itself has: it is for another model.
    """
    bound = checked.bound
    if bound is None or any(d.exit_code and d.code != "MC402" for d in checked.diagnostics):
        return ()
    separator = bound.program.separators[0]
    before = under + separator if under else ""
    there = [name for name in bound.source.tensors if name.startswith(before)]
    known = {name for name in there if name in bound.taken or name in bound.dropped}
    left = [name.removeprefix(before) for name in there if name not in known]
    if best.is_this and any(name in best.known.tensors for name in left):
        return ()
    patterns = patterns_of(left, (name.removeprefix(before) for name in known), separator)
    return tuple(patterns) if len(patterns) <= _DROPS else ()


def drop_statements(patterns: list[str] | tuple[str, ...]) -> str:
    """What ``--drop`` adds to a mapping."""
    return "".join(f'drop {pattern} because "{DROP}"\n' for pattern in patterns)


def _dropped(bound: BoundMapping) -> Iterator[tuple[str, tuple[str, ...]]]:
    found: dict[str, list[str]] = {}
    for name, listed in bound.dropped.items():
        if listed.span.source.name != UNDER and listed.because != DROP:
            found.setdefault(listed.because, []).append(name)
    for because, names in found.items():
        yield because, tuple(fold(names))
