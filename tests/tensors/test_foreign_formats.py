"""Files and folders of other formats: told for what they are by their content, with a way out."""

from __future__ import annotations

import gzip
import io
import json
import shlex
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed.checkpoint as dcp

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]
Write = Callable[..., Path]
W = ("F32", (2,))


def tarred(*names: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as opened:
        for name in names:
            opened.addfile(tarfile.TarInfo(name))
    return file.getvalue()


def array() -> bytes:
    file = io.BytesIO()
    np.save(file, np.ones(3))
    return file.getvalue()


KINDS = {
    "GGUF": (b"GGUF\3\0\0\0" + bytes(300), "pip install gguf"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(300), "pip install h5py"),
    "msgpack": (b"\x81\xa6params\x80" + bytes(10), "pip install flax"),
    "ONNX": (b"\x08\x08\x12\x07pytorch" + bytes(20), "pip install onnx"),
    "TFLite": (b"\x1c\0\0\0TFL3" + bytes(20), ""),
    "numpy array": (array(), "pip install numpy"),
    ".nemo file": (tarred("model_weights.ckpt", "model_config.yaml"), ""),
    "NeMo": (tarred("./model_config.yaml", "./model_weights.ckpt"), ""),
    "first releases of torch": (tarred("storages", "tensors", "pickle"), ""),
    "a tar archive": (tarred("a.txt"), ""),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["model", "m.bin", "m.safetensors", "m.nemo"])
def test_files_are_told_by_content(kind: str, name: str, tmp_path: Path, faults: Faults) -> None:
    raw, needs = KINDS[kind]
    (tmp_path / name).write_bytes(raw)
    (fault,) = faults(open_keyset, tmp_path / name)
    assert fault.code == "MC006"
    assert kind in fault.message
    assert fault.help
    assert needs in " ".join(fault.notes)


def test_the_file_in_a_folder_is_told(tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "config.json").write_text("{}", "utf-8")
    (tmp_path / "model.gguf").write_bytes(KINDS["GGUF"][0])
    (fault,) = faults(open_keyset, tmp_path)
    assert f"`{tmp_path / 'model.gguf'}` is a GGUF file" in fault.message


def test_the_way_out_of_an_array_works(tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "it's a.npy").write_bytes(array())
    (fault,) = faults(open_keyset, tmp_path / "it's a.npy")
    command = shlex.split(fault.help.partition(": ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert list(open_keyset(command[-1]).names) == ["array"]


@pytest.mark.slow
def test_the_way_out_of_a_distributed_checkpoint_works(tmp_path: Path, faults: Faults) -> None:
    dcp.save({"model": {"w": torch.ones(2, 3)}}, checkpoint_id=tmp_path / "dcp", no_dist=True)
    (fault,) = faults(open_keyset, tmp_path / "dcp")
    assert "(DCP)" in fault.message
    command = shlex.split(fault.help.partition(": ")[2].partition(";")[0])
    subprocess.run([sys.executable, *command[1:]], check=True, capture_output=True)
    assert open_keyset(command[-1], select="model").tensors["w"].shape == (2, 3)


FOLDERS = {
    "ZeRO": ["global_step10/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt", "latest"],
    "Orbax": ["items/_METADATA", "_CHECKPOINT_METADATA"],
    "steps of Orbax": ["0/_CHECKPOINT_METADATA", "100/_CHECKPOINT_METADATA"],
    "T5X": ["checkpoint", "target.encoder/.zarray"],
    "TensorFlow": ["bert.ckpt.index", "bert.ckpt.data-00000-of-00001", "bert.ckpt.meta"],
}


@pytest.mark.parametrize("kind", FOLDERS)
def test_folders_are_told_by_what_lies_in_them(kind: str, tmp_path: Path, faults: Faults) -> None:
    for name in FOLDERS[kind]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == ("MC418" if kind == "ZeRO" else "MC006")
    assert kind in fault.message
    assert str(tmp_path) in fault.help or kind == "T5X"


@pytest.mark.parametrize(
    "name",
    [
        "m.safetensors.index.fp16.json",
        "m.safetensors.fp16.index.json",
        "m.fp16.safetensors.index.json",
    ],
)
def test_indexes_of_variants(name: str, tmp_path: Path, weights: Write, faults: Faults) -> None:
    shards = ["m.fp16-00001-of-00002.safetensors", "m.fp16-00002-of-00002.safetensors"]
    for shard, tensor in zip(shards, "ab", strict=True):
        weights(shard, {tensor: W})
    index = tmp_path / name
    index.write_text(json.dumps({"weight_map": dict(zip("ab", shards, strict=True))}), "utf-8")
    assert list(open_keyset(index).names) == list(open_keyset(tmp_path).names) == ["a", "b"]
    weights("m.safetensors", {"a": W, "b": W})
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.code == "MC006"
    assert "in other precisions" in fault.message
    assert "m.safetensors" in fault.notes[0]
    assert name in fault.notes[0]
    for chosen in ("m.safetensors", name):
        assert list(open_keyset(tmp_path / chosen).names) == ["a", "b"]
    plain = tmp_path / "m.safetensors.index.json"
    (tmp_path / "m.safetensors").rename(tmp_path / "m-00001-of-00001.safetensors")
    plain.write_text(json.dumps({"weight_map": dict.fromkeys("ab", "m-00001-of-00001.safetensors")}), "utf-8")
    (fault,) = faults(open_keyset, tmp_path)
    assert fault.help == f"name the one that is meant: {plain}"


@pytest.mark.parametrize(
    ("start", "said", "help"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page", "download it again"),
        (gzip.compress(bytes(300), mtime=0), "a gzip archive", "gunzip -c"),
    ],
)
@pytest.mark.parametrize("name", ["m.bin", "m.safetensors"])
def test_what_stands_in_place_of_the_file(
    name: str, start: bytes, said: str, help: str, tmp_path: Path, faults: Faults
) -> None:
    (tmp_path / name).write_bytes(start)
    (told,) = faults(lambda: open_keyset(tmp_path / name))
    assert told.code == "MC006"
    assert said in told.message
    assert help in told.help


def test_the_way_out_of_a_packed_nemo_file(tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "m.nemo").write_bytes(gzip.compress(tarred("model_weights.ckpt"), mtime=0))
    (told,) = faults(lambda: open_keyset(tmp_path / "m.nemo"))
    command = told.help.partition("model_weights.ckpt): ")[2]
    subprocess.run(command, shell=True, check=True)
    assert (tmp_path / "m.rewritten" / "model_weights.ckpt").exists()
