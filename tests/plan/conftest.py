"""Mappings bound to tensors that are nowhere: a plan needs no file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.check import bind
from mapcc.syntax.load import parse_source
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Source

Bound = Callable[..., BoundMapping]


@pytest.fixture
def bound() -> Bound:
    """``bound("a -> b", {"a": ("F32", (2, 3))})``; a list of such dictionaries makes several files."""

    def bind_text(rules: str, *files: Mapping[str, tuple[str, tuple[int, ...]]]) -> BoundMapping:
        specs: dict[str, TensorSpec] = {}
        for number, tensors in enumerate(files):
            begin = 64
            for name, (dtype, shape) in tensors.items():
                spec = TensorSpec(name, DTYPES[dtype], shape, number)
                specs[name] = spec._replace(begin=begin, end=begin + spec.nbytes)
                begin += spec.nbytes
        paths = tuple(Path(f"{number}.safetensors") for number in range(len(files)))
        found = Diagnostics()
        parsed = parse_source(Source("m.mapcc", f'mapping m "a test"\n\n{rules}\n'), found)
        result = bind(parsed, Path("m.mapcc"), Manifest(specs, paths, "source", None, {}), None, {}, found)
        if found.errors:
            raise MappingError(found)
        return result

    return bind_text
