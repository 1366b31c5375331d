"""Axes of one equation: every piece of one side has its counterpart on the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import product

from mapcc.diagnostics.model import Fix
from mapcc.ir.axes import ANY_SHAPE, REST, Dim, Product, Shape, Sum, atoms, pieces
from mapcc.ir.notation import print_shape
from mapcc.ir.patterns import Pattern
from mapcc.ir.program import Link, Target, Unit
from mapcc.passes.faults import Faults
from mapcc.passes.segments import name_axes
from mapcc.syntax.editing import inserted
from mapcc.text import Span


def axes_correspond(faults: Faults) -> None:
    equation = faults.equation
    left_sets = [_term_pieces(unit.shape, unit.names) for unit in equation.units]
    right_sets = [
        _term_pieces(target.shape, (target.name,) if target.name else ()) for target in equation.targets
    ]
    before = len(faults.found)
    for unit in equation.units:
        _no_atom_twice(faults, unit)
    for target in equation.targets:
        if len(faults.found) == before:  # a rule that keeps a shape has its fault once
            _no_atom_twice(faults, target)
    if len(faults.found) > before:
        return
    left = set().union(*(piece for sets in left_sets for piece in sets)) if left_sets else set()
    right = set().union(*(piece for sets in right_sets for piece in sets)) if right_sets else set()
    equation.atoms = frozenset(left | right)
    equation.repeated = frozenset(right - left)
    if only := left - right:
        _only_left(faults, only)
        return
    if REST in equation.repeated:
        _rest_only_right(faults)
        return
    _link(faults, left_sets, right_sets)


def _only_left(faults: Faults, only: set[str]) -> None:
    equation = faults.equation
    if REST in only or any(t.shape == ANY_SHAPE for t in equation.targets if t.name is not None):
        bare = next((t for t in equation.targets if t.name is not None and t.shape == ANY_SHAPE), None)
        if bare is not None and REST not in only:
            shaped = [unit.shape for unit in equation.units if unit.shape != ANY_SHAPE]
            like = print_shape(shaped[0]) if shaped else f"{' '.join(sorted(only))} ..."
            help = f"write its shape, as in ': {like}'"
            fixes = _with_shape(bare, like)
            faults.add("MC309", "the left side has axes, this name has none", bare.span, help, fixes=fixes)
            return
    word = ", ".join("..." if atom == REST else atom for atom in sorted(only))
    message = f"{word} on the left has no place on the right"
    help, fixes = _place_for(faults, only), tuple[Fix, ...]()
    if REST in only and (unit := next((u for u in equation.units if u.shape == ANY_SHAPE), None)):
        help, fixes = _shape_of_the_right(faults, unit)
    faults.add("MC301", message, equation.span, help, fixes=fixes)


def _with_shape(term: Unit | Target, shape: str) -> tuple[Fix, ...]:
    """A shape behind a name that has none."""
    name = term.name if isinstance(term, Target) else term.names[0] if len(term.names) == 1 else None
    if name is None or name.span is None or not shape:
        return ()
    return (Fix(f"write its shape: {shape}", (inserted(name.span, f" : {shape}"),)),)


def _shape_of_the_right(faults: Faults, unit: Unit) -> tuple[str, tuple[Fix, ...]]:
    """The axes of the right but for those that stand in the name: in their order, which may be another."""
    shaped = next((t.shape for t in faults.equation.targets if t.shape != ANY_SHAPE), ())
    in_name = {axis.atom for name in unit.names for axis in name_axes(name)}
    rest = [atom for atom in dict.fromkeys(atoms(shaped)) if atom not in in_name]
    kept = tuple(dim for dim in shaped if not (set(atoms((dim,))) & in_name))
    like = print_shape(kept) if set(atoms(kept)) == set(rest) else " ".join(rest)
    return f"the left has no shape: write it, as in ': {like}'", _with_shape(unit, like)


def _place_for(faults: Faults, only: set[str]) -> str:
    """Where axes without a place can go: a whole piece can be dropped; an axis of all pieces cannot."""
    for unit in faults.equation.units:
        choices = list(_choices(unit.shape))
        gone = [piece for piece in choices if only.intersection(piece)]
        if 0 < len(gone) < len(choices):
            words = [" ".join("..." if atom == REST else atom for atom in piece) for piece in gone]
            return "give it one, or: " + ", ".join(f'drop : {piece} because "..."' for piece in words)
    return "give it one; to keep a part only, name the parts, (a + b), and drop the other"


def _rest_only_right(faults: Faults) -> None:
    bare = next((u for u in faults.equation.units if u.shape == ANY_SHAPE), None)
    span = bare.span if bare else faults.equation.span
    faults.add(
        "MC309",
        "'...' on the right has no '...' on the left",
        span,
        "name the dimensions, or write ... on both sides",
    )


def _no_atom_twice(faults: Faults, term: Unit | Target) -> None:
    for piece in _choices(term.shape):
        seen: set[str] = set()
        for atom in piece:
            if atom in seen:
                word = "'...'" if atom == REST else f"'{atom}'"
                faults.add(
                    "MC303",
                    f"{word} stands twice in ': {print_shape(term.shape)}'",
                    term.span,
                    "give each axis a name of its own",
                )
                return
            seen.add(atom)
    patterns = term.names if isinstance(term, Unit) else (term.name,) if term.name else ()
    shaped = set(atoms(term.shape))
    for pattern in patterns:
        for axis in name_axes(pattern):
            if axis.atom in shaped:
                faults.add(
                    "MC303", f"'{axis.atom}' stands in the name and in the shape of one tensor", term.span
                )
                return
    if len({frozenset(a.atom for a in name_axes(pattern)) for pattern in patterns}) > 1:
        faults.add("MC207", "tensors that one operation takes have other name axes", term.span)


def _link(faults: Faults, left: list[list[frozenset[str]]], right: list[list[frozenset[str]]]) -> None:
    equation = faults.equation
    where: dict[frozenset[str], tuple[int, int]] = {}
    for u, sets in enumerate(left):
        for b, piece in enumerate(sets):
            if piece in where:
                _not_told_apart(faults, equation.units[u], piece)
                return
            where[piece] = (u, b)
    links: list[Link] = []
    unused = dict(where)
    for t, sets in enumerate(right):
        seen: set[frozenset[str]] = set()
        for b, piece in enumerate(sets):
            key = piece - equation.repeated
            if key in seen:
                _not_told_apart(faults, equation.targets[t], key)
                return
            seen.add(key)
            if key not in where:
                _does_not_correspond(faults, equation.targets[t].span, piece, where)
                return
            unused.pop(key, None)
            links.append(Link(*where[key], t, b))
    if unused:
        piece, (u, _) = next(iter(unused.items()))
        _does_not_correspond(faults, equation.units[u].span, piece, [s for sets in right for s in sets])
        return
    equation.links = tuple(links)


def _not_told_apart(faults: Faults, term: Unit | Target, piece: frozenset[str]) -> None:
    help = "name the pieces: (q + k); or write a product: (2 d)"
    if term.shape == ANY_SHAPE:
        help = "give each tensor a shape, or bring them together: `(a, b) | cat -> c`"
    faults.add("MC304", f"two pieces of {_shown(piece)} on one side: which is which?", term.span, help)


def _does_not_correspond(
    faults: Faults, span: Span | None, piece: frozenset[str], others: Iterable[frozenset[str]]
) -> None:
    known = ", ".join(sorted(_shown(other) for other in others))
    faults.add(
        "MC305",
        f"a piece with the axes {_shown(piece)} has no counterpart",
        span,
        "each piece has the same axes on both sides",
        (f"pieces of the other side: {known}",),
    )


def _shown(piece: frozenset[str]) -> str:
    return "(" + " ".join(sorted(piece)) + ")" if piece else "()"


def _choices(shape: Shape) -> Iterator[list[str]]:
    """The atoms of every block as lists, so that repetitions show."""
    for chosen in product(*map(_choices_of_dim, shape)):
        yield [atom for choice in chosen for atom in choice]


def _choices_of_dim(dim: Dim) -> list[list[str]]:
    match dim:
        case Sum(parts):
            return [choice for part in parts for choice in _choices_of_dim(part)]
        case Product(factors):
            return list(_choices(factors))
        case _:
            return [list(atoms((dim,)))]


def _term_pieces(shape: Shape, names: tuple[Pattern, ...]) -> list[frozenset[str]]:
    in_names = frozenset(axis.atom for name in names for axis in name_axes(name))
    return [piece | in_names for piece in pieces(shape)]
