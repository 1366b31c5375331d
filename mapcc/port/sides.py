"""The activations of both models side by side, in the order in which the ported one computes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mapcc.port.features import Features
from mapcc.port.pairs import Owner, Pairs
from mapcc.port.spool import Event, Kept, Spool

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# What two correct implementations differ by, relative to the largest element: of the order of the type's own
# rounding. Larger for the short types, in which sums are rounded too.
NOISE = {"float64": 1e-12, "float32": 1e-5, "bfloat16": 3e-2, "float16": 4e-3}
# An error that grows by less from one activation to the next is what was there before.
GROWTH = 10.0


@dataclass(frozen=True, slots=True)
class Compared:
    """One activation of the ported model and what it should be.

    Attributes:
        where: ``in`` or ``out`` of the module.
        error: the largest difference over the largest element; None if the two cannot be compared.
    """

    event: Event
    officials: tuple[str, ...]
    where: str
    error: float | None
    is_whole: bool = False


class Sides:
    """Both recordings, with the pairs that the mapping gives, and the outputs that are ``wanted``."""

    def __init__(
        self,
        pairs: Pairs,
        official: Sequence[Event],
        ported: Sequence[Event],
        spool: Spool,
        wanted: Sequence[Kept],
    ) -> None:
        self.pairs, self.official, self.ported, self.spool = pairs, official, ported, spool
        self.wanted = wanted
        self.by_call = {(event.module, event.call): event for event in official}
        self.wholes = dict(_by_ported(pairs, {e.module for e in official}, {e.module for e in ported}))

    def compared(self) -> Iterator[Compared]:
        """Inputs where a call begins, outputs where it ends."""
        moments = [(event.began, "in", event) for event in self.ported]
        moments += [(event.ended, "out", event) for event in self.ported if event.ended]
        for _, where, event in sorted(moments, key=lambda each: each[0]):
            owner = self.pairs.owners.get(event.module)
            if owner is not None:
                yield self._owner(owner, event, where)
            elif event.module in self.wholes:
                yield self._whole(event, where)

    def error_of(self, event: Event, where: str, made: Mapping[str, Kept] | None = None) -> float | None:
        """The same for one activation; ``made`` instead of what was recorded of it."""
        owner = self.pairs.owners.get(event.module)
        if owner is not None:
            return self._owner(owner, event, where, made).error
        return self._whole(event, where, made).error

    def _owner(
        self, owner: Owner, event: Event, where: str, made: Mapping[str, Kept] | None = None
    ) -> Compared:
        features = owner.out if where == "out" else owner.into
        own = _main(event, where, made)
        errors = [self._features(own, each, event.call, where) for each in features] if own else []
        if not features and len(owner.officials) == 1 and own is not None:
            errors = [self._same(own, owner.officials[0], event.call, where)]
        known = [error for error in errors if error is not None]
        return Compared(event, owner.officials, where, max(known) if known else None)

    def _whole(self, event: Event, where: str, made: Mapping[str, Kept] | None = None) -> Compared:
        official = self.wholes[event.module]
        own = _main(event, where, made)
        error = self._same(own, official, event.call, where) if own is not None else None
        return Compared(event, (official,), where, error, is_whole=True)

    def _same(self, own: Kept, official: str, call: int, where: str) -> float | None:
        other = self._kept(official, call, where)
        if other is None or own.numel != other.numel:
            return None
        if own.shape[-1:] != other.shape[-1:] and own.shape != other.shape:
            return None
        return apart(self.spool.read(other).reshape(-1), self.spool.read(own).reshape(-1))

    def _features(self, own: Kept, features: Features, call: int, where: str) -> float | None:
        other = self._kept(features.official, call, where)
        if other is None or not own.dtype.is_floating_point:
            return None
        here = _picked(self.spool.read(own), features.ported_index, features.ported_channels)
        there = _picked(self.spool.read(other), features.official_index, features.official_channels)
        if here is None or there is None or here.numel() != there.numel():
            return None
        return apart(there.reshape(-1), here.reshape(-1))

    def _kept(self, official: str, call: int, where: str) -> Kept | None:
        event = self.by_call.get((official, call))
        return None if event is None else _main(event, where)


def _by_ported(pairs: Pairs, official: set[str], ported: set[str]) -> Iterator[tuple[str, str]]:
    """Of modules that hold the same: the outermost that are called, and the innermost."""
    for theirs, ours in pairs.wholes:
        called = [name for name in theirs if name in official]
        own = [name for name in ours if name in ported]
        # The model itself is compared by the output that was chosen, not by its first tensor.
        if called and own and own[0]:
            yield own[0], called[0]
            if len(called) == len(own):
                yield from zip(own, called, strict=True)
            elif len(own) > 1:
                yield own[-1], called[-1]
    yield from pairs.declared.items()


def _main(event: Event, where: str, made: Mapping[str, Kept] | None = None) -> Kept | None:
    """The activation itself: the first tensor; masks and tables come behind it."""
    if made is not None:
        return made.get(where)
    listed = event.outputs if where == "out" else event.inputs
    return listed[0][1] if listed else None


def _picked(tensor: Tensor, index: object, channels: bool) -> Tensor | None:
    """The features ``index``, in this order, last."""
    import torch

    at = torch.as_tensor(index)
    dim = 1 if channels and tensor.ndim > 2 else -1
    if not tensor.ndim or tensor.shape[dim] <= int(at.max()):
        return None
    return tensor.movedim(dim, -1).index_select(-1, at)


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference over the largest element of either.

    >>> import torch
    >>> apart(torch.tensor([4.0, 0.0]), torch.tensor([4.0, 1.0]))
    0.25
    """
    import torch

    one, two = a.to(torch.float64), b.to(torch.float64)
    if not one.numel():
        return 0.0
    gap = float((one - two).abs().nan_to_num(nan=float("inf")).max())
    if bool((one.isnan() & two.isnan()).any()):
        same = one.isnan() & two.isnan()
        gap = float(((one - two).masked_fill(same, 0)).abs().nan_to_num(nan=float("inf")).max())
    size = max(float(one.abs().nan_to_num().max()), float(two.abs().nan_to_num().max()))
    return gap / size if size else gap


def noise_of(dtype: torch.dtype) -> float:
    return NOISE.get(str(dtype).removeprefix("torch."), 1e-5)
