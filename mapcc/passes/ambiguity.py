"""What shapes cannot tell apart: another rule would give the same shapes, and other values.

Not looked at are tensors that names tell apart: a group ``{q,k} -> {to_q,to_k}`` pairs a name with a
name, and so does ``{img,txt} -> {ff,ff_context}``. Each rule with a group would be found, and none be wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from mapcc.ir import rules
from mapcc.ir.axes import ANY_SHAPE, REST, Atom, Dim, Literal, Product, Shape, Sum, atoms, blocks, size
from mapcc.ir.bound import BoundMapping, Instance, Layout
from mapcc.ir.expr import Config, Count, Name, Unevaluable, Value
from mapcc.ir.notation import print_name, print_shape
from mapcc.ir.patterns import NameAxis, Pattern
from mapcc.ir.program import Equation
from mapcc.passes.layout import Problem, Solving, add_targets, start
from mapcc.passes.otherwise import Otherwise
from mapcc.passes.segments import name_axes


@dataclass(frozen=True, slots=True)
class Ambiguity:
    """Words that shapes cannot tell apart, and a line that says so."""

    words: tuple[str, ...]
    text: str


def ambiguities(bound: BoundMapping, instance: Instance) -> list[Ambiguity]:
    """What shapes leave open of one instance; the same for all instances of its layout."""
    equation = instance.equation
    shapes = {term.shape for term in equation.units} | {term.shape for term in equation.targets}
    if shapes == {ANY_SHAPE}:
        return []
    state = _without_where(bound, instance)
    if state is None:
        return []
    seen = _Seen(equation, instance.layout, state)
    others = Otherwise(bound, instance).values()
    found = [*seen.labels(), *seen.pieces(), *seen.dimensions(), *seen.sizes(others)]
    # Halves that swap are found on both sides.
    return list({frozenset(ambiguity.words): ambiguity for ambiguity in reversed(found)}.values())[::-1]


def _without_where(bound: BoundMapping, instance: Instance) -> Solving | None:
    """Sizes as far as the shapes of both sides tell them."""
    equation, layout = instance.equation, instance.layout
    conditions = (c for c in equation.conditions if not (isinstance(c, rules.Compare) and c.is_equation))
    bare = replace(equation, conditions=tuple(conditions))
    tensors = bound.source.tensors
    first = {unit: operand for operand, unit in reversed(list(enumerate(layout.unit_of_source)))}
    operands = [
        [tensors[name].shape for name in instance.sources[first[unit]]] for unit in range(len(equation.units))
    ]
    counts = {axis.atom: layout.sizes[axis.atom] for axis in _name_axes(equation) if axis.labels is None}
    state = start(bare, operands, counts, _no_words)
    if isinstance(state, Problem):
        return None
    shapes = dict(zip(layout.term_of_target, layout.target_shapes, strict=True))
    if add_targets(state, [shapes.get(term) for term in range(len(equation.targets))], _no_words):
        return None
    return state


def _no_words(leaf: Name | Config | Count) -> Value:
    raise Unevaluable("only shapes are asked")


def _names(equation: Equation) -> Iterator[Pattern]:
    yield from (name for unit in equation.units for name in unit.names)
    yield from (target.name for target in equation.targets if target.name is not None)


def _name_axes(equation: Equation) -> Iterator[NameAxis]:
    for name in _names(equation):
        yield from name_axes(name)


@dataclass(frozen=True, slots=True)
class _Seen:
    equation: Equation
    layout: Layout
    state: Solving

    @property
    def _shapes(self) -> list[Shape]:
        return [*self.state.unit_shapes, *self.state.target_shapes]

    def labels(self) -> Iterator[Ambiguity]:
        """Tensors by label on one side, and one behind the other in a dimension of the other side."""
        in_dims = {atom for shape in self._shapes for atom in atoms(shape)}
        for axis in _name_axes(self.equation):
            if axis.atom in in_dims and axis.labels is not None and len(axis.labels) > 1:
                yield _unordered(axis.labels)

    def pieces(self) -> Iterator[Ambiguity]:
        """Pieces of equal size, unless they lie alike on both sides."""
        sums = [
            [found for shape in shapes for found in _sums(shape)]
            for shapes in (self.state.unit_shapes, self.state.target_shapes)
        ]
        for found in dict.fromkeys((*sums[0], *sums[1])):
            if found in sums[0] and found in sums[1]:
                continue
            by_size: dict[int, list[Dim]] = {}
            for piece in found.pieces:
                by_size.setdefault(size(piece, self.layout.sizes), []).append(piece)
            for extent, alike in by_size.items():
                if extent and len(alike) > 1:
                    yield _unordered(self._words(alike))

    def _words(self, pieces: Sequence[Dim]) -> Sequence[str]:
        words = [print_shape((piece,)).strip("()") for piece in pieces]
        if not any(word.startswith("_") for word in words):
            return words
        # Atoms that a named operation brought in: the tensors' names are what was written.
        owners = [self._owner(word) for word in words]
        return _short([print_name(name) for name in owners if name is not None]) or words

    def _owner(self, atom: str) -> Pattern | None:
        """The tensor that is this piece, or that stands at this place of a new axis."""
        terms = [(unit.shape, unit.names) for unit in self.equation.units]
        terms += [(term.shape, (term.name,)) for term in self.equation.targets if term.name is not None]
        for shape, names in terms:
            for name in names:
                if Atom(atom) in shape or any(axis.atom == atom for axis in name_axes(name)):
                    return _untagged(name)
        return None

    def dimensions(self) -> Iterator[Ambiguity]:
        """Dimensions of equal size that change places: a square matrix that is transposed."""
        for link in self.equation.links:
            before = _whole_dims(self.state.unit_shapes[link.unit])
            after = _whole_dims(self.state.target_shapes[link.target])
            for a, b in combinations([atom for atom in before if atom in after], 2):
                extent = self.layout.sizes[a]
                if extent > 1 and extent == self.layout.sizes[b] and after.index(a) > after.index(b):
                    places = [f"dimension {before.index(atom)}" for atom in (a, b)]
                    words = places if a.startswith(("_", REST)) else [a, b]
                    text = f"shapes cannot tell {' from '.join(words)}: both are {extent}"
                    yield Ambiguity(tuple(words), text)

    def sizes(self, others: Mapping[str, Sequence[int]]) -> Iterator[Ambiguity]:
        """Sizes that only ``where`` says, where elements change places: ``others`` would fit as well."""
        in_sums = {a for shape in self._shapes for found in _sums(shape) for a in atoms(found.pieces)}
        unknown = set(self.state.free()) - in_sums
        written = dict.fromkeys(a for shape in self._shapes for a in atoms(shape))
        free = [a for a in written if a in unknown and not a.startswith((REST, "_"))]
        if not any(self._is_rearranged(link.unit, link.target) for link in self.equation.links):
            free = []
        free += [a for a in written if a in others and a not in free]
        if not free:
            return
        one = len(free) == 1
        shown = free[0] if one else f"{', '.join(free[:-1])} and {free[-1]}"
        text = f"shapes cannot tell the size{'' if one else 's'} of {shown}: only 'where' does"
        fitting = [f"{a} = {', '.join(map(str, others[a]))}" for a in free if a in others]
        more = f" ({' or '.join(fitting)} would fit as well)" if fitting else ""
        yield Ambiguity(tuple(free), text + more)

    def _is_rearranged(self, unit: int, target: int) -> bool:
        """Whether the axes of a tensor stand in another order, or one of them has gone into a name."""
        before, after = (
            [list(block.strides) for block in blocks(shape, self.layout.sizes)]
            for shape in (self.state.unit_shapes[unit], self.state.target_shapes[target])
        )
        return before != after


def _unordered(words: Sequence[str]) -> Ambiguity:
    text = f"shapes cannot tell {' from '.join(words)}: their order is taken from the rule"
    return Ambiguity(tuple(words), text)


def _sums(dims: Sequence[Dim]) -> Iterator[Sum]:
    for dim in dims:
        match dim:
            case Sum(parts):
                yield dim
                yield from _sums(parts)
            case Product(factors):
                yield from _sums(factors)
            case _:
                pass


def _whole_dims(shape: Shape) -> list[str]:
    """The axes that are a dimension by themselves, in order."""
    return [str(d.size) if isinstance(d, Literal) else d.name for d in shape if isinstance(d, Atom | Literal)]


def _untagged(name: Pattern) -> Pattern:
    """Without the axis of one empty label that ``stack`` and ``unstack`` add."""
    parts = tuple(part for part in name.parts if not (isinstance(part, NameAxis) and part.labels == ("",)))
    return replace(name, parts=parts)


def _short(names: Sequence[str]) -> list[str]:
    """Names without the segments that they have in common: ``to_q`` for ``attn.to_q.*``."""
    cut = [name.split(".") for name in names]
    least = min(map(len, cut), default=1) - 1
    head = next((k for k in range(least) if len({one[k] for one in cut}) > 1), least)
    tail = next((k for k in range(least - head) if len({one[-1 - k] for one in cut}) > 1), least - head)
    return [".".join(one[head : len(one) - tail]) for one in cut]
