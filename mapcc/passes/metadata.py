"""``__metadata__`` of the source: what is still true of the output is carried over, and the rest is told.

A header says whatever its author wanted. Not true any more is a hash of the file, what a quantisation or a
type was where types change, and what speaks of tensors by names that they no longer have.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mapcc.diagnostics.model import Diagnostic
from mapcc.ir.bound import BoundMapping
from mapcc.tensors.spec import FORMAT

# Of the file itself. What ``ss_`` speaks of is the model that was trained from, which stays what it was.
_HASH = re.compile(r"(?<![a-z])(hash|sha\d*|md5|crc\d*|blake\d*|checksum|digest)(?![a-z])", re.IGNORECASE)
_TRAINING = "ss_"
_TYPES = re.compile(r"quant|(?<![a-z])(dtype|precision)(?![a-z])", re.IGNORECASE)
_QUANTISED = re.compile("quant", re.IGNORECASE)
_WORD = re.compile(r"[^\s\"'`,;:=<>|{}\[\]()\\]+")


@dataclass(frozen=True, slots=True)
class Carried:
    """``metadata`` goes into each file of the output; ``lost`` are other keys, by why they do not."""

    metadata: dict[str, str]
    lost: dict[str, list[str]]

    @property
    def told(self) -> list[Diagnostic]:
        return [_told(why, keys) for why, keys in self.lost.items()]


def carried_metadata(bound: BoundMapping) -> Carried:
    """What headers of the output say beside names, types and shapes: always the format that torch wants."""
    kept: dict[str, str] = {}
    lost: dict[str, list[str]] = {}
    if differing := [key for key in bound.source.differing if key not in FORMAT]:
        lost["the source's files do not agree on it"] = differing
    facts = _Facts(bound)
    for key, value in sorted(bound.source.metadata.items()):
        if key in FORMAT or key in bound.source.differing:
            continue
        why = facts.fault(key, value)
        if why:
            lost.setdefault(why, []).append(key)
        else:
            kept[key] = value
    return Carried({**kept, **FORMAT}, lost)


def _told(why: str, keys: list[str]) -> Diagnostic:
    count = "an entry" if len(keys) == 1 else f"{len(keys)} entries"
    message = f"{count} of the source's __metadata__ will not be in the output: {why}"
    help = "nothing else is lost; write it anew, if what reads the output asks for it"
    return Diagnostic("MC817", message, help=help, names=tuple(keys))


@dataclass(slots=True)
class _Facts:
    """What the output is, asked of by metadata; computed when it is asked for."""

    bound: BoundMapping
    _gone: frozenset[str] | None = None
    _cast: bool | None = None

    def fault(self, key: str, value: str) -> str:
        """Why an entry is not true of the output; "" if it is."""
        if key.startswith(_TRAINING):
            return ""
        if _HASH.search(key):
            return "it is a hash of the source's bytes"
        if _TYPES.search(key) and self._types_change():
            return "it tells of types, and the output has others"
        if self._speaks_of_gone(value, bool(_QUANTISED.search(key))):
            return "it speaks of tensors that have other names in the output"
        return ""

    def _types_change(self) -> bool:
        if self._cast is None:
            tensors = self.bound.source.tensors
            self._cast = any(
                dtype is not None and tensors[name].dtype not in (None, dtype)
                for instance in self.bound.instances
                for dtype in instance.dtypes
                for operand in instance.sources
                for name in operand
            )
        return self._cast

    def _speaks_of_gone(self, value: str, any_name: bool) -> bool:
        """Whether a name that is gone stands in a value; one without a dot, which may be a word, if asked."""
        words = {word.strip(".") for word in _WORD.findall(value)}
        if not any_name:
            words = {word for word in words if "." in word}
        return bool(words) and not words.isdisjoint(self._names_gone())

    def _names_gone(self) -> frozenset[str]:
        """Tensors and modules of the source that the output does not have."""
        if self._gone is None:
            ours, theirs = self.bound.program.separators
            self._gone = _paths(self.bound.source.tensors, ours) - _paths(self.bound.given, theirs)
        return self._gone


def _paths(names: Iterable[str], separator: str) -> frozenset[str]:
    paths: set[str] = set()
    for name in names:
        while name and name not in paths:
            paths.add(name)
            name = name.rpartition(separator)[0]
    return frozenset(paths)
