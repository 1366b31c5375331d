"""Instances: matches of an equation that agree on its variables, with all their members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import product

from mapcc.ir.bound import Instance, Layout
from mapcc.ir.expr import Unevaluable
from mapcc.ir.notation import print_name
from mapcc.ir.program import Equation
from mapcc.passes.binder import ABSENT, Binder, Key, Members, Position
from mapcc.passes.instance_layout import excuse, known_layout, lay_out
from mapcc.passes.resolve import Values
from mapcc.passes.segments import name_axes
from mapcc.passes.words import regex_names, right_names
from mapcc.passes.writer import NegativeIndex, name_writer


def make_instances(binder: Binder) -> None:
    for equation in binder.program.equations:
        if equation.broken:
            continue
        matched = binder.matched[equation.number]
        if binder.facts(equation).takes_one:
            _single(binder, equation, matched.tensors.get((0, 0), {}))
        else:
            for key, by_member in _joined(equation, matched.tensors):
                _instance(binder, equation, key, by_member)
        if matched.tensors or matched.failed or equation.optional or equation.is_default:
            continue
        if not binder.resolver(equation).is_off(matched.filtered > 0):
            # What it would have given is absent for this reason, and for no other.
            binder.program.failed_right += right_names(equation)
            binder.dead.append((equation, matched.filtered))


def _single(binder: Binder, equation: Equation, by_key: dict[Key, dict[Position, str]]) -> None:
    """Instances of one tensor, which most are: the short way, once their layout is known."""
    tensors, instances = binder.source.tensors, binder.bound.instances
    formats = binder.plain_formats(equation)
    layouts: dict[tuple[int, ...], Layout] = {}
    for key, names in by_key.items():
        name = names[()]
        shape = tensors[name].shape
        layout = layouts.get(shape)
        if layout is not None:
            targets = tuple([format(*key) for format in formats])
            instances.append(Instance(equation, key, ((name,),), targets, layout))
            continue
        _instance(binder, equation, key, {(0, 0): names})
        known = known_layout(binder, equation, shape)
        if known is not None and formats:
            layouts[shape] = known


def _instance(binder: Binder, equation: Equation, key: Key, by_member: Members) -> None:
    values = _with_free_variables(binder, equation, key)
    counts = _axis_counts(binder, equation, by_member)
    operands = _operands(binder, equation, key, by_member, counts)
    if operands is None or values is None:
        excuse(binder, equation, key, by_member)
        return
    for full in values:
        lay_out(binder, equation, full, operands, counts, by_member)


def _with_free_variables(binder: Binder, equation: Equation, key: Key) -> list[Key] | None:
    """The key once for each value of an index that stands on the right only."""
    ranged = binder.facts(equation).ranged
    free = [k for k, v in enumerate(equation.variables) if key[k] == ABSENT and v in ranged] if ranged else ()
    if not free:
        return [key]
    resolver = binder.resolver(equation)
    values: Values = {v: key[k] for k, v in enumerate(equation.variables) if k not in free}
    try:
        choices = resolver.choices_of([equation.variables[k] for k in free], values, equation.span)
    except Unevaluable as error:
        binder.unevaluable(error, resolver, equation.span)
        return None
    out = []
    for choice in choices:
        full = list(key)
        for k, value in zip(free, choice, strict=True):
            full[k] = value
        out.append(tuple(full))
    return out


def _axis_counts(
    binder: Binder, equation: Equation, by_member: Mapping[tuple[int, int], dict[Position, str]]
) -> dict[str, int]:
    """How long the index axes ``[e]`` of the left are: to the largest index seen."""
    counts: dict[str, int] = {}
    if not binder.facts(equation).has_index_axes:
        return counts
    for (u, m), tensors in by_member.items():
        for at, axis in enumerate(name_axes(equation.units[u].names[m])):
            if axis.labels is None:
                longest = max(position[at] for position in tensors) + 1
                counts[axis.atom] = max(counts.get(axis.atom, 0), longest)
    return counts


def _operands(
    binder: Binder,
    equation: Equation,
    key: Key,
    by_member: Mapping[tuple[int, int], dict[Position, str]],
    counts: Mapping[str, int],
) -> list[list[tuple[str, ...]]] | None:
    """For each unit its operands, row-major along its axes; None if one is absent."""
    axes = binder.facts(equation).axes
    units: list[list[tuple[str, ...]]] = []
    complete = True
    for u, unit in enumerate(equation.units):
        if unit.is_created:
            units.append([()])
            continue
        extents = [
            range(len(axis.labels) if axis.labels is not None else counts.get(axis.atom, 0))
            for axis in axes[u]
        ]
        operands: list[tuple[str, ...]] = []
        for position in product(*extents):
            members: list[str] = []
            for m in range(len(unit.names)):
                name = by_member.get((u, m), {}).get(position)
                if name is None:
                    complete = False
                    _absent(binder, equation, u, m, key, position, by_member)
                else:
                    members.append(name)
            operands.append(tuple(members))
        units.append(operands)
    return units if complete else None


def _absent(
    binder: Binder,
    equation: Equation,
    u: int,
    m: int,
    key: Key,
    position: Position,
    by_member: Mapping[tuple[int, int], dict[Position, str]],
) -> None:
    pattern = equation.units[u].names[m]
    writer = name_writer(pattern, equation.separators[0], equation.variables, regex_names(equation))
    try:
        name: str | None = writer.write(key, position, binder.parameters(equation, key))
    except (NegativeIndex, Unevaluable):
        name = None
    present = next(iter(next(iter(by_member.values())).values()), "")
    binder.findings.add(
        "MC406",
        "the rule takes several tensors together, and these are absent",
        equation.span,
        name,
        label="all of them, or none",
        notes=(f"present, for example: {present}",),
        help="absent: " + print_name(pattern) if name is None else "",
    )


def _joined(
    equation: Equation, tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]]
) -> Iterator[tuple[Key, Members]]:
    """Instances: keys that agree on every variable; ABSENT stands for one that a name does not have."""
    if not tensors:
        return
    if len(tensors) == 1:
        ((member, by_key),) = tensors.items()
        for key, names in by_key.items():
            yield key, {member: names}
        return
    full: dict[Key, Members] = {}
    partial_keys: list[tuple[tuple[int, int], Key, dict[Position, str]]] = []
    most = _most_complete(tensors)
    for member, by_key in tensors.items():
        for key, names in by_key.items():
            if _blanks(key) <= most:
                full.setdefault(key, {})[member] = names
            else:
                partial_keys.append((member, key, names))
    for member, key, names in partial_keys:
        for whole, members in full.items():
            if all(part in (ABSENT, value) for part, value in zip(key, whole, strict=True)):
                members[member] = names
    yield from full.items()


def _most_complete(tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]]) -> frozenset[int]:
    blanks = {_blanks(key) for by_key in tensors.values() for key in by_key}
    return min(blanks, key=len)


def _blanks(key: Key) -> frozenset[int]:
    return frozenset(k for k, value in enumerate(key) if value == ABSENT)
