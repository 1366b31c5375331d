"""Tables of regular expressions, and the two engines over them, on names: without a tensor.

FastVideo's are ``get_param_names_mapping`` and ``hf_to_custom_state_dict`` of its
``models/loader/utils.py``: the first pattern that ``re.match``es, in the order of the dict, is applied
with ``re.sub``, once; a name that none matches stays as it is; a tuple collects tensors and
concatenates them. sglang's function of the same name goes on until no pattern changes the name.
Tests hold both against the frameworks' own functions.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

Replacement = str | tuple[str, int, int]
RegexTable = Mapping[str, Replacement]


class Mapped(NamedTuple):
    """A new name, with its place among those that are concatenated, and how many these are."""

    name: str
    place: int | None = None
    of: int | None = None


class Way(NamedTuple):
    """What became of a name, and the patterns that acted on it, by their numbers."""

    mapped: Mapped
    fired: tuple[int, ...]


class Candidates:
    """Which patterns of a table can match a name at all.

    Only what begins with a pattern's literal beginning can: not each name is tried on each pattern.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self._by_prefix: dict[str, list[int]] = {}
        self.patterns = [re.compile(pattern) for pattern in patterns]
        for number, pattern in enumerate(self.patterns):
            self._by_prefix.setdefault(literal_prefix(pattern.pattern), []).append(number)
        self._lengths = sorted({len(prefix) for prefix in self._by_prefix})
        self._orders: dict[tuple[str, ...], list[int]] = {}

    def of(self, name: str) -> list[int]:
        """Numbers in the order of the table; a pattern among them need not match."""
        prefixes = tuple([name[:n] for n in self._lengths if name[:n] in self._by_prefix])
        possible = self._orders.get(prefixes)
        if possible is None:
            possible = sorted({n for prefix in prefixes for n in self._by_prefix[prefix]})
            self._orders[prefixes] = possible
        return possible

    def matching(self, name: str) -> tuple[int, ...]:
        """The patterns that match a name, as ``re.match`` does."""
        return tuple(number for number in self.of(name) if self.patterns[number].match(name))


_TOKEN = re.compile(r"\\.|.", re.DOTALL)
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_GROUP = re.compile(r"\([^()]*\)")
_SPECIAL = frozenset(".^$*+?{}[]()|")
_QUANTIFIER = frozenset("*+?{")


def mapper(table: RegexTable) -> Callable[[str], Mapped]:
    """FastVideo's engine: the new name of a name."""
    way = first_match(table)
    return lambda name: way(name).mapped


def first_match(table: RegexTable) -> Callable[[str], Way]:
    """FastVideo's engine: the first pattern that matches, once."""
    candidates, replacements = Candidates(table), list(table.values())

    def map_name(name: str) -> Way:
        for number in candidates.of(name):
            if candidates.patterns[number].match(name):
                return Way(_replaced(candidates.patterns[number], replacements[number], name), (number,))
        return Way(Mapped(name), ())

    return map_name


def fixed_point(table: RegexTable, known: Container[str] | None = None) -> Callable[[str], Way]:
    """sglang's engine: pattern after pattern, each at most once, until none changes the name.

    Args:
        known: the model's names: a name on the way that is one of them is kept if the last is not.
    """
    candidates, replacements = Candidates(table), list(table.values())
    most = max(8, 2 * len(replacements))

    def map_name(name: str) -> Way:
        at, fired, visited = Mapped(name), list[int](), {name}
        good: tuple[Mapped, int] | None = None
        while len(fired) < most:
            step = _changing(candidates, replacements, at.name, fired)
            if step is None:
                break
            number, after = step
            place = at[1:] if after.place is None else after[1:]
            at = Mapped(after.name, *place)
            fired.append(number)
            if known is not None and at.name in known:
                good = at, len(fired)
            if at.name in visited:
                break
            visited.add(at.name)
        if at.name and good is not None and known is not None and at.name not in known:
            return Way(good[0], tuple(fired[: good[1]]))
        return Way(at, tuple(fired))

    return map_name


def _changing(
    candidates: Candidates, replacements: list[Replacement], name: str, fired: list[int]
) -> tuple[int, Mapped] | None:
    """The first pattern that has not acted yet and makes another name of a name."""
    for number in candidates.of(name):
        if number not in fired and candidates.patterns[number].match(name):
            after = _replaced(candidates.patterns[number], replacements[number], name)
            if after.name != name:
                return number, after
    return None


def _replaced(pattern: re.Pattern[str], replacement: Replacement, name: str) -> Mapped:
    if isinstance(replacement, tuple):
        return Mapped(pattern.sub(replacement[0], name), replacement[1], replacement[2])
    return Mapped(pattern.sub(replacement, name))


def literal_prefix(pattern: str) -> str:
    r"""The text with which every match of a pattern begins, as far as it is plain.

    >>> literal_prefix("^blocks\\.(0|[1-9][0-9]*)\\.w$"), literal_prefix("^ab?"), literal_prefix("^a|b")
    ('blocks.', 'a', '')
    """
    tokens: list[str] = _TOKEN.findall(pattern)
    plain = _CLASS.sub("", "".join(token for token in tokens if len(token) == 1))
    while plain != (plain := _GROUP.sub("", plain)):
        pass
    if tokens[:1] != ["^"] or "|" in plain:
        return ""
    out: list[str] = []
    for token, following in zip(tokens[1:], [*tokens[2:], ""], strict=False):
        if token in _SPECIAL or (len(token) > 1 and token[1].isalnum()) or following in _QUANTIFIER:
            break
        out.append(token[-1])
    return "".join(out)


@dataclass(slots=True)
class Loaded:
    """What the loader ends with: each target's sources in their order, and what went wrong."""

    tensors: dict[str, tuple[str, ...]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)


def load(names: Iterable[str], map_name: Callable[[str], Mapped]) -> Loaded:
    """A state dict of names; unlike the loader, which takes the last of two, this tells of them."""
    loaded = Loaded()
    waiting: dict[str, dict[int, str]] = {}
    for name in names:
        target, index, count = map_name(name)
        sources: tuple[str, ...] = (name,)
        if index is not None and count is not None:
            group = waiting.setdefault(target, {})
            if index in group:
                loaded.faults.append(target)
            group[index] = name
            if len(group) < count:
                continue
            if sorted(group) != list(range(count)):
                loaded.faults.append(target)
            sources = tuple(group[k] for k in sorted(group))
            del waiting[target]
        if target in loaded.tensors:
            loaded.faults.append(target)
        loaded.tensors[target] = sources
    loaded.faults += waiting  # never completed: absent, and nothing says so
    return loaded
