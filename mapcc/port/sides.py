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
# Rows in the right order are this near to each other, whatever the type.
_ALIKE = 1e-5


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
        shapes = [event.inputs[0][1].shape for event in official if not event.module and event.inputs]
        self.batch = shapes[0][0] if shapes and shapes[0] else 1
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
        own = _main(event, where, made) if owner.is_comparable else None
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
        return self.between(other, own) if other is not None else None

    def between(self, there: Kept, here: Kept) -> float | None:
        """How far two activations are apart, in whichever order their rows are; None: not comparable."""
        if there.numel != here.numel or (there.shape[-1:] != here.shape[-1:] and there.shape != here.shape):
            return None
        width = here.shape[-1] if here.shape else 1
        if not here.numel:
            return 0.0
        rows = (self.spool.read(kept).reshape(-1, width) for kept in (there, here))
        return self._apart(*rows)

    def _features(self, own: Kept, features: Features, call: int, where: str) -> float | None:
        other = self._kept(features.official, call, where)
        if other is None or not own.dtype.is_floating_point:
            return None
        here = _picked(self.spool.read(own), features.ported_index, features.ported_channels)
        there = _picked(self.spool.read(other), features.official_index, features.official_channels)
        if here is None or there is None or here.numel() != there.numel():
            return None
        width = here.shape[-1]
        return self._apart(there.reshape(-1, width), here.reshape(-1, width))

    def _apart(self, there: Tensor, here: Tensor) -> float:
        """Rows of features, which code that has its sequence before its batch has in another order."""
        error, rows = apart(there, here), len(there)
        if self.batch <= 1 or rows % self.batch or rows == self.batch:
            return error
        for first in (self.batch, rows // self.batch):
            if error > _ALIKE:
                turned = there.reshape(first, rows // first, -1).transpose(0, 1).reshape(there.shape)
                error = min(error, apart(turned, here))
        return error

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
