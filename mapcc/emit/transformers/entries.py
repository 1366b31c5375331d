"""A rule as entries of transformers 5: renamings, and converters on parts of names without indices.

A converter's patterns are parts of names, the rest of a name is carried over. So what comes before the
part and after it has to be the same in all tensors that a converter takes and gives: where a source's
name is another, renamings give it the target's beginning and end first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mapcc.dialects.transformers.table import Transform
from mapcc.emit.entries import Level, Marker, fixed_variables
from mapcc.emit.transformers.chains import Chain
from mapcc.emit.transformers.families import differing, without_number
from mapcc.emit.transformers.names import Renaming, Tags, Unsayable, escaped, is_plain, renaming
from mapcc.emit.transformers.ops import Part
from mapcc.emit.translate import FIRST_MARK, LAST_MARK, Kinds
from mapcc.ir.bound import Instance
from mapcc.ir.program import Equation
from mapcc.passes.paths import PathIndex

# The number that tells the members of a family apart.
FAMILY = chr(LAST_MARK)

_PLAIN = re.compile(r"[A-Za-z0-9_.-]+")


class NotATarget(Exception):
    """A part of a target's name that no converter can give."""


@dataclass(slots=True, eq=False)
class Candidate:
    """An equation that the dialect can say: its instances, and what becomes of their operands.

    Attributes:
        level: how much of the names is written out.
        tagged: converters take names that are made for them, and nothing else has.
    """

    equation: Equation
    moved: list[tuple[Instance, tuple[Part, ...]]] = field(default_factory=list)
    level: Level = Level.PATTERN
    tagged: bool = False

    @property
    def open_variables(self) -> frozenset[str]:
        return frozenset(self.equation.variables) - fixed_variables(self.equation, self.level)

    @property
    def converts(self) -> bool:
        return any(part.chain for _, parts in self.moved for part in parts)

    def write_out(self) -> bool:
        """Another try; False if there is none left."""
        if self.converts and not self.tagged:
            self.tagged = True
        elif self.level is Level.NAMES:
            return False
        else:
            self.level = Level(self.level + 1)
        return True


@dataclass(slots=True)
class RuleEntries:
    """A rule's entries: renamings by what they take, converters by their sources."""

    candidate: Candidate
    renamings: dict[str, Renaming] = field(default_factory=dict)
    converters: dict[tuple[str, ...], Transform] = field(default_factory=dict)


def entries_of(candidate: Candidate, paths: PathIndex, tags: Tags, number: int) -> RuleEntries:
    """The entries of a rule at its level.

    Args:
        number: of the rule, for its tags.

    Raises:
        Unsayable: what is open cannot be carried over.
        NotATarget: no level says it.
    """
    writer = _Writer(candidate, paths, tags, number)
    seen: set[tuple[object, ...]] = set()
    for instance, parts in candidate.moved:
        key = (writer.marker.fixed_values(instance), writer.marker.extents(instance), parts)
        if key not in seen:
            seen.add(key)
            writer.add(instance, parts)
    return writer.out


@dataclass(frozen=True, slots=True)
class _Frame:
    """What all names of a conversion have in common, and the parts of the targets between."""

    before: str
    parts: tuple[str, ...]
    after: str


class _Writer:
    def __init__(self, candidate: Candidate, paths: PathIndex, tags: Tags, number: int) -> None:
        self.candidate, self.tags, self.number = candidate, tags, number
        self.out = RuleEntries(candidate)
        self.marker = Marker(candidate.equation, candidate.open_variables, paths)
        kinds = self.marker.kinds
        self.kinds = Kinds({**kinds.variables, FAMILY: "family"}, kinds.separator)
        self.whole = candidate.level is Level.NAMES
        self.made: dict[tuple[object, ...], int] = {}

    def add(self, instance: Instance, parts: tuple[Part, ...]) -> None:
        sources, targets = self.marker.names(instance)
        for part in parts:
            if part.chain is None:
                self._rename(sources[part.sources[0]], targets[part.targets[0]])
            else:
                self._convert(part.chain, sources, targets)

    def _rename(self, source: str, target: str) -> None:
        if source == target:
            return
        found = renaming(source, target, self.kinds, self.tags)
        if self.out.renamings.setdefault(found.pattern, found) != found:
            raise Unsayable

    def _convert(self, chain: Chain, sources: Sequence[str], targets: Sequence[str]) -> None:
        names = [_family([sources[number] for number in group]) for group in chain.groups]
        frame = self._frame([targets[number] for number in chain.targets])
        parts = self._parts(names, frame, chain)
        for name, part in zip(names, parts, strict=True):
            self._rename(name, frame.before + part + frame.after)
        patterns = tuple(_pattern(part, self.whole) for part in parts)
        entry = Transform("WeightConverter", patterns, frame.parts, chain.named(patterns, frame.parts))
        if self.out.converters.setdefault(patterns, entry) != entry:
            raise Unsayable

    def _frame(self, targets: Sequence[str]) -> _Frame:
        separator = self.candidate.equation.separators[1]
        frame = _Frame("", tuple(targets), "") if self.whole else _framed(targets, separator)
        for part in frame.parts:
            if _is_open(part):
                raise Unsayable
            name = frame.before + part + frame.after
            if not is_plain(name) or "*" in part:
                raise NotATarget(re.sub("[\ud800-\udfff]", "*", name))
        return frame

    def _parts(self, names: Sequence[str], frame: _Frame, chain: Chain) -> list[str]:
        """A part of its own for each source."""
        if not self.candidate.tagged:
            parts = [self._part(name, frame) for name in names]
            if len(set(parts)) == len(parts) and all(part and not _is_open(part) for part in parts):
                return parts
            if self.whole:
                raise Unsayable
        families = tuple(FAMILY in name for name in names)
        nth = self.made.setdefault((frame.parts, chain.operations, chain.permuted, families), len(self.made))
        tags = [self.tags.fragment(self.number, nth, at) for at in range(len(names))]
        return [f"{tag}.{FAMILY}.x" if FAMILY in name else tag for tag, name in zip(tags, names, strict=True)]

    def _part(self, name: str, frame: _Frame) -> str:
        if name.startswith(frame.before) and name.endswith(frame.after):
            part = name[len(frame.before) : len(name) - len(frame.after)]
            if part and not _is_open(part):
                return part
        part = _tail(name.removesuffix(frame.after), self.candidate.equation.separators[0])
        return part if is_plain(frame.before + part + frame.after) else ""


def _family(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    at = differing(names)
    found = {without_number(name, at, FAMILY)[0] for name in names}
    if len(found) > 1:
        raise Unsayable
    return found.pop()


# --- parts of names


def _is_open(text: str) -> bool:
    return any(FIRST_MARK <= ord(char) < LAST_MARK for char in text)


def _is_index(segment: str) -> bool:
    return segment.isdigit() or _is_open(segment)


def _framed(targets: Sequence[str], separator: str) -> _Frame:
    r"""The frame of names: the parts reach to the nearest index on either side.

    >>> _framed(["layers.0.attn.q.weight", "layers.0.attn.k.weight"], ".")
    _Frame(before='layers.0.', parts=('attn.q.weight', 'attn.k.weight'), after='')
    """
    split = [target.split(separator) for target in targets]
    shortest = min(map(len, split))
    if len(targets) > 1:
        start = _common(split, shortest - 1)
        end = _common([segments[::-1] for segments in split], shortest - 1 - start)
    else:
        # Of one target the part is what stands after its last index.
        start = shortest
        while start > 1 and _is_index(split[0][start - 1]):
            start -= 1
        end, start = shortest - start, start - 1
    while start > 0 and not _is_index(split[0][start - 1]):
        start -= 1
    while end > 0 and not _is_index(split[0][len(split[0]) - end]):
        end -= 1
    before = "".join(segment + separator for segment in split[0][:start])
    after = "".join(separator + segment for segment in split[0][len(split[0]) - end :])
    parts = (segments[start : len(segments) - end] for segments in split)
    return _Frame(before, tuple(separator.join(part) for part in parts), after)


def _common(names: Sequence[Sequence[str]], most: int) -> int:
    """How many first segments are the same."""
    count = 0
    while count < most and len({segments[count] for segments in names}) == 1:
        count += 1
    return count


def _tail(name: str, separator: str) -> str:
    """What stands after a name's last index, that of the family aside."""
    segments = name.split(separator)
    first = max((at + 1 for at, segment in enumerate(segments) if _is_index(segment)), default=0)
    return ".".join(segments[first:])


def _pattern(part: str, whole: bool) -> str:
    r"""A part as a source pattern, as transformers' own tables write it where that is exact.

    >>> print(_pattern(f"experts.{FAMILY}.w1", False), _pattern(f"w{FAMILY}", False), _pattern("a(b", False))
    experts.*.w1 w[0-9]+ a\(b
    """
    before, family, after = part.partition(FAMILY)
    if not family:
        return f"^{escaped(part)}$" if whole else part if _PLAIN.fullmatch(part) else escaped(part)
    plain = _PLAIN.fullmatch(before) and _PLAIN.fullmatch(after)
    if plain and before.endswith(".") and after.startswith(".") and not whole:
        return f"{before}*{after}"
    text = f"{escaped(before)}[0-9]+{escaped(after)}"
    return f"^{text}$" if whole else text if not plain else f"{before}[0-9]+{after}"
