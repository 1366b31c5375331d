"""vLLM's ``WeightsMapper``: five kinds of substitution in the names of a checkpoint, one after the other.

The engine is the class of ``model_executor/models/utils.py``. Within a kind every entry acts, on what
the entries before it made: regular expressions wherever they are found, substrings where they stand
first, then the substrings that *stack* (the new name is that of a parameter that several tensors fill,
each as the shard that its entry names), then prefixes, and suffixes. ``None`` leaves a tensor out.

``stacked_params_mapping``, the list that models of vLLM had before, is an engine of its own: the first
entry whose substring is found replaces all its places, and no other acts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from mapcc.dialects.made import Entry, Outcome, Sketch, Trace
from mapcc.dialects.regexes import Candidates
from mapcc.dialects.vllm.shards import Part, Shard, gathered
from mapcc.tensors.spec import Manifest
from mapcc.text import Span


class Kind(IntEnum):
    """The kinds of entries, in the order in which they act."""

    REGEX = 0
    SUBSTR = 1
    STACKED = 2
    PREFIX = 3
    SUFFIX = 4
    PARAMS = 5  # of stacked_params_mapping

    @property
    def word(self) -> str:
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Rule:
    """An entry.

    Attributes:
        old: a regular expression (its flags are in it), or text.
        new: a template, or text; None leaves the tensor out.
        shards: of an entry that stacks: the shards that the tensor fills, one after the other. A tuple
            is one shard that spans several.
    """

    kind: Kind
    old: str
    new: str | None
    shards: tuple[Shard, ...] = ()
    span: Span | None = None

    def entry(self) -> Entry:
        old = f'r"{self.old}"' if self.kind is Kind.REGEX and '"' not in self.old else repr(self.old)
        new = "left out" if self.new is None else repr(self.new)
        place = f" ({', '.join(map(repr, self.shards))})" if self.shards else ""
        return Entry(f"{self.kind.word} {old} -> {new}{place}", self.span, looseness(self))


class Way(NamedTuple):
    """What became of a name: None if it is left out; ``shards`` if it is stacked."""

    target: str | None
    shards: tuple[Shard, ...]
    fired: tuple[int, ...]


Engine = Callable[[str], Way]


@dataclass(frozen=True, slots=True)
class VllmTable:
    """A mapper: its entries in the order in which they act."""

    rules: tuple[Rule, ...]

    @property
    def dialect(self) -> str:
        return "vllm"

    @property
    def entries(self) -> tuple[Entry, ...]:
        return tuple(rule.entry() for rule in self.rules)

    def engine(self) -> Engine:
        return _Engine(self.rules).way

    def trace(self, name: str) -> Trace:
        way = self.engine()(name)
        possible = (n for n, rule in enumerate(self.rules) if is_found(rule, name))
        return Trace(way.target, way.fired, tuple(possible))

    def backwards(self) -> VllmTable:
        """The order of the kinds is the engine's; that within a kind is the table's."""
        return table(reversed(self.rules))

    def run(self, source: Manifest, target: Manifest | None) -> Outcome:
        engine, known = self.engine(), self._known_shards()
        dropped: dict[str, int] = {}
        parts: dict[str, list[Part]] = {}
        for name, spec in source.tensors.items():
            new, shards, fired = engine(name)
            if new is None:
                dropped[name] = fired[-1]
            else:
                every = known.get(_stacking(self.rules, fired), ()) if shards else ()
                parts.setdefault(new, []).append(Part(spec, shards, fired, every))
        out = gathered(parts, target)
        out.dropped.update(dropped)
        return out

    def _known_shards(self) -> dict[str, tuple[Shard, ...]]:
        """By the new text of the entries that stack: entries with the same text fill one parameter."""
        known: dict[str, tuple[Shard, ...]] = {}
        for rule in self.rules:
            if rule.shards and rule.new:
                known[rule.new] = known.get(rule.new, ()) + rule.shards
        return known

    def sketches(self) -> list[Sketch]:
        from mapcc.dialects.vllm.sketch import sketches

        return sketches(self.rules)


def table(rules: Iterable[Rule]) -> VllmTable:
    """A table from entries in the order of writing: of a key that stands twice, the last value counts.

    >>> table([Rule(Kind.SUFFIX, ".w", ".x"), Rule(Kind.PREFIX, "a.", "")]).trace("a.b.w").target
    'b.x'
    """
    listed = list(rules)
    merged: dict[object, Rule] = {}
    for number, rule in enumerate(listed):
        # A list, unlike a dict, keeps both.
        merged[number if rule.kind is Kind.PARAMS else (rule.kind, rule.old)] = rule
    return VllmTable(tuple(sorted(merged.values(), key=lambda rule: rule.kind)))


# --- the engine


class _Engine:
    """A table, prepared for many names."""

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        count = sum(rule.kind is Kind.REGEX for rule in rules)
        self.regexes = Candidates(rule.old for rule in rules[:count])
        self.rest = [(number, rule) for number, rule in enumerate(rules) if number >= count]

    def way(self, name: str) -> Way:
        fired: list[int] = []
        at = self.searched(name, fired)
        shards: tuple[Shard, ...] = ()
        for number, rule in self.rest:
            if at is None:
                break
            if not is_found(rule, at) or (rule.kind is Kind.PARAMS and shards):
                continue
            fired.append(number)
            at = _replaced(rule, at)
            shards = rule.shards or shards
        return Way(at, () if at is None else shards, tuple(fired))

    def searched(self, name: str, fired: list[int]) -> str | None:
        """The regular expressions: each is tried on what those before it made of the name."""
        start, again = 0, True
        while again:
            again = False
            for number in self.regexes.of(name):
                pattern, new = self.regexes.patterns[number], self.rules[number].new
                if number < start or not pattern.search(name):
                    continue
                fired.append(number)
                if new is None:
                    return None
                name, start, again = pattern.sub(new, name), number + 1, True
                break
        return name


def _stacking(rules: tuple[Rule, ...], fired: tuple[int, ...]) -> str:
    """The new text of the last entry that stacked: its shards count."""
    return [rules[number].new or "" for number in fired if rules[number].shards][-1]


def is_found(rule: Rule, name: str) -> bool:
    match rule.kind:
        case Kind.REGEX:
            return re.search(rule.old, name) is not None
        case Kind.PREFIX:
            return name.startswith(rule.old)
        case Kind.SUFFIX:
            return name.endswith(rule.old)
        case _:
            return rule.old in name


def _replaced(rule: Rule, name: str) -> str | None:
    if rule.new is None:
        return None
    if rule.kind is Kind.SUFFIX:
        return name[: len(name) - len(rule.old)] + rule.new
    return name.replace(rule.old, rule.new, -1 if rule.kind is Kind.PARAMS else 1)


def looseness(rule: Rule) -> str:
    """Why an entry may act on more names than it was written for; "" if its ends are those of segments.

    >>> looseness(Rule(Kind.PREFIX, "model", "")), looseness(Rule(Kind.SUBSTR, ".q_proj.", ".q."))
    ('it acts on every name that begins so, in the middle of a segment too', '')
    """
    match rule.kind:
        case Kind.REGEX:
            if re.match(r"(\(\?[a-z]+\))?(\^|\\A)", rule.old) and re.search(r"(?<!\\)(\$|\\Z)$", rule.old):
                return ""
            return "it is searched for: it acts wherever it is found, more than once in a name"
        case Kind.PREFIX:
            if rule.old.endswith("."):
                return ""
            return "it acts on every name that begins so, in the middle of a segment too"
        case Kind.SUFFIX:
            if rule.old.startswith("."):
                return ""
            return "it acts on every name that ends so, in the middle of a segment too"
        case _:
            # `.q_proj` for what begins so, a segment further on too, is how vLLM's models are written.
            return "" if rule.old.startswith(".") else "a substring: it acts in the middle of a segment too"
