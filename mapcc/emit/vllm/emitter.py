"""vLLM's ``WeightsMapper``, from a bound mapping.

What the class cannot say is refused, rule by rule. What it can say is replayed over every name of the
source with vLLM's own rules, and is given only if it means what the mapping means.

Expressions that vLLM would apply to each other's results are kept apart by their order. Where no order
does it, each puts a sign before the name that it makes, which no other matches and a prefix takes away.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

from mapcc.diagnostics.model import Diagnostics
from mapcc.dialects.vllm.engine import Kind, Rule, VllmTable, Way, table
from mapcc.dialects.vllm.shards import Shard
from mapcc.emit.emitted import Emitted
from mapcc.emit.entries import Level
from mapcc.emit.sayable import Voice, sayable
from mapcc.emit.vllm.entries import (
    Dropping,
    Line,
    Moving,
    Owner,
    Signs,
    Style,
    has_letters,
    lines_of,
    rank,
    shard_of,
)
from mapcc.emit.vllm.order import ordered
from mapcc.emit.vllm.text import render
from mapcc.ir.bound import BoundMapping
from mapcc.ir.program import Listed
from mapcc.passes.paths import PathIndex
from mapcc.tensors.spec import Manifest, TensorSpec

VOICE = Voice(
    cannot="vLLM's WeightsMapper cannot",
    convert="'mapcc convert' writes the weights as vLLM has them, and then no mapper is needed",
)

Wanted = tuple[str | None, tuple[Shard, ...]]


def emit_vllm(bound: BoundMapping) -> Emitted[VllmTable]:
    """vLLM's mapper for a mapping that was bound without an error."""
    found = Diagnostics()
    candidates = sayable(bound, VOICE, found)
    if len(found):
        return Emitted(diagnostics=tuple(found))
    attempt = _Attempt(bound, [Moving(candidate, has_letters(candidate)) for candidate in candidates])
    wrong = attempt.run()
    if wrong:
        return Emitted(diagnostics=(VOICE.different(wrong),))
    return Emitted(render(bound, attempt.lines, attempt.moving, attempt.signs), attempt.table())


@dataclass(slots=True)
class _Attempt:
    """Entries that are written out further until they mean what the mapping means.

    This ends: with signs, and written out to the last name, entries match their names alone.
    """

    bound: BoundMapping
    moving: list[Moving]
    dropping: list[Dropping] = field(default_factory=list)
    wanted: dict[str, Wanted] = field(default_factory=dict)
    owners: dict[str, Owner] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    signs: Signs = field(init=False)

    def __post_init__(self) -> None:
        by_drop: dict[Listed, Dropping] = {}
        for name, listed in self.bound.dropped.items():
            by_drop.setdefault(listed, Dropping(listed, [])).names.append(name)
            self.wanted[name], self.owners[name] = (None, ()), by_drop[listed]
        self.dropping = list(by_drop.values())
        for owner in self.moving:
            for instance, rows in owner.candidate.moved:
                for row in rows:
                    name = instance.sources[row.source][-1]
                    shards = () if row.place is None else (shard_of(owner, row.place),)
                    self.wanted[name], self.owners[name] = (instance.targets[row.target], shards), owner
        self.signs = Signs("", _unused(self.names(), "@", "@"))

    def names(self) -> Iterator[str]:
        yield from self.wanted
        yield from (target for target, _ in self.wanted.values() if target is not None)

    def run(self) -> list[str]:
        """The names that are wrong, when nothing more can be done about them."""
        while True:
            clashing = self.written()
            wrong = [] if clashing else self.wrong()
            if not clashing and not wrong:
                return self.unlike()
            if not self.further(clashing, wrong):
                return wrong or self.unlike()

    def table(self) -> VllmTable:
        rules = [line.rule for line in self.lines]
        return table([*rules, Rule(Kind.PREFIX, self.signs.first, "")] if self.signs.first else rules)

    # --- the entries

    def written(self) -> list[Owner]:
        """Writes all entries; the rules that would have one pattern do two things."""
        paths = PathIndex(self.bound.source.tensors, self.bound.program.separators[0])
        owners: list[Owner] = sorted([*self.moving, *self.dropping], key=rank)
        unique: dict[tuple[Kind, str], Line] = {}
        clashing: list[Owner] = []
        for owner in owners:
            for line in lines_of(owner, paths, self.signs):
                other = unique.setdefault((line.rule.kind, line.rule.old), line)
                if other.rule != line.rule:
                    clashing += [owner, other.owner]
        lines = list(unique.values())
        if not self.signs.first and not clashing:
            regexes = [line for line in lines if line.rule.kind is Kind.REGEX]
            order = ordered(regexes, self.wanted, self.owners)
            if order is not None:
                lines = [*order, *(line for line in lines if line.rule.kind is not Kind.REGEX)]
        self.lines = lines
        return clashing

    def ways(self, names: Iterable[str]) -> Iterator[tuple[str, Way]]:
        way = self.table().engine()
        return ((name, way(name)) for name in names)

    def wrong(self) -> list[str]:
        """The source names of which vLLM makes something else."""
        return [
            name
            for name, way in self.ways(self.bound.source.tensors)
            if (way.target, way.shards) != self.wanted.get(name)
        ]

    def unlike(self) -> list[str]:
        """Names whose tensors do not come together as in the mapping; all names right, there are none."""
        outcome = self.table().run(self.bound.source, given(self.bound))
        sources = {
            made.right[0].names[0]: [name for operand in made.left for name in operand.names]
            for made in outcome.made
        }
        theirs: dict[str, list[str]] = {}
        for owner in self.moving:
            for instance, rows in owner.candidate.moved:
                for row in sorted(rows, key=lambda row: row.place or 0):
                    name = instance.sources[row.source][-1]
                    theirs.setdefault(instance.targets[row.target], []).append(name)
        astray = [name for fault in outcome.faults for name in fault.names]
        return astray or [name for name in sources.keys() | theirs if sources.get(name) != theirs.get(name)]

    # --- what is wrong, written out further

    def further(self, clashing: list[Owner], wrong: list[str]) -> bool:
        """Whether anything was changed."""
        stacking = self.stacking(clashing, wrong)
        if stacking:
            for owner in stacking:
                owner.style = Style(owner.style + 1)
            return True
        literal = {id(one): one for one in self.intruding(wrong)}
        for dropping in literal.values():
            dropping.literal = True
        if literal:
            return True
        if wrong and not self.signs.first:
            self.signs = Signs(_unused(self.names(), "=>", "="), self.signs.tag)
            return True
        owners = {
            id(owner): owner
            for owner in (*clashing, *(self.owners[name] for name in wrong if name in self.owners))
        }
        raised = [owner.candidate for owner in owners.values() if isinstance(owner, Moving)]
        raised = [candidate for candidate in raised if candidate.level is not Level.NAMES]
        for candidate in raised:
            candidate.level = Level(candidate.level + 1)
        return bool(raised)

    def stacking(self, clashing: list[Owner], wrong: list[str]) -> list[Moving]:
        """Rules whose substrings are found where they should not be."""
        rules, found = self.table().rules, dict[int, Owner]()
        stacked = {line.rule.old: line.owner for line in self.lines if line.rule.kind is Kind.STACKED}
        for _, way in self.ways(wrong):
            for number in way.fired:
                if rules[number].kind is Kind.STACKED:
                    owner = stacked[rules[number].old]
                    found[id(owner)] = owner
        found.update((id(owner), owner) for owner in clashing)
        return [o for o in found.values() if isinstance(o, Moving) and self.shows(o)]

    def shows(self, owner: Moving) -> bool:
        joins = any(row.place is not None for _, rows in owner.candidate.moved for row in rows)
        return joins and owner.style is not Style.TAG

    def intruding(self, wrong: list[str]) -> Iterator[Dropping]:
        """Drops whose patterns take other names, or do not take their own."""
        rules = self.table().rules
        patterns = {line.rule.old: line.owner for line in self.lines if line.rule.new is None}
        for name, way in self.ways(wrong):
            owners = [patterns.get(rules[number].old) for number in way.fired] + [self.owners.get(name)]
            for owner in owners:
                if isinstance(owner, Dropping) and not owner.literal:
                    yield owner


def given(bound: BoundMapping) -> Manifest:
    """The target as the mapping gives it."""
    shapes = {name: made.layout.target_shapes[number] for name, (made, number) in bound.given.items()}
    return Manifest({name: TensorSpec(name, None, shape) for name, shape in shapes.items()}, (), "", None, {})


def _unused(names: Iterable[str], sign: str, repeated: str) -> str:
    """A sign that stands in no name, with another before it as often as it takes."""
    listed = list(names)
    return next(tried for n in count() if not any((tried := repeated * n + sign) in name for name in listed))
