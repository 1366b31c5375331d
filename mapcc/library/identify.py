"""Which model is this checkpoint? Asked of its names and shapes alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from mapcc.diagnostics.fold import fold
from mapcc.library.catalog import Entry
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest, TensorSpec

Tensors = dict[str, TensorSpec]

# Shares of a checkpoint's tensors. Below the first, it is another model with some of the same names; to be
# the very model, most of what is there must have its shapes, and not too much may be missing.
RESEMBLES = 0.6
SAME = 0.9
PRESENT = 0.5

_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Known:
    """A published model under the names of one side: those that share its key set go by one."""

    title: str
    size: str
    keys: str
    takes: tuple[str, ...]  # mappings whose source it is
    gives: tuple[str, ...]
    tensors: Tensors = field(repr=False, compare=False)
    kinds: frozenset[str] = field(repr=False, compare=False)  # the names, but for numbers


@dataclass(frozen=True, slots=True)
class Match:
    """How like one model the checkpoint is.

    Attributes:
        known: the model.
        prefix: what stands before all names of the checkpoint, and not before the model's.
        same: the share of the checkpoint's tensors that the model has too, with their shapes.
        named: the share that the model has by name, layers not counted.
        present: the share of the model's tensors that are there.
        missing, unexpected, misshapen: folded names, of the model's tensors and the checkpoint's.
    """

    known: Known
    prefix: str
    same: float
    named: float
    present: float
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def is_exact(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen)

    @property
    def is_this(self) -> bool:
        """Whether it is this model, perhaps in part, and not only one of its kind."""
        return self.same >= SAME and self.present >= PRESENT


def known_models(entries: Iterable[Entry]) -> Iterator[Known]:
    """The key sets of the library, each once."""
    found: dict[str, dict[str, list[str]]] = {}
    titles: dict[str, tuple[str, str]] = {}
    for entry in entries:
        for pair in entry.pairs:
            for side, keys in (("source", pair.source), ("target", pair.target)):
                roles = found.setdefault(keys, {"source": [], "target": []})
                roles[side].append(entry.name)
                titles.setdefault(keys, (f"{entry.family}: {entry.said(side)}", pair.size))
    for keys, roles in found.items():
        title, size = titles[keys]
        tensors = dict(open_keyset(keys).tensors)
        takes, gives = tuple(roles["source"]), tuple(roles["target"])
        yield Known(title, size, keys, takes, gives, tensors, frozenset(map(_kind, tensors)))


def identify(checkpoint: Manifest, models: Iterable[Known]) -> tuple[Match, ...]:
    """The models that the checkpoint resembles, the likeliest first; none if it is unknown.

    Those whose tensors all match stand first, and among them the one of which least is missing.
    """
    forms = [_Form(prefix, checkpoint.tensors) for prefix in ("", *_prefixes(checkpoint.tensors))]
    ranked = []
    for known in models:
        best = max(((_score(form, known), form) for form in forms), key=lambda each: each[0])
        if best[0][1] >= RESEMBLES:
            ranked.append((*best, known))
    ranked.sort(key=lambda each: each[0], reverse=True)
    return tuple(_match(*each) for each in ranked)


class _Form:
    """The checkpoint's tensors without what all their names begin with."""

    def __init__(self, prefix: str, tensors: Mapping[str, TensorSpec]) -> None:
        self.prefix = prefix
        self.tensors = {name.removeprefix(prefix): spec for name, spec in tensors.items()}
        self.kinds = frozenset(map(_kind, self.tensors))


def _prefixes(names: Iterable[str]) -> list[str]:
    """What all names begin with, segment by segment."""
    segments = [name.split(".")[:-1] for name in names]
    common = []
    for column in zip(*segments, strict=False):
        if len(set(column)) > 1:
            break
        common.append(column[0])
    return [".".join(common[: end + 1]) + "." for end in range(len(common))]


_Score = tuple[float, float, float]


def _score(form: _Form, known: Known) -> _Score:
    """Of :class:`Match`: ``same``, ``named``, ``present``."""
    named = len(form.kinds & known.kinds) / max(len(form.kinds), 1)
    if named < RESEMBLES:
        return 0.0, named, 0.0
    there = known.tensors
    same = sum(name in there and there[name].shape == spec.shape for name, spec in form.tensors.items())
    present = sum(name in form.tensors for name in there)
    return same / len(form.tensors), named, present / len(there)


def _kind(name: str) -> str:
    return _NUMBER.sub("0", name)


def _match(score: _Score, form: _Form, known: Known) -> Match:
    found, wanted = form.tensors, known.tensors
    misshapen = [name for name, spec in found.items() if name in wanted and wanted[name].shape != spec.shape]
    return Match(
        known,
        form.prefix,
        *score,
        tuple(fold(name for name in wanted if name not in found)),
        tuple(fold(name for name in found if name not in wanted)),
        tuple(fold(misshapen)),
    )
