"""Did you mean: the nearest name among very many, found on templates instead of on names."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import SequenceMatcher
from functools import lru_cache
from heapq import nlargest
from itertools import islice

NEAR = 0.6  # below this likeness, a suggestion confuses more than it helps

_DIGITS = re.compile(r"[0-9]+")
_SEGMENT = re.compile(r"[^./]+")
_WORD = re.compile(r"[^\W_]+")
# Bounds on the work for a checkpoint whose names are all different in kind, or endless.
_SKELETONS = 20_000
_MEMBERS = 20_000
_FINALISTS = 48
_LENGTH = 512


class Suggester:
    """The names to suggest from, collapsed once: 92,000 names have some hundred skeletons."""

    __slots__ = ("_names", "_skeletons")

    def __init__(self, candidates: Iterable[str]) -> None:
        self._names = dict.fromkeys(candidates)
        self._skeletons: dict[str, tuple[frozenset[str], list[str]]] | None = None

    def nearest(self, name: str) -> str | None:
        """The candidate most like ``name``; None if nothing is near.

        Digits do not count in the comparison. In what is found they are those of
        ``name``, if that is a candidate, and else the nearest ones.

        >>> Suggester(f"blocks.{i}.attn.to_q.weight" for i in range(40)).nearest("blocks.7.attn.q.weight")
        'blocks.7.attn.to_q.weight'
        """
        found = self.ranked(name, 1)
        return found[0] if found else None

    def ranked(self, name: str, n: int) -> list[str]:
        """At most ``n`` candidates of different skeletons, best first; the near ones only."""
        if len(name) > _LENGTH:
            return []
        asked = _skeleton(name)
        features = _features(asked)
        known = self._known()
        finalists = nlargest(_FINALISTS, known, key=lambda text: _overlap(features, known[text][0]))
        scored = [(likeness(asked, text), text) for text in finalists]
        best = nlargest(n, scored, key=lambda pair: pair[0])
        return [self._concrete(name, text) for score, text in best if score >= NEAR]

    def _known(self) -> dict[str, tuple[frozenset[str], list[str]]]:
        if self._skeletons is None:
            self._skeletons = {}
            for name in self._names:
                text = _skeleton(name)
                entry = self._skeletons.get(text)
                if entry is not None:
                    entry[1].append(name)
                elif len(self._skeletons) < _SKELETONS and len(name) <= _LENGTH:
                    self._skeletons[text] = (_features(text), [name])
        return self._skeletons

    def _concrete(self, name: str, skeleton: str) -> str:
        members = self._known()[skeleton][1]
        model = _DIGITS.findall(members[0])
        asked = _DIGITS.findall(name)
        wanted = [*asked[: len(model)], *model[len(asked) :]]
        filled = _fill(skeleton, wanted)
        if filled in self._names:
            return filled
        seen = zip(*map(_DIGITS.findall, islice(members, _MEMBERS)), strict=True)
        filled = _fill(
            skeleton, [_closest(number, set(values)) for number, values in zip(wanted, seen, strict=True)]
        )
        return filled if filled in self._names else members[0]


def nearest(name: str, candidates: Iterable[str], n: int = 3) -> list[str]:
    """At most ``n`` of the candidates that ``name`` may have meant, best first.

    >>> nearest("wieght", ["weight", "bias", "weights"])
    ['weight', 'weights']
    """
    return Suggester(candidates).ranked(name, n)


def likeness(a: str, b: str) -> float:
    """How alike two names are, from 0 to 1: segments are aligned in order, then compared each with each."""
    left, right = _SEGMENT.findall(a), _SEGMENT.findall(b)
    if not left or not right:
        return 0.0
    row = [0.0] * (len(right) + 1)
    for one in left:
        before, row = row, [0.0]
        for at, other in enumerate(right):
            row.append(max(before[at] + _segment_likeness(one, other), before[at + 1], row[at]))
    return 2 * row[-1] / (len(left) + len(right))


@lru_cache(maxsize=1 << 16)
def _segment_likeness(a: str, b: str) -> float:
    if a == b:
        return 1.0
    if a.lower() == b.lower():
        return 0.95
    # By letters for a slip of the finger, by words for self_attn and attn.
    letters = SequenceMatcher(None, a.lower(), b.lower(), autojunk=False).ratio()
    words, others = set(_WORD.findall(a.lower())), set(_WORD.findall(b.lower()))
    shared = 2 * len(words & others) / (len(words) + len(others) or 1)
    # Unlike segments at the same place say nothing for a name.
    return score if (score := max(letters, shared) * 0.9) >= 0.4 else 0.0


def is_slip(a: str, b: str) -> bool:
    """Whether two words are one but for a letter: absent, too many, another one, or two exchanged."""
    if min(len(a), len(b)) < 3 or not (a.isalpha() and b.isalpha()):
        return False
    start = next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    a, b = a[start:], b[start:]
    return a[1:] == b[1:] or a == b[1:] or a[1:] == b or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _skeleton(name: str) -> str:
    return _DIGITS.sub("0", name)


def _features(skeleton: str) -> frozenset[str]:
    """Segments and pairs of letters: few names that share few of these are alike."""
    text = skeleton.lower()
    pairs = {text[at : at + 2] for at in range(len(text) - 1)}
    return frozenset(pairs.union(_SEGMENT.findall(text)))


def _overlap(a: frozenset[str], b: frozenset[str]) -> float:
    return len(a & b) / (len(a) + len(b) or 1)


def _fill(skeleton: str, numbers: list[str]) -> str:
    digits = iter(numbers)
    return _DIGITS.sub(lambda _: next(digits), skeleton)


def _closest(number: str, seen: set[str]) -> str:
    return min(seen, key=lambda other: (abs(int(other[:18]) - int(number[:18])), other))
