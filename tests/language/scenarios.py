"""Random rules over axes, each with tensors that fit it: the pieces first, then two ways to lay them out.

A piece is a set of axes. Both sides of a rule hold the same pieces; each side lays them out as it
likes: as terms, sums, products, axes of names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from hypothesis import strategies as st

from mapcc.ir import expr, patterns, rules
from mapcc.ir.axes import Atom, Dim, Literal, Product, Rest, Shape, Sum
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.language.notation import Piece, Pieces, put_together, shape_of, taken_apart, written_out

Family = tuple[Piece, ...]
NONE: Piece = frozenset()

# The sizes are not all told: refused, and rightly.
FREE = {"MC302", "MC307"}


# --- shapes


@st.composite
def shapes(draw: st.DrawFn, family: Family, hidden: Piece = NONE) -> Shape:
    """A shape with just these pieces; ``hidden`` axes are common to all and stand elsewhere."""
    common = frozenset.intersection(*family) - hidden
    inner = tuple(piece - common - hidden for piece in family)
    dims: list[Dim] = [_axis(name) for name in sorted(common)]
    if len(inner) > 1:
        dims += draw(_sums(inner))
    dims += [Literal(1)] * draw(st.sampled_from([0, 0, 0, 1]))
    return draw(_grouped(draw(st.permutations(dims))))


def _axis(name: str) -> Dim:
    return Rest() if name == "..." else Literal(int(name)) if name.isdigit() else Atom(name)


@st.composite
def _sums(draw: st.DrawFn, family: Family) -> list[Dim]:
    """Pieces without a common axis as one sum; as two, where every piece is one of each."""
    for name in sorted(frozenset.union(*family)):
        ours = frozenset(n for n in frozenset.union(*family) if _together(n, name, family))
        first, second = {p & ours for p in family}, {p - ours for p in family}
        crossed = {a | b for a in first for b in second}
        if len(first) > 1 and len(second) > 1 and crossed == set(family) and draw(st.booleans()):
            parts = [tuple(sorted(half, key=sorted)) for half in (first, second)]
            return [dim for part in parts for dim in draw(_sums(part))]
    order = draw(st.permutations(family))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), min_size=1)))
    groups = [tuple(order[a:b]) for a, b in zip([0, *cuts], [*cuts, len(order)], strict=True)]
    return [Sum(tuple(draw(_piece(group)) for group in groups))]


def _together(one: str, other: str, family: Family) -> bool:
    """Whether no piece has both, or every piece that has one has the other."""
    return one == other or not any(one in p and other in p for p in family)


@st.composite
def _piece(draw: st.DrawFn, family: Family) -> Dim:
    dims = draw(shapes(family))
    if len(dims) == 1:
        return dims[0]
    return Product(dims) if dims else Literal(1)


@st.composite
def _grouped(draw: st.DrawFn, dims: Sequence[Dim]) -> Shape:
    """Some neighbours in parentheses."""
    out = list(dims)
    for _ in range(draw(st.integers(0, 2))):
        if len(out) > 1:
            at = draw(st.integers(0, len(out) - 2))
            end = draw(st.integers(at + 2, len(out)))
            out[at:end] = [Product(tuple(out[at:end]))]
    return tuple(out)


# --- a side


@dataclass(frozen=True)
class Term:
    """``head`` begins its names; ``axes`` live in them: labels, or None for an index."""

    head: str
    family: Family
    axes: tuple[tuple[str, tuple[str, ...] | None], ...]
    shape: Shape
    fill: int | None = None
    dropped: bool = False


@st.composite
def sides(draw: st.DrawFn, family: Family, letter: str, sizes: Mapping[str, int]) -> list[Term]:
    order = draw(st.permutations(family))
    cuts = sorted(draw(st.sets(st.integers(1, len(order) - 1), max_size=2))) if len(order) > 1 else []
    terms = []
    for number, (a, b) in enumerate(zip([0, *cuts], [*cuts, len(order)], strict=True)):
        group = tuple(order[a:b])
        common = sorted(frozenset.intersection(*group) - {"..."})
        hidden = draw(st.sets(st.sampled_from(common), max_size=2)) if common else set()
        hidden = {name for name in hidden if not name.isdigit()}
        axes = tuple((name, _labels(name, letter, sizes)) for name in draw(st.permutations(sorted(hidden))))
        shape = draw(shapes(group, frozenset(hidden)))
        terms.append(Term(f"{letter}{number}", group, axes, shape))
    return terms


def _labels(name: str, letter: str, sizes: Mapping[str, int]) -> tuple[str, ...] | None:
    if name.startswith("e"):
        return None
    return tuple(f"{letter}{name}{k}" for k in range(sizes[name]))


# --- a rule with its tensors


@dataclass(frozen=True)
class Context:
    """What each name has besides its axes: the values of an index, of a star, of a group."""

    layers: int
    shift: int
    stars: tuple[str, ...]
    members: tuple[tuple[str, str], ...]

    def __iter__(self):  # type: ignore[no-untyped-def]
        return product(range(max(1, self.layers)), self.stars or ("",), self.members or (("", ""),))


@dataclass(frozen=True)
class Scenario:
    """A rule, and for each of its instances the sizes of its atoms."""

    left: tuple[Term, ...]
    right: tuple[Term, ...]
    context: Context
    sizes: dict[int, dict[str, int]]
    where: tuple[rules.Condition, ...]
    rest: int
    all_given: bool

    @property
    def is_lossless(self) -> bool:
        left, right = (sorted(map(sorted, self._family(side))) for side in (self.left, self.right))
        return left == right and all(t.fill is None and not t.dropped for t in (*self.left, *self.right))

    @property
    def hides_rest(self) -> bool:
        """``...`` stands in parentheses on the left and bare on the right: how many are they?"""
        return self._is_bare(self.right) and not self._is_bare(self.left)

    @property
    def is_hidden_backwards(self) -> bool:
        return self._is_bare(self.left) and not self._is_bare(self.right)

    def _is_bare(self, side: Sequence[Term]) -> bool:
        created = side is self.left
        return any(Rest() in term.shape for term in side if not (created and term.fill is not None))

    def _family(self, side: Sequence[Term]) -> list[Piece]:
        return [piece for term in side for piece in term.family]

    def mapping(self) -> rules.Mapping:
        left = tuple(self._term(term, 0) for term in self.left)
        right = tuple(self._term(term, 1) for term in self.right)
        rule = rules.Rule(left, right, modifiers=rules.Modifiers(where=self.where))
        return rules.Mapping(None, None, (rule,))

    def _term(self, term: Term, side: int) -> rules.Term:
        if term.dropped:
            return rules.Dropped(term.shape, "not wanted")
        if term.fill is not None:
            return rules.Created(term.shape, expr.Number(term.fill))
        return rules.Tensor(patterns.Pattern(patterns.merge_texts(self._parts(term, side))), term.shape)

    def _parts(self, term: Term, side: int) -> list[patterns.Part]:
        parts: list[patterns.Part] = [patterns.Text(f"{term.head}")]
        if self.context.layers:
            index: expr.Expr = expr.Name("i")
            if side and self.context.shift:
                index = expr.Binary("+", index, expr.Number(self.context.shift))
            parts += [patterns.Text("."), patterns.Index(index)]
        if self.context.stars:
            parts += [patterns.Text("."), patterns.Star()]
        if self.context.members:
            members = tuple((patterns.Text(pair[side]),) for pair in self.context.members)
            parts += [patterns.Text("_"), patterns.Group(members)]
        for name, labels in term.axes:
            parts += [patterns.Text("."), patterns.NameAxis(name, labels)]
        return parts

    def names(self, term: Term, side: int, instance: tuple[int, str, tuple[str, str]]) -> list[str]:
        """The names of a term's tensors, row-major along its axes."""
        layer, star, pair = instance
        name = term.head
        if self.context.layers:
            name += f".{layer + side * self.context.shift}"
        name += f".{star}" if self.context.stars else ""
        name += f"_{pair[side]}" if self.context.members else ""
        sizes = self.sizes[layer]
        choices = (labels or tuple(map(str, range(sizes[axis]))) for axis, labels in term.axes)
        return [".".join((name, *choice)) for choice in product(*choices)]

    def dims(self, term: Term) -> Shape:
        """A term's shape with the axes of its names in front."""
        return (*(Atom(name) for name, _ in term.axes), *written_out(term.shape, self.rest))

    def sources(self) -> dict[str, np.ndarray]:
        """Every source tensor; no two elements are the same."""
        out: dict[str, np.ndarray] = {}
        start = 1
        for instance in self.context:
            sizes = self.sizes[instance[0]]
            for term in self.left:
                if term.fill is not None:
                    continue
                shape = shape_of(written_out(term.shape, self.rest), sizes)
                for name in self.names(term, 0, instance):
                    count = int(np.prod(shape))
                    out[name] = np.arange(start, start + count).reshape(shape)
                    start += count
        return out

    def targets(self, sources: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Every target tensor, as the notation says."""
        out: dict[str, np.ndarray] = {}
        for instance in self.context:
            sizes = self.sizes[instance[0]]
            pieces: Pieces = {}
            for term in self.left:
                dims = self.dims(term)
                extents = shape_of(dims, sizes)
                if term.fill is not None:
                    pieces |= taken_apart(np.full(extents, term.fill), dims, sizes)
                else:
                    stacked = np.stack([sources[name] for name in self.names(term, 0, instance)])
                    pieces |= taken_apart(stacked.reshape(extents), dims, sizes)
            for term in self.right:
                if not term.dropped:
                    whole = put_together(self.dims(term), pieces, sizes)
                    names = self.names(term, 1, instance)
                    flat = whole.reshape(len(names), *whole.shape[len(term.axes) :])
                    out |= dict(zip(names, flat, strict=True))
        return out


def manifest(arrays: Mapping[str, np.ndarray]) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], array.shape) for name, array in arrays.items()}
    return Manifest(tensors, (), "made up", None, {})


@st.composite
def scenarios(draw: st.DrawFn, lossless: bool = False) -> Scenario:
    family = draw(_families())
    atoms = sorted(frozenset.union(*family) - {"..."})
    context = draw(_contexts())
    base = {name: int(name) if name.isdigit() else draw(st.integers(1, 3)) for name in atoms}
    extra = (
        [] if lossless else draw(st.lists(st.sampled_from(["copy", "repeat", "create", "drop"]), max_size=2))
    )
    left = draw(sides(family, "s", base))
    right = draw(sides(family, "t", base))
    if "copy" in extra:
        right += [_renamed(term, "c") for term in draw(sides(family, "t", base))]
    if "create" in extra and len(left) > 1 and not left[-1].axes:
        left[-1] = Term("", left[-1].family, (), left[-1].shape, fill=draw(st.integers(0, 9)))
    if "drop" in extra and len(right) > 1 and not right[-1].axes:
        right[-1] = Term("", right[-1].family, (), right[-1].shape, dropped=True)
    if "repeat" in extra:
        base["r"] = draw(st.integers(1, 3))
        first = right[0]
        at = draw(st.integers(0, len(first.shape)))
        shape = (*first.shape[:at], Atom("r"), *first.shape[at:])
        right[0] = Term(first.head, first.family, first.axes, shape)
    rest = draw(st.integers(0, 2))
    sizes, fixed = draw(_sizes(base, context.layers, [*left, *right]))
    for layer in sizes.values():
        layer |= {f".{k}": 1 + (k + 1) % 3 for k in range(rest)}
    all_given = draw(st.sampled_from([True, True, True, False]))
    where = draw(_where(sizes[0], fixed, all_given or "repeat" in extra))
    return Scenario(
        tuple(left), tuple(right), context, sizes, where, rest, all_given and fixed >= base.keys()
    )


def _renamed(term: Term, letter: str) -> Term:
    return Term(letter + term.head, term.family, term.axes, term.shape)


@st.composite
def _families(draw: st.DrawFn) -> Family:
    """Pieces: axes that all have, and those that tell them apart."""
    common = draw(st.sets(st.sampled_from(["c", "d", "e", "g", "2", "..."]), max_size=3))
    own = draw(st.lists(st.sets(st.sampled_from(["h", "m", "n"]), max_size=1), min_size=1, max_size=3))
    names = iter("qkvwxyz")
    first = [frozenset(common | extra | {next(names)}) for extra in own]
    if len(first) > 1 and draw(st.booleans()):
        first[-1] -= set("qkvwxyz")
    family = list(dict.fromkeys(first))
    if draw(st.sampled_from([False, False, True])):
        family = [piece | {other} for piece in family for other in ("a", "b")]
    if len(family) == 1 and draw(st.booleans()):
        family = [family[0] - set("qkvwxyz")]
    return tuple(family)


@st.composite
def _contexts(draw: st.DrawFn) -> Context:
    return Context(
        layers=draw(st.sampled_from([0, 0, 1, 2, 3])),
        shift=draw(st.sampled_from([0, 0, 1, 3])),
        stars=draw(st.sampled_from([(), (), ("w",), ("weight", "bias")])),
        members=draw(st.sampled_from([(), (), (("q", "to_q"), ("k", "to_k"))])),
    )


@st.composite
def _sizes(
    draw: st.DrawFn, base: dict[str, int], layers: int, terms: Sequence[Term]
) -> tuple[dict[int, dict[str, int]], set[str]]:
    """The sizes of each layer, and the atoms that have the same in all: labels and literals always."""
    labelled = {name for term in terms for name, labels in term.axes if labels is not None}
    sizes: dict[int, dict[str, int]] = {0: base}
    ragged = draw(st.sets(st.sampled_from(sorted(base)))) if base and layers > 1 else set()
    ragged = {name for name in ragged - labelled if not name.isdigit() and name != "r"}
    for layer in range(1, layers):
        sizes[layer] = base | {name: draw(st.integers(1, 3)) for name in sorted(ragged)}
    return sizes, set(base) - ragged


@st.composite
def _where(
    draw: st.DrawFn, sizes: Mapping[str, int], fixed: set[str], all_given: bool
) -> tuple[rules.Condition, ...]:
    named = sorted(name for name in fixed if not name.isdigit())
    if not all_given:
        named = [name for name in named if draw(st.booleans())]
    out: list[rules.Condition] = []
    for name in draw(st.permutations(named)):
        same = [other for other in named if sizes[other] == sizes[name] and other < name]
        value: expr.Expr = expr.Number(sizes[name])
        if same and draw(st.booleans()):
            value = expr.Name(same[0])
        elif draw(st.integers(0, 4)) == 0:
            value = expr.Binary("//", expr.Number(2 * sizes[name] + 1), expr.Number(2))
        out.append(rules.Compare((expr.Name(name), value), ("=",)))
    return tuple(out)
