"""How far apart two tensors are, computed in double precision, a part at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

_PART = 1 << 22  # elements: 32 MiB in double precision, and a few copies of it


@dataclass(frozen=True, slots=True)
class Distance:
    """Figures of two tensors of one shape: the official's and the ported one's.

    Attributes:
        max_abs, mean_abs: of the difference.
        max_rel, mean_rel: of the difference, each element's over the official's (where that is not 0).
        cosine: of the two as vectors; 1 where both are 0.
        beyond: elements for which ``|a - b| > atol + rtol * |a|``, or that are NaN on one side only.
        worst: where the difference is largest.
    """

    max_abs: float
    mean_abs: float
    max_rel: float
    mean_rel: float
    cosine: float
    beyond: int
    total: int
    worst: tuple[int, ...]

    @property
    def ok(self) -> bool:
        return self.beyond == 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def distance(official: Tensor, ported: Tensor, atol: float, rtol: float) -> Distance:
    """The figures.

    Raises:
        ValueError: the shapes differ.

    >>> import torch
    >>> found = distance(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.5]), 1e-4, 1e-4)
    >>> found.max_abs, found.beyond, found.worst
    (0.5, 1, (1,))
    """
    if official.shape != ported.shape:
        raise ValueError(f"shapes differ: {tuple(official.shape)} and {tuple(ported.shape)}")
    sums = _Sums()
    at = 0
    for a, b in _parts(official, ported):
        sums.add(a, b, at, atol, rtol)
        at += a.numel()
    total = max(at, 1)
    norm = math.sqrt(sums.aa * sums.bb)
    return Distance(
        sums.max_abs,
        sums.sum_abs / total,
        sums.max_rel,
        sums.sum_rel / total,
        sums.ab / norm if norm else float(sums.aa == sums.bb),
        sums.beyond,
        at,
        tuple(map(int, np.unravel_index(sums.worst, official.shape))) if at else (),
    )


class _Sums:
    def __init__(self) -> None:
        self.max_abs = self.sum_abs = self.max_rel = self.sum_rel = self.ab = self.aa = self.bb = 0.0
        self.beyond = self.worst = 0

    def add(self, a: Tensor, b: Tensor, at: int, atol: float, rtol: float) -> None:
        import torch

        gap = (a - b).abs()
        # The same infinity or NaN on both sides is no difference; on one side it is the largest.
        same = (a == b) | (a.isnan() & b.isnan())
        gap = torch.where(same, torch.zeros_like(gap), torch.nan_to_num(gap, nan=math.inf))
        size = a.abs().nan_to_num(nan=0.0, posinf=0.0)
        self.beyond += int((gap > atol + rtol * size).sum())
        largest = float(gap.max()) if gap.numel() else 0.0
        if largest > self.max_abs or at == 0:
            self.max_abs, self.worst = largest, at + (int(gap.argmax()) if gap.numel() else 0)
        self.sum_abs += float(gap.sum())
        relative = torch.where(size > 0, gap / size.clamp_min(1e-300), torch.zeros_like(gap))
        self.max_rel = max(self.max_rel, float(relative.max()) if relative.numel() else 0.0)
        self.sum_rel += float(relative.sum())
        x, y = a.nan_to_num(), b.nan_to_num()
        self.ab += float((x * y).sum())
        self.aa += float((x * x).sum())
        self.bb += float((y * y).sum())


def _parts(a: Tensor, b: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    import torch

    one, two = a.detach().reshape(-1), b.detach().reshape(-1)
    for at in range(0, one.numel(), _PART):
        yield (
            one[at : at + _PART].to("cpu", torch.float64),
            two[at : at + _PART].to("cpu", torch.float64),
        )


def tensors_in(value: object, label: str = "out") -> list[tuple[str, Tensor]]:
    """All tensors of what a forward pass takes or gives, labelled as FastVideo's trace does."""
    import torch

    if isinstance(value, torch.Tensor):
        return [(label, value)]
    if isinstance(value, dict):
        return [each for key, one in value.items() for each in tensors_in(one, f"{label}.{key}")]
    if isinstance(value, tuple | list):
        return [each for at, one in enumerate(value) for each in tensors_in(one, f"{label}[{at}]")]
    if hasattr(value, "__dataclass_fields__"):
        return [
            each
            for key in value.__dataclass_fields__
            for each in tensors_in(getattr(value, key), f"{label}.{key}")
        ]
    return []
