"""Key sets made of names and shapes."""

from __future__ import annotations

from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec


def manifest(shapes: dict[str, tuple[int, ...]]) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["BF16"], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})
