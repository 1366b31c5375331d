"""A small mapping with its key sets and a checkpoint, in the working directory of each test."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

Header = Mapping[str, object] | bytes
WriteCheckpoint = Callable[[str, Header, bytes], Path]

SPEC = {"dtype": "F32", "shape": [2, 3]}


def checkpoint(name: str, header: Header, data: bytes) -> Path:
    """A safetensors file, right or wrong, as it is asked for."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    path = Path(name)
    path.write_bytes(len(raw).to_bytes(8, "little") + raw + data)
    return path


@pytest.fixture
def write_checkpoint() -> WriteCheckpoint:
    return checkpoint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``m.mapcc`` with ``source.json``, ``target.json`` and ``source.safetensors``: all is well."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    Path("m.mapcc").write_text('mapping m "a test"\n\nlayers.{i}.w -> blocks.{i}.weight\n', "utf-8")
    Path("source.json").write_text(json.dumps({f"layers.{i}.w": SPEC for i in (0, 1)}), "utf-8")
    Path("target.json").write_text(json.dumps({f"blocks.{i}.weight": SPEC for i in (0, 1)}), "utf-8")
    places = {f"layers.{i}.w": {**SPEC, "data_offsets": [24 * i, 24 * i + 24]} for i in (0, 1)}
    checkpoint("source.safetensors", places, bytes(range(48)))
    return tmp_path
