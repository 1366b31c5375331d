"""A mapping's text and a key set, to what is emitted for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pytest

from mapcc.api import bound_mapping, check, parse
from mapcc.emit import Emitted, emit_fastvideo
from mapcc.ir.bound import BoundMapping
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shapes = Mapping[str, Sequence[int]]


def keys(shapes: Shapes, dtype: str = "F32") -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES[dtype], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})


@pytest.fixture(scope="session")
def bind() -> Callable[[str, Shapes], BoundMapping]:
    """The bound mapping; fails where the mapping does not check clean."""
    return lambda text, shapes: bound_mapping(check(parse(text, "test.mapcc"), keys(shapes)))


@pytest.fixture(scope="session")
def emit(bind: Callable[[str, Shapes], BoundMapping]) -> Callable[[str, Shapes], Emitted]:
    return lambda text, shapes: emit_fastvideo(bind(text, shapes))
