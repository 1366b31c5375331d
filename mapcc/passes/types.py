"""The types of target tensors: what an operation, the rule, or the mapping's ``dtype`` says."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypedDict

from mapcc.ir.bound import Instance
from mapcc.ir.notation import print_name
from mapcc.ir.program import DtypeRule, Unit
from mapcc.ir.values import VALUE_OPS, Step, cast_loses
from mapcc.passes.binder import Binder
from mapcc.passes.match import Trie
from mapcc.passes.segments import variants
from mapcc.passes.values import result_dtype
from mapcc.tensors.dtypes import DTYPES, Dtype

Stated = Callable[[str, Dtype], Dtype]
Operands = tuple[tuple[Dtype | None, ...], ...]


def infer_dtypes(binder: Binder) -> None:
    """Fill in ``dtypes`` of every instance; report types that do not fit together."""
    stated = _statement(binder, binder.program.dtype)
    tensors = binder.source.tensors
    # Of one layout there are many instances, and few combinations of types among them.
    # By identity: a type or a layout takes longer to hash than all else that is done here.
    memo: dict[tuple[int, ...], Instance] = {}
    for instance in binder.bound.instances:
        types = [id(tensors[name].dtype) for names in instance.sources for name in names]
        key = (id(instance.layout), *types)
        alike = memo.get(key)
        if alike is None:
            operands = tuple([tuple([tensors[name].dtype for name in names]) for names in instance.sources])
            natural = [
                _natural(binder, instance, number, operands) for number in range(len(instance.targets))
            ]
            _settle(binder, instance, operands, natural, stated)
            if binder.program.dtype is None and instance.sources != ((),):
                memo[key] = instance
        else:
            instance.dtypes, instance.losses = alike.dtypes, alike.losses


def _settle(
    binder: Binder, instance: Instance, operands: Operands, natural: list[Dtype | None], stated: Stated
) -> None:
    final = [_final(instance, number, dtype, stated, binder) for number, dtype in enumerate(natural)]
    instance.dtypes = tuple(final)
    instance.losses = _losses(instance, operands, tuple(natural))


def _losses(
    instance: Instance,
    operands: Operands,
    natural: tuple[Dtype | None, ...],
) -> tuple[str, ...]:
    """What casts lose, from the type that each operand has to the one that its target gets."""
    equation = instance.equation
    if (
        instance.dtypes == natural
        and not any(unit.steps for unit in equation.units)
        and not any(term.cast for term in equation.targets)
    ):
        return ()
    lost: dict[str, None] = {}
    for move in instance.layout.moves:
        operand, after = operands[move.source], instance.dtypes[move.target]
        if operand and operand[-1] is not None and after is not None:
            lost[cast_loses(operand[-1], after)] = None
    return tuple(loss for loss in lost if loss)


def _natural(binder: Binder, instance: Instance, number: int, operands: Operands) -> Dtype | None:
    """The type of a target's pieces, after their own steps, before any statement."""
    equation = instance.equation
    kinds: dict[Dtype, None] = {}
    for operand in _feeding(instance, number):
        unit = equation.units[instance.layout.unit_of_source[operand]]
        dtype = _unit_dtype(binder, instance, unit, operands[operand])
        if dtype is not None:
            kinds[dtype] = None
    term = equation.targets[instance.layout.term_of_target[number]]
    if term.cast is not None:
        for kind in kinds:
            problem = result_dtype((_cast_step(term.cast),), kind)
            if isinstance(problem, str):
                span, name = term.span or equation.span, instance.targets[number]
                binder.findings.add("MC502", problem, span, name, **_way_out(kind, term.cast))
        return term.cast
    if len(kinds) > 1:
        binder.findings.add(
            "MC409",
            f"the pieces of one tensor have different types: {', '.join(sorted(k.name for k in kinds))}",
            equation.span,
            instance.targets[number],
            help=f"bring them to one: `| cast {_widest(kinds).short}`",
        )
    return next(iter(kinds), None)


def _widest(kinds: Iterable[Dtype]) -> Dtype:
    return max(kinds, key=lambda kind: (kind.kind == "float", kind.bits, kind.name))


def _feeding(instance: Instance, number: int) -> list[int]:
    """The operands that a target is made of; by the rule's links where it has no elements."""
    layout = instance.layout
    moved = list(dict.fromkeys(move.source for move in layout.moves if move.target == number))
    if moved:
        return moved
    term = layout.term_of_target[number]
    units = {link.unit for link in instance.equation.links if link.target == term}
    return [operand for operand, unit in enumerate(layout.unit_of_source) if unit in units]


def _is_created(instance: Instance, number: int) -> bool:
    """Whether a target is made of constants alone."""
    units = instance.equation.units
    return all(
        units[instance.layout.unit_of_source[operand]].is_created for operand in _feeding(instance, number)
    )


def _is_cast(instance: Instance, number: int) -> bool:
    """Whether a source of this target states its type."""
    units = instance.equation.units
    if not any(step.dtype for unit in units for step in unit.steps):
        return False
    feeding = {instance.layout.unit_of_source[operand] for operand in _feeding(instance, number)}
    return any(step.dtype for unit in feeding for step in units[unit].steps)


def _cast_step(dtype: Dtype) -> Step:
    return Step(VALUE_OPS["cast"], (), dtype)


def _unit_dtype(
    binder: Binder, instance: Instance, unit: Unit, dtypes: tuple[Dtype | None, ...]
) -> Dtype | None:
    if unit.is_created or not dtypes or dtypes[-1] is None:
        return None
    if not unit.steps:
        return dtypes[-1]
    # Of several tensors, the last is the one whose shape and type the result has.
    for dtype in dtypes[:-1]:
        if dtype is not None and dtype.kind != "float":
            binder.findings.add("MC502", f"{unit.steps[0].op.name} of {dtype.name}", unit.span)
    result = result_dtype(unit.steps, dtypes[-1])
    if isinstance(result, str):
        span, name = unit.span or instance.equation.span, print_name(unit.names[-1])
        way_out = _way_out(dtypes[-1], *(step.dtype for step in unit.steps))
        binder.findings.add("MC502", result, span, name, **way_out)
        return None
    return result


class _WayOut(TypedDict, total=False):
    notes: tuple[str, ...]
    help: str


def _way_out(source: Dtype, *others: Dtype | None) -> _WayOut:
    """What to do where a type is smaller than a byte."""
    small = next((dtype for dtype in (source, *others) if dtype is not None and dtype.bits < 8), None)
    if small is None:
        return {}
    shared = "two F4 share a byte" if small.bits == 4 else "four F6 share three bytes"
    help = "leave the operation out: what quantises a model writes its F4 and F6, and their scales"
    if small is source:
        help = (
            f"leave the operation out, and the output has {small.name}, too; for numbers of another type "
            "start from a checkpoint that is not quantised, or that its own tool has dequantised"
        )
    return {
        "notes": (f"{shared}; they are moved, bit for bit, and nothing computes with them",),
        "help": help,
    }


def _final(
    instance: Instance, number: int, natural: Dtype | None, stated: Stated, binder: Binder
) -> Dtype | None:
    equation = instance.equation
    name = instance.targets[number]
    term = equation.targets[instance.layout.term_of_target[number]]
    explicit = term.cast is not None or _is_cast(instance, number)
    if natural is None and _is_created(instance, number):
        claimed = binder.target.tensors.get(name) if binder.target else None
        if claimed is not None and claimed.dtype is not None:
            return claimed.dtype
        natural = DTYPES["F32"]
    if natural is None or explicit:
        return natural
    return stated(name, natural)


def _statement(binder: Binder, rule: DtypeRule | None) -> Stated:
    """``dtype bf16 { keep ... }`` as a function; floating-point tensors of 16 bits or more."""
    if rule is None:
        return lambda name, dtype: dtype
    trie = Trie(rule.separator)
    for pattern, kept, _ in rule.keeps:
        for variant in variants(pattern, rule.separator):
            trie.add((kept,), variant)

    def stated(name: str, dtype: Dtype) -> Dtype:
        # Types of 8 bits and less are quantised weights and their scales: a cast would break them.
        if dtype.kind != "float" or dtype.bits < 16:
            return dtype
        for leaf, _ in trie.match(name):
            (kept,) = leaf.owner
            return kept if isinstance(kept, Dtype) else dtype
        return rule.dtype

    return stated
