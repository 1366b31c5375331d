"""Files made by hand, right and wrong, and the source tree watched."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes

Weights = Callable[..., Path]


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    """Writes a safetensors file: ``weights("a.safetensors", {"w": ("F32", (2, 3))})``."""

    def write(
        name: str,
        tensors: Mapping[str, tuple[str, tuple[int, ...]]],
        metadata: Mapping[str, str] | None = None,
    ) -> Path:
        head, places = header_bytes(
            [(key, DTYPES[t], shape) for key, (t, shape) in tensors.items()], metadata
        )
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(head + bytes(sum(end - begin for begin, end in places)))
        return path

    return write


@pytest.fixture
def index(tmp_path: Path) -> Callable[..., Path]:
    """Writes an index: ``index({"w": "a.safetensors"})``."""

    def write(weight_map: Mapping[str, object], name: str = "model.safetensors.index.json") -> Path:
        path = tmp_path / name
        path.write_text(json.dumps({"metadata": {"total_size": 1e3}, "weight_map": weight_map}), "utf-8")
        return path

    return write


@pytest.fixture
def faults() -> Callable[..., tuple[Diagnostic, ...]]:
    """Calls, and gives the diagnostics that came out instead of a result."""

    def call(function: Callable[..., object], *args: object, **options: object) -> tuple[Diagnostic, ...]:
        with pytest.raises(MappingError) as caught:
            function(*args, **options)
        assert caught.value.diagnostics
        return caught.value.diagnostics

    return call
