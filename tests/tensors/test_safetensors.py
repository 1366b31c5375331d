"""Headers: each way to be malformed, each way to be odd but right, and what the writer writes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors import safetensors as reader
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.safetensors import header_bytes, read_header
from tests.tensors.headers import accepted, craft, entry, malformed, many
from tests.work import assert_grows_with_its_input

Faults = Callable[..., tuple[Diagnostic, ...]]


@pytest.mark.parametrize(("raw", "rule"), [pytest.param(*rest, id=what) for what, *rest in malformed()])
def test_malformed(raw: bytes, rule: str, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    (fault,) = faults(read_header, path)
    assert fault.code == "MC002"
    assert str(path) in fault.message
    assert rule in fault.message
    assert fault.help
    assert path.read_bytes() == raw


@pytest.mark.oracle
@pytest.mark.parametrize("raw", [pytest.param(raw, id=what.strip()) for what, raw in accepted()])
def test_accepted_as_the_library_does(raw: bytes, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    assert as_library(path) == by_library(raw)


def as_library(path: Path) -> list[tuple[str, str, list[int], int]]:
    found = read_header(path).tensors
    return sorted((t.name, t.dtype.name if t.dtype else "", list(t.shape), t.end - t.begin) for t in found)


def by_library(raw: bytes) -> list[tuple[str, str, list[int], int]]:
    found = safetensors.deserialize(raw)
    return sorted((name, info["dtype"], info["shape"], len(info["data"])) for name, info in found)


def test_a_fault_says_where(tmp_path: Path, faults: Faults) -> None:
    raw = many(entry("first"), entry("layer.é", dtype='"F99"', offsets="[4,8]"), size=8)
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    (fault,) = faults(read_header, path)
    at = raw.index('"layer.é"'.encode())
    assert f"at byte {at}, tensor `layer.é`: no dtype" in fault.message
    assert fault.names == ("layer.é",)


def test_a_syntax_error_says_at_which_byte(tmp_path: Path, faults: Faults) -> None:
    raw = craft('{"é":1 7}')
    path = tmp_path / "m.safetensors"
    path.write_bytes(raw)
    (fault,) = faults(read_header, path)
    assert f"at byte {raw.index(b'7')}: JSON" in fault.message


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PK\x03\x04" + bytes(26), "zip"),
        (b"\x80\x02}q\x00X\x01\x00\x00\x00wq\x01K\x01s.", "pickle"),
        (b"\x80\x04\x95" + bytes(20), "pickle"),
        (b"GGUF\x03\x00\x00\x00" + bytes(20), "GGUF"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "HDF5"),
    ],
)
def test_other_kinds_are_told_by_content(start: bytes, kind: str, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(start)
    (fault,) = faults(read_header, path)
    assert fault.code == "MC006"
    assert kind in fault.message


def test_a_length_that_looks_like_a_zip_is_a_length(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"PK\x03\x04\0\0\0\0{}")
    with pytest.raises(MappingError, match=r"MC002: .* only 2 follow"):
        read_header(path)


def test_only_regular_files_are_read(tmp_path: Path, faults: Faults) -> None:
    fifo = tmp_path / "fifo.safetensors"
    os.mkfifo(fifo)
    for path in (fifo, Path("/dev/zero"), tmp_path):
        (fault,) = faults(read_header, path)
        assert fault.code == "MC001"
        assert "not a regular file" in fault.message


@pytest.mark.parametrize("name", ["absent.safetensors", "a\0b", "x" * 300, "file/below"])
def test_what_cannot_be_opened(name: str, tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "file").touch()
    (fault,) = faults(read_header, tmp_path / name)
    assert fault.code == "MC001"


def test_offsets_count_from_the_start_of_the_file(weights: Callable[..., Path]) -> None:
    path = weights(
        "m.safetensors", {"a": ("BF16", (2, 3)), "b": ("U8", ()), "c": ("F32", (0, 7))}, {"k": "v"}
    )
    header = read_header(path, file=3)
    size = path.stat().st_size
    first, second, third = header.tensors
    assert [t.name for t in header.tensors] == ["a", "b", "c"]
    assert (first.end - first.begin, first.nbytes, first.numel, first.file) == (12, 12, 6, 3)
    assert (second.begin, second.end) == (first.end, size)
    assert (third.begin, third.end, third.numel) == (size, size, 0)
    assert header.metadata == {"k": "v"}
    assert header.stamp.size == size
    assert header.stamp.inode == path.stat().st_ino


DTYPE = st.sampled_from(list(DTYPES.values()))
SHAPE = st.lists(st.integers(0, 5), max_size=4).map(lambda dims: (*dims, 4))  # 4: F4 and F6 end on a byte
NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=12).filter(
    lambda name: name != "__metadata__"
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
TENSORS = st.lists(st.tuples(NAMES, DTYPE, SHAPE), unique_by=lambda tensor: tensor[0], max_size=8)


@pytest.mark.oracle
@given(TENSORS, st.dictionaries(TEXT, TEXT, max_size=3))
def test_what_is_written_is_what_the_library_reads(
    tmp_path_factory: pytest.TempPathFactory,
    tensors: list[tuple[str, Dtype, tuple[int, ...]]],
    metadata: dict[str, str],
) -> None:
    head, places = header_bytes(tensors, metadata)
    end = places[-1][1] if places else len(head)
    raw = head + bytes(end - len(head))
    path = tmp_path_factory.getbasetemp() / "written.safetensors"
    path.write_bytes(raw)
    header = read_header(path)
    assert as_library(path) == by_library(raw)
    assert [(t.name, t.dtype, t.shape) for t in header.tensors] == tensors
    assert [(t.begin, t.end) for t in header.tensors] == places
    assert header.metadata == metadata
    assert len(head) % 8 == 0
    assert head.rstrip(b" ").endswith(b"}")
    assert head == header_bytes(iter(tensors), dict(reversed(metadata.items())))[0]


@pytest.mark.parametrize("name", ["", "__metadata__", "a\nb", "\ud800", "x" * 5000])
def test_names_that_could_not_be_read_back_are_not_written(name: str, faults: Faults) -> None:
    (fault,) = faults(header_bytes, [(name, DTYPES["U8"], (1,))])
    assert fault.code == "MC209"


@pytest.mark.parametrize(
    "tensors",
    [
        [("a", DTYPES["U8"], (1,)), ("a", DTYPES["U8"], (1,))],
        [("a", DTYPES["F4"], (3,))],
        [("a", DTYPES["U8"], (-1,))],
        [("a", DTYPES["U8"], (2**40, 2**40))],
        [("a", DTYPES["U8"], (1,) * 65)],
    ],
    ids=["twice", "within a byte", "negative", "overflow", "rank"],
)
def test_impossible_tensors_are_bugs_of_the_caller(tensors: list[tuple[str, Dtype, tuple[int, ...]]]) -> None:
    with pytest.raises(ValueError, match=r"twice|within|natural|64"):
        header_bytes(tensors)


@pytest.mark.parametrize("limit", ["MAX_HEADER", "MAX_TENSORS"])
def test_a_header_has_a_limit(limit: str, faults: Faults, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, limit, 10)
    (fault,) = faults(header_bytes, [(f"t{i}", DTYPES["U8"], ()) for i in range(11)])
    assert fault.code == "MC005"
    assert fault.help == "write more shards"


def test_so_many_tensors_are_the_limit(
    tmp_path: Path, faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(many(entry(), entry("b", offsets="[4,8]"), size=8))
    monkeypatch.setattr(reader, "MAX_TENSORS", 2)
    assert len(read_header(path).tensors) == 2
    monkeypatch.setattr(reader, "MAX_TENSORS", 1)
    (fault,) = faults(read_header, path)
    assert "at most 1 tensors" in fault.message


@pytest.mark.slow
def test_the_work_for_a_header_grows_with_it(tmp_path: Path) -> None:
    def written_and_read(count: int) -> Callable[[], object]:
        path = tmp_path / "m.safetensors"
        tensors = [
            (f"model.layers.{i // 1500}.mlp.experts.{i % 1500}.up_proj.weight", DTYPES["BF16"], (2048, 7168))
            for i in range(count)
        ]

        def run() -> None:
            head, places = header_bytes(tensors)
            with path.open("wb") as file:
                file.write(head)
                file.truncate(places[-1][1])  # sparse
            assert len(read_header(path).tensors) == count
            assert json.loads(head[8:])["model.layers.0.mlp.experts.0.up_proj.weight"]["shape"] == [
                2048,
                7168,
            ]

        return run

    written_and_read(92_000)()  # 2.7 TB of nothing
    assert_grows_with_its_input(written_and_read, 5_000)
