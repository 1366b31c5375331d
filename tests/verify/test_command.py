"""``mapcc verify``: an output against its manifest and against the mapping in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mapcc import api
from mapcc.runtime.record import RECORD

Mapcc = Callable[..., Any]


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """``out`` beside ``source.safetensors``; the mapping is removed: it is in the manifest."""
    rng = np.random.default_rng(0)
    tensors = {f"layers.{i}.w": rng.standard_normal((40, 30), dtype="f4") for i in range(3)}
    tensors |= {f"layers.{i}.x": rng.standard_normal(9, dtype="f4") for i in range(3)}
    save_file({**tensors, "n": np.ones(3, "f2")}, tmp_path / "source.safetensors")
    (tmp_path / "m.mapcc").write_text(
        'mapping m "a test"\n\nlet factor = 3\n'
        "layers.{i}.w : a b -> blocks.{i}.w : b a\nlayers.{i}.x | scale factor -> blocks.{i}.x\nn -> norm\n"
    )
    source = tmp_path / "source.safetensors"
    api.convert(tmp_path / "m.mapcc", source, tmp_path / "out", max_shard_size=8000, settings={"factor": 2})
    (tmp_path / "m.mapcc").unlink()
    return tmp_path / "out"


def verified(mapcc: Mapcc, out: Path, *options: str) -> tuple[int, str]:
    ran = mapcc("verify", out, "--quiet", *options)
    return ran.code, ran.out


def test_what_is_right(converted: Path, mapcc: Mapcc) -> None:
    assert verified(mapcc, converted) == (0, f"{converted}: every byte as it was written\n")
    source = str(converted.parent / "source.safetensors")
    code, text = verified(mapcc, converted, "--source", source)
    assert (code, "values as the mapping says" in text) == (0, True)


def test_a_flipped_byte_is_found_and_named(converted: Path, mapcc: Mapcc) -> None:
    path = sorted(converted.glob("*.safetensors"))[0]
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)
    code, text = verified(mapcc, converted)
    assert code == 1
    assert "error[MC504]" in text
    assert path.name in text
    assert list(load_file(path))[-1].split(".")[0] in text


@pytest.mark.parametrize("how", ["absent", "cut", "stranger", "index"])
def test_files_that_are_not_as_they_were(converted: Path, how: str, mapcc: Mapcc) -> None:
    path = sorted(converted.glob("*.safetensors"))[0]
    match how:
        case "absent":
            path.unlink()
        case "cut":
            path.write_bytes(path.read_bytes()[:-1])
        case "stranger":
            shutil.copy(path, path.with_name("model-old.safetensors"))
        case "index":
            (converted / "model.safetensors.index.json").write_text("{}")
    code, text = verified(mapcc, converted)
    assert (code, text.count("error[MC504]")) == (1, 1)


def test_values_of_another_mapping(converted: Path, mapcc: Mapcc) -> None:
    """Hashes that are right, of values that are wrong: as a broken converter would leave them."""
    record = json.loads((converted / RECORD).read_text())
    (text,) = record["mapping"]
    text["text"] = text["text"].replace("scale factor", "scale 5")
    (converted / RECORD).write_text(json.dumps(record))
    source = str(converted.parent / "source.safetensors")
    code, said = verified(mapcc, converted, "--source", source)
    assert (code, "error[MC503]" in said, "blocks.{0..2}.x" in said) == (1, True, True)


def test_another_source(converted: Path, mapcc: Mapcc) -> None:
    other = converted.parent / "other.safetensors"
    tensors = load_file(converted.parent / "source.safetensors")
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, other)
    code, said = verified(mapcc, converted, "--source", str(other))
    assert (code, "not the source of this conversion" in said) == (1, True)
    assert "values of the output are not" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"mapcc manifest": 9}'])
def test_no_manifest(converted: Path, text: str, mapcc: Mapcc) -> None:
    (converted / RECORD).write_text(text)
    ran = mapcc("verify", converted)
    assert (ran.code, "MC003" in ran.err) == (1, True)
    (converted / RECORD).unlink()
    ran = mapcc("verify", converted)
    assert (ran.code, "MC001" in ran.err) == (2, True)


def test_the_manifest_tells_no_place_and_no_time(converted: Path) -> None:
    text = (converted / RECORD).read_text()
    assert str(converted.parent) not in text
    again = converted.with_name("again")
    shutil.copytree(converted, again)
    record = json.loads(text)
    assert set(record) == {
        "mapcc manifest", "plan", "mapping", "options", "source", "index", "block", "files", "values"
    }  # fmt: skip
    assert record["options"] == {"max_shard_size": 8000, "prefix": "model", "settings": {"factor": 2}}


def test_without_hashes_nothing_is_said_to_be_right(tmp_path: Path, mapcc: Mapcc) -> None:
    source, out = tmp_path / "source.safetensors", tmp_path / "out"
    save_file({"a": np.ones(4, "f4")}, source)
    (tmp_path / "m.mapcc").write_text("** -> **\n")
    assert mapcc("convert", tmp_path / "m.mapcc", "--source", source, "--out", out, "--no-hash").code == 0
    code, said = verified(mapcc, out)
    assert (code, "kept no hashes" in said) == (1, True)


PATHS: list[tuple[str | int, ...]] = [
    ("values",),
    *(("block",), ("files", 0, "name"), ("files", 0, "size"), ("files", 0, "xxh3_128"), ("index", "name")),
    *(
        ("mapping",),
        ("mapping", 0),
        ("mapping", 0, "text"),
        ("options",),
        ("source",),
        ("source", "files", 0),
    ),
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("value", [5, "../x", None, [5], {}])
def test_a_damaged_manifest(converted: Path, path: tuple[Any, ...], value: object, mapcc: Mapcc) -> None:
    """Whatever stands in it: a diagnostic, or a result."""
    record = json.loads((converted / RECORD).read_text())
    at = record
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    (converted / RECORD).write_text(json.dumps(record))
    source = converted.parent / "source.safetensors"
    ran = mapcc("verify", converted, "--source", source, "--quiet")
    assert "Traceback" not in ran.err
    assert ran.code in (0, 1, 2)
