"""Value operations on codes of elements, and what they lose. The arithmetic itself is in ``numeric``.

A chain of steps computes in F32, or in F64 if what it takes is F64, and rounds only where a cast says so
and at its end; so ``| scale 0.5 | add 1`` on BF16 rounds once.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mapcc.ir.values import Step, widens
from mapcc.numeric import operations
from mapcc.numeric.casts import is_nan
from mapcc.numeric.route import FORMATS, INTEGERS, code_of, route, saturation
from mapcc.runtime.arrays import Array, codes_dtype
from mapcc.runtime.losses import Losses
from mapcc.tensors.dtypes import DTYPES, Dtype

_F32, _F64 = DTYPES["F32"], DTYPES["F64"]


def transform(
    x: Array, dtype: Dtype, steps: tuple[Step, ...], target: Dtype, losses: Losses | None = None
) -> Array:
    """``x``, codes of ``dtype``, through ``steps``, as codes of ``target``.

    Raises:
        Unrepresentable: for a number that the type of a cast does not have.
    """
    before, source = x, dtype
    saturate = False
    for step in steps:
        if step.is_saturating:
            saturate = True
        elif step.dtype is not None:
            x, dtype = cast(x, dtype, step.dtype, saturate, losses), step.dtype
            saturate = False
        else:
            x, dtype = working(x, dtype)
            result = KERNELS[step.op.name](x, step)
            if losses is not None and step.op.name in ("round", "clamp"):
                losses.add("rounded" if step.op.name == "round" else "clamped", _changed(x, result))
            x = result
    x = cast(x, dtype, target, saturate, losses)
    if losses is not None and not (not steps and widens(source, target)):
        _count(losses, before, source, x, target, all(s.dtype is not None for s in steps))
    return x


def working(x: Array, dtype: Dtype) -> tuple[Array, Dtype]:
    """Floating-point numbers in the type in which they are computed with. No value changes."""
    wide = _F64 if dtype == _F64 else _F32
    return cast(x, dtype, wide), wide


# Each takes and gives codes of F32 or F64.
KERNELS: dict[str, Callable[[Array, Step], Array]] = {
    "scale": lambda x, step: operations.scaled_by(x, step.number("factor")),
    "add": lambda x, step: operations.shifted_by(x, step.number("number")),
    "neg_exp": lambda x, step: operations.neg_exp(x),
    "round": lambda x, step: operations.nearest_whole(x),
    "clamp": lambda x, step: operations.kept_between(x, step.number("low"), step.number("high")),
}


def cast(
    x: Array, source: Dtype, target: Dtype, saturate: bool = False, losses: Losses | None = None
) -> Array:
    """Codes of one type as codes of another; the array itself if the types are the same."""
    if saturate:
        return _saturated(x, source, target, losses)
    for call in route(source.name, target.name):
        x = call(x)
    return x


def _saturated(x: Array, source: Dtype, target: Dtype, losses: Losses | None) -> Array:
    found = x
    for call in route(source.name, target.name, True):
        found = call(found)
    last = saturation(source.name, target.name)
    if last is None:
        if losses is not None and target.name in INTEGERS and source != target:
            losses.add("clamped", _outside(x, source, target))
        return found
    kept: Array = last.with_(found, x)
    if losses is not None:
        losses.add("clamped", np.count_nonzero(found != kept))
    return kept


def _outside(x: Array, source: Dtype, target: Dtype) -> int:
    limits = np.iinfo(INTEGERS[target.name])
    if source.name in INTEGERS:
        numbers = x.view(INTEGERS[source.name])
        return int(np.count_nonzero((numbers < int(limits.min)) | (numbers > int(limits.max))))
    numbers = cast(x, source, _F64).view("<f8")
    top = int(limits.max)
    above = (numbers > float(top)) | (numbers >= float(top + 1))
    return int(np.count_nonzero((numbers < float(limits.min)) | above))


def _changed(before: Array, after: Array) -> int:
    """How many numbers are others. That a NaN has other bits is no change."""
    x, y = operations.as_floats(before), operations.as_floats(after)
    return int(np.count_nonzero((x != y) & (x == x)))


def _count(
    losses: Losses, before: Array, source: Dtype, after: Array, target: Dtype, only_casts: bool
) -> None:
    """What became infinite, NaN or, by rounding alone, 0."""
    form = FORMATS.get(target.name)
    if form is None or not after.size:
        return
    magnitude = after & after.dtype.type(form.mask)
    if form.kind == "fnuz":
        nan = after == after.dtype.type(form.infinity)
        if nan.any():
            losses.add("nan", np.count_nonzero(nan & ~_was(before, source, "nan")))
    elif form.kind != "finite" and int(magnitude.max()) > form.largest:
        nan = is_nan(after, form)
        losses.add("nan", np.count_nonzero(nan & ~_was(before, source, "nan")))
        infinite = (magnitude > after.dtype.type(form.largest)) & ~nan
        losses.add("infinite", np.count_nonzero(infinite & ~_was(before, source, "infinite")))
    if only_casts and source.name in FORMATS and form.kind != "power":
        zeros = after.size - np.count_nonzero(magnitude)
        if form.kind == "fnuz":
            zeros = after.size - np.count_nonzero(after)
        if zeros:
            own = FORMATS[source.name]
            mask = own.mask | (own.sign if own.kind == "fnuz" else 0)
            were = before.size - np.count_nonzero(before & before.dtype.type(mask))
            losses.add("zero", zeros - (0 if own.kind == "power" else were))


def _was(x: Array, dtype: Dtype, what: str) -> Array:
    form = FORMATS.get(dtype.name)
    if form is None:
        return np.zeros(x.shape, bool)
    nan: Array = is_nan(x, form)
    if what == "nan":
        return nan
    if form.kind != "ieee":
        return np.zeros(x.shape, bool)
    infinite: Array = (x & x.dtype.type(form.mask)) == x.dtype.type(form.infinity)
    return infinite


def filled(value: int | float, dtype: Dtype) -> Array:
    """One element of ``dtype`` with this value, as bytes; of types smaller than a byte, a whole byte."""
    if value == 0 and dtype.bits < 8:
        return np.zeros(1, np.uint8)  # of F6 too, whose bits nobody else knows
    if dtype.kind == "complex":
        return np.array([code_of(value, "F32"), 0], "<u4").view(np.uint8)
    code = code_of(value, dtype.name)
    one = np.array([code | code << 4 if dtype.bits == 4 else code], codes_dtype(dtype))
    return one.view(np.uint8)
