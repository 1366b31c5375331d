"""Checkpoints of random bits, converted, and what came out of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir.bound import BoundMapping
from mapcc.passes.check import bind
from mapcc.plan import Plan, make_plan, segments
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, execute
from mapcc.syntax.load import parse_source
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.safetensors import header_bytes
from mapcc.text import Source

Tensors = dict[str, tuple[str, tuple[int, ...], bytes]]


def small(window: int = 64, span: int = 256, workers: int = 1) -> Options:
    """Buffers of a few bytes, so that small tensors do not fit in them."""
    return Options(sizes=Buffers(workers, window, span, max(16, window), 64, max(1, window // 8)))


class Lab:
    """A folder in which checkpoints are made and converted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.out = folder / "out"
        self.source = folder / "source.safetensors"

    def write(self, tensors: Tensors) -> Path:
        head, _ = header_bytes([(name, DTYPES[dtype], shape) for name, (dtype, shape, _) in tensors.items()])
        self.source.write_bytes(head + b"".join(data for _, _, data in tensors.values()))
        return self.source

    def bound(self, rules: str, source: Path | None = None) -> BoundMapping:
        found = Diagnostics()
        text = Source("m.mapcc", f'mapping m "a test"\n\n{rules}\n')
        keys = open_keyset(source or self.source)
        result = bind(parse_source(text, found), Path("m.mapcc"), keys, None, {}, found)
        assert not found.errors, list(found)
        return result

    def plan(self, rules: str, tensors: Tensors, **options: int | str) -> Plan:
        self.write(tensors)
        return make_plan(self.bound(rules), **options)  # type: ignore[arg-type]

    def convert(self, rules: str, tensors: Tensors, *, window: int = 64, span: int = 256) -> Tensors:
        """The output's tensors; the output is removed again.

        Rearranged tensors are small here, so that they would all go by windows: they go by boxes too.
        """
        found = []
        for row in (segments.ROW, 1):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(segments, "ROW", row)
                plan = self.plan(rules, tensors)
            execute(plan, self.out, options=small(window, span))
            found.append(self.read(self.out / "model.safetensors"))
            shutil.rmtree(self.out)
        assert found[0] == found[1]
        return found[0]

    def read(self, path: Path) -> Tensors:
        raw = path.read_bytes()
        data = 8 + int.from_bytes(raw[:8], "little")
        header = json.loads(raw[8:data])
        header.pop("__metadata__")
        return {
            name: (
                entry["dtype"],
                tuple(entry["shape"]),
                raw[slice(*(data + at for at in entry["data_offsets"]))],
            )
            for name, entry in header.items()
        }

    def names(self) -> set[str]:
        """Everything that lies in the folder, hidden or not."""
        return {path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*")}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


@pytest.fixture(scope="session")
def shared_lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """One folder for all examples of a property."""
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def random_tensors() -> Callable[..., Tensors]:
    """``random_tensors({"a": ("F4", (4, 6))}, seed=3)``: every bit is drawn, so NaNs are among them."""

    def draw(shapes: Mapping[str, tuple[str, tuple[int, ...]]], seed: int = 0) -> Tensors:
        generator = np.random.default_rng(seed)
        return {
            name: (dtype, shape, generator.bytes(_nbytes(DTYPES[dtype], shape)))
            for name, (dtype, shape) in shapes.items()
        }

    return draw


def _nbytes(dtype: Dtype, shape: tuple[int, ...]) -> int:
    return int(np.prod(shape, dtype=np.int64)) * dtype.bits // 8
