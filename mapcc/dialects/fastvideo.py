"""FastVideo's ``param_names_mapping``, and the same table under sglang's engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from mapcc.dialects.made import Entry, Fault, Made, Operand, Outcome, Sketch, Trace, renamed
from mapcc.dialects.regex_sketch import NoSketch, sketch
from mapcc.dialects.regexes import Candidates, Mapped, Replacement, Way, first_match, fixed_point
from mapcc.ir.axes import REST, Atom, Rest, Sum
from mapcc.tensors.spec import Manifest

ENGINES = ("fastvideo", "sglang")


@dataclass(frozen=True)
class ParamNames:
    """A table: from patterns to replacements, in the order of the dict.

    Attributes:
        dialect: whose engine: ``fastvideo`` or ``sglang``.
        table: as Python has it: of a key that stands twice, the place of the first, the value of the last.
        entries: one for each pattern.
        twice: entries that a later one with the same pattern replaces.
    """

    dialect: str
    table: Mapping[str, Replacement]
    entries: tuple[Entry, ...]
    twice: tuple[Entry, ...] = ()

    def engine(self, target: Manifest | None = None) -> Callable[[str], Way]:
        if self.dialect == "sglang":
            return fixed_point(self.table, target.tensors if target else None)
        return first_match(self.table)

    @cached_property
    def _names(self) -> tuple[Callable[[str], Way], Candidates]:
        return self.engine(), Candidates(self.table)

    def trace(self, name: str) -> Trace:
        engine, candidates = self._names
        way = engine(name)
        target = None if self._drops(way) else way.mapped.name
        return Trace(target, way.fired, candidates.matching(name))

    def backwards(self) -> ParamNames:
        return ParamNames(self.dialect, dict(reversed(list(self.table.items()))), self.entries[::-1])

    def run(self, source: Manifest, target: Manifest | None) -> Outcome:
        engine = self.engine(target)
        out = Outcome()
        state = _State(out, source)
        for name in source.tensors:
            way = self._kept(name, engine(name), target)
            if self._drops(way):
                out.dropped[name] = way.fired[-1]
            else:
                state.add(name, way)
        state.finish()
        for entry in self.twice:
            out.faults.append(
                Fault("MC802", f"{entry.text}: the pattern stands twice, and the last counts", ())
            )
        return out

    def _drops(self, way: Way) -> bool:
        return self.dialect == "sglang" and not way.mapped.name

    def _kept(self, name: str, way: Way, target: Manifest | None) -> Way:
        """sglang keeps a name that the model has, where the new one is none of the model's."""
        if self.dialect == "sglang" and target is not None and way.mapped.name != name:
            known = target.tensors
            if name in known and way.mapped.name not in known:
                return Way(Mapped(name), way.fired)
        return way

    def sketches(self) -> list[Sketch]:
        return list(_sketches(self.table))


# --- what the loader ends with


@dataclass(frozen=True, slots=True)
class _Part:
    name: str
    fired: tuple[int, ...]
    of: int


class _State:
    """The loader's two dictionaries, and what it loses."""

    def __init__(self, out: Outcome, source: Manifest) -> None:
        self.out = out
        self.source = source
        self.made: dict[str, Made] = {}
        self.waiting: dict[str, dict[int, _Part]] = {}

    def add(self, name: str, way: Way) -> None:
        new, place, of = way.mapped
        if place is None or of is None:
            self.give(new, renamed(name, new, way.fired))
            return
        group = self.waiting.setdefault(new, {})
        if place in group:
            self.fault("MC806", f"part {place} of `{new}` comes twice, and the last counts", [group[place]])
        group[place] = _Part(name, way.fired, of)
        if len(counts := {part.of for part in group.values()}) > 1:
            message = (
                f"entries differ on how many parts `{new}` has: {' and '.join(map(str, sorted(counts)))}"
            )
            self.fault("MC806", message, group.values())
        if len(group) == of:
            del self.waiting[new]
            self.fuse(new, group)

    def fuse(self, new: str, group: dict[int, _Part]) -> None:
        if sorted(group) != list(range(len(group))):
            numbers = ", ".join(map(str, sorted(group)))
            message = f"the parts of `{new}` are numbered {numbers}, which ends the loader with a KeyError"
            self.fault("MC806", message, group.values())
            return
        parts = [group[k] for k in range(len(group))]
        if any(not self.source.tensors[part.name].shape for part in parts):
            message = f"the parts of `{new}` have no dimensions: torch.cat refuses them"
            self.fault("MC806", message, parts)
            return
        names = [part.name for part in parts]
        fired = tuple(dict.fromkeys(number for part in parts for number in part.fired))
        self.give(new, concatenated(names, new, fired))

    def give(self, new: str, made: Made) -> None:
        before = self.made.get(new)
        if before is not None:
            names = [name for operand in before.left for name in operand.names]
            message = f"two tensors become `{new}`, and the last counts"
            entries = tuple(dict.fromkeys(before.entries + made.entries))
            self.out.faults.append(Fault("MC807", message, tuple(names), entries))
        self.made[new] = made

    def finish(self) -> None:
        for new, group in self.waiting.items():
            numbers = ", ".join(map(str, sorted(group)))
            message = f"only part {numbers} of `{new}` is there, so it is never given, and nothing says so"
            self.fault("MC806", message, group.values())
        self.out.made.extend(self.made.values())

    def fault(self, code: str, message: str, parts: Iterable[_Part]) -> None:
        listed = list(parts)
        entries = tuple(dict.fromkeys(number for part in listed for number in part.fired))
        self.out.faults.append(Fault(code, message, tuple(part.name for part in listed), entries))


def concatenated(names: Iterable[str], target: str, entries: tuple[int, ...]) -> Made:
    """``torch.cat(tensors, dim=0)``."""
    left = tuple(Operand((name,), (Atom(f"p{k}"), Rest())) for k, name in enumerate(names))
    if len(left) == 1:
        return renamed(left[0].names[0], target, entries)
    whole = Sum(tuple(Atom(f"p{k}") for k in range(len(left))))
    return Made(left, (Operand((target,), (whole, Rest())),), entries=entries)


# --- reading and sketching


def param_names(items: Iterable[tuple[str, Replacement, Entry]], dialect: str) -> ParamNames:
    """A table from its entries in the order of writing."""
    table: dict[str, Replacement] = {}
    entries: dict[str, Entry] = {}
    twice: list[Entry] = []
    for pattern, replacement, entry in items:
        if pattern in entries:
            twice.append(entries[pattern])
        table[pattern] = replacement
        entries[pattern] = entry
    return ParamNames(dialect, table, tuple(entries.values()), tuple(twice))


def looseness(pattern: str) -> str:
    """Why a pattern may match more names than it was written for.

    >>> looseness(r"^head\\.(.*)$"), looseness(r"^head")
    ('', 'no `$` ends it: it matches every name that begins so')
    >>> looseness(r"^a.b$")
    'a dot in it is not escaped: it matches any character'
    """
    ends = pattern.endswith((".*", ".*)", ".+", ".+)")) or re.search(r"(?<!\\)(\\\\)*(\$|\\Z)\)*$", pattern)
    bare = re.sub(r"\\.|\[[^\]]*\]", "", pattern)
    if not ends:
        return "no `$` ends it: it matches every name that begins so"
    if not pattern.startswith(("^", r"\A", "(^")) and not pattern.startswith("(.*)"):
        return "no `^` begins it: what it matches is replaced again further on in the name"
    if re.search(r"\.(?![*+?{])", bare):
        return "a dot in it is not escaped: it matches any character"
    return ""


def _sketches(table: Mapping[str, Replacement]) -> Iterator[Sketch]:
    fused: dict[tuple[str, int], list[tuple[int, int, str]]] = {}
    for number, (pattern, replacement) in enumerate(table.items()):
        template = replacement[0] if isinstance(replacement, tuple) else replacement
        try:
            left, right, assumed = sketch(pattern, template)
        except NoSketch as error:
            yield Sketch("", number, (f"not translated: {error}",))
            continue
        if isinstance(replacement, tuple):
            _, place, of = replacement
            parts = fused.setdefault((right, of), [])
            parts.append((place, number, left))
            if len(parts) == of:
                parts.sort()
                terms = ", ".join(f"{name} : p{place} {REST}" for place, _, name in parts)
                whole = " + ".join(f"p{place}" for place, _, _ in parts)
                yield Sketch(f"{terms} -> {right} : ({whole}) {REST}", number, assumed)
        elif left == right:
            yield Sketch(f"keep {left}", number, assumed)
        else:
            yield Sketch(f"{left} -> {right}", number, assumed)
    for (right, of), parts in fused.items():
        if len(parts) != of:
            found = f"{len(parts)} of {of} parts of {right}"
            yield Sketch("", parts[0][1], (f"not translated: the table has {found}",))
