"""The values of an adapter's tensors."""

from __future__ import annotations

import numpy as np

from mapcc.lora.values import TYPES, Array
from mapcc.tensors.spec import Manifest, TensorSpec


def unreadable(spec: TensorSpec) -> str:
    """Why a tensor's values cannot be had, or ""."""
    if spec.file is None:
        return "it has no values here"
    if spec.dtype is None or spec.dtype.name not in TYPES:
        return f"it is {spec.dtype and spec.dtype.name}; an adapter is of F16, BF16, F32 or F64"
    return ""


def read(manifest: Manifest, spec: TensorSpec) -> Array:
    """A tensor's values, mapped, not copied."""
    assert spec.dtype is not None
    assert spec.file is not None
    dtype = TYPES[spec.dtype.name]
    if not spec.numel:
        return np.zeros(spec.shape, dtype)
    count = (spec.end - spec.begin) // dtype.itemsize
    raw = np.memmap(manifest.files[spec.file], np.uint8, "r", spec.begin, (count * dtype.itemsize,))
    flat = np.asarray(raw).view(dtype)
    if spec.strides is None:
        return flat.reshape(spec.shape)
    steps = [stride * dtype.itemsize for stride in spec.strides]
    return np.lib.stride_tricks.as_strided(flat, spec.shape, steps, writeable=False)
