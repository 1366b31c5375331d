"""What transformers' operations do not do at all, whatever their chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mapcc.emit.pysource import quoted
from mapcc.emit.transformers.moves import TensorShape
from mapcc.emit.transformers.names import is_loaded
from mapcc.emit.wholes import Refusal
from mapcc.ir.bound import Instance, Move
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.spec import TensorSpec

_CAST = "leave the cast out: transformers casts every tensor to the type that the model has"


def refused(instance: Instance, tensors: Mapping[str, TensorSpec]) -> Refusal | None:
    """Why an instance is more than tensors whose elements go to another place."""
    values = _values(instance, tensors)
    if values:
        return values
    return _elements(instance.layout.moves, [tensors[names[0]] for names in instance.sources])


def _values(instance: Instance, tensors: Mapping[str, TensorSpec]) -> Refusal | None:
    equation = instance.equation
    if any(unit.is_created for unit in equation.units):
        every = all(unit.is_created for unit in equation.units)
        return Refusal("create a tensor" if every else "fill in elements that have no source")
    for unit, names in zip(instance.layout.unit_of_source, instance.sources, strict=True):
        for step in equation.units[unit].steps:
            if step.dtype is None:
                return Refusal(f"compute values ({step.op.name})")
            if step.dtype != tensors[names[0]].dtype:
                return _cast(tensors[names[0]], step.dtype)
    for move in instance.layout.moves:
        after = instance.dtypes[move.target] if instance.dtypes else None
        before = tensors[instance.sources[move.source][0]]
        if after is not None and after != before.dtype:
            return _cast(before, after)
    if any(target.name is None for target in equation.targets):
        return Refusal("leave out a part of a tensor")
    return None


def misread(name: str, target: str) -> Refusal:
    one = name if is_loaded("a", target) else target
    return Refusal(f"load a tensor with the name {quoted(one)}: it reads names as regular expressions")


def _cast(spec: TensorSpec, after: Dtype) -> Refusal:
    before = "a type that the key set does not tell" if spec.dtype is None else spec.dtype.name
    return Refusal("cast to a type that a mapping names", _CAST, f"cast from {before} to {after.name}")


def _elements(moves: Sequence[Move], specs: Sequence[TensorSpec]) -> Refusal | None:
    counts = [0] * len(specs)
    for move in moves:
        if any(size > 1 and stride == 0 for size, stride, _ in move.dims):
            return Refusal("repeat elements of a tensor")
        counts[move.source] += move.numel
    if any(count > spec.numel for count, spec in zip(counts, specs, strict=True)):
        return Refusal("give one tensor to two targets")
    return None


def reason(sources: int, targets: int) -> str:
    if targets > 1:
        return "cut a tensor like this: it takes pieces one after the other, along one dimension"
    if sources > 1:
        return "put tensors together like this: it stacks, concatenates, or both"
    return "reorder elements like this: it transposes, interleaves halves, and permutes for rotary embeddings"


def listed(shapes: Sequence[TensorShape]) -> str:
    more = ", ..." if len(shapes) > 4 else ""
    return ", ".join(str(list(shape)) for shape in shapes[:4]) + more
