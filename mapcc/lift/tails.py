"""Drafts that differ in the ends of their names become one; each stays exact on the key set."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from mapcc.ir.axes import has_rest
from mapcc.lift.templates import Axis, Draft, Part, Rest, Template, Term, Var, merged

_NATURAL = "(?:0|[1-9][0-9]*)"


class Names:
    """The names of a key set, to be asked which of them a template matches."""

    def __init__(self, names: Iterable[str]) -> None:
        self._sorted = sorted(names)

    def matching(self, template: Template) -> Iterator[tuple[str, dict[int, int]]]:
        """Names, each with the values of the template's indices."""
        first = template[0] if template and isinstance(template[0], str) else ""
        pattern = re.compile(_regex(template))
        for at in range(bisect_left(self._sorted, first), len(self._sorted)):
            name = self._sorted[at]
            if not name.startswith(first):
                return
            if found := pattern.fullmatch(name):
                yield name, {int(key[1:]): int(value) for key, value in found.groupdict().items()}


def _regex(template: Template) -> str:
    out: list[str] = []
    seen: set[int] = set()
    for part in template:
        match part:
            case str():
                out.append(re.escape(part))
            case Var(number, plus):
                assert not plus, "left templates have plain indices"
                out.append(f"(?P=v{number})" if number in seen else f"(?P<v{number}>{_NATURAL})")
                seen.add(number)
            case Axis(None):
                out.append(_NATURAL)
            case Axis(labels):
                out.append(f"(?:{'|'.join(map(re.escape, labels or ()))})")
            case Rest(deep):
                out.append(".+" if deep else "[^.]+")
    return "".join(out)


def is_exact(draft: Draft, names: Names) -> bool:
    """Whether a draft takes the names that it stands for, and no others."""
    return all(name in draft.names for name in _taken(draft, names))


def _taken(draft: Draft, names: Names) -> Iterator[str]:
    for term in draft.left:
        for name, values in names.matching(term.template):
            if all(low <= values.get(number, low) <= high for number, low, high in draft.ranges):
                yield name


def bounded(draft: Draft, names: Names) -> Draft | None:
    """The draft with bounds for its indices, where these keep it from taking other names; else None."""
    values: dict[int, set[int]] = {}
    for term in draft.left:
        for name, found in names.matching(term.template):
            if name in draft.names:
                for number, value in found.items():
                    values.setdefault(number, set()).add(value)
    runs = [(k, min(v), max(v)) for k, v in values.items() if max(v) - min(v) + 1 == len(v)]
    for ranges in (*([run] for run in runs), runs):
        tried = replace(draft, ranges=tuple(ranges))
        if ranges and is_exact(tried, names):
            return tried
    return None


# --- the same ends


def with_tails(drafts: Sequence[Draft], names: Names) -> list[Draft]:
    """Drafts whose names end alike on both sides, as ``stem.* -> stem.*``."""
    first, rest = _united(drafts, names, segments=None)
    second, rest = _united(rest, names, segments=1)
    return [*first, *second, *rest]


def _united(drafts: Sequence[Draft], names: Names, segments: int | None) -> tuple[list[Draft], list[Draft]]:
    """Groups that became one draft, and the drafts of those that did not."""
    groups: dict[object, list[tuple[Draft, str]]] = {}
    alone: list[Draft] = []
    for draft in drafts:
        tail = _tail(draft, segments)
        if tail:
            key = (_stems(draft, tail), draft.entries, draft.sizes, draft.ranges)
            groups.setdefault(key, []).append((draft, tail))
        else:
            alone.append(draft)
    united: list[Draft] = []
    for group in groups.values():
        whole = _opened(group, names)
        if whole is not None:
            united.append(whole)
        else:
            alone += [draft for draft, _ in group]
    return united, alone


def _tail(draft: Draft, segments: int | None) -> str:
    """The text in which all names of a draft end, in whole segments; at least a segment stays before it."""
    ends = []
    for term in (*draft.left, *draft.right):
        last = term.template[-1] if term.template else ""
        if not isinstance(last, str) or "." not in last:
            return ""
        ends.append(last)
    same = ends[0]
    for end in ends[1:]:
        while not end.endswith(same):
            same = same[1:]
    parts = same.split(".")[1:]
    if draft.left == draft.right:
        segments = 1  # what stays as it is, module by module
    return ".".join(parts[-segments:] if segments else parts)


def _stems(draft: Draft, tail: str) -> tuple[tuple[Term, ...], tuple[Term, ...]]:
    return _cut(draft.left, tail, ()), _cut(draft.right, tail, ())


def _cut(terms: Sequence[Term], tail: str, end: tuple[Part, ...]) -> tuple[Term, ...]:
    out = []
    for term in terms:
        last = term.template[-1]
        assert isinstance(last, str)
        stem = last[: len(last) - len(tail)]
        out.append(replace(term, template=merged((*term.template[:-1], stem, *end))))
    return tuple(out)


def _opened(group: list[tuple[Draft, str]], names: Names) -> Draft | None:
    """One draft with an open end, if it takes the names of the group and no others."""
    draft = group[0][0]
    tails = [tail.split(".") for _, tail in group]
    while min(map(len, tails)) > 1 and len({tail[0] for tail in tails}) == 1:
        tails = [tail[1:] for tail in tails]  # these segments belong to the stem
    if len(group) == 1 and tails[0] not in (["weight"], ["bias"]):
        return None
    if len(group) > 1 and any(term.shape is not None and not _open_shape(term) for term in draft.left):
        return None
    tail, end = ".".join(tails[0]), (Rest(any(len(tail) > 1 for tail in tails)),)
    whole = Draft(
        _cut(draft.left, tail, end),
        _cut(draft.right, tail, end),
        draft.sizes,
        draft.entries,
        frozenset(name for one, _ in group for name in one.names),
        draft.ranges,
    )
    return whole if is_exact(whole, names) else None


def _open_shape(term: Term) -> bool:
    """Whether a shape says nothing of the number of dimensions."""
    return term.shape is not None and has_rest(term.shape)
