"""How transformers 5 names a tensor: every renaming in its order, then at most one converter.

Modelled on transformers 5.23; the tests hold it against ``rename_source_key`` for each of its tables.
"""

from __future__ import annotations

import re
from collections.abc import Container, Sequence
from dataclasses import dataclass

from mapcc.dialects.transformers.patterns import BadTransform as BadTransform
from mapcc.dialects.transformers.patterns import compiled, processed_sources, processed_target
from mapcc.dialects.transformers.table import Transform

RENAMINGS = frozenset(
    ("WeightRenaming", "GroupWeightRename", "PrefixChange", "Inkling2IndexOffsetWeightRename")
)
CONVERTER = "WeightConverter"
MANY_TO_MANY = frozenset(("ErnieFuseAndSplitTextVisionExperts", "ErnieSplitAndDecoupleTextVisionExperts"))


class NamingStops(Exception):
    """A name at which transformers stops with an error."""


# --- one entry


@dataclass(frozen=True, slots=True, eq=False)
class Namer:
    """An entry's patterns, ready to rename.

    Attributes:
        sources, targets: the patterns as transformers processes them; converters are found by them.
        scope: the submodule to which the entry is confined, None for the whole model.
    """

    kind: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    regex: re.Pattern[str]
    scope: str | None = None
    base: str = ""
    offset: int = 0

    @property
    def is_converter(self) -> bool:
        return self.kind == CONVERTER

    def match(self, name: str) -> tuple[str, str, re.Match[str]] | None:
        """The scope's prefix, what comes after it, and the match there."""
        prefix = ""
        if self.scope is not None:
            scope = f"{self.scope}." if self.scope else ""
            prefix = f"{self.base}.{scope}" if self.base else scope
            if not name.startswith(prefix):
                prefix = scope
            if not name.startswith(prefix):
                return None
        rest = name.removeprefix(prefix)
        found = self.regex.search(rest)
        return None if found is None else (prefix, rest, found)

    def rename(self, name: str, guards: set[Namer]) -> tuple[str, int | None]:
        """The new name, and the number of the source that matched.

        Args:
            guards: the groups of renamings whose first source has been seen; added to.
        """
        matched = self.match(name)
        if matched is None:
            return name, None
        prefix, rest, found = matched
        branch, number = self._branch(found)
        if self.kind == "GroupWeightRename":
            if number == 0:
                guards.add(self)
            elif self not in guards:
                return name, None
        try:
            replacement = self._replacement(found, self.regex.groupindex[branch], number)
        except (IndexError, TypeError, ValueError):
            raise NamingStops(f"{self.targets[0]!r} wants what {self.sources[number]!r} captures") from None
        # The first occurrence of the text that matched, which need not be the place where it did.
        return prefix + rest.replace(found[0], replacement, 1), number

    @staticmethod
    def _branch(found: re.Match[str]) -> tuple[str, int]:
        branch = next(name for name, text in found.groupdict().items() if text is not None)
        return branch, int(branch[1:])

    def _replacement(self, found: re.Match[str], group: int, number: int) -> str:
        match self.kind:
            case "GroupWeightRename":
                at = self.targets[number]
                return re.sub(r"\\(\d+)", lambda m: found.group(group + int(m[1])), at)
            case "Inkling2IndexOffsetWeightRename":
                return self.targets[0].replace(r"\1", str(int(found.group(group + 1)) + self.offset))
            case _ if r"\1" in self.targets[0]:
                return self.targets[0].replace(r"\1", found.group(group + 1))
            case _:
                return self.targets[0]


def namer(entry: Transform) -> Namer:
    """
    Raises:
        BadTransform: transformers would not make this entry.
    """
    _check(entry)
    processed = [processed_target(target) for target in entry.targets]
    groups = {group for _, group in processed if group is not None}
    if len(groups) > 1:
        raise BadTransform(f"the targets have different groups: {', '.join(sorted(groups))}")
    sources = processed_sources(entry.sources, entry.targets, next(iter(groups), None))
    options = dict(entry.options)
    scope, base, offset = (options.get(key) for key in ("scope_prefix", "base_model_prefix", "offset"))
    return Namer(
        entry.kind,
        sources,
        tuple(target for target, _ in processed),
        compiled(sources),
        scope if isinstance(scope, str) else None,
        base if isinstance(base, str) else "",
        offset if isinstance(offset, int) else 0,
    )


def _check(entry: Transform) -> None:
    if entry.kind not in RENAMINGS and entry.kind != CONVERTER:
        raise BadTransform(f"{entry.kind} is a class that mapcc does not know")
    if not entry.sources or not entry.targets:
        raise BadTransform("no patterns")
    if entry.kind == "GroupWeightRename" and len(entry.sources) != len(entry.targets):
        raise BadTransform("a GroupWeightRename has as many targets as sources")
    if entry.kind != CONVERTER:
        return
    if not entry.operations:
        raise BadTransform("a WeightConverter has at least one operation")
    many = len(entry.sources) > 1 and len(entry.targets) > 1
    if many and not any(operation.name in MANY_TO_MANY for operation in entry.operations):
        raise BadTransform("a converter goes from one pattern to many, from many to one, or from one to one")


# --- a table


@dataclass(frozen=True, slots=True)
class Way:
    """What became of a name.

    Attributes:
        fired: the entries that changed it, and the converter that takes it.
        pattern: the converter's source that matched; None if no converter takes it.
    """

    name: str
    fired: tuple[int, ...] = ()
    pattern: str | None = None


class Naming:
    """The names that a table gives.

    Raises:
        BadTransform: of the first entry that is wrong.
    """

    def __init__(self, entries: Sequence[Transform], base_model_prefix: str = "") -> None:
        self.base_model_prefix = base_model_prefix
        self.namers: list[Namer] = []
        for number, entry in enumerate(entries):
            try:
                self.namers.append(namer(entry))
            except BadTransform as error:
                error.number = number
                raise
        numbered = list(enumerate(self.namers))
        self._renamings = [(number, namer) for number, namer in numbered if not namer.is_converter]
        self._converters = [(number, namer) for number, namer in numbered if namer.is_converter]
        # Of two converters with the same source, the last does the work, whichever gave the name.
        self.owners = {source: number for number, namer in self._converters for source in namer.sources}

    def way(self, name: str, known: Container[str] | None, guards: set[Namer]) -> Way:
        """The way of one name; names come in the order of :func:`natural_key`, with the same ``guards``.

        Args:
            known: the model's names; None if they are not known, so that each name is taken to be right.

        Raises:
            NamingStops: transformers stops here.
        """
        way = self._renamed(name, guards)
        if known is None:
            return way
        way = Way(self._prefixed(way.name, known), way.fired, way.pattern)
        if way.name not in known and name in known:
            return Way(self._prefixed(name, known))
        return way

    def _renamed(self, name: str, guards: set[Namer]) -> Way:
        at, fired = name, []
        for number, renaming in self._renamings:
            before = at
            at, _ = renaming.rename(at, guards)
            if at != before:
                fired.append(number)
        for number, converter in self._converters:
            at, source = converter.rename(at, guards)
            if source is not None:
                return Way(at, (*fired, number), converter.sources[source])
        return Way(at, tuple(fired))

    def _prefixed(self, name: str, known: Container[str]) -> str:
        """A head's checkpoint for the bare model, or the other way round."""
        base = self.base_model_prefix
        if name.startswith(base):
            # As it is there: whatever character follows the prefix goes with it.
            stripped = re.sub(f"^{base}.", "", name, count=1)
            if stripped in known:
                return stripped
        longer = f"{base}.{name}"
        return longer if longer in known else name

    def matching(self, name: str) -> tuple[int, ...]:
        return tuple(number for number, namer in enumerate(self.namers) if namer.match(name) is not None)

    def all_guards(self) -> set[Namer]:
        """As if every group had been opened: what a checkpoint in the old layout does."""
        return {namer for namer in self.namers if namer.kind == "GroupWeightRename"}


def natural_key(name: str) -> list[tuple[int, int] | tuple[int, str] | tuple[int, str, int]]:
    """The order in which a checkpoint is read: numbers by their value, before words.

    >>> sorted(["a.10", "a.2", "a.b11", "a.b2"], key=natural_key)
    ['a.2', 'a.10', 'a.b2', 'a.b11']
    """
    key: list[tuple[int, int] | tuple[int, str] | tuple[int, str, int]] = []
    for segment in name.split("."):
        word = segment.rstrip("0123456789")
        digits = segment[len(word) :]
        if not word and digits:
            key.append((0, int(digits)))
        elif digits:
            key.append((1, word, int(digits)))
        else:
            key.append((1, word))
    return key
