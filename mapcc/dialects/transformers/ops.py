"""The operations of transformers' converters, on axes instead of tensors.

Each does what its namesake does, to the names under which it gives its results: which name an
operation gives depends on how many there are, and the next one looks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mapcc.dialects.transformers.axes import Axes, Stops, Unfollowed, direct_sum
from mapcc.dialects.transformers.labels import labels
from mapcc.dialects.transformers.state import (
    Listed,
    Place,
    State,
    Step,
    Tensor,
    dim_of,
    first,
    only,
    replaced,
    setting,
    text_config,
    whole,
)
from mapcc.dialects.transformers.table import Operation, Value
from mapcc.dialects.transformers.within import conv_to_linear, interleave, linear_to_conv, permute, transpose


def run(operations: Iterable[Operation], state: State, place: Place) -> dict[str, Tensor]:
    """What a converter makes of what it collected, by the patterns of its targets.

    Raises:
        Stops: transformers stops at this.
        Unfollowed: mapcc cannot follow.
    """
    for operation in operations:
        if (step := STEPS.get(operation.name)) is None:
            raise Unfollowed(f"{operation.name} is an operation that mapcc does not know")
        try:
            state = step(state, operation, place)
        except (Stops, Unfollowed) as error:
            raise type(error)(f"{operation.name}: {error}") from None
    return {name: first(held) for name, held in state.items()}


# --- pieces


def _chunk(state: State, operation: Operation, place: Place) -> State:
    tensor = only(state)
    targets = place.targets
    if (attribute := operation.option("num_shards_attribute")) is not None:
        count = setting(text_config(place.config), str(attribute))
        targets = tuple(place.only_target.replace("*", str(k)) for k in range(count))
    at = dim_of(operation, len(tensor.dims))
    return _pieces(tensor, at, chunk_sizes(place.axes.size(tensor.dims[at]), len(targets)), targets, place)


def chunk_sizes(size: int, count: int) -> list[int]:
    """torch's chunks: all but the last of the same size, rounded up; there may be fewer than asked for."""
    if size == 0 or count == 0:
        raise Unfollowed("chunks of nothing")
    step = -(-size // count)
    sizes = [min(step, size - begin) for begin in range(0, size, step)]
    if len(sizes) < count:
        raise Stops(f"torch makes {len(sizes)} chunks of {size} elements, where {count} are wanted")
    return sizes


def _split(state: State, operation: Operation, place: Place) -> State:
    tensor = only(state)
    at = dim_of(operation, len(tensor.dims))
    shapes = [place.expected(place.name.replace(place.targets[0], target)) for target in place.targets]
    if any(at >= len(shape) for shape in shapes):
        raise Stops("the model's parameters have fewer dimensions")
    sizes = [shape[at] for shape in shapes]
    if sum(sizes) != (size := place.axes.size(tensor.dims[at])):
        raise Stops(f"the model's parameters take {sum(sizes)} elements, and there are {size}")
    return _pieces(tensor, at, sizes, place.targets, place)


def _pieces(tensor: Tensor, at: int, sizes: Sequence[int], targets: Sequence[str], place: Place) -> State:
    cut = place.axes.cut(tensor.dims[at], sizes, labels(targets))
    return {
        target: Tensor(replaced(tensor.dims, at, piece)) for target, piece in zip(targets, cut, strict=True)
    }


def _concatenate(state: State, operation: Operation, place: Place) -> State:
    target = place.only_target
    found: list[Tensor] = []
    present = [pattern for pattern in place.sources if pattern in state]
    for pattern, hint in zip(present, labels(present) if len(present) > 1 else "p", strict=False):
        held = state[pattern]
        tensors = held.tensors if isinstance(held, Listed) else (held,)
        found += tensors
        for tensor in tensors if len(present) > 1 else ():
            place.axes.name(tensor.dims[dim_of(operation, len(tensor.dims))], hint)
    return {target: _joined(list(map(whole, found)), operation, "dim", 0, place.axes)}


def _joined(tensors: list[Tensor], operation: Operation, option: str, default: int, axes: Axes) -> Tensor:
    if not tensors:
        raise Stops("there is nothing to concatenate")
    rank = len(tensors[0].dims)
    if any(len(tensor.dims) != rank for tensor in tensors):
        raise Stops("tensors of different ranks are concatenated")
    at = dim_of(operation, rank, option, default)
    for tensor in tensors[1:]:
        for number, dim in enumerate(tensor.dims):
            if number != at:
                axes.unify(tensors[0].dims[number], dim)
    return Tensor(replaced(tensors[0].dims, at, direct_sum([tensor.dims[at] for tensor in tensors])))


# --- lists of tensors


def _merge(state: State, operation: Operation, place: Place) -> State:
    out: State = {}
    for pattern, held in state.items():
        target = place.only_target if len(state) == 1 else pattern
        if isinstance(held, Listed):
            held = _stacked(held, range(len(held.tensors)), operation, "dim", place.axes)
        out[target] = held
    return out


def _stacked(held: Listed, chosen: Sequence[int], operation: Operation, option: str, axes: Axes) -> Tensor:
    if not chosen:
        raise Stops("there is nothing to stack")
    tensors = [whole(held.tensors[number]) for number in chosen]
    first = tensors[0].dims
    for tensor in tensors[1:]:
        if len(tensor.dims) != len(first):
            raise Stops("tensors of different ranks are stacked")
        for one, other in zip(first, tensor.dims, strict=True):
            axes.unify(one, other)
    at = dim_of(operation, len(first) + 1, option)
    axis = axes.fresh("e", len(tensors))
    held.merge(chosen, axis)
    return Tensor((*first[:at], axis, *first[at:]))


def _take_apart(state: State, operation: Operation, place: Place) -> State:
    out: State = {}
    for pattern, held in state.items():
        tensor = whole(first(held))
        target = place.only_target if len(state) == 1 else pattern
        at = dim_of(operation, len(tensor.dims))
        out |= _members([_apart(tensor, at)], target, place.axes)
    return out


def _apart(tensor: Tensor, at: int) -> Tensor:
    return Tensor(replaced(tensor.dims, at), member=tensor.dims[at])


def _members(tensors: Iterable[Tensor], target: str, axes: Axes) -> State:
    """Each member of each tensor's axis under a name of its own, numbered on."""
    each = [tensor for tensor in tensors if tensor.member for _ in range(axes.size(tensor.member))]
    if len(each) > 1 and "*" not in target:
        raise Unfollowed("it gives several tensors one name")
    return {target.replace("*", str(number)): tensor for number, tensor in enumerate(each)}


def _ernie_fuse(state: State, operation: Operation, place: Place) -> State:
    """Each list in as many parts as there are targets, and each part stacked; then list by list joined."""
    parts: dict[str, list[Tensor]] = {}
    for pattern in place.sources:
        held = _list(state, pattern)
        step = -(-len(held.tensors) // len(place.targets))
        for number, target in enumerate(place.targets):
            chosen = range(number * step, min((number + 1) * step, len(held.tensors)))
            stacked = _stacked(held, chosen, operation, "stack_dim", place.axes)
            parts.setdefault(target, []).append(stacked)
    return {
        target: _joined(tensors, operation, "concat_dim", 1, place.axes) for target, tensors in parts.items()
    }


def _list(state: State, pattern: str) -> Listed:
    if pattern not in state:
        raise Stops(f"there is nothing for {pattern!r}")
    if not isinstance(held := state[pattern], Listed):
        raise Unfollowed("it works on a list of tensors, and there is one")  # whose rows it would take
    return held


def _ernie_split(state: State, operation: Operation, place: Place) -> State:
    fused: list[list[Tensor]] = []
    for pattern in place.sources:
        tensor = whole(first(_list(state, pattern)))
        at = dim_of(operation, len(tensor.dims), "concat_dim", 1)
        sizes = chunk_sizes(place.axes.size(tensor.dims[at]), len(place.targets))
        cut = place.axes.cut(tensor.dims[at], sizes, labels(place.targets))
        fused.append([Tensor(replaced(tensor.dims, at, piece)) for piece in cut])
    out: State = {}
    for number, target in enumerate(place.targets):
        chosen = [pieces[number] for pieces in fused]
        apart = [_apart(tensor, dim_of(operation, len(tensor.dims), "stack_dim")) for tensor in chosen]
        out |= _members(apart, target, place.axes)
    return out


# --- the older fused operations


def _vision(operation: Operation, inverse: bool) -> tuple[Operation, Operation]:
    """The two operations that the older fused ones are, permutation last."""
    permuting: dict[str, Value] = {"subconfig_key": "vision_config"}
    permuting["permute_layer_names"] = operation.option("permute_layer_names")
    permuting["inverse"] = operation.option("inverse", inverse)
    moving = Operation("", (("dim", operation.option("dim", 0)),))
    return moving, Operation("PermuteForRope", tuple(permuting.items()))


def _vision_fuse(state: State, operation: Operation, place: Place) -> State:
    joining, permuting = _vision(operation, True)
    return _concatenate(permute(state, permuting, place), joining, place)


def _vision_unfuse(state: State, operation: Operation, place: Place) -> State:
    cutting, permuting = _vision(operation, False)
    return permute(_chunk(state, cutting, place), permuting, place)


STEPS: Mapping[str, Step] = {
    "Chunk": _chunk,
    "Split": _split,
    "Concatenate": _concatenate,
    "MergeModulelist": _merge,
    "SplitModulelist": _take_apart,
    "Transpose": transpose,
    "Interleave": interleave,
    "Conv3dToLinear": conv_to_linear,
    "LinearToConv3d": linear_to_conv,
    "PermuteForRope": permute,
    "VisionFuseAndPermuteForRope": _vision_fuse,
    "VisionUnfuseAndPermuteForRope": _vision_unfuse,
    "ErnieFuseAndSplitTextVisionExperts": _ernie_fuse,
    "ErnieSplitAndDecoupleTextVisionExperts": _ernie_split,
}
