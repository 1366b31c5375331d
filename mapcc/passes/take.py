"""Which equation takes which source tensor: every name is matched once, against all patterns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mapcc.diagnostics.model import Label
from mapcc.ir.expr import Unevaluable
from mapcc.ir.patterns import Deep, Pattern, Regex, Star
from mapcc.ir.program import Equation, Listed
from mapcc.passes.binder import ABSENT, Binder, Key, Matched, Position
from mapcc.passes.indices import NotOneToOne
from mapcc.passes.match import Leaf, Trie
from mapcc.passes.resolve import Resolver, Values
from mapcc.passes.segments import Variant, name_axes, variants
from mapcc.passes.words import regex_names


@dataclass(frozen=True, slots=True, eq=False)
class _Taker:
    """A pattern of the left side: which unit of which equation, or a drop."""

    equation: Equation | None
    unit: int
    member: int
    axes: tuple[str, ...]
    resolver: Resolver
    drop: Listed | None = None
    order: tuple[int, ...] | None = None  # holes to variables, where nothing has to be solved

    @property
    def is_default(self) -> bool:
        return self.equation.is_default if self.equation else bool(self.drop and self.drop.is_default)


def match_sources(binder: Binder) -> None:
    trie = _source_trie(binder)
    failed = excuses(binder.program.failed_left, binder.program.separators[0])
    for name in binder.source.tensors:
        candidates = _candidates(binder, trie, name)
        if len(candidates) > 1:
            strong = [c for c in candidates if not c[0].is_default]
            candidates = strong or candidates
        if not candidates and failed.match(name):
            binder.excused_sources.add(name)
        if len(candidates) > 1:
            _ambiguous(binder, name, [taker for taker, _, _ in candidates])
            binder.excused_sources.add(name)
        for taker, key, position in candidates:
            _take(binder, name, taker, key, position)


def excuses(patterns: Sequence[Pattern], separator: str) -> Trie:
    """What the names of wrong rules match, as far as they can be read at all."""
    trie = Trie(separator)
    for pattern in patterns:
        parts = tuple(Star() if isinstance(part, Regex) else part for part in pattern.parts)
        if sum(isinstance(part, Deep) for part in parts) > 1:
            continue
        for variant in variants(Pattern(parts), separator):
            trie.add(None, variant)
    return trie


def _source_trie(binder: Binder) -> Trie:
    trie = Trie(binder.program.separators[0])
    for equation in binder.program.equations:
        resolver = binder.resolver(equation)
        binder.matched[equation.number] = Matched()
        if equation.broken:
            continue
        regexes = regex_names(equation)
        for u, unit in enumerate(equation.units):
            for m, name in enumerate(unit.names):
                axes = tuple(axis.atom for axis in name_axes(name))
                for variant in variants(name, equation.separators[0], regexes):
                    order = _plain_order(variant, equation, resolver) if not axes else None
                    trie.add(_Taker(equation, u, m, axes, resolver, order=order), variant)
    for listed in binder.program.drops:
        resolver = binder.listed_resolver(listed)
        binder.dropped_by.setdefault(id(listed), 0)
        for name in listed.names:
            for variant in variants(name, listed.separator):
                trie.add(_Taker(None, 0, 0, (), resolver, drop=listed), variant)
    return trie


def _candidates(binder: Binder, trie: Trie, name: str) -> list[tuple[_Taker, Key, Position]]:
    out: list[tuple[_Taker, Key, Position]] = []
    for leaf, texts in trie.match(name):
        taker: _Taker = leaf.owner
        if taker.order is not None:
            key = tuple(
                [int(t) if hole.expr is not None else t for hole, t in zip(leaf.holes, texts, strict=True)]
            )
            if taker.order:
                key = tuple([key[k] for k in taker.order])
            out.append((taker, key, ()))
            continue
        resolved = _resolve(binder, taker, leaf, texts)
        if resolved is None:
            if taker.equation is not None:
                binder.matched[taker.equation.number].filtered += 1
            continue
        values, axes = resolved
        variables = taker.equation.variables if taker.equation else ()
        key = tuple(values.get(variable, ABSENT) for variable in variables)
        labels = dict(leaf.variant.positions)
        out.append((taker, key, tuple(labels[a] if a in labels else axes[a] for a in taker.axes)))
    return out


def _resolve(
    binder: Binder, taker: _Taker, leaf: Leaf, texts: Sequence[str]
) -> tuple[Values, dict[str, int]] | None:
    owner = taker.equation or taker.drop
    span = owner.span if owner else None
    try:
        return taker.resolver.resolve(leaf, texts)
    except Unevaluable as error:
        binder.unevaluable(error, taker.resolver, span)
    except NotOneToOne as error:
        message = f"two choices of {error} give the same number"
        binder.findings.add("MC205", message, span, help="narrow the domains: where r in 0..N")
    return None


def _take(binder: Binder, name: str, taker: _Taker, key: Key, position: Position) -> None:
    if taker.drop is not None:
        binder.bound.dropped[name] = taker.drop
        binder.dropped_by[id(taker.drop)] += 1
        return
    assert taker.equation is not None
    matched = binder.matched[taker.equation.number].tensors
    matched.setdefault((taker.unit, taker.member), {}).setdefault(key, {})[position] = name


def _ambiguous(binder: Binder, name: str, takers: Sequence[_Taker]) -> None:
    spans = [owner.span for taker in takers if (owner := taker.equation or taker.drop)]
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
    )


def _plain_order(variant: Variant, equation: Equation, resolver: Resolver) -> tuple[int, ...] | None:
    """How holes are permuted into variables where every hole is a variable of its own, else None."""
    holes = [hole.variable for hole in variant.holes]
    if not resolver.is_simple or sorted(holes) != sorted(equation.variables):
        return None
    order = tuple(holes.index(variable) for variable in equation.variables)
    return () if order == tuple(range(len(order))) else order
