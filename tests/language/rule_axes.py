"""Random rules over axes: pieces first, then two ways to lay them out as tensors, names and all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from random import Random

from tests.language.naive import ONE, Address, Atom, Dim, Product, Sum, written

Piece = frozenset[str]
# A part of a name: what is written on either side, and the texts that it stands for on either side.
Part = tuple[tuple[str, str], tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True)
class Term:
    """``axes`` live in its names: labels, or None for numbers; it is a tensor, created or dropped."""

    head: str
    dims: tuple[Dim, ...]
    axes: tuple[tuple[str, tuple[str, ...] | None], ...] = ()
    fill: float | None = None
    is_dropped: bool = False


@dataclass(frozen=True, slots=True)
class Axes:
    """A rule over axes.

    Attributes:
        sizes: of all atoms.
        told: those that ``where`` has to give, if nothing but the source is known.
        parts: what the names have besides their heads and axes.
    """

    left: tuple[Term, ...]
    right: tuple[Term, ...]
    sizes: dict[str, int]
    parts: tuple[Part, ...]

    def text(self, term: Term, side: int) -> str:
        shape = " ".join(map(written, term.dims)) or "()"
        if term.is_dropped:
            return f'drop : {shape} because "not wanted"'
        if term.fill is not None:
            return f"create : {shape} = {term.fill}"
        name = term.head + "".join(written_[side] for written_, _ in self.parts)
        for atom, labels in term.axes:
            name += f".[{atom}={','.join(labels)}]" if labels else f".[{atom}]"
        return f"{name} : {shape}"

    def instances(self) -> Iterator[tuple[tuple[str, str], ...]]:
        """For each instance, what stands in the place of its parts."""
        return product(*(texts for _, texts in self.parts))

    def names(
        self, term: Term, side: int, instance: Sequence[tuple[str, str]]
    ) -> Iterator[tuple[str, Address]]:
        """A term's tensors, and where each lies along the axes of its name."""
        stem = term.head + "".join(text[side] for text in instance)
        for at in product(*(range(self.sizes[atom]) for atom, _ in term.axes)):
            words = (labels[k] if labels else str(k) for (_, labels), k in zip(term.axes, at, strict=True))
            address = frozenset((atom, k) for (atom, _), k in zip(term.axes, at, strict=True))
            yield ".".join((stem, *words)), address


def drawn_axes(draw: Random, head: str, parts: tuple[Part, ...]) -> Axes:
    """A rule whose names begin with ``head`` on both sides; sources and targets have letters of their own."""
    common = frozenset(draw.sample("cdg", draw.choice((0, 1, 1, 2, 2, 3))))
    own = draw.sample("qkvmn", draw.choice((1, 1, 2, 2, 3)))
    sizes = {atom: draw.choice((1, 2, 2, 3)) for atom in (*common, *own)}
    literal = draw.choice(("", "", "", "2", "3"))
    if literal:
        common |= {literal}
        sizes[literal] = int(literal)
    pieces = [common | {atom} | ({"h"} if draw.random() < 0.2 else set()) for atom in own]
    if any("h" in piece for piece in pieces):
        sizes["h"] = draw.choice((1, 2, 3))
    left = _terms(draw, pieces, f"s.{head}", sizes)
    right = _terms(draw, pieces, f"t.{head}", sizes)
    rule = Axes(tuple(left), tuple(right), sizes, parts)
    return _varied(draw, rule)


def _varied(draw: Random, rule: Axes) -> Axes:
    """With a term that is created or dropped, with a repeat, or with a second way to lay out the target."""
    left, right, sizes = list(rule.left), list(rule.right), dict(rule.sizes)
    kind = draw.choice(("", "", "", "", "create", "drop", "repeat"))
    if kind == "create" and len(left) > 1:
        at = draw.randrange(len(left))
        if not left[at].axes:
            left[at] = replace(left[at], head="", fill=draw.choice((0, 1, 0.5, -2)))
    if kind == "drop" and len(right) > 1:
        at = draw.randrange(len(right))
        if not right[at].axes:
            right[at] = replace(right[at], head="", is_dropped=True)
    if kind == "repeat":
        sizes["r"] = draw.choice((1, 2, 3))
        dims = list(right[0].dims)
        dims.insert(draw.randrange(len(dims) + 1), Atom("r"))
        right[0] = replace(right[0], dims=tuple(dims))
    return Axes(tuple(left), tuple(right), sizes, rule.parts)


def _terms(draw: Random, pieces: Sequence[Piece], head: str, sizes: dict[str, int]) -> list[Term]:
    order = draw.sample(pieces, len(pieces))
    terms: list[Term] = []
    while order:
        count = draw.randrange(1, len(order) + 1)
        group, order = order[:count], order[count:]
        shared = sorted(frozenset[str].intersection(*group))
        hidden = [
            a for a in shared if not a.isdigit() and (a in "cdg" or len(group) == 1) and draw.random() < 0.2
        ]
        axes = tuple((atom, _labels(draw, atom, sizes[atom])) for atom in draw.sample(hidden, len(hidden)))
        dims = _dims(draw, [piece - set(hidden) for piece in group])
        terms.append(Term(f"{head}{'xyz'[len(terms)]}", dims, axes))
    return terms


def _labels(draw: Random, atom: str, size: int) -> tuple[str, ...] | None:
    if draw.random() < 0.5:
        return None
    labels = [f"{atom}{letter}" for letter in "pwab"[:size]]
    return tuple(labels)


def _dims(draw: Random, group: Sequence[Piece]) -> tuple[Dim, ...]:
    """The pieces as one tensor: what all have outside of a sum, or some of it in each part of the sum."""
    shared = frozenset[str].intersection(*group)
    if len(group) == 1:
        dims: list[Dim] = [Atom(name) for name in sorted(shared)]
    else:
        inner = {name for name in shared if not name.isdigit() and draw.random() < 0.2}
        parts = [_product(draw, [Atom(name) for name in sorted(piece - shared | inner)]) for piece in group]
        if len(parts) > 2 and draw.random() < 0.3:
            parts = [Sum(tuple(parts[:2])), *parts[2:]]
        dims = [Atom(name) for name in sorted(shared - inner)] + [Sum(tuple(parts))]
    draw.shuffle(dims)
    while len(dims) > 1 and draw.random() < 0.4:
        at = draw.randrange(len(dims) - 1)
        end = draw.randrange(at + 2, len(dims) + 1)
        dims[at:end] = [Product(tuple(dims[at:end]))]
    if draw.random() < 0.15:
        dims.insert(draw.randrange(len(dims) + 1), ONE)
    return tuple(dims)


def _product(draw: Random, atoms: list[Dim]) -> Dim:
    draw.shuffle(atoms)
    return atoms[0] if len(atoms) == 1 else Product(tuple(atoms))


# --- names


def drawn_parts(draw: Random) -> tuple[Part, ...]:
    kinds: list[Callable[[Random], Part]] = [_index, _index, _star, _group, _deep, _padded]
    chosen = draw.sample(kinds, draw.choice((0, 1, 1, 2)))
    parts = {part[0][0][:3]: part for part in (kind(draw) for kind in chosen)}
    return tuple(
        sorted(parts.values(), key=lambda part: "**" in part[0][0])
    )  # which stands for whole segments


def _index(draw: Random) -> Part:
    shift, first = draw.choice((0, 0, 1, 7)), draw.choice((0, 0, 2))
    count = draw.choice((1, 2, 3, 12))
    other = f".{{i+{shift}}}" if shift else ".{i}"
    return (".{i}", other), tuple((f".{k}", f".{k + shift}") for k in range(first, first + count))


def _padded(draw: Random) -> Part:
    return (".{j:02}", ".{j}"), tuple((f".{k:02}", f".{k}") for k in (0, 3, 11)[: draw.choice((1, 3))])


def _star(draw: Random) -> Part:
    words = draw.choice((("weight", "bias"), ("w",), ("1", "a-b")))
    return (".*", "_*.x"), tuple((f".{word}", f"_{word}.x") for word in words)


def _group(draw: Random) -> Part:
    return ("_{a,b}", ".{to_a,b.0}"), (("_a", ".to_a"), ("_b", ".b.0"))


def _deep(draw: Random) -> Part:
    return (".**", ".n.**"), tuple((f".{word}", f".n.{word}") for word in ("u", "u.v", "4.u.v"))
