"""Checkpoints made byte by byte, and what the verifier finds in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from mapcc.api import bound_mapping, check, parse
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir.bound import BoundMapping
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.safetensors import header_bytes
from mapcc.verify import compare

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]

EVERY = 1 << 18


class Bench:
    """A folder with a source and an output, each written anew for every example."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str, tensors: Tensors) -> Path:
        path = self.folder / f"{name}.safetensors"
        head, _ = header_bytes([(key, DTYPES[dtype], shape) for key, (dtype, shape, _) in tensors.items()])
        path.write_bytes(head + b"".join(data for _, _, data in tensors.values()))
        return path

    def bound(self, rules: str, source: Tensors) -> BoundMapping:
        return bound_mapping(check(parse(f"{rules}\n"), self.write("source", source)))

    def verify(
        self, bound: BoundMapping, out: Tensors, samples: int = EVERY, seed: int = 0
    ) -> tuple[Diagnostic, ...]:
        return compare(bound, open_keyset(self.write("out", out)), samples=samples, seed=seed)

    def found(
        self, rules: str, source: Tensors, out: Tensors, samples: int = EVERY, seed: int = 0
    ) -> tuple[Diagnostic, ...]:
        return self.verify(self.bound(rules, source), out, samples, seed)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture(scope="session")
def shared_bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    """One folder for all examples of a property."""
    return Bench(tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="session")
def tensors_of() -> Callable[[Mapping[str, np.ndarray]], Tensors]:
    """Arrays of numpy's own types as tensors."""

    def pack(arrays: Mapping[str, np.ndarray]) -> Tensors:
        names = {"f4": "F32", "f2": "F16", "f8": "F64", "i8": "I64", "i4": "I32", "u1": "U8", "u2": "BF16"}
        return {
            name: (names[array.dtype.str[1:]], array.shape, np.ascontiguousarray(array).tobytes())
            for name, array in arrays.items()
        }

    return pack
