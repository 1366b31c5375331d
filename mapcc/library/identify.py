"""Which model is this checkpoint, and which models are in it? Asked of its names and shapes alone.

A model is looked for beneath every prefix that there is: its names but for numbers are looked up as the
ends of the checkpoint's. What lies there is then held against its key set.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nlargest

from mapcc.diagnostics.fold import fold
from mapcc.library.known import Known, kind_of
from mapcc.tensors.spec import Manifest, TensorSpec

# Shares of a checkpoint's tensors. Below the first, it is another model with some of the same names; to be
# the very model, most of what is there must have its shapes, and not too much may be missing.
RESEMBLES = 0.6
SAME = 0.9
PRESENT = 0.5
FAR = 0.5  # between two models at one place: the less likely one is not looked at
LIKE = 0.9  # of the names but for numbers, on both sides: the same model in another size

# Bounds on the work for a checkpoint whose names are all different in kind.
_KINDS = 50_000
_DEPTH = 16
_CANDIDATES = 64
_STRANGE = 3


@dataclass(frozen=True, slots=True)
class Match:
    """How like one model the checkpoint is, or what lies beneath a prefix of it.

    Attributes:
        known: the model.
        prefix: what stands before its names in the checkpoint.
        same: the share of the tensors there that the model has too, with their shapes.
        named: the share that the model has by name, layers not counted.
        present: the share of the model's tensors that are there.
        alike: the share of the model's names, layers not counted, that are there.
        absent, strange, other: names of the model's tensors that are not there, of those there that the
            model does not have, and of those of another shape; without the prefix.
        names: the checkpoint's own, of the model's tensors.
    """

    known: Known
    prefix: str
    same: float
    named: float
    present: float
    alike: float
    absent: tuple[str, ...] = field(repr=False)
    strange: tuple[str, ...] = field(repr=False)
    other: tuple[str, ...] = field(repr=False)
    names: frozenset[str] = field(repr=False)

    @property
    def missing(self) -> tuple[str, ...]:
        """The absent ones, folded; and likewise the others."""
        return tuple(fold(self.absent))

    @property
    def unexpected(self) -> tuple[str, ...]:
        return tuple(fold(self.strange))

    @property
    def misshapen(self) -> tuple[str, ...]:
        return tuple(fold(self.other))

    @property
    def is_exact(self) -> bool:
        return not (self.absent or self.strange or self.other)

    @property
    def is_this(self) -> bool:
        """Whether it is this model, perhaps in part, and not only one of its kind."""
        return self.same >= SAME and self.present >= PRESENT

    @property
    def is_like(self) -> bool:
        """Whether it is this model in another size."""
        return self.named >= LIKE and self.alike >= LIKE

    @property
    def rank(self) -> tuple[bool, float, int, float, float]:
        return self.is_this, self.same, len(self.names), self.named, self.present


@dataclass(frozen=True, slots=True)
class Part:
    """One model in a checkpoint: the key sets that it may be, the likeliest first."""

    prefix: str
    matches: tuple[Match, ...]

    @property
    def best(self) -> Match:
        return self.matches[0]

    @property
    def equals(self) -> tuple[Match, ...]:
        """Those that nothing tells from the best."""
        return tuple(match for match in self.matches if match.rank == self.best.rank)


def identify(checkpoint: Manifest, models: Iterable[Known]) -> tuple[Match, ...]:
    """The models that the checkpoint resembles, or parts of it, the likeliest first; none if it is unknown.

    Those whose tensors all match stand first, and among them the one of which least is missing.
    """
    names = _Names(checkpoint.tensors)
    found: list[Match] = []
    best: list[tuple[float, tuple[str, ...]]] = []  # of what was found to be a model, and where it lies
    strange = 0
    for score, prefix, known in _candidates(names, tuple(models)):
        heads = _heads(prefix, known)
        if any(score <= other - FAR and _is_within(heads, where) for other, where in best):
            continue
        strange += score < 2 * LIKE - FAR
        if strange > _STRANGE:
            break  # none of these is the model, and their key sets are long
        for concrete in _concrete(names, prefix, known):
            match = _match(names, concrete, known)
            if match.is_this:
                best.append((score, heads))
            if match.is_this or match.is_like or not prefix:
                found.append(match)
    return tuple(sorted(found, key=lambda match: match.rank, reverse=True))


def parts(matches: Sequence[Match]) -> tuple[Part, ...]:
    """The models that lie beside each other in one checkpoint, the largest first."""
    by_size = sorted(matches, key=lambda match: (match.is_this, len(match.names)), reverse=True)
    groups: list[list[Match]] = []
    for match in by_size:
        group = next((group for group in groups if _overlap(match, group[0])), None)
        if group is not None:
            group.append(match)
        elif match.is_this or match.is_like:
            groups.append([match])
    found = [sorted(group, key=lambda match: match.rank, reverse=True) for group in groups]
    return tuple(Part(group[0].prefix, tuple(group)) for group in found)


def _overlap(a: Match, b: Match) -> bool:
    """Whether they are of the same tensors, so that only one of them can be meant."""
    return 2 * len(a.names & b.names) > min(len(a.names), len(b.names))


class _Names:
    """The names of a checkpoint, by kind."""

    def __init__(self, tensors: Mapping[str, TensorSpec]) -> None:
        self.tensors = tensors
        self.kinds: dict[str, list[str]] = {}
        for name in tensors:
            self.kinds.setdefault(kind_of(name), []).append(name)

    def beneath(self, prefix: str, known: Known) -> Iterator[str]:
        """Those that begin with the prefix, and behind it as the model's."""
        for kind in self.kinds_beneath(kind_of(prefix), known):
            yield from (name for name in self.kinds[kind] if name.startswith(prefix))

    def kinds_beneath(self, prefix: str, known: Known) -> list[str]:
        heads = _heads(prefix, known)
        return [kind for kind in self.kinds if _is_within((kind,), heads)]


def _heads(prefix: str, known: Known) -> tuple[str, ...]:
    return tuple(f"{prefix}{root}" for root in known.roots)


def _is_within(kinds: Iterable[str], heads: tuple[str, ...]) -> bool:
    """Whether one of the kinds is a head, or lies beneath one."""
    inner = tuple(f"{head}." for head in heads)
    return any(kind in heads or kind.startswith(inner) for kind in kinds)


def _candidates(names: _Names, models: Sequence[Known]) -> list[tuple[float, str, Known]]:
    """Prefixes, each with a model that may lie beneath it: the likeliest first, by kinds of names alone."""
    scored = []
    for (prefix, at), count in _hits(names, models).items():
        known = models[at]
        alike = count / len(known.kinds)
        is_whole = not prefix and count >= RESEMBLES * len(names.kinds)
        if not (is_whole or (alike >= PRESENT and count > 2)):
            continue
        named = count / len(names.kinds_beneath(prefix, known))
        if named >= RESEMBLES:
            scored.append((named + alike, prefix, known))
    return nlargest(_CANDIDATES, scored, key=lambda each: each[0])


def _hits(names: _Names, models: Sequence[Known]) -> dict[tuple[str, int], int]:
    """How many of a model's kinds the names beneath a prefix have."""
    ends: dict[str, list[int]] = {}
    for at, known in enumerate(models):
        for kind in known.kinds:
            ends.setdefault(kind, []).append(at)
    found: dict[tuple[str, int], int] = {}
    for kind, _ in zip(names.kinds, range(_KINDS), strict=False):
        start = 0
        for _ in range(_DEPTH):
            for at in ends.get(kind[start:], ()):
                key = kind[:start], at
                found[key] = found.get(key, 0) + 1
            start = kind.find(".", start) + 1
            if not start:
                break
    return found


def _concrete(names: _Names, prefix: str, known: Known) -> list[str]:
    """The prefixes that are this one but for numbers."""
    if "0" not in prefix:
        return [prefix]
    segments = prefix.count(".")
    found: dict[str, None] = {}
    for kind in known.kinds:
        for name in names.kinds.get(prefix + kind, ()):
            found[".".join(name.split(".")[:segments]) + "."] = None
    return list(found)[:_DEPTH]


def _match(names: _Names, prefix: str, known: Known) -> Match:
    found = {name.removeprefix(prefix): names.tensors[name] for name in names.beneath(prefix, known)}
    wanted = known.tensors
    own = [name for name in found if name in wanted]
    misshapen = [name for name in own if wanted[name].shape != found[name].shape]
    like = kind_of(prefix)
    kinds = frozenset(kind.removeprefix(like) for kind in names.kinds_beneath(like, known))
    shared = len(kinds & known.kinds)
    return Match(
        known,
        prefix,
        (len(own) - len(misshapen)) / len(found),
        shared / len(kinds),
        len(own) / len(wanted),
        shared / len(known.kinds),
        tuple(name for name in wanted if name not in found),
        tuple(name for name in found if name not in wanted),
        tuple(misshapen),
        frozenset(prefix + name for name in own),
    )
