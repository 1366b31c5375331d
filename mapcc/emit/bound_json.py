"""The bound mapping as a JSON document, tensor by tensor, for programs that know nothing of mapcc.

``docs/dialects/json.md`` is its reference, with a reader.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from math import isfinite

from mapcc.diagnostics.model import Diagnostics
from mapcc.emit.emitted import Emitted
from mapcc.ir.bound import BoundMapping, Instance, Layout, Move
from mapcc.ir.values import Step
from mapcc.passes.fills import fill_value
from mapcc.plan.lower import effective_steps
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.spec import TensorSpec

FORMAT = "mapcc.bound"
VERSION = 1

Json = dict[str, object]


def emit_json(bound: BoundMapping) -> Emitted[Json]:
    """The document for a mapping that was bound without an error; it refuses none of the rules.

    A created tensor whose number has no value gives the diagnostics of :func:`fill_value`.
    """
    found = Diagnostics()
    document = _Document(bound, found).document()
    if found.errors:
        return Emitted(diagnostics=tuple(found))
    return Emitted(_text(document), document)


class _Document:
    def __init__(self, bound: BoundMapping, found: Diagnostics) -> None:
        self.bound = bound
        self.found = found
        self._layouts: dict[int, list[list[Move]]] = {}

    def document(self) -> Json:
        bound = self.bound
        return {
            "format": FORMAT,
            "version": VERSION,
            "mapping": bound.program.mapping.name,
            "source": {name: _spec(spec) for name, spec in bound.source.tensors.items()},
            "target": {
                name: {
                    "dtype": _dtype(_dtype_of(instance, number)),
                    "shape": list(instance.layout.target_shapes[number]),
                    "moves": list(self.moves(instance, number)),
                }
                for name, (instance, number) in bound.given.items()
            },
            "dropped": {name: listed.because for name, listed in bound.dropped.items()},
            "dropped_parts": list(self.parts()),
            "external": {name: listed.because for name, listed in bound.external.items()},
        }

    def moves(self, instance: Instance, number: int) -> Iterator[Json]:
        """Those of one target tensor, in the order of their places in it."""
        for move in self._by_target(instance.layout)[number]:
            yield {**self.origin(instance, move, number), **_place(move)}

    def origin(self, instance: Instance, move: Move, number: int) -> Json:
        unit = instance.equation.units[instance.layout.unit_of_source[move.source]]
        target = _dtype_of(instance, number)
        if unit.is_created:
            value = fill_value(unit, instance.equation, target or DTYPES["F64"], self.found)
            return {"sources": [], "value": value, "steps": []}
        names = instance.sources[move.source]
        specs = [self.bound.source.tensors[name] for name in names]
        return {"sources": list(names), "steps": _steps(unit.steps, [spec.dtype for spec in specs], target)}

    def parts(self) -> Iterator[Json]:
        """The tensors of which a rule leaves elements out, with its reason; no move takes these elements."""
        for instance in self.bound.instances:
            for term, target in enumerate(instance.equation.targets):
                if target.name is None:
                    units = {link.unit for link in instance.equation.links if link.target == term}
                    numbers = instance.layout.unit_of_source
                    names = [
                        name
                        for operand, unit in zip(instance.sources, numbers, strict=True)
                        for name in (operand if unit in units else ())
                    ]
                    yield {"sources": names, "because": target.because}

    def _by_target(self, layout: Layout) -> list[list[Move]]:
        moves = self._layouts.get(id(layout))
        if moves is None:
            moves = self._layouts[id(layout)] = [[] for _ in layout.target_shapes]
            for move in sorted(layout.moves, key=lambda move: move.target_offset):
                moves[move.target].append(move)
        return moves


def _spec(spec: TensorSpec) -> Json:
    return {"dtype": _dtype(spec.dtype), "shape": list(spec.shape)}


def _dtype(dtype: Dtype | None) -> str | None:
    return None if dtype is None else dtype.name


def _dtype_of(instance: Instance, number: int) -> Dtype | None:
    return instance.dtypes[number] if instance.dtypes else None


def _place(move: Move) -> Json:
    return {"from": move.source_offset, "to": move.target_offset, "dims": [list(dim) for dim in move.dims]}


def _steps(steps: tuple[Step, ...], dtypes: list[Dtype | None], target: Dtype | None) -> list[Json]:
    """The operations, with every cast in words: the last, to the target's type, too."""
    dtype = dtypes[0]
    if len(dtypes) == 1 and dtype is not None:
        steps = effective_steps(dtype, steps)
    written = [_step(step, _cast_behind(steps[k:], target)) for k, step in enumerate(steps)]
    for step in steps:
        if step.is_saturating:
            continue
        wide = any(known is not None and known.name == "F64" for known in (dtype, *dtypes))
        dtype = step.dtype or DTYPES["F64" if wide else "F32"]
        dtypes = []
    if target is not None and dtype is not None and dtype != target:
        written.append({"op": "cast", "dtype": target.name})
    return written


def _cast_behind(steps: tuple[Step, ...], target: Dtype | None) -> Dtype | None:
    return next((step.dtype for step in steps if step.dtype is not None), target)


def _step(step: Step, behind: Dtype | None) -> Json:
    if step.is_saturating:
        return {"op": "clamp", "dtype": _dtype(behind)}
    if step.dtype is not None:
        return {"op": "cast", "dtype": step.dtype.name}
    return {"op": step.op.name, **{name: _number(value) for name, value in step.numbers}}


def _number(value: int | float) -> int | float | str:
    """JSON has no infinities."""
    return value if isinstance(value, int) or isfinite(value) else str(value)


# --- the text


def _text(document: Json) -> str:
    """JSON in ASCII, a tensor a line."""
    body = ",\n".join(f" {_dumped(key)}: {_laid_out(value)}" for key, value in document.items())
    text = f"{{\n{body}\n}}\n"
    assert json.loads(text) == document, "the text reads back as what was written"
    return text


def _laid_out(value: object) -> str:
    if isinstance(value, Mapping) and value:
        return "{\n" + ",\n".join(f"  {_dumped(k)}: {_dumped(v)}" for k, v in value.items()) + "\n }"
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"  {_dumped(item)}" for item in value) + "\n ]"
    return _dumped(value)


def _dumped(value: object) -> str:
    return json.dumps(value, allow_nan=False)
