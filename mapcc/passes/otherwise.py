"""Other sizes that the shapes take as well, and that move elements elsewhere: found by solving."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt

from mapcc.ir import rules
from mapcc.ir.axes import REST, atoms
from mapcc.ir.bound import BoundMapping, Instance, Layout, Move
from mapcc.ir.expr import Name, leaves
from mapcc.passes.layout import Lookup, Problem, Solving, add_targets, finish, start
from mapcc.passes.moves import normal_form
from mapcc.passes.paths import PathIndex
from mapcc.passes.resolve import Resolver
from mapcc.passes.segments import name_axes
from mapcc.passes.sizes import Solver

MOST = 6  # values that are told
TRIED = 64


@dataclass(slots=True)
class Otherwise:
    """One instance, solved again with fewer conditions."""

    bound: BoundMapping
    instance: Instance
    _lookup: Lookup | None = None
    _divisors: list[int] = field(default_factory=list)

    def values(self) -> dict[str, list[int]]:
        """For each axis whose size a number of ``where`` says: the other sizes that fit, at most ``MOST``."""
        equations = [
            c for c in self.instance.equation.conditions if _states_a_number(c, self.instance.equation.atoms)
        ]
        words = {name for c in equations for name in _words(c)}
        shapes = [unit.shape for unit in self.instance.equation.units]
        shapes += [target.shape for target in self.instance.equation.targets]
        written = dict.fromkeys(a for shape in shapes for a in atoms(shape))
        wanted = [a for a in written if a in words and not a.startswith((REST, "_")) and not a.isdigit()]
        found = {atom: self._others(atom, lambda c, atom=atom: atom in _words(c)) for atom in wanted}  # type: ignore[misc]
        if not any(found.values()):
            # Each follows from the others, which 'where' says as well.
            found = {atom: self._others(atom, lambda _: True) for atom in wanted}
        return {atom: values for atom, values in found.items() if values}

    def _others(self, atom: str, is_left_out: Callable[[rules.Condition], bool]) -> list[int]:
        state = self._solved(is_left_out)
        if state is None or atom in state.solver.known:
            return []
        actual = self.instance.layout.sizes[atom]
        fitting = (
            size for size in self._candidates() if size != actual and self._moves_elsewhere(state, atom, size)
        )
        return [size for size, _ in zip(fitting, range(MOST), strict=False)]

    def _solved(self, is_left_out: Callable[[rules.Condition], bool]) -> Solving | None:
        instance, equation = self.instance, self.instance.equation
        kept = tuple(
            c for c in equation.conditions if not (_states_a_number(c, equation.atoms) and is_left_out(c))
        )
        first = {u: operand for operand, u in reversed(list(enumerate(instance.layout.unit_of_source)))}
        operands = [
            [self.bound.source.tensors[name].shape for name in instance.sources[first[unit]]]
            for unit in range(len(equation.units))
        ]
        names = [name for unit in equation.units for name in unit.names]
        names += [target.name for target in equation.targets if target.name is not None]
        axes = [axis for name in names for axis in name_axes(name) if axis.labels is None]
        counts = {axis.atom: instance.layout.sizes[axis.atom] for axis in axes}
        state = start(replace(equation, conditions=kept), operands, counts, self.lookup)
        if isinstance(state, Problem):
            return None
        shapes = dict(zip(instance.layout.term_of_target, instance.layout.target_shapes, strict=True))
        given = [shapes.get(term) for term in range(len(equation.targets))]
        return None if add_targets(state, given, self.lookup) else state

    @property
    def lookup(self) -> Lookup:
        if self._lookup is None:
            equation = self.instance.equation
            paths = PathIndex(self.bound.source.tensors, equation.separators[0])
            resolver = Resolver(
                equation.conditions,
                equation.indices,
                equation.variables,
                equation.scope,
                paths,
                equation.atoms,
            )
            values = dict(zip(equation.variables, self.instance.values, strict=True))
            self._lookup = resolver.lookup(values, defined=False)
        return self._lookup

    def _candidates(self) -> list[int]:
        if not self._divisors:
            tensors = self.bound.source.tensors
            extents = {
                n for operand in self.instance.sources for name in operand for n in tensors[name].shape
            }
            extents |= {n for shape in self.instance.layout.target_shapes for n in shape}
            self._divisors = sorted({d for n in extents for d in _divisors(n)})[:TRIED]
        return self._divisors

    def _moves_elsewhere(self, state: Solving, atom: str, value: int) -> bool:
        """Whether a size fits, with other sizes as they are as far as they can be, and the moves differ."""
        for made in self._tried(state, atom, value):
            layout = self.instance.layout
            if made.target_shapes == layout.target_shapes and all(made.sizes.values()):
                return not _same_moves(made.moves, layout.moves)
        return False

    def _tried(self, state: Solving, atom: str, value: int) -> Iterator[Layout]:
        for leader in (None, *state.free()):
            tried = _copied(state)
            tried.solver.known[atom] = value
            if leader is not None and leader != atom:
                tried.solver.known[leader] = self.instance.layout.sizes[leader]
            nothing = [None] * len(self.instance.equation.targets)
            while True:
                if add_targets(tried, nothing, self.lookup):
                    break
                if not (free := tried.free()):
                    made = finish(tried)
                    if not isinstance(made, Problem):
                        yield made
                    break
                tried.solver.known[free[0]] = self.instance.layout.sizes[free[0]]


def _copied(state: Solving) -> Solving:
    old = state.solver
    solver = Solver(dict(old.known), list(old.pending), dict(old.defined), [])
    return replace(state, solver=solver, waiting=list(state.waiting))


def _states_a_number(condition: rules.Condition, axes: frozenset[str]) -> bool:
    """Whether one side of an equation has no axis in it: a number, whatever says it."""
    if not (isinstance(condition, rules.Compare) and condition.is_equation):
        return False
    return any(
        not any(isinstance(leaf, Name) and leaf.name in axes for leaf in leaves(operand))
        for operand in condition.operands
    )


def _speaks_of(atom: str) -> Callable[[rules.Condition], bool]:
    return lambda condition: atom in _words(condition)


def _words(condition: rules.Condition) -> set[str]:
    if not isinstance(condition, rules.Compare):
        return set()
    return {leaf.name for operand in condition.operands for leaf in leaves(operand) if isinstance(leaf, Name)}


def _divisors(number: int) -> Iterable[int]:
    if not 0 < number < 1 << 32:
        return ()
    low = [d for d in range(1, isqrt(number) + 1) if number % d == 0]
    return [*low, *(number // d for d in reversed(low))]


def _same_moves(ours: Sequence[Move], theirs: Sequence[Move]) -> bool:
    if tuple(ours) == tuple(theirs):
        return True
    a, b = _by_pair(ours), _by_pair(theirs)
    return a.keys() == b.keys() and all(normal_form(a[pair]) == normal_form(b[pair]) for pair in a)


def _by_pair(moves: Sequence[Move]) -> dict[tuple[int, int], list[Move]]:
    out: dict[tuple[int, int], list[Move]] = {}
    for move in moves:
        out.setdefault((move.source, move.target), []).append(move)
    return out
