"""Chains of transformers' operations for tensors that are taken together: tried, and compared.

A candidate has the right shapes; whether it moves the right elements, the dialect's own engine says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, permutations
from math import prod

from mapcc.dialects.transformers.table import Operation, Value

TensorShape = tuple[int, ...]
Operations = tuple[Operation, ...]

# What a permutation of the dimensions may be made of: one of seven takes too many transposes to try.
MAX_RANK = 6

PERMUTE, NAMES = "PermuteForRope", "permute_layer_names"


@dataclass(frozen=True, slots=True)
class Chain:
    """Operations, and the operands that they take and give.

    Attributes:
        groups: the source operands that each source pattern takes, in their order.
        targets: the target operands in the order of the target patterns.
        permuted: the patterns that PermuteForRope is confined to, by their numbers: of targets if there
            are several, else of sources; none for all of them.
    """

    groups: tuple[tuple[int, ...], ...]
    targets: tuple[int, ...]
    operations: Operations
    permuted: tuple[int, ...] = ()

    def named(self, sources: Sequence[str], targets: Sequence[str]) -> Operations:
        """The operations, with the patterns that they ask for."""
        patterns = targets if len(targets) > 1 else sources
        names = tuple(patterns[number] for number in self.permuted)
        if not names:
            return self.operations
        return tuple(
            Operation(one.name, ((NAMES, names), *one.options)) if one.name == PERMUTE else one
            for one in self.operations
        )


def operation(name: str, **options: Value) -> Operation:
    """An operation without the options that are 0 or False anyway."""
    kept = {key: value for key, value in options.items() if value is not False}
    if kept.get("dim") == 0:
        del kept["dim"]
    return Operation(name, tuple(kept.items()))


# --- one tensor to one


@dataclass(frozen=True, slots=True)
class Step:
    """Operations on one tensor, and the shape that comes out."""

    operations: Operations
    shape: TensorShape


def dimension_orders(shape: TensorShape) -> Iterator[Step]:
    """All orders of a tensor's dimensions, as transposes; those of few first."""
    if not 1 < len(shape) <= MAX_RANK:
        return
    steps = []
    for order in permutations(range(len(shape))):
        swaps = _swaps(order)
        if swaps:
            operations = tuple(
                operation("Transpose", **({} if swap == (0, 1) else {"dim0": swap[0], "dim1": swap[1]}))
                for swap in swaps
            )
            steps.append(Step(operations, tuple(shape[at] for at in order)))
    yield from sorted(steps, key=lambda step: len(step.operations))


def _swaps(order: Sequence[int]) -> list[tuple[int, int]]:
    """Transposes that give dimensions in this order.

    >>> _swaps((1, 2, 0))
    [(0, 1), (1, 2)]
    """
    now, swaps = list(range(len(order))), []
    for at, wanted in enumerate(order):
        if now[at] != wanted:
            other = now.index(wanted)
            now[at], now[other] = now[other], now[at]
            swaps.append((at, other))
    return swaps


def same_shape(shape: TensorShape) -> Iterator[Step]:
    """What reorders the elements within a dimension."""
    for dim, extent in enumerate(shape):
        if extent % 2 == 0 and extent > 2:
            for inverse in (False, True):
                yield Step((operation("Interleave", dim=dim, inverse=inverse),), shape)
    for inverse in (False, True):
        if len(shape) in (1, 2):
            yield Step((operation(PERMUTE, inverse=inverse),), shape)


def other_shape(shape: TensorShape, target: TensorShape) -> Iterator[Step]:
    """What adds or takes away a dimension of 1, and what makes a kernel flat."""
    if len(target) > len(shape):
        for dim in range(len(shape) + 1):
            yield Step((operation("MergeModulelist", dim=dim),), (*shape[:dim], 1, *shape[dim:]))
    if len(target) < len(shape):
        for dim, extent in enumerate(shape):
            if extent == 1:
                yield Step((operation("SplitModulelist", dim=dim),), shape[:dim] + shape[dim + 1 :])
    if (len(shape), len(target)) == (5, 2):
        options: dict[str, Value] = {"in_channels": shape[1], "kernel_size": shape[2:]}
        yield Step((operation("Conv3dToLinear", **options),), (shape[0], prod(shape[1:])))
    if (len(shape), len(target)) == (2, 5):
        options = {"in_channels": target[1], "kernel_size": target[2:]}
        yield Step((operation("LinearToConv3d", **options),), (shape[0], *target[1:]))


def single(shape: TensorShape, target: TensorShape) -> Iterator[Operations]:
    """One operation, and then two, that give a shape."""
    direct = list(_steps(shape, target))
    found = dict.fromkeys(step.operations for step in direct if step.shape == target)
    for first in direct:
        found.update(
            dict.fromkeys(
                first.operations + second.operations
                for second in _steps(first.shape, target)
                if second.shape == target
            )
        )
    yield from found


def _steps(shape: TensorShape, target: TensorShape) -> Iterator[Step]:
    yield from dimension_orders(shape)
    yield from same_shape(shape)
    yield from other_shape(shape, target)


def _before(shape: TensorShape) -> Iterator[Step]:
    """What may come before a tensor is cut, or after it is put together."""
    yield Step((), shape)
    yield from dimension_orders(shape)
    yield from same_shape(shape)


# --- several


def cut(shape: TensorShape, targets: Sequence[TensorShape]) -> Iterator[Operations]:
    """One tensor in pieces, in the order in which they lie."""
    for before in _before(shape):
        for dim, extent in enumerate(before.shape):
            rest = _without(before.shape, dim)
            if all(target == rest for target in targets) and extent == len(targets):
                chunk = operation("Chunk", dim=dim)
                yield (*before.operations, chunk, operation("SplitModulelist", dim=dim))
            elif all(_without(t, dim) == rest and len(t) == len(before.shape) for t in targets):
                parts = [target[dim] for target in targets]
                if sum(parts) == extent:
                    kind = "Chunk" if len(set(parts)) == 1 else "Split"
                    yield (*before.operations, operation(kind, dim=dim))


def joined(groups: Sequence[Sequence[TensorShape]], target: TensorShape) -> Iterator[Operations]:
    """Tensors put together: one after the other, on a new axis, or both."""
    parts = [shape for group in groups for shape in group]
    for operations, shape in [*_concatenated(parts), *_stacked(groups)]:
        for after in _before(shape):
            if after.shape == target:
                yield operations + after.operations


def _concatenated(parts: Sequence[TensorShape]) -> Iterator[tuple[Operations, TensorShape]]:
    first = parts[0]
    for dim in range(len(first)):
        rest = _without(first, dim)
        if all(len(part) == len(first) and _without(part, dim) == rest for part in parts):
            extent = sum(part[dim] for part in parts)
            yield (operation("Concatenate", dim=dim),), (*first[:dim], extent, *first[dim + 1 :])


def _stacked(groups: Sequence[Sequence[TensorShape]]) -> Iterator[tuple[Operations, TensorShape]]:
    first = groups[0][0]
    if any(shape != first for group in groups for shape in group):
        return
    for dim in range(len(first) + 1):
        merge = operation("MergeModulelist", dim=dim)
        if len(groups) == 1:
            yield (merge,), (*first[:dim], len(groups[0]), *first[dim:])
            continue
        stacked = [(*first[:dim], len(group), *first[dim:]) for group in groups]
        for operations, shape in _concatenated(stacked):
            yield (merge, *operations), shape


def permuted_parts(count: int) -> Iterator[tuple[int, ...]]:
    """Which of several tensors are permuted: all, the first ones, and then any."""
    yield ()
    if count <= MAX_RANK:
        for size in range(1, count):
            yield from combinations(range(count), size)


def _without(shape: TensorShape, dim: int) -> TensorShape:
    return shape[:dim] + shape[dim + 1 :]
