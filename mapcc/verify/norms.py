"""``weight_norm``, whose elements depend on a whole row: few rows of each tensor."""

from __future__ import annotations

from math import prod

import numpy as np

from mapcc.ir.values import Step
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.spec import TensorSpec
from mapcc.verify.arithmetic import Doubles, Wanted, cast, exactly, norm_bounds, weight_norm
from mapcc.verify.formats import Codes, codes_of, doubles
from mapcc.verify.notation import Index
from mapcc.verify.places import Places, offsets
from mapcc.verify.reads import Reader

ROWS = 2
ELEMENTS = 1 << 16  # of rows, a tensor, if that is more than ROWS


def normed(
    step: Step, operands: list[tuple[TensorSpec, ...]], operand: Index, at: tuple[Index, ...], reader: Reader
) -> tuple[Index, Wanted]:
    """Which elements are looked at, and what they are after ``weight_norm``."""
    rows = at[int(step.number("dim"))]
    kept, bounds, working = [], [], DTYPES["F32"]
    for number, (magnitude, direction) in enumerate(operands):
        ours = np.flatnonzero(operand == number)
        chosen = list(dict.fromkeys(rows[ours].tolist()))[: _most(step, direction)]
        ours = ours[np.isin(rows[ours], chosen)]
        norms = {row: norm_bounds(_row(step, direction, row, reader)) for row in chosen}
        kept.append(ours)
        bounds.append(np.array([norms[row] for row in rows[ours].tolist()]).reshape(-1, 2))
        if "F64" in (_type(magnitude).name, _type(direction).name):
            working = DTYPES["F64"]
    which = np.concatenate(kept)
    ends = np.concatenate(bounds)
    dim_only = tuple(rows[which] if k == int(step.number("dim")) % len(at) else None for k in range(len(at)))
    g = _elements([o[0] for o in operands], operand[which], dim_only, working, reader)
    v = _elements([o[1] for o in operands], operand[which], tuple(one[which] for one in at), working, reader)
    return which, weight_norm(g, v, (ends[:, 0], ends[:, 1]), working)


def _type(spec: TensorSpec) -> Dtype:
    assert spec.dtype is not None
    return spec.dtype


def _most(step: Step, direction: TensorSpec) -> int:
    row = direction.numel // direction.shape[int(step.number("dim"))]
    return max(ROWS, ELEMENTS // row)


def _elements(
    specs: list[TensorSpec], operand: Index, at: tuple[Index | None, ...], working: Dtype, reader: Reader
) -> Codes:
    """Elements in the type that is computed with; a magnitude of one dimension has the one that is given."""
    out = np.zeros(len(operand), np.uint64)
    for number, spec in enumerate(specs):
        ours = np.flatnonzero(operand == number)
        zero = np.zeros(len(ours), np.int64)
        full = [zero if one is None else one[ours] for one in at]
        if len(spec.shape) != len(full):
            full = [one[ours] for one in at if one is not None]
        place = Places([spec], zero, offsets([spec], zero, full), _type(spec))
        out[ours] = cast(exactly(codes_of(place.read(reader)), _type(spec)), working).low
    return out


def _row(step: Step, spec: TensorSpec, row: int, reader: Reader) -> Doubles:
    """All elements that share a norm."""
    dim = int(step.number("dim")) % len(spec.shape)
    shape = tuple(1 if k == dim else extent for k, extent in enumerate(spec.shape))
    at = list(np.indices(shape, np.int64).reshape(len(shape), prod(shape)))
    at[dim] = at[dim] + row
    zero = np.zeros(prod(shape), np.int64)
    place = Places([spec], zero, offsets([spec], zero, at), _type(spec))
    return doubles(codes_of(place.read(reader)), _type(spec))
