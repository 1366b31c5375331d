"""Files that change while mapcc has them open: a diagnostic and no output, or what was opened."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from mapcc import api
from mapcc.errors import MappingError
from mapcc.tensors import safetensors as reader
from mapcc.tensors.safetensors import read_header
from tests.faults.counts import report
from tests.tensors.headers import craft, entry

DATA = bytes(range(64))
FILE = craft("{" + entry(shape="[16]", offsets="[0,64]") + "}") + DATA
OTHER = FILE[:-64] + DATA[::-1]
Change = Callable[[Path], object]


def replaced(path: Path) -> None:
    path.with_name("other").write_bytes(OTHER)
    path.with_name("other").replace(path)


CHANGES: dict[str, Change] = {
    "cut to nothing": lambda path: os.truncate(path, 0),
    "cut in the length": lambda path: os.truncate(path, 7),
    "cut in the header": lambda path: os.truncate(path, 20),
    "cut in the data": lambda path: os.truncate(path, len(FILE) - 1),
    "grown": lambda path: os.truncate(path, len(FILE) + 1),
    "written over": lambda path: path.write_bytes(OTHER),
    "replaced": replaced,
    "removed": lambda path: path.unlink(),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source.safetensors"
    path.write_bytes(FILE)
    os.utime(path, (1, 1))
    return path


def test_changed_while_the_header_is_read(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change comes between any two reads: a diagnostic, or the header as it was."""
    real = reader.read_at
    tried = 0
    for change in CHANGES.values():
        for when in range(3):
            source.write_bytes(FILE)
            calls = iter(range(3))

            def read(fd: int, size: int, offset: int, when=when, change=change, calls=calls) -> bytes:  # type: ignore[no-untyped-def]
                if next(calls) == when:
                    change(source)
                return real(fd, size, offset)

            monkeypatch.setattr(reader, "read_at", read)
            try:
                (spec,) = read_header(source).tensors
                assert spec.shape == (16,)
            except MappingError as error:
                (fault,) = error.diagnostics
                assert fault.code == "MC002"
            tried += 1
    report({"faults": 24}, faults=tried)


@pytest.mark.converts
@pytest.mark.parametrize("change", CHANGES)
def test_changed_while_it_is_converted(source: Path, tmp_path: Path, change: str) -> None:
    mapping, out = tmp_path / "m.mapcc", tmp_path / "out"
    mapping.write_text("a -> b", "utf-8")
    steps = iter([CHANGES[change]])
    try:
        api.convert(mapping, source, out, progress=lambda *_: next(steps, lambda _: None)(source))
    except MappingError as error:
        (fault,) = error.diagnostics
        assert (fault.code, out.exists()) == ("MC002", False)
    else:
        assert change in ("replaced", "removed")  # an open file is not its name
        assert (out / "model.safetensors").read_bytes().endswith(DATA)
    left = {path.name for path in tmp_path.iterdir()} - {"out", "m.mapcc", "source.safetensors"}
    assert not left
