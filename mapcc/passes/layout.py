"""Sizes solved and moves made, once for all instances of an equation that have the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import prod

from mapcc.ir import rules
from mapcc.ir.axes import REST, Atom, Dim, Product, Shape, Sum, atoms, expand_rest, has_rest, named_rank, size
from mapcc.ir.bound import Layout, Move
from mapcc.ir.expr import Config, Count, Name, Unevaluable, Value, evaluate, leaves
from mapcc.ir.notation import print_condition, print_name, print_shape
from mapcc.ir.patterns import Pattern
from mapcc.ir.program import Equation, Target, Unit
from mapcc.passes import sizes as solving
from mapcc.passes.moves import join_neighbours, link_moves, term_blocks
from mapcc.passes.segments import name_axes
from mapcc.passes.values import result_shape
from mapcc.passes.words import condition_leaves
from mapcc.text import Span

TensorShape = tuple[int, ...]
Lookup = Callable[[Name | Config | Count], Value]


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an equation has no layout for these shapes."""

    code: str
    message: str
    span: Span | None
    notes: tuple[str, ...] = ()
    help: str = ""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an equation over sizes comes from, for the message when it fails."""

    text: str
    span: Span | None


@dataclass(slots=True)
class Solving:
    """The state between the source's shapes and, where they are needed, the target's."""

    equation: Equation
    solver: solving.Solver = field(default_factory=solving.Solver)
    rest: int = 0
    unit_shapes: list[Shape] = field(default_factory=list)
    target_shapes: list[Shape] = field(default_factory=list)
    waiting: list[rules.Compare] = field(default_factory=list)

    def free(self) -> list[str]:
        wanted = {a for shape in (*self.unit_shapes, *self.target_shapes) for a in atoms(shape)}
        wanted |= {axis.atom for name in _names(self.equation) for axis in name_axes(name)}
        return sorted(a for a in wanted if a not in self.solver.known)


def _names(equation: Equation) -> list[Pattern]:
    names = [name for unit in equation.units for name in unit.names]
    return names + [target.name for target in equation.targets if target.name is not None]


def start(
    equation: Equation,
    operand_shapes: Sequence[Sequence[TensorShape]],
    counts: Mapping[str, int],
    lookup: Lookup,
    rest_from: int | None = None,
) -> Solving | Problem:
    """Solve from the source: ``operand_shapes`` holds, for each unit, the shapes of its tensors.

    ``rest_from`` is the rank of the tensor where only the target knows it (``create``).
    """
    state = Solving(equation)
    known = state.solver.known
    for name in _names(equation):
        for axis in name_axes(name):
            if axis.labels is not None:
                known[axis.atom] = len(axis.labels)
    known.update({atom: int(atom) for atom in equation.atoms if atom.isdigit()})
    known.update(counts)
    wholes: list[TensorShape | None] = []
    for unit, shapes in zip(equation.units, operand_shapes, strict=True):
        whole = None if unit.is_created else result_shape(unit.steps, shapes)
        if isinstance(whole, str):
            what, _, why = whole.partition(": ")
            return Problem("MC502", f"{what} does not fit its tensors", unit.span, (why,) if why else ())
        wholes.append(whole)
    problem = _ranks(state, wholes, rest_from)
    if problem:
        return problem
    for unit, shape, whole in zip(equation.units, state.unit_shapes, wholes, strict=True):
        if whole is not None:
            _shape_equations(state, shape, whole, print_name(unit.names[0]), unit.span)
    state.waiting = [c for c in equation.conditions if isinstance(c, rules.Compare) and c.is_equation]
    return _solve(state, lookup) or state


def _ranks(state: Solving, wholes: Sequence[TensorShape | None], rest_from: int | None) -> Problem | None:
    """How many dimensions ``...`` stands for; the same number everywhere in a rule."""
    equation = state.equation
    rest: int | None = None
    for unit, whole in zip(equation.units, wholes, strict=True):
        if whole is None:
            continue
        named = named_rank(unit.shape)
        extra = len(whole) - named
        if extra < 0 or (extra and not has_rest(unit.shape)):
            return _wrong_rank(unit, whole, named)
        if has_rest(unit.shape):
            if rest is not None and rest != extra:
                message = f"'...' is {rest} dimensions of one tensor and {extra} of another"
                return Problem("MC308", message, unit.span)
            rest = extra
    if rest is None and rest_from is not None:
        rest = max(0, rest_from - named_rank(equation.targets[0].shape))
    if rest is None and (opened := next((t for t in equation.targets if has_rest(t.shape)), None)):
        # (... c) on the left is one dimension, whatever it was before.
        message = "how many dimensions '...' stands for cannot be told: it is in parentheses on the left"
        return Problem(
            "MC308", message, opened.span, help="name them, or leave the parentheses: (...) is one"
        )
    state.rest = rest if rest is not None else 1 if REST in equation.atoms else 0
    state.unit_shapes = [expand_rest(unit.shape, state.rest) for unit in equation.units]
    state.target_shapes = [expand_rest(target.shape, state.rest) for target in equation.targets]
    return None


def _wrong_rank(unit: Unit, whole: TensorShape, named: int) -> Problem:
    message = (
        f"{print_name(unit.names[0])} has {len(whole)} dimensions {list(whole)},"
        f" the shape ': {print_shape(unit.shape)}' has {named}"
    )
    help = "write '...' for the remaining dimensions" if len(whole) > named else ""
    return Problem("MC308", message, unit.span, help=help)


def _shape_equations(state: Solving, shape: Shape, whole: TensorShape, name: str, span: Span | None) -> None:
    for at, (dim, extent) in enumerate(zip(shape, whole, strict=True)):
        origin = Origin(f"dimension {at} of {name}", span)
        state.solver.equal(solving.of_dim(dim), {(): extent} if extent else {}, origin)


def _solve(state: Solving, lookup: Lookup) -> Problem | None:
    """Alternate between shapes and ``where`` until neither says more."""
    words = {w for c in state.waiting for o in c.operands if isinstance(o, Name) for w in (o.name,)}
    unknown_words = frozenset(w for w in words if not _has_value(w, lookup))
    atoms_ = state.equation.atoms | unknown_words

    def look(leaf: Name | Config | Count) -> Value:
        if isinstance(leaf, Name) and leaf.name in state.solver.known:
            return state.solver.known[leaf.name]
        if isinstance(leaf, Name) and leaf.name in atoms_:
            raise Unevaluable(f"the size of {leaf.name!r} is not known yet", leaf.name, leaf.span)
        return lookup(leaf)

    progress = True
    while progress:
        state.solver.solve()
        progress = False
        for condition in list(state.waiting):
            sides = [solving.of_expr(operand, atoms_, look) for operand in condition.operands]
            known = [side for side in sides if side is not None]
            if len(known) == len(sides):
                state.waiting.remove(condition)
                progress = True
                origin = Origin(print_condition(condition), condition.span)
                for left, right in pairwise(known):
                    state.solver.equal(left, right, origin)
    for condition in state.waiting:
        problem = _unevaluable(condition, atoms_, look, state)
        if problem:
            return problem
    state.solver.finish()
    return _faults(state)


def _has_value(word: str, lookup: Lookup) -> bool:
    try:
        lookup(Name(word))
    except Unevaluable as error:
        # Known, but without a value: that is reported where it is used.
        return error.name != word
    return True


def _unevaluable(
    condition: rules.Compare, atoms_: frozenset[str], look: Lookup, state: Solving
) -> Problem | None:
    """A condition that will never have a value, whatever the sizes are."""
    for operand in condition.operands:
        if any(isinstance(leaf, Name) and leaf.name in atoms_ for leaf in leaves(operand)):
            continue
        try:
            value = evaluate(operand, look)
        except Unevaluable as error:
            return Problem("MC108", str(error), error.span or condition.span)
        if not isinstance(value, int) and not (isinstance(value, float) and value.is_integer()):
            return Problem("MC108", f"a size is a whole number, not {value!r}", condition.span)
    return None


def _faults(state: Solving) -> Problem | None:
    for fault in state.solver.faults:
        origin = fault.origin
        span = origin.span if isinstance(origin, Origin) else None
        place = origin.text if isinstance(origin, Origin) else "a size"
        if fault.uneven:
            message = f"{place}: {fault.left} = {fault.right} has no whole solution"
            help = "are the sizes right? pieces of unequal size are a sum, named apart: (q + k + v)"
        else:
            message = f"{place} is {fault.right}, but {fault.left}"
            help = ""
        sizes = ", ".join(
            f"{k} = {v}" for k, v in sorted(state.solver.known.items()) if not k.startswith(REST)
        )
        return Problem("MC306", message, span, (f"known: {sizes}",) if sizes else (), help)
    return None


def add_targets(state: Solving, shapes: Sequence[TensorShape | None], lookup: Lookup) -> Problem | None:
    """Let the target's shapes say what the source's leave open."""
    for target, shape, whole in zip(state.equation.targets, state.target_shapes, shapes, strict=True):
        if whole is None or target.name is None:
            continue
        if len(whole) != len(shape):
            message = (
                f"the target's {print_name(target.name)} has {len(whole)} dimensions {list(whole)},"
                f" the rule gives {len(shape)}"
            )
            return Problem("MC308", message, target.span)
        _shape_equations(state, shape, whole, f"the target's {print_name(target.name)}", target.span)
    return _solve(state, lookup)


def fuse(state: Solving) -> Problem | None:
    """Axes that stand side by side wherever they stand are one: how their product parts is no matter."""
    known = state.solver.known
    shapes = (*state.unit_shapes, *state.target_shapes)
    followers: dict[str, set[str]] = {}
    leaders: dict[str, set[str]] = {}
    for shape in shapes:
        for run in _runs(shape):
            for first, second in pairwise(["", *run, ""]):
                followers.setdefault(first, set()).add(second)
                leaders.setdefault(second, set()).add(first)
    asked = {
        leaf.name for c in state.equation.conditions for leaf in condition_leaves(c) if isinstance(leaf, Name)
    }
    asked |= {axis.atom for name in _names(state.equation) for axis in name_axes(name)}
    free = {atom for atom in state.free() if not atom.startswith(REST)} - asked
    fused = [
        atom
        for atom in sorted(free)
        for following in followers.get(atom, ())
        if followers[atom] == {following} and leaders[following] == {atom} and following in free
    ]
    known.update(dict.fromkeys(fused, 1))
    if not fused:
        return None
    state.solver.solve()
    state.solver.finish()
    return _faults(state)


def _runs(dims: Sequence[Dim]) -> Iterator[list[str]]:
    """The axes of each product, in order; whatever else stands there parts them."""
    for dim in dims:
        match dim:
            case Atom(name):
                yield [name]
            case Product(factors):
                yield [factor.name if isinstance(factor, Atom) else "" for factor in factors]
                yield from _runs([factor for factor in factors if not isinstance(factor, Atom)])
            case Sum(parts):
                yield from _runs(parts)
            case _:
                pass


def unsolved(state: Solving, has_target: bool) -> Problem | None:
    """What to say of atoms that are still free."""
    equation, more = state.equation, "" if has_target else ", or give the target's key set: --target"
    free = [atom for atom in state.free() if not atom.startswith(REST)]
    if not free and state.free():
        message = "nothing says which dimensions '...' stands for"
        return Problem("MC307", message, equation.span, help=f"write them out{more}")
    if not free:
        return None
    shown = ", ".join(free)
    if set(free) <= equation.repeated:
        message = f"{shown} stands on the right only, and nothing says its size"
        return Problem("MC302", message, equation.span, help=f"where {free[0]} = ...{more}")
    pending = tuple(
        f"{origin.text}: {_readable(polynomial)}"
        for polynomial, origin in state.solver.pending[:3]
        if isinstance(origin, Origin)
    )
    message = f"the sizes of {shown} cannot be told from the shapes"
    equal = f"where {' = '.join(free)} if they are equal; else " if _are_pieces(free, state) else ""
    return Problem("MC307", message, equation.span, pending, f"{equal}where {free[0]} = ...{more}")


def _are_pieces(free: Sequence[str], state: Solving) -> bool:
    """Whether these are the pieces of one sum, that could be equal."""
    return len(free) > 1 and any(
        all(polynomial.get((atom,)) == 1 for atom in free) and polynomial.get((), 0) % len(free) == 0
        for polynomial, _ in state.solver.pending
    )


def _readable(polynomial: solving.Polynomial) -> str:
    words = " + ".join(("*".join(m) if f == 1 else f"{f}*" + "*".join(m)) for m, f in polynomial.items() if m)
    return f"{words} = {-polynomial.get((), 0)}"


def finish(state: Solving) -> Layout | Problem:
    """The layout; every atom has a size."""
    equation, sizes = state.equation, state.solver.known
    unit_axes = [_axes_of(unit) for unit in equation.units]
    target_axes = [_axes_of(target) for target in equation.targets]
    first_source = _starts([_extent(axes, sizes) for axes in unit_axes])
    # A dropped term is no operand.
    named = [target.name is not None for target in equation.targets]
    first_target = _starts(
        [_extent(axes, sizes) if is_named else 0 for axes, is_named in zip(target_axes, named, strict=True)]
    )
    unit_blocks = [term_blocks(shape, sizes) for shape in state.unit_shapes]
    moves: list[Move] = []
    for link in equation.links:
        if equation.targets[link.target].name is None:
            continue
        target = term_blocks(state.target_shapes[link.target], sizes)[link.target_block]
        moves += link_moves(
            link,
            unit_blocks[link.unit][link.unit_block],
            target,
            sizes,
            unit_axes[link.unit],
            target_axes[link.target],
            first_source[link.unit],
            first_target[link.target],
        )
    shapes: list[TensorShape] = []
    terms: list[int] = []
    for number, (axes, shape) in enumerate(zip(target_axes, state.target_shapes, strict=True)):
        if not named[number]:
            continue
        extent = tuple(size(dim, sizes) for dim in shape)
        shapes += [extent] * _extent(axes, sizes)
        terms += [number] * _extent(axes, sizes)
    units = [number for number, axes in enumerate(unit_axes) for _ in range(_extent(axes, sizes))]
    moves = [move for move in moves if all(extent for extent, _, _ in move.dims)]
    return Layout(dict(sizes), tuple(shapes), join_neighbours(moves), tuple(units), tuple(terms))


def _axes_of(term: Unit | Target) -> tuple[str, ...]:
    names = term.names if isinstance(term, Unit) else (term.name,) if term.name is not None else ()
    return tuple(axis.atom for axis in name_axes(names[0])) if names else ()


def _extent(axes: Sequence[str], sizes: Mapping[str, int]) -> int:
    return prod(sizes[axis] for axis in axes)


def _starts(extents: Sequence[int]) -> list[int]:
    return [0, *accumulate(extents)][:-1]
