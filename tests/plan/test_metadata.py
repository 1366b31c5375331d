"""What headers say beside the tensors: carried over where it is true of the output, else told."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import mapcc
from mapcc.runtime.record import RECORD

Texts = Mapping[str, str]


def source(path: Path, metadata: Texts, *names: str) -> Path:
    tensors = {name: np.arange(4, dtype="f4") + at for at, name in enumerate(names or ("a.weight", "a.bias"))}
    save_file(tensors, path, dict(metadata))
    return path


def metadata_of(folder: Path) -> list[dict[str, str]]:
    found = []
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, "numpy") as file:
            found.append(file.metadata() or {})
    return found


def converted(tmp_path: Path, metadata: Texts, text: str = "a.* -> b.*", **options: object) -> dict[str, str]:
    given = source(tmp_path / "source.safetensors", metadata)
    mapping = tmp_path / "m.mapcc"
    mapping.write_text(text, "utf-8")
    mapcc.convert(mapping, given, tmp_path / "out", **options)  # type: ignore[arg-type]
    found = metadata_of(tmp_path / "out")
    assert all(one == found[0] for one in found)
    assert not mapcc.verify_output(tmp_path / "out", given)
    return found[0]


def test_facts_are_carried_over(tmp_path: Path) -> None:
    facts = {
        "ss_network_dim": "4",
        "ss_sd_model_hash": "a1b2",
        "config": json.dumps({"transformer": {"num_layers": 28, "name": "a"}}),
        "modelspec.title": 'a "quoted" \\ \n \u2028 title\x00',
        "licence": "",
        "": "no key",
        "text": "a bias, a weight; see a.b and v1.0",
    }
    assert converted(tmp_path, facts) == {**facts, "format": "pt"}


def test_each_shard_has_them(tmp_path: Path) -> None:
    assert converted(tmp_path, {"k": "v"}, max_shard_size=16) == {"k": "v", "format": "pt"}
    assert len(metadata_of(tmp_path / "out")) == 2


@pytest.mark.parametrize("format", ["pt", "np", "mlx", ""])
def test_the_format_is_always_that_of_torch(format: str, tmp_path: Path) -> None:
    assert converted(tmp_path, {"format": format}) == {"format": "pt"}
    checked = mapcc.check(mapcc.parse("a.* -> b.*"), tmp_path / "source.safetensors")
    assert checked.diagnostics == ()


@pytest.mark.parametrize(
    ("key", "value", "text", "why"),
    [
        ("modelspec.hash_sha256", "0x12", "a.* -> b.*", "it is a hash of the source's bytes"),
        ("sshs_model_hash", "12", "keep a.*", "it is a hash of the source's bytes"),
        ("sha256", "12", "a.* -> b.*", "it is a hash of the source's bytes"),
        ("checksum", "12", "a.* -> b.*", "it is a hash of the source's bytes"),
        ("_quantization_metadata", '{"layers": {"a": {}}}', "a.* -> b.*", "other names"),
        ("quantized_layers", '["a"]', "a.* -> b.*", "other names"),
        ("tied", "a.weight=a.bias", "a.* -> b.*", "other names"),
        ("dtype", "F32", "dtype bf16\na.* -> b.*", "it tells of types, and the output has others"),
        ("weight_dtype", "F32", "a.* | cast f16 -> b.*", "it tells of types, and the output has others"),
        ("quantization", "int8", "a.* | cast f16 -> b.*", "it tells of types, and the output has others"),
    ],
)
def test_what_would_be_false_is_told(key: str, value: str, text: str, why: str, tmp_path: Path) -> None:
    assert converted(tmp_path, {key: value, "kept": "x"}, text) == {"kept": "x", "format": "pt"}
    checked = mapcc.check(mapcc.parse(text), tmp_path / "source.safetensors")
    (told,) = checked.diagnostics
    assert (told.code, told.names, why in told.message) == ("MC817", (key,), True)
    record = json.loads((tmp_path / "out" / RECORD).read_text())
    assert [key] in record["source"]["metadata_left_out"].values()


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("_quantization_metadata", '{"layers": {"a": {}}}', "keep a.*"),
        ("dtype", "F32", "a.* -> b.*"),
        ("ss_mixed_precision", "bf16", "dtype bf16\na.* -> b.*"),
        ("hashtags", "x", "a.* -> b.*"),
        ("tied", "a.weight=a.bias", "keep a.*"),
    ],
)
def test_what_stays_true_stays(key: str, value: str, text: str, tmp_path: Path) -> None:
    assert converted(tmp_path, {key: value}, text) == {key: value, "format": "pt"}


def test_files_are_merged_and_where_they_differ_it_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "source"
    folder.mkdir()
    source(folder / "x.safetensors", {"same": "1", "differs": "1", "first": "1", "format": "pt"}, "a.weight")
    source(folder / "y.safetensors", {"same": "1", "differs": "2", "second": "2", "format": "np"}, "a.bias")
    mapcc.convert(mapcc.parse("a.* -> b.*"), folder, tmp_path / "out")
    assert metadata_of(tmp_path / "out") == [{"same": "1", "first": "1", "second": "2", "format": "pt"}]
    (told,) = mapcc.check(mapcc.parse("a.* -> b.*"), folder).diagnostics
    assert (told.code, told.names) == ("MC817", ("differs",))


def test_the_script_writes_the_same_bytes(tmp_path: Path) -> None:
    texts = {"ss_x": 'é "x" \u2028 \\', "hash": "1", "z": "", "b": "2"}
    given = source(tmp_path / "source.safetensors", texts)
    mapping = mapcc.parse("a.* -> b.*")
    mapcc.convert(mapping, given, tmp_path / "out")
    script = tmp_path / "convert.py"
    script.write_text(mapcc.emit_script(mapping, given), "utf-8")
    subprocess.run([sys.executable, str(script), str(given), str(tmp_path / "by_script")], check=True)
    ours, theirs = (tmp_path / name / "model.safetensors" for name in ("out", "by_script"))
    assert ours.read_bytes() == theirs.read_bytes()
    assert set(metadata_of(tmp_path / "out")[0]) == {"b", "format", "ss_x", "z"}
