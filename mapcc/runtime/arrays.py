"""numpy types of the format's types. ``ml_dtypes`` is imported only where its types are needed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from mapcc.tensors.dtypes import Dtype

Array = npt.NDArray[Any]

_NUMPY = {
    "BOOL": "u1",  # one byte, in which any bit may be set: what is not 0 is true
    "F16": "f2",
    "F32": "f4",
    "F64": "f8",
    "C64": "c8",
    **{f"{kind}{8 * size}": f"{kind.lower()}{size}" for kind in "IU" for size in (1, 2, 4, 8)},
}
_ML_DTYPES = {
    "BF16": "bfloat16",
    "F4": "float4_e2m1fn",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}


@cache
def numpy_dtype(dtype: Dtype) -> np.dtype[Any]:
    """The numpy type with the same bits, little endian. KeyError for F6, which has none."""
    if dtype.name in _NUMPY:
        return np.dtype(f"<{_NUMPY[dtype.name]}")
    import ml_dtypes

    found: np.dtype[Any] = np.dtype(getattr(ml_dtypes, _ML_DTYPES[dtype.name]))
    return found
