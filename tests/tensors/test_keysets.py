"""Every source of names: what it gives, and what is said of what it is not."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.dump import dump_keys
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.work import assert_grows_with_its_input

Faults = Callable[..., tuple[Diagnostic, ...]]
Write = Callable[..., Path]

W = ("F32", (2,))


@pytest.fixture
def keys(tmp_path: Path) -> Write:
    def write(value: object, name: str = "keys.json") -> Path:
        path = tmp_path / name
        path.write_text(value if isinstance(value, str) else json.dumps(value), "utf-8")
        return path

    return write


def triples(manifest: Manifest) -> list[tuple[str, str | None, tuple[int, ...]]]:
    return [(t.name, t.dtype and t.dtype.name, t.shape) for t in manifest.tensors.values()]


def test_a_file(weights: Write) -> None:
    path = weights("m.safetensors", {"b": W, "a": ("BF16", (3, 0))}, {"format": "pt"})
    manifest = open_keyset(str(path))
    assert triples(manifest) == [("b", "F32", (2,)), ("a", "BF16", (3, 0))]
    assert (manifest.files, manifest.where, manifest.config) == ((path,), str(path), None)
    assert manifest.metadata == {"format": "pt"}


def test_a_folder_with_one_index_is_that_index(weights: Write, index: Write, tmp_path: Path) -> None:
    weights("m-1.safetensors", {"a": W})
    weights("consolidated.safetensors", {"a": W, "b": W})
    index({"a": "m-1.safetensors"})
    manifest = open_keyset(tmp_path)
    assert list(manifest.names) == ["a"]
    assert manifest.where == str(tmp_path)


def test_a_folder_without_an_index_is_all_its_files(weights: Write, tmp_path: Path) -> None:
    weights("m-2.safetensors", {"b": W})
    weights("m-1.safetensors", {"a": W})
    weights(".cache.safetensors", {"c": W})
    assert list(open_keyset(tmp_path).names) == ["a", "b"]


def test_two_files_with_the_same_names(weights: Write, tmp_path: Path, faults: Faults) -> None:
    weights("model.safetensors", {"a.0": W, "a.1": W})
    weights("model.fp16.safetensors", {"a.0": W, "a.1": W})
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC006"
    assert "model.safetensors, model.fp16.safetensors" in fault.notes[0]
    assert fault.help == f"name the one that is meant: {tmp_path / 'model.safetensors'}"
    (tmp_path / "model.fp16.safetensors").rename(tmp_path / "other.safetensors")
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC003"
    assert fault.names == ("a.{0,1}",)
    assert "`model.safetensors` and in `other.safetensors`" in fault.notes[0]


def test_a_folder_of_folders(weights: Write, tmp_path: Path, faults: Faults) -> None:
    weights("transformer/m.safetensors", {"a": W})
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC006"
    assert fault.help == f"name one of its folders: {tmp_path / 'transformer'}"


def test_an_empty_folder(tmp_path: Path, faults: Faults) -> None:
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC006"


@pytest.mark.parametrize("name", ["m.pt", "m.bin", "m.safetensors", "m.json", "m"])
def test_files_of_old_releases_are_told_by_content(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    shared = torch.ones(2, 3)
    torch.save({"state_dict": {"w": shared.T, "tied": shared}}, path, _use_new_zipfile_serialization=False)
    manifest = open_keyset(path, select="state_dict")
    assert triples(manifest) == [("w", "F32", (3, 2)), ("tied", "F32", (2, 3))]


def test_a_pickle_that_torch_did_not_write(tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.pt"
    path.write_bytes(pickle.dumps({"w": [1.0]}))
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC006"
    assert "a pickle that torch did not write" in fault.message


def test_safetensors_under_another_name(weights: Write) -> None:
    path = weights("m.safetensors", {"a": W})
    for name in ("blob", "model.bin"):
        assert list(open_keyset(path.rename(path.with_name(name)).rename(path)).names) == ["a"]
        path.rename(path.with_name(name))
        assert list(open_keyset(path.with_name(name)).names) == ["a"]
        path.with_name(name).rename(path)


@pytest.mark.parametrize("name", ["notes.txt", "m.gguf", "m.bin", "empty"])
def test_files_of_no_known_kind(name: str, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / name
    path.write_bytes({"m.gguf": b"GGUF", "empty": b""}.get(name, b"hello"))
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC006"
    assert str(path) in fault.message


def test_a_missing_file_has_neighbours(weights: Write, tmp_path: Path, faults: Faults) -> None:
    path = weights("models/transformer.safetensors", {"a": W})
    for asked in ("models/transfomer.safetensors", "model/transformer.safetensors"):
        (fault,) = faults(open_keyset, tmp_path / asked)
        assert fault.code == "MC001"
        meant = path if asked.startswith("models/") else path.parent
        assert fault.help == f"did you mean `{meant}`?"


@pytest.mark.parametrize(
    "value",
    [
        {
            "a.w": {"dtype": "BF16", "shape": [2, 3]},
            "b": {"shape": []},
            "c": [0, 4],
            "d": {"dtype": None, "shape": [1]},
        },
        {
            "keys": {
                "a.w": {"dtype": "torch.bfloat16", "shape": [2, 3]},
                "b": {"shape": []},
                "c": [0, 4],
                "d": [1],
            }
        },
        {
            "class": "Model",
            "keys": {"a.w": {"shape": [2, 3], "dtype": "bf16"}, "b": [], "c": [0, 4], "d": [1]},
        },
    ],
)
def test_a_keys_file(value: object, keys: Write) -> None:
    path = keys(value)
    manifest = open_keyset(path)
    assert triples(manifest) == [
        ("a.w", "BF16", (2, 3)),
        ("b", None, ()),
        ("c", None, (0, 4)),
        ("d", None, (1,)),
    ]
    assert manifest.files == ()
    assert manifest.tensors["a.w"].nbytes == 12
    with pytest.raises(ValueError, match="no dtype"):
        _ = manifest.tensors["b"].nbytes


def test_tensors_that_are_called_keys(keys: Write) -> None:
    assert triples(open_keyset(keys({"keys": [1], "class": [2]}))) == [
        ("keys", None, (1,)),
        ("class", None, (2,)),
    ]
    assert triples(open_keyset(keys({"keys": {"keys": {"shape": [1]}}}))) == [("keys", None, (1,))]


def malformed() -> Iterator[tuple[str, object, str]]:
    yield "not JSON", '{"a": [1],}', "JSON"
    yield "a list", [], "not a JSON object"
    yield "name twice", '{"a": [1], "a": [2]}', "stands twice"
    yield "unknown field", {"a": {"shape": [1], "device": "cpu"}}, "an entry is"
    yield "no shape", {"a": {"dtype": "F32"}}, "an entry is"
    yield "shape is a string", {"a": "12"}, "an entry is"
    yield "shape is null", {"a": None}, "an entry is"
    yield "dtype is a number", {"a": {"dtype": 1, "shape": []}}, "an entry is"
    yield "negative", {"a": [-1]}, "natural number"
    yield "float", {"a": [1.0]}, "natural number"
    yield "true", {"b": [1], "a": [True]}, "natural number"
    yield "nested", {"a": [[1]]}, "natural number"
    yield "rank", {"a": [1] * 65}, "64 dimensions"
    yield "overflow", {"a": [2**62, 2]}, "64-bit"
    yield "unknown dtype", {"a": {"dtype": "BF61", "shape": []}}, "did you mean BF16?"
    yield "empty name", {"": [1]}, "not empty"
    yield "control character", {"a\nb": [1]}, "control characters"
    yield "the name of the metadata", {"__metadata__": {"shape": [1]}}, "not a tensor's name"
    yield "lone surrogate", '{"\\ud800": [1]}', "surrogate"
    yield "several key sets", {"wan": {"class": "Wan", "keys": {}}}, "an entry is"


@pytest.mark.parametrize(("value", "rule"), [pytest.param(*rest, id=what) for what, *rest in malformed()])
def test_a_malformed_keys_file(value: object, rule: str, keys: Write, faults: Faults) -> None:
    path = keys(value)
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC003"
    assert str(path) in fault.message
    assert rule in fault.message


def test_a_keys_file_that_is_not_utf8(tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(b'{"\xff": [1]}')
    (fault,) = faults(open_keyset, path)
    assert "not UTF-8 at byte 2" in fault.message


def test_the_faults_of_a_keys_file_are_told_at_once(keys: Write, faults: Faults) -> None:
    path = keys({f"a.{i}": [-1] for i in range(0)} | {"a.0": {}, "a.1": {}, "b": [2**63], "": [1], "c": [1]})
    found = faults(open_keyset, path)
    assert {fault.names for fault in found} == {("a.{0,1}",), ("b",), ("",)}
    assert {fault.span.text for fault in found if fault.span} == {'"a.0"', '"b"', '""'}


def test_config_beside_the_source_is_read_when_asked(weights: Write, keys: Write, faults: Faults) -> None:
    path = weights("m.safetensors", {"a": W})
    config = path.with_name("config.json")
    config.write_text('{"hidden_size": 8, "limits": [0.0, Infinity]}', "utf-8")
    for source in (path, path.parent, keys({"a": [2]})):
        manifest = open_keyset(source)
        assert manifest.config is not None
        assert manifest.config["hidden_size"] == 8
        assert len(manifest.config) == 2
    config.write_text('{"hidden_size": 8, "hidden_size": 9}', "utf-8")
    manifest = open_keyset(path)
    (fault,) = faults(lambda: dict(manifest.config or {}))
    assert fault.code == "MC003"


def test_config_of_a_keys_file_and_config_by_name(keys: Write, faults: Faults) -> None:
    keys({"n": 1}, "config.json")
    keys({"n": 2}, "source.config.json")
    other = keys({"n": 3}, "other.json")
    source, target = keys({"a": [2]}, "source.json"), keys({"a": [2]}, "target.json")
    assert [dict(open_keyset(path).config or {}) for path in (source, target)] == [{"n": 2}, {"n": 1}]
    assert dict(open_keyset(source, config=other).config or {}) == {"n": 3}
    (fault,) = faults(open_keyset, source, config=other.with_name("othre.json"))
    assert fault.code == "MC001"
    assert str(other) in fault.help


def test_an_empty_config_is_a_config(keys: Write) -> None:
    keys({"n": 1}, "config.json")
    given = keys({}, "given.json")
    manifest = open_keyset(keys({"a": [2]}), config=given)
    assert manifest.config is not None
    assert dict(manifest.config) == {}


NAMES = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=9) | st.sampled_from(
    ["keys", "class"]
)
SPECS = st.tuples(
    NAMES.filter(lambda name: name != "__metadata__"),
    st.sampled_from([None, *DTYPES.values()]),
    st.lists(st.integers(0, 9), max_size=4).map(tuple),
).map(lambda fields: TensorSpec(*fields))


@given(st.lists(SPECS, max_size=6, unique_by=lambda spec: spec.name))
def test_a_dump_reads_back_as_the_same(
    tmp_path_factory: pytest.TempPathFactory, specs: list[TensorSpec]
) -> None:
    text = dump_keys(Manifest({spec.name: spec for spec in specs}, (), "", None, {}))
    assert text.isascii()
    path = tmp_path_factory.getbasetemp() / "dump.json"
    path.write_text(text, "utf-8")
    manifest = open_keyset(path)
    assert list(manifest.tensors.values()) == specs
    assert dump_keys(manifest) == text


def test_a_dump_has_a_line_for_a_tensor(weights: Write) -> None:
    path = weights("m.safetensors", {"é": W, "a": ("BF16", ())})
    assert dump_keys(open_keyset(path)) == (
        '{\n  "\\u00e9": {"dtype": "F32", "shape": [2]},\n  "a": {"dtype": "BF16", "shape": []}\n}\n'
    )


def test_reading_changes_nothing(weights: Write, index: Write, tmp_path: Path) -> None:
    weights("m.safetensors", {"a": W})
    index({"a": "m.safetensors"})
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()}
    open_keyset(tmp_path)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in tmp_path.iterdir()} == before


@pytest.mark.slow
def test_the_work_for_a_keys_file_grows_with_it(tmp_path: Path) -> None:
    def reading(count: int) -> Callable[[], object]:
        specs = [
            TensorSpec(f"model.layers.{i // 1500}.experts.{i % 1500}.w", DTYPES["BF16"], (2048, 7168))
            for i in range(count)
        ]
        path = tmp_path / f"{count}.json"
        path.write_text(dump_keys(Manifest({spec.name: spec for spec in specs}, (), "", None, {})), "utf-8")
        assert len(open_keyset(path).names) == count
        return lambda: open_keyset(path)

    assert_grows_with_its_input(reading, 5_000)
