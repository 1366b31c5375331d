"""The emitted module: ``weight_mapping``, its entries under the rules that they come from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from mapcc.diagnostics.fold import fold
from mapcc.dialects.transformers.table import Operation, Transform, Value
from mapcc.emit.entries import Level
from mapcc.emit.layout import WIDTH, Call, Expr, call, laid_out
from mapcc.emit.notes import emitted_by, home, place
from mapcc.emit.pysource import assigned_list, comment, literal, quoted
from mapcc.emit.transformers.entries import Candidate
from mapcc.ir.bound import BoundMapping

VARIABLE = "weight_mapping"
MODULE = "transformers.core_model_loading"

# What from_pretrained renames after everything else, as parts of names.
OLD_NAMES = ("LayerNorm.gamma", "LayerNorm.beta", ".weight_g", ".weight_v")

Listed = Sequence[tuple[Transform, Candidate | None]]


@dataclass(frozen=True, slots=True)
class Told:
    """What the header says of a table, besides what its entries do.

    Attributes:
        unexpected: names that the model does not have, and that no entry takes.
        heads: the ``num_attention_heads`` that was taken for granted; None if nothing was.
    """

    unexpected: tuple[str, ...] = ()
    heads: int | None = None


def render(bound: BoundMapping, listed: Listed, told: Told) -> str:
    sections = [
        (comments, [_entry(entry) for entry, _ in group])
        for comments, group in groupby(listed, key=lambda one: _comments(bound, one[1]))
    ]
    classes = {entry.kind for entry, _ in listed}
    classes |= {operation.name for entry, _ in listed for operation in entry.operations}
    written = [*assigned_list(VARIABLE, sections), ""]
    lines = [*map(comment, _header(bound, listed, told))]
    if classes:
        lines += [*_import(sorted(classes)), ""]
    return "\n".join([*lines, *written])


def _import(classes: Sequence[str]) -> list[str]:
    line = f"from {MODULE} import {', '.join(classes)}"
    return [line] if len(line) <= WIDTH else laid_out(call(f"from {MODULE} import ", classes))


def _entry(entry: Transform) -> Expr:
    sources, targets = _patterns(entry.sources), _patterns(entry.targets)
    if not entry.operations:
        return call(entry.kind, [sources, targets])
    operations = call("operations=", map(_operation, entry.operations), "[]")
    return call(entry.kind, [sources, targets, operations])


def _patterns(patterns: Sequence[str]) -> Expr:
    if len(patterns) == 1:
        return literal(patterns[0])
    return call("", map(literal, patterns), "[]")


def _operation(operation: Operation) -> Expr:
    return call(operation.name, [_option(name, value) for name, value in operation.options])


def _option(name: str, value: Value) -> Expr:
    if isinstance(value, tuple) and all(isinstance(part, str) for part in value):
        return Call(f"{name}=", tuple(literal(str(part)) for part in value), "[]")
    return f"{name}={_literal(value)}"


def _literal(value: Value) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_literal, value))}{',' if len(value) == 1 else ''})"
    return literal(value) if isinstance(value, str) else ascii(value)


# --- comments


def _comments(bound: BoundMapping, candidate: Candidate | None) -> tuple[str, ...]:
    if candidate is None:
        return (comment("the marks that stand in names on the way, away again"),)
    told = [comment(place(candidate.equation.span, home(bound)))]
    fixed = [v.lstrip("/") for v in candidate.equation.variables if v not in candidate.open_variables]
    if candidate.level is Level.NAMES:
        told.append(comment("written out: no pattern takes these names and no others"))
    elif fixed:
        told.append(comment(f"written out for every {quoted(', '.join(fixed))} in this source"))
    return tuple(told)


def _header(bound: BoundMapping, listed: Listed, told: Told) -> Iterator[str]:
    count = len(bound.source.tensors)
    yield emitted_by(bound)
    yield f"Replayed over all {count} names of the source as transformers 5 loads them: each element gets"
    yield "the place in the model that the mapping gives it."
    yield ""
    yield from _usage(listed)
    if told.heads is not None:
        yield ""
        yield "PermuteForRope reads the model's config, which was not given. This is taken for granted:"
        yield f"    num_attention_heads = {told.heads}"
    if told.unexpected:
        yield ""
        yield "The model has no such names, so transformers leaves these out, and says so:"
        yield from (f"    {quoted(template)}" for template in fold(told.unexpected, limit=20))
    old = [name for name in bound.given if any(word in name for word in OLD_NAMES)]
    if old:
        yield ""
        yield "from_pretrained takes these for names of old checkpoints, and renames them after all:"
        yield from (f"    {quoted(template)}" for template in fold(old, limit=20))


def _usage(listed: Listed) -> Iterator[str]:
    yield "To load with it, before from_pretrained:"
    yield "    from transformers.conversion_mapping import register_checkpoint_conversion_mapping"
    yield f"    register_checkpoint_conversion_mapping(model_type, {VARIABLE}, overwrite=True)"
    if any(entry.operations for entry, _ in listed):
        yield "from_pretrained(..., key_mapping={...}) takes renamings only, so it cannot take these."
        return
    if len({entry.sources for entry, _ in listed}) == len(listed):
        yield "These are renamings only, so from_pretrained takes them too; it adds the model's own to them:"
        yield f"    key_mapping={{w.source_patterns[0]: w.target_patterns[0] for w in {VARIABLE}}}"
