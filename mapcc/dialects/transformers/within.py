"""transformers' operations within a tensor: transpositions, and the permutations of rotary embeddings."""

from __future__ import annotations

from math import prod

from mapcc.dialects.transformers.axes import Stops, Unfollowed, product
from mapcc.dialects.transformers.state import (
    Held,
    Listed,
    Place,
    State,
    Tensor,
    dim_of,
    first,
    natural,
    only,
    replaced,
    setting,
    subconfig,
    whole,
)
from mapcc.dialects.transformers.table import Operation


def _single(place: Place) -> str:
    """What an operation on one tensor calls it: at the beginning of a chain to many, as it was."""
    if len(place.targets) == 1:
        return place.targets[0]
    if len(place.sources) == 1:
        return place.sources[0]
    raise Stops("it goes from many to many")


def transpose(state: State, operation: Operation, place: Place) -> State:
    tensor, target = only(state), _single(place)
    # Where the model is not known, its parameter is taken to be the other way round: so the table was meant.
    checked = operation.option("check_dims", False) and place.known
    if checked and place.expected(place.name) == tuple(map(place.axes.size, tensor.dims)):
        return {target: tensor}
    one, other = (dim_of(operation, len(tensor.dims), f"dim{k}", k) for k in (0, 1))
    dims = list(tensor.dims)
    dims[one], dims[other] = dims[other], dims[one]
    return {target: Tensor(tuple(dims))}


def interleave(state: State, operation: Operation, place: Place) -> State:
    tensor = whole(first(next(iter(state.values()))))
    at = dim_of(operation, len(tensor.dims))
    if at != natural(operation, "dim"):
        raise Unfollowed("a dimension counted from the end")  # torch's views take another one then
    size = place.axes.size(tensor.dims[at])
    if size % 2:
        raise Stops(f"{size} elements have no halves")
    if operation.option("inverse", False):
        sizes, hints = (2, size // 2), ("r", "m")
    else:
        sizes, hints = (size // 2, 2), ("m", "r")
    outer, inner = place.axes.factor([tensor.dims[at]], sizes, hints)
    return {place.targets[0]: Tensor(replaced(tensor.dims, at, product([inner, outer])))}


def conv_to_linear(state: State, operation: Operation, place: Place) -> State:
    tensor, target = only(state), _single(place)
    match tensor.dims:
        case (_, _):
            return {target: tensor}
        case (first, *rest) if len(rest) == 4:
            return {target: Tensor((first, product(rest)))}
    raise Stops(f"it takes a tensor of 5 or 2 dimensions, not {len(tensor.dims)}")


def linear_to_conv(state: State, operation: Operation, place: Place) -> State:
    tensor, target = only(state), _single(place)
    kernel = operation.option("kernel_size")
    sizes = [natural(operation, "in_channels"), *(kernel if isinstance(kernel, tuple) else ())]
    numbers = [size for size in sizes if isinstance(size, int)]
    if not tensor.dims or prod(map(place.axes.size, tensor.dims[1:])) != prod(numbers):
        raise Stops(f"the tensor has other elements than {numbers} of each row")
    rest = place.axes.factor(tensor.dims[1:], numbers, "ixyzuvw"[: len(numbers)])
    return {target: Tensor((tensor.dims[0], *rest))}


# --- rotary embeddings


def permute(state: State, operation: Operation, place: Place) -> State:
    return {
        _permuted_name(pattern, place): _permuted(pattern, held, operation, place)
        for pattern, held in state.items()
    }


def _permuted_name(pattern: str, place: Place) -> str:
    match len(place.sources) > 1, len(place.targets) > 1:
        case (False, False):
            return place.targets[0]
        case (True, True):
            raise Stops("it goes from many to many")
        case _:
            return pattern


def _permuted(pattern: str, held: Held, operation: Operation, place: Place) -> Held:
    names = operation.option("permute_layer_names")
    if isinstance(names, tuple) and not any(str(name) in pattern for name in names):
        return held
    if isinstance(held, Listed) and len(held.tensors) > 1:
        raise Stops("it takes one tensor of each name")
    tensor = whole(first(held))
    if not tensor.dims:
        raise Stops("a scalar has no rotary pairs")
    if len(tensor.dims) > 2:
        return tensor
    heads = setting(subconfig(place.config, operation.option("subconfig_key")), "num_attention_heads")
    size = place.axes.size(tensor.dims[0])
    if heads < 1 or (half := size // heads // 2) * heads * 2 != size:
        raise Stops(f"{size} rows are no pairs in {heads} heads")
    inverse = operation.option("inverse", False)
    sizes, hints = ((heads, 2, half), "hrf") if inverse else ((heads, half, 2), "hfr")
    head, one, other = place.axes.factor([tensor.dims[0]], sizes, hints)
    return Tensor((product([head, other, one]), *tensor.dims[1:]))
