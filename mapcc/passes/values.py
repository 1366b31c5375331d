"""Value operations as written, to steps with their arguments evaluated."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mapcc.diagnostics.model import Diagnostic, Diagnostics, Fix
from mapcc.diagnostics.suggest import is_slip, nearest
from mapcc.ir import rules
from mapcc.ir.expr import Name, Quoted
from mapcc.ir.notation import print_op
from mapcc.ir.program import Scope
from mapcc.ir.values import STRUCTURAL_OPS, VALUE_OPS, Step, ValueOp
from mapcc.passes.scope import evaluated
from mapcc.syntax.editing import exchanged
from mapcc.tensors.dtypes import DTYPES, Dtype, parse_dtype
from mapcc.text import Span


def evaluate_steps(
    ops: Sequence[rules.Op], inputs: int, scope: Scope, span: Span | None, found: Diagnostics
) -> tuple[Step, ...] | None:
    """The steps of a chain of bars; None, with diagnostics, if one of them makes no sense."""
    steps: list[Step] = []
    good = True
    for op in ops:
        step = _step(op, scope, found)
        if step is None:
            good = False
            continue
        if step.op.inputs != inputs:
            takes = "one tensor" if step.op.inputs == 1 else f"{step.op.inputs} tensors in parentheses"
            found.add(Diagnostic("MC501", f"{op.name} takes {takes}, not {inputs}", op.span or span))
            good = False
        inputs = 1
        good &= _can_follow(steps, step, op, found)
        steps.append(step)
    if good and inputs > 1:
        message = f"{inputs} tensors in parentheses need an operation that takes them"
        found.add(Diagnostic("MC501", message, span, help="(a, b) | weight_norm dim=0, (a, b) | cat, ..."))
        good = False
    return tuple(steps) if good else None


def _can_follow(steps: Sequence[Step], step: Step, op: rules.Op, found: Diagnostics) -> bool:
    """Whether a step may stand where it does: ``clamp`` without numbers is about the cast behind it."""
    if not steps or not steps[-1].is_saturating:
        return True
    if step.dtype is not None and step.dtype.kind in ("float", "int", "uint"):
        return True
    message = f"'clamp' without numbers keeps to the type of a cast, and what follows is '{print_op(op)}'"
    help = "write its numbers, 'clamp -1 1', or put it right before a cast to numbers"
    found.add(Diagnostic("MC506", message, op.span, help=help))
    return False


def _step(op: rules.Op, scope: Scope, found: Diagnostics) -> Step | None:
    known = VALUE_OPS.get(op.name)
    if known is None:
        near = nearest(op.name, [*VALUE_OPS, *STRUCTURAL_OPS], 1)
        every = (*VALUE_OPS, *sorted(STRUCTURAL_OPS))
        help = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(every)}"
        if op.name in STRUCTURAL_OPS:
            help = "it takes the place of axes: one for each term, on the left, before the value operations"
        fixes = _instead(op, op.name, near) if op.name not in STRUCTURAL_OPS else ()
        message = f"there is no operation {op.name!r} here"
        found.add(Diagnostic("MC501", message, op.span, help=help, fixes=fixes))
        return None
    is_bare = known.bare and not op.arguments
    if len(op.arguments) != len(known.arguments) and not is_bare:
        wants = " ".join(name.upper() for name in known.arguments) or "no argument"
        wants += ", or no argument" if known.bare else ""
        message = f"'{print_op(op)}': {op.name} takes {wants}"
        found.add(Diagnostic("MC501", message, op.span))
        return None
    if op.name == "cast":
        dtype = _dtype(op.arguments[0], op, found)
        return None if dtype is None else Step(known, (), dtype)
    numbers = _numbers(op, known, scope, found)
    if numbers is None:
        return None
    step = Step(known, tuple(numbers))
    if known.name == "clamp" and numbers and step.number("low") > step.number("high"):
        low, high = step.number("low"), step.number("high")
        message = f"'{print_op(op)}': nothing lies between {low} and {high}"
        found.add(Diagnostic("MC506", message, op.span, help=f"clamp {high} {low}"))
        return None
    return step


def _instead(op: rules.Op, word: str, near: Sequence[str]) -> tuple[Fix, ...]:
    """The known word in place of one that is not."""
    return exchanged(f"write {near[0]}", op.span, word, near[0], is_slip(word, near[0])) if near else ()


def _dtype(argument: rules.Argument, op: rules.Op, found: Diagnostics) -> Dtype | None:
    match argument:
        case Name(text) | Quoted(text):
            dtype = parse_dtype(text)
        case _:
            text, dtype = print_op(op), None
    if dtype is None:
        found.add(
            Diagnostic(
                "MC501",
                f"{text!r} is not a dtype",
                op.span,
                help="bf16, f16, f32, f64, i64, ...",
                fixes=_instead(op, text, nearest(text, [each.short for each in DTYPES.values()], 1)),
            )
        )
    return dtype


def _numbers(
    op: rules.Op, known: ValueOp, scope: Scope, found: Diagnostics
) -> list[tuple[str, int | float]] | None:
    options = dict(known.options)
    given = dict(zip(known.arguments, op.arguments, strict=bool(op.arguments)))
    for key, argument in op.options:
        if key not in options:
            takes = ", ".join(f"{name}=" for name in options) or "no options"
            found.add(Diagnostic("MC501", f"{op.name} has no option {key!r}; it takes {takes}", op.span))
            return None
        given[key] = argument
    numbers: list[tuple[str, int | float]] = []
    for key, argument in given.items():
        value = None if isinstance(argument, tuple) else evaluated(argument, scope, op.span, found)
        if value is None and not isinstance(argument, tuple):
            return None
        if not isinstance(value, int | float) or (key in options and not isinstance(value, int)):
            kind = "whole number" if key in options else "number"
            found.add(Diagnostic("MC501", f"{key} of {op.name} is a {kind}", op.span))
            return None
        if abs(value) > sys.float_info.max:
            found.add(Diagnostic("MC501", f"{key} of {op.name} is not finite", op.span))
            return None
        numbers.append((key, value))
    numbers += [(key, value) for key, value in options.items() if key not in given]
    return numbers


def result_shape(steps: Sequence[Step], shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | str:
    """The shape of what a chain of steps gives, or what is wrong with the tensors that it takes."""
    if not steps or steps[0].op.inputs == 1:
        return shapes[0]
    return _weight_norm_shape(steps[0], *shapes)


def _weight_norm_shape(step: Step, g: tuple[int, ...], v: tuple[int, ...]) -> tuple[int, ...] | str:
    dim = int(step.number("dim"))
    if not -len(v) <= dim < len(v):
        return f"weight_norm dim={dim}: the direction has {len(v)} dimensions {list(v)}"
    wanted = tuple(extent if at == dim % len(v) else 1 for at, extent in enumerate(v))
    if g not in (wanted, (wanted[dim % len(v)],)):
        return f"weight_norm dim={dim}: the magnitude is {list(g)}; it should be {list(wanted)} for {list(v)}"
    return v


def result_dtype(steps: Sequence[Step], dtype: Dtype) -> Dtype | str:
    """The type that a chain of steps gives, or what is wrong with the type that it takes."""
    for step in steps:
        if step.dtype is not None:
            if "complex" in (dtype.kind, step.dtype.kind) and dtype != step.dtype:
                return f"{dtype.name} cannot be cast to {step.dtype.name}"
            if dtype != step.dtype and (dtype.bits < 8 or step.dtype.bits < 8):
                small = dtype if dtype.bits < 8 else step.dtype
                return f"there is no cast {'of' if small is dtype else 'to'} {small.name}"
            dtype = step.dtype
        elif step.is_saturating and dtype.kind in ("int", "uint"):
            continue
        elif dtype.kind != "float" or dtype.bits < 8:
            return f"{step.op.name} computes with floating-point numbers, not {dtype.name}"
    return dtype
