"""Headers: each way to be malformed, each way to be odd but right, and what the writer writes."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import safetensors
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors import safetensors as reader
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.safetensors import MAX_HEADER, MAX_PADDING, header_bytes, read_header

Faults = Callable[..., tuple[Diagnostic, ...]]


def craft(header: str | bytes, size: int = 0, length: int | None = None) -> bytes:
    """A file of a header as it is given, and ``size`` bytes of data."""
    raw = header.encode() if isinstance(header, str) else header
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + bytes(size)


def entry(name: str = "a", dtype: str = '"F32"', shape: str = "[1]", offsets: str = "[0,4]") -> str:
    return f'"{name}":{{"dtype":{dtype},"shape":{shape},"data_offsets":{offsets}}}'


def one(**fields: str) -> bytes:
    return craft("{" + entry(**fields) + "}", 4)


def many(*entries: str, size: int) -> bytes:
    return craft("{" + ",".join(entries) + "}", size)


ONE = entry()


def malformed() -> Iterator[tuple[str, bytes, str]]:
    """What it is, the file, and a word of the rule that refuses it."""
    yield "empty file", b"", "8 bytes of length"
    yield "seven bytes", b"\2\0\0\0\0\0\0", "8 bytes of length"
    yield "length beyond the file", craft("{}", length=3), "only 2 follow"
    yield "length of 2^64-1", craft("{}", length=2**64 - 1), "at most 100,000,000"
    yield "length one too large", craft("{}", length=MAX_HEADER + 1), "at most 100,000,000"
    yield "length 0", craft(""), "begins with `{`"
    yield "padding without end", craft(b"{}" + b" " * (MAX_PADDING + 1)), "padded"
    yield "not UTF-8", craft(b'{"\xff":1}'), "UTF-8"
    yield "not JSON", craft("{]}"), "JSON"
    yield "an array", craft("[]"), "begins with `{`"
    yield "byte order mark", craft(b"\xef\xbb\xbf{}"), "begins with `{`"
    yield "padded with NUL", craft(b"{}\0\0"), "only spaces"
    yield "a second value", craft("{} {}"), "JSON"
    yield "leading space", craft(" {}"), "begins with `{`"
    yield "padded with newlines", craft("{}\n\n"), "only spaces"
    yield "padded with tabs", craft("{} \t"), "only spaces"
    yield "control character in a string", craft('{"\1":1}'), "JSON"
    yield "trailing comma", craft("{" + ONE + ",}", 4), "JSON"
    yield "key twice, same span, other dtype", many(ONE, entry(dtype='"I32"'), size=4), "stands twice"
    yield "key twice, other span", many(ONE, entry(offsets="[4,8]"), size=8), "stands twice"
    yield "key twice by escape", many(ONE, entry(name="\\u0061"), size=4), "stands twice"
    empty = entry(shape="[0]", offsets="[0,0]")
    yield "empty tensor twice", many(empty, empty, size=0), "stands twice"
    yield "metadata twice", craft('{"__metadata__":{},"__metadata__":{}}'), "stands twice"
    yield "dtype twice", craft('{"a":{"dtype":"F32","dtype":"F32"}}'), "stands twice"
    yield "key twice in metadata", craft('{"__metadata__":{"k":"1","k":"2"}}'), "stands twice"
    yield "metadata of numbers", craft('{"__metadata__":{"k":1}}'), "object of strings"
    yield "metadata is a list", craft('{"__metadata__":[]}'), "object of strings"
    yield "metadata is a tensor", craft("{" + entry(name="__metadata__") + "}", 4), "object of strings"
    yield "unknown field", craft('{"a":{"dtype":"F32","shape":[],"data_offsets":[0,4],"x":1}}', 4), "no other"
    yield "missing field", craft('{"a":{"dtype":"F32","shape":[]}}'), "no other"
    yield "entry is a list", craft('{"a":[]}'), "no other"
    yield "entry is null", craft('{"a":null}'), "no other"
    b = {"name": "b"}
    yield "overlap", many(ONE, entry(**b, offsets="[0,4]"), size=4), "begins before"
    yield "partial overlap", many(ONE, entry(**b, offsets="[2,6]"), size=6), "begins before"
    yield "hole", many(ONE, entry(**b, offsets="[8,12]"), size=12), "hole"
    yield "hole at the start", many(entry(offsets="[4,8]"), size=8), "hole"
    yield "empty tensor in a hole", many(ONE, entry(**b, shape="[0]", offsets="[8,8]"), size=8), "hole"
    yield "begin after end", one(offsets="[4,0]"), "its offsets -4"
    yield "trailing bytes", craft("{" + ONE + "}", 5), "what follows is no tensor"
    yield "trailing bytes after nothing", craft("{}", 1), "what follows is no tensor"
    yield "truncated data", craft("{" + ONE + "}", 3), "cut short"
    for bad in ("-1", "2.0", '"2"', "NaN", "Infinity", "8e0", "-0", "null", "[1]", "{}"):
        yield f"dimension {bad}", one(shape=f"[{bad}]"), "JSON" if bad in "NaN Infinity" else "natural number"
    for bad in ("-4", "4.0", '"4"', "NaN", "4e0", "null", "[4]"):
        yield f"offset {bad}", one(offsets=f"[0,{bad}]"), "JSON" if bad == "NaN" else "natural number"
    yield "dimension true", one(shape="[true]"), "natural number"
    yield (
        "true after a valid 1",
        many(ONE, entry(**b, shape="[true]", offsets="[4,8]"), size=8),
        "natural number",
    )
    yield "offset false", one(offsets="[false,4]"), "natural number"
    yield "negative zero offset", one(offsets="[-0,4]"), "natural number"
    yield "400 digits", one(shape=f"[{'9' * 400}]"), "64-bit"
    yield "5,000 digits", one(shape=f"[{'9' * 5000}]"), "digits"
    yield "one offset", one(offsets="[0]"), "two natural numbers"
    yield "three offsets", one(offsets="[0,2,4]"), "two natural numbers"
    yield "offsets in an object", one(offsets='{"0":1,"4":2}'), "two natural numbers"
    yield "offsets in a string", one(offsets='"04"'), "two natural numbers"
    yield "shape is a string", one(shape='""'), "list of dimensions"
    yield "shape is an object", one(shape="{}"), "list of dimensions"
    yield "shape is a number", one(shape="1"), "list of dimensions"
    yield "product overflow", one(shape=f"[{2**32},{2**32}]"), "64-bit"
    yield "bytes overflow", one(shape=f"[{2**62}]"), "bytes"
    yield "huge, huge, 0", one(shape=f"[{2**62},{2**62},0]", offsets="[0,0]"), "64-bit"
    yield "0, huge, huge", one(shape=f"[0,{2**62},{2**62}]", offsets="[0,0]"), "64-bit"
    yield "0, 2^64-1", one(shape=f"[0,{2**64 - 1}]", offsets="[0,0]"), "64-bit"
    yield "unknown dtype", one(dtype='"F12"'), "no dtype"
    yield "lower-case dtype", one(dtype='"f32"'), "no dtype"
    yield "dtype is null", one(dtype="null"), "no dtype"
    yield "dtype is a list", one(dtype="[]"), "no dtype"
    yield "size does not fit", one(shape="[2]"), "its offsets 4"
    yield (
        "F4 that ends within a byte",
        many(entry(dtype='"F4"', shape="[3]", offsets="[0,2]"), size=2),
        "within a byte",
    )
    yield (
        "F6 that ends within a byte",
        many(entry(dtype='"F6_E2M3"', shape="[3]", offsets="[0,3]"), size=3),
        "within a byte",
    )
    yield "rank 65", one(shape=f"[{','.join('1' * 65)}]"), "64 dimensions"
    yield "empty name", one(name=""), "not empty"
    for what, escaped in (
        ("newline", "\\n"),
        ("ESC", "\\u001b"),
        ("NUL", "\\u0000"),
        ("C1", "\\u009b"),
        ("DEL", "\\u007f"),
    ):
        yield f"{what} in a name", one(name=f"a{escaped}b"), "control characters"
    yield "name of 1 MB", one(name="x" * 1_000_000), "4096 bytes"
    yield "name of 4,098 bytes in 2,049 characters", one(name="é" * 2049), "4096 bytes"
    yield "lone surrogate", one(name="\\ud800"), "surrogate"
    yield "lone surrogate in metadata", craft('{"__metadata__":{"k":"\\udfff"}}'), "surrogate"
    yield "deep nesting", craft('{"a":' * 100_000 + "1" + "}" * 100_000), "deeply"
    yield "deep nesting of lists", craft('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"), "deeply"


def accepted() -> Iterator[tuple[str, bytes]]:
    yield "nothing", craft("{}")
    yield "padded", craft("{}" + " " * MAX_PADDING)
    yield "spaces within", craft('{ "a" :\n{"dtype":"F32","shape":[ ],\t"data_offsets":[0, 4]}}', 4)
    yield "metadata null", craft('{"__metadata__":null}')
    yield (
        "metadata with words of JSON",
        craft('{"__metadata__":{"k":"a,-1,[true,:false,1.5","l":"\\\\ud800"}}'),
    )
    yield "length not a multiple of 8", one()
    yield (
        "F32 at an odd offset",
        many(entry("a", '"U8"'), entry("b", offsets="[1,5]"), size=5).replace(b"[0,4]", b"[0,1]"),
    )
    yield "offsets in reverse order", many(entry("a", offsets="[4,8]"), entry("b"), size=8)
    yield (
        "empty tensors between",
        many(
            ONE, entry("b", shape="[3,0]", offsets="[4,4]"), entry("c", shape="[0]", offsets="[0,0]"), size=4
        ),
    )
    yield "0, 2^62", many(entry(shape=f"[0,{2**62}]", offsets="[0,0]"), size=0)
    yield "rank 64", one(shape=f"[{','.join('1' * 64)}]")
    yield "names that differ in case", many(entry("B.w"), entry("b.w", offsets="[4,8]"), size=8)
    yield "names that differ in form", many(entry("é"), entry("e\u0301", offsets="[4,8]"), size=8)
    yield (
        "names to quote",
        many(entry("../../etc/passwd"), entry("a']\\\\import os", offsets="[4,8]"), size=8),
    )
    yield "name of 4,096 bytes", one(name="é" * 2048)
    yield "name by escapes", one(name="\\ud83d\\ude00")
    for dtype in DTYPES.values():
        yield (
            f"{dtype} ",
            many(entry(dtype=f'"{dtype.name}"', shape="[8]", offsets=f"[0,{dtype.bits}]"), size=dtype.bits),
        )


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
def test_a_large_header_is_read_and_written_fast(tmp_path: Path) -> None:
    tensors = [
        (f"model.layers.{i // 1500}.mlp.experts.{i % 1500}.up_proj.weight", DTYPES["BF16"], (2048, 7168))
        for i in range(92_000)
    ]
    start = time.perf_counter()
    head, places = header_bytes(tensors)
    path = tmp_path / "m.safetensors"
    with path.open("wb") as file:
        file.write(head)
        file.truncate(places[-1][1])  # sparse: 2.7 TB of nothing
    assert len(read_header(path).tensors) == 92_000
    assert time.perf_counter() - start < 4  # about 0.6 s here: this is a bound on the growth
    assert json.loads(head[8:])["model.layers.0.mlp.experts.0.up_proj.weight"]["shape"] == [2048, 7168]
