"""An instance's layout, and the names that it gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from mapcc.ir.bound import Instance, Layout
from mapcc.ir.expr import Unevaluable
from mapcc.ir.program import Equation
from mapcc.passes import layout as laying
from mapcc.passes.binder import ABSENT, Binder, Key, Members
from mapcc.passes.segments import name_axes
from mapcc.passes.writer import NameWriter, NegativeIndex


def lay_out(
    binder: Binder,
    equation: Equation,
    key: Key,
    operands: list[list[tuple[str, ...]]],
    counts: Mapping[str, int],
    by_member: Members,
) -> None:
    shapes = _shapes(binder, equation, operands)
    if shapes is None:
        excuse(binder, equation, key, by_member)
        return
    layout = _layout(binder, equation, key, shapes, counts)
    if isinstance(layout, laying.Problem):
        example = next((name for unit in operands for operand in unit for name in operand), None)
        binder.findings.add(
            layout.code,
            layout.message,
            layout.span or equation.span,
            example,
            notes=layout.notes,
            help=layout.help,
        )
        excuse(binder, equation, key, by_member)
        return
    targets = _targets(binder, equation, key, layout.sizes)
    sources = tuple([operand for unit in operands for operand in unit])
    binder.bound.instances.append(Instance(equation, key, sources, tuple(targets), layout))


def known_layout(binder: Binder, equation: Equation, shape: tuple[int, ...]) -> Layout | None:
    """The layout of all instances of one tensor of this shape; None if that depends on more."""
    facts = binder.facts(equation)
    known = binder.layouts.get((equation.number, ((shape,),), (), ()))
    return known if isinstance(known, Layout) and not facts.depends_on_values and not facts.ranged else None


def excuse(binder: Binder, equation: Equation, key: Key, by_member: Members) -> None:
    """Say no more of the tensors of an instance that failed, on either side."""
    binder.excused_sources.update(name for tensors in by_member.values() for name in tensors.values())
    if ABSENT not in key:
        binder.excused_targets.update(_possible_targets(binder, equation, key))


def _shapes(
    binder: Binder, equation: Equation, operands: list[list[tuple[str, ...]]]
) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
    """The shapes of each unit's tensors; along a name axis they have to be the same."""
    tensors = binder.source.tensors
    out: list[tuple[tuple[int, ...], ...]] = []
    for u, unit in enumerate(operands):
        first = tuple([tensors[name].shape for name in unit[0]]) if unit else ()
        for operand in unit[1:] if len(unit) > 1 else ():
            shapes = tuple([tensors[name].shape for name in operand])
            if shapes != first:
                binder.findings.add(
                    "MC306",
                    f"tensors along one name axis differ in shape: {_shown(first)} and {_shown(shapes)}",
                    equation.units[u].span or equation.span,
                    operand[0] if operand else None,
                    help="pieces of unequal size are a sum: `q : q c, k : k c -> qkv : (q + k) c`",
                )
                return None
        out.append(first)
    return tuple(out)


def _layout(
    binder: Binder,
    equation: Equation,
    key: Key,
    shapes: tuple[tuple[tuple[int, ...], ...], ...],
    counts: Mapping[str, int],
) -> Layout | laying.Problem:
    own = key if binder.facts(equation).depends_on_values else ()
    memo = (equation.number, shapes, tuple(counts.items()) if counts else (), own)
    known = binder.layouts.get(memo)
    if known is not None:
        return known
    resolver = binder.resolver(equation)
    lookup = resolver.lookup(dict(zip(equation.variables, key, strict=True)), defined=False)
    state = laying.start(equation, shapes, counts, lookup)
    if isinstance(state, laying.Problem):
        binder.layouts[memo] = state
        return state
    if not state.free():
        result = binder.layouts[memo] = laying.finish(state)
        return result
    # The source leaves something open: ask the target. That depends on names, so no memo.
    if binder.target is not None:
        _count_target_axes(binder, equation, key, state)
        target_shapes = _target_shapes(binder, equation, key, state)
        problem = laying.add_targets(state, target_shapes, lookup)
        if problem:
            return problem
    problem = laying.fuse(state) if state.free() else None
    if problem:
        return problem
    return laying.unsolved(state, binder.target is not None) or laying.finish(state)


def _count_target_axes(binder: Binder, equation: Equation, key: Key, state: laying.Solving) -> None:
    """An index axis on the right that nothing sizes is as long as the target has it."""
    assert binder.target is not None
    for t, target in enumerate(equation.targets):
        if target.name is None:
            continue
        for axis in name_axes(target.name):
            if axis.atom in state.solver.known:
                continue
            writer = binder.writer(equation, t)
            at = 0
            while True:
                position = [at if a == axis.atom else 0 for a in writer.axes]
                name = _write(binder, writer, equation, key, position)
                if name not in binder.target.tensors:
                    break
                at += 1
            if at:
                state.solver.known[axis.atom] = at


def _target_shapes(
    binder: Binder, equation: Equation, key: Key, state: laying.Solving
) -> list[tuple[int, ...] | None]:
    assert binder.target is not None
    shapes: list[tuple[int, ...] | None] = []
    for t, target in enumerate(equation.targets):
        shapes.append(None)
        if target.name is None:
            continue
        writer = binder.writer(equation, t)
        name = _write(binder, writer, equation, key, [0] * len(writer.axes))
        spec = binder.target.tensors.get(name) if name is not None else None
        shapes[-1] = spec.shape if spec else None
    return shapes


def _write(
    binder: Binder, writer: NameWriter, equation: Equation, key: Key, position: Sequence[int]
) -> str | None:
    try:
        return writer.write(key, position, binder.parameters(equation, key))
    except (NegativeIndex, Unevaluable):
        return None


def _targets(binder: Binder, equation: Equation, key: Key, sizes: Mapping[str, int]) -> list[str]:
    names: list[str] = []
    parameters = binder.parameters(equation, key)
    for t, target in enumerate(equation.targets):
        if target.name is None:
            continue
        try:
            names += binder.writer(equation, t).write_all(key, sizes, parameters)
        except NegativeIndex as error:
            binder.findings.add(
                "MC204", f"an index on the right is {error}, below zero", target.span or equation.span
            )
            count = 1
            for axis in name_axes(target.name):
                count *= sizes[axis.atom]
            names += [""] * count
        except Unevaluable as error:
            binder.unevaluable(error, binder.resolver(equation), target.span)
            names.append("")
    return names


def _possible_targets(binder: Binder, equation: Equation, key: Key) -> Iterator[str]:
    """Names that a failed instance would have given, as far as they are known."""
    for t, target in enumerate(equation.targets):
        if target.name is not None and all(a.labels is not None for a in name_axes(target.name)):
            sizes = {a.atom: len(a.labels or ()) for a in name_axes(target.name)}
            try:
                yield from binder.writer(equation, t).write_all(key, sizes, binder.parameters(equation, key))
            except (NegativeIndex, Unevaluable):
                continue


def _shown(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)
