"""Which equation takes which source tensor: every name is matched once, against all patterns."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from operator import itemgetter
from typing import Any

from mapcc.diagnostics.model import Label
from mapcc.ir.patterns import Deep, Pattern, Regex, Star
from mapcc.ir.program import Equation, Listed
from mapcc.passes.binder import ABSENT, Binder, Key, Matched, NoValue, Position
from mapcc.passes.match import Leaf, OpenText, Trie, closed
from mapcc.passes.repeats import without_repeats
from mapcc.passes.resolve import Resolver, Values
from mapcc.passes.segments import (
    MAX_LABEL_VARIANTS,
    MAX_SEGMENTS,
    Variant,
    count_segments,
    name_axes,
    variants,
)
from mapcc.passes.words import regexes_of, right_names
from mapcc.passes.wrappers import check_wrappers


@dataclass(slots=True, eq=False)
class _Taker:
    """A pattern of the left side: which unit of which equation, or a drop.

    ``into`` is where its matches are gathered, from the first on.
    """

    equation: Equation | None
    unit: int
    member: int
    axes: tuple[str, ...]
    resolver: Resolver
    drop: Listed | None = None
    direct: tuple[str, ...] | None = None  # the variables, where nothing has to be solved
    asked: tuple[int, ...] = ()  # which variables the filters ask for
    into: dict[Key, dict[Position, str]] | None = None

    @property
    def is_default(self) -> bool:
        return self.equation.is_default if self.equation else bool(self.drop and self.drop.is_default)


# Some of a name's numbers and constants, as a tuple.
_Pick = Callable[[Sequence[Any]], tuple[Any, ...]]


def _nothing(values: Sequence[Any]) -> tuple[Any, ...]:
    return ()


def _picker(places: Sequence[int]) -> _Pick:
    if not places:
        return _nothing
    if len(places) > 1:
        return itemgetter(*places)
    (place,) = places
    return lambda values: (values[place],)


@dataclass(slots=True)
class _Recipe:
    """How a taker's key and position are picked from a name's numbers and from constants.

    So is ``asked``, what the filters ask for. ``key`` is None where they have to be solved for.
    """

    taker: _Taker
    leaf: Leaf
    texts: list[OpenText]
    constants: list[int | str]
    key: _Pick | None = None
    asked: _Pick = _nothing
    position: _Pick = _nothing


def match_sources(binder: Binder) -> None:
    trie = _source_trie(binder)
    failed = excuses(binder.program.failed_left, binder.program.separators[0])
    any_failed = bool(binder.program.failed_left)
    alone: list[str] = []
    for name, found, numbers in trie.open_matches(binder.source.tensors):
        if found.note is None:
            found.note = [_recipe(leaf, texts, len(numbers)) for leaf, texts in found.leaves]
        candidates = _candidates(binder, found.note, numbers, name)
        if candidates and any_failed and all(c[0].is_default for c in candidates) and failed.match(name):
            # A rule that is wrong was to take it: what the default makes of it is no second fault.
            for taker, _, _ in candidates:
                _excuse_default(binder, taker)
            candidates = []
        if len(candidates) == 1:  # nearly always
            _take(binder, name, *candidates[0])
            continue
        if len(candidates) > 1:
            strong = [c for c in candidates if not c[0].is_default]
            candidates = strong or candidates
        if not candidates and failed.match(name):
            binder.excused_sources.add(name)
        elif not candidates:
            alone.append(name)
        if len(candidates) > 1:
            _ambiguous(binder, name, [taker for taker, _, _ in candidates])
            binder.excused_sources.add(name)
        for taker, key, position in candidates:
            _take(binder, name, taker, key, position)
    check_wrappers(binder, alone, trie)


def _excuse_default(binder: Binder, taker: _Taker) -> None:
    """A default that lost its tensors to a rule that is wrong did match."""
    if taker.drop is not None:
        binder.dropped_by[id(taker.drop.written)] += 1
    elif taker.equation is not None:
        binder.matched[taker.equation.number].failed = True


def excuses(patterns: Sequence[Pattern], separator: str) -> Trie:
    """What the names of wrong rules match, as far as they can be read at all."""
    trie = Trie(separator)
    for pattern in patterns:
        parts = tuple(Star() if isinstance(part, Regex) else part for part in pattern.parts)
        if sum(isinstance(part, Deep) for part in parts) > 1 or _is_too_long(pattern, separator):
            continue
        for variant in variants(Pattern(parts), separator):
            trie.add(None, replace(variant, segments=tuple(filter(None, variant.segments))))
    return trie


def _is_too_long(pattern: Pattern, separator: str) -> bool:
    labels = prod(len(axis.labels or "x") for axis in name_axes(pattern))
    return count_segments(pattern, separator) > MAX_SEGMENTS or labels > MAX_LABEL_VARIANTS


def _source_trie(binder: Binder) -> Trie:
    trie = Trie(binder.program.separators[0])
    for equation in binder.program.equations:
        resolver = binder.resolver(equation)
        binder.matched[equation.number] = Matched()
        if equation.broken:
            continue
        regexes = regexes_of(equation)
        for u, unit in enumerate(equation.units):
            for m, name in enumerate(unit.names):
                axes = tuple(axis.atom for axis in name_axes(name))
                for variant in variants(name, equation.separators[0], regexes):
                    direct = _direct(variant, equation.variables, resolver)
                    trie.add(_Taker(equation, u, m, axes, resolver, None, *direct), variant)
    for listed in binder.program.drops:
        resolver = binder.listed_resolver(listed)
        binder.dropped_by.setdefault(id(listed.written), 0)
        for variant in variants(listed.name, listed.separator):
            words, asked = _direct(variant, tuple(resolver.variables), resolver)
            if words is not None:  # what the filters ask for is all that matters of a key
                words, asked = resolver.filter_words, tuple(range(len(asked)))
            trie.add(_Taker(None, 0, 0, (), resolver, listed, words, asked), variant)
    return trie


def _candidates(
    binder: Binder, recipes: list[_Recipe], numbers: list[int], name: str
) -> list[tuple[_Taker, Key, Position]]:
    out: list[tuple[_Taker, Key, Position]] = []
    for recipe in recipes:
        taker = recipe.taker
        held: bool | None = None
        if recipe.key is not None:
            values = [*numbers, *recipe.constants] if recipe.constants else numbers
            held = taker.resolver.held.get(recipe.asked(values))
            if held:
                out.append((taker, recipe.key(values), recipe.position(values)))
                continue
        if held is None and (solved := _solved(binder, recipe, closed(recipe.texts, numbers), name)):
            out.append(solved)
        elif taker.equation is not None:
            binder.matched[taker.equation.number].filtered += 1
        elif taker.drop is not None:
            at = id(taker.drop.written)
            binder.filtered_by[at] = binder.filtered_by.get(at, 0) + 1
    return out


def _recipe(leaf: Leaf, texts: list[OpenText], numbers: int) -> _Recipe:
    taker: _Taker = leaf.owner
    recipe = _Recipe(taker, leaf, texts, [])
    places: dict[str, int] = {}

    def constant(value: int | str) -> int:
        recipe.constants.append(value)
        return numbers + len(recipe.constants) - 1

    for hole, text in zip(leaf.holes, texts, strict=True):
        is_number = hole.expr is not None or hole.variable.startswith("[")
        if isinstance(text, int) and is_number:
            places[hole.variable] = text
        elif isinstance(text, str):
            places[hole.variable] = constant(int(text) if is_number else text)
    if taker.direct is not None and places.keys() >= set(taker.direct):
        labels = {f"[{axis}": constant(k) for axis, k in leaf.variant.positions}
        key = [places[variable] for variable in taker.direct]
        recipe.key = _picker(key)
        recipe.asked = _picker([key[k] for k in taker.asked])
        recipe.position = _picker([(places | labels)[f"[{axis}"] for axis in taker.axes])
    return recipe


def _solved(
    binder: Binder, recipe: _Recipe, texts: list[str], name: str
) -> tuple[_Taker, Key, Position] | None:
    taker, leaf = recipe.taker, recipe.leaf
    resolved = _resolve(binder, taker, leaf, texts, name)
    if resolved is None:
        return None
    values, axes = resolved
    variables = taker.equation.variables if taker.equation else ()
    key = tuple(values.get(variable, ABSENT) for variable in variables)
    labels = dict(leaf.variant.positions)
    return taker, key, tuple(labels[a] if a in labels else axes[a] for a in taker.axes)


def _resolve(
    binder: Binder, taker: _Taker, leaf: Leaf, texts: Sequence[str], name: str
) -> tuple[Values, dict[str, int]] | None:
    owner = taker.equation or taker.drop
    try:
        return binder.resolve(taker.resolver, leaf, texts, owner.span if owner else None)
    except NoValue:
        binder.excused_sources.add(name)
        if taker.drop is not None:
            binder.dropped_by[id(taker.drop.written)] += 1
        if taker.equation is not None and not binder.matched[taker.equation.number].failed:
            binder.matched[taker.equation.number].failed = True
            binder.program.failed_right += right_names(taker.equation)
        return None


def _take(binder: Binder, name: str, taker: _Taker, key: Key, position: Position) -> None:
    if taker.drop is not None:
        binder.bound.dropped[name] = taker.drop
        binder.dropped_by[id(taker.drop.written)] += 1
        return
    if taker.into is None:
        assert taker.equation is not None
        tensors = binder.matched[taker.equation.number].tensors
        taker.into = tensors.setdefault((taker.unit, taker.member), {})
    if key in taker.into:
        taker.into[key][position] = name
    else:
        taker.into[key] = {position: name}


def _ambiguous(binder: Binder, name: str, takers: Sequence[_Taker]) -> None:
    owners = [owner for taker in takers if (owner := taker.equation or taker.drop)]
    spans = [owner.span for owner in owners]
    first, *others = spans
    related = tuple(Label(span, "and this") for span in others)
    binder.findings.add(
        "MC403",
        f"{len(spans)} rules take the same source tensors",
        first,
        name,
        label="taken here",
        related=related,
        help="narrow one of the patterns, or put the general rule into 'default { ... }'",
        fixes=partial(without_repeats, binder.program, owners),
    )


def _direct(
    variant: Variant, variables: tuple[str, ...], resolver: Resolver
) -> tuple[tuple[str, ...] | None, tuple[int, ...]]:
    """The variables if each hole is one of its own, and which of them the filters ask for."""
    holes = [hole.variable for hole in variant.holes]
    inner = sorted(hole for hole in holes if not hole.startswith("["))
    words = resolver.filter_words
    if not resolver.is_direct or inner != sorted(variables) or len(set(holes)) < len(holes):
        return None, ()
    if words is None or not set(words) <= set(variables):
        return None, ()
    return variables, tuple(map(variables.index, words))
