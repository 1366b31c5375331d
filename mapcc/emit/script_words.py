"""The axes of a rule as words of a script: sizes by name, products taken apart."""

from __future__ import annotations

import keyword
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

from mapcc.emit.script_library import AFTER, BEFORE
from mapcc.ir.axes import REST, Atom, Dim, Literal, Product, Rest, Sum

# What functions of the script use by these names.
_TAKEN = {"x", "one", "rest", "outer", "rows", "inner"}
_TAKEN |= {name for module in (*BEFORE, *AFTER) for name in vars(module)}
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,30}")


class NotSaid(Exception):
    """The axes are laid out in a way that has no expression here."""


@dataclass(slots=True)
class Words:
    """The names of sizes in a function, and which of them it uses."""

    sizes: Mapping[str, int]
    used: dict[str, int] = field(default_factory=dict)

    def value(self, dim: Dim) -> int:
        match dim:
            case Atom(name) if name != REST:
                return self.sizes[name]
            case Atom() | Rest():
                return prod(size for name, size in self.sizes.items() if name.startswith(REST))
            case Literal(size):
                return size
            case Product(parts):
                return prod(map(self.value, parts))
            case Sum(parts):
                return sum(map(self.value, parts))

    def text(self, dim: Dim, within: bool = False) -> str:
        match dim:
            case Atom(name):
                return self.atom(name, self.value(dim))
            case Rest():
                return self.text(Atom(REST))
            case Literal(size):
                return str(size)
            case Product(parts):
                return " * ".join(self.text(part, True) for part in parts) or "1"
            case Sum(parts):
                text = " + ".join(self.text(part) for part in parts)
                return f"({text})" if within else text

    def atom(self, name: str, value: int) -> str:
        if name == REST:
            return self._use("rest", value)
        word = name
        if not IDENTIFIER.fullmatch(word):
            raise NotSaid(word)
        if keyword.iskeyword(word) or word in _TAKEN or word.startswith(("x_", "at_", "values_")):
            word += "_"
        return self._use(word, value)

    def _use(self, word: str, value: int) -> str:
        if self.used.setdefault(word, value) != value:
            raise NotSaid(word)
        return word


def flat(dims: Sequence[Dim]) -> list[Dim]:
    """Products taken apart, ones left out."""
    out: list[Dim] = []
    for dim in dims:
        match dim:
            case Product(parts):
                out += flat(parts)
            case Rest():
                out.append(Atom(REST))
            case Literal(1):
                pass
            case _:
                out.append(dim)
    return out


def choices(dims: Sequence[Dim]) -> list[list[int]]:
    """For each block, in order, which piece is taken of the first sum, then of the next, and so on."""
    at = next((k for k, dim in enumerate(dims) if isinstance(dim, Sum)), None)
    if at is None:
        return [[]]
    found = []
    sum_ = dims[at]
    assert isinstance(sum_, Sum)
    for number, piece in enumerate(sum_.pieces):
        found += [[number, *rest] for rest in choices([*dims[:at], *flat([piece]), *dims[at + 1 :]])]
    return found


def atom_of(dim: Dim) -> str:
    """The name of an axis; NotSaid for a sum."""
    match dim:
        case Atom(name):
            return name
        case Literal(size):
            return str(size)
        case _:
            raise NotSaid("a sum that stays whole")
