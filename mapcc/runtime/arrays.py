"""Arrays of codes: unsigned numbers that have the bits of elements."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from mapcc.tensors.dtypes import Dtype

Array = npt.NDArray[Any]


def codes_dtype(dtype: Dtype) -> np.dtype[Any]:
    """The numpy type of the codes of a type, little endian; of types smaller than a byte, of a byte."""
    return np.dtype(f"<u{max(8, dtype.bits) // 8}")
