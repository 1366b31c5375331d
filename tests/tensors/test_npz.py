"""Archives of numpy: what numpy loads is what lies in the bytes that the manifest says."""

from __future__ import annotations

import io
import shlex
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.dtypes import parse_dtype
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]

TYPES = ["?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8"]


def lying(path: Path, name: str) -> np.ndarray:
    spec = open_keyset(path).tensors[name]
    assert spec.dtype is not None
    kind = np.dtype(
        {"BOOL": "?", "C64": "c8"}.get(spec.dtype.name) or f"{spec.dtype.short[0]}{spec.dtype.bits // 8}"
    )
    data = np.frombuffer(path.read_bytes()[spec.begin : spec.end], kind)
    if spec.strides is None:
        return data.reshape(spec.shape)
    strides = [stride * kind.itemsize for stride in spec.strides]
    return np.lib.stride_tricks.as_strided(data, spec.shape, strides)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type(kind: str, tmp_path: Path) -> None:
    rows = (np.arange(24) % 5).astype(kind).reshape(2, 3, 4)
    wanted = {
        "rows": rows,
        "columns": np.asfortranarray(rows),
        "vector": rows[0, 0],
        "scalar": np.array(rows[0, 0, 1]),
        "empty": rows[:0],
        "a/b.c": rows.T,
    }
    path = tmp_path / "m.npz"
    np.savez(path, **wanted)
    manifest = open_keyset(path)
    assert list(manifest.names) == list(wanted)
    for name, array in wanted.items():
        spec = manifest.tensors[name]
        assert spec.dtype is parse_dtype(array.dtype.name)
        assert np.array_equal(lying(path, name), array)
        assert (spec.strides is not None) == (name in ("columns", "a/b.c"))


def test_a_folder_and_another_name(tmp_path: Path) -> None:
    np.savez(tmp_path / "m.npz", w=np.ones(2))
    assert list(open_keyset(tmp_path).names) == ["w"]
    assert list(open_keyset((tmp_path / "m.npz").rename(tmp_path / "m.safetensors")).names) == ["w"]


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.ones(2, ">f4"), "big-endian"),
        (np.zeros(2, [("a", "f4"), ("b", "i2")]), "structured"),
        (np.array([{}, None]), "Python objects"),
        (np.array(["text"]), "<U4"),
        (np.ones(2, "c16"), "<c16"),
        (np.ones(2, ml_dtypes.bfloat16), "V2"),
        (np.ones(2, "M8[s]"), "<M8[s]"),
    ],
)
def test_types_that_no_checkpoint_has(array: np.ndarray, word: str, tmp_path: Path, faults: Faults) -> None:
    np.savez(tmp_path / "m.npz", good=np.ones(1), odd=array, worse=array)
    found = faults(open_keyset, tmp_path / "m.npz")
    assert [(fault.code, fault.names) for fault in found] == [("MC006", ("odd",)), ("MC006", ("worse",))]
    assert word in found[0].message


def test_the_way_out_of_compression_works(tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "it's packed.npz"
    np.savez_compressed(path, **{"a.b": np.arange(4.0)})
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC006"
    command = shlex.split(fault.help.partition(": ")[2])
    subprocess.run([sys.executable, *command[1:]], check=True)
    assert np.array_equal(lying(tmp_path / "it's packed.rewritten.npz", "a.b"), np.arange(4.0))


def test_one_array_is_refused(tmp_path: Path, faults: Faults) -> None:
    np.save(tmp_path / "m.npy", np.ones(2))
    (fault,) = faults(open_keyset, tmp_path / "m.npy")
    assert fault.code == "MC006"


def crafted(header: str, data: bytes = bytes(8), version: int = 1) -> bytes:
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


GOOD = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)}"


@pytest.mark.parametrize(
    "member",
    [
        b"",
        b"\x93NUMPY",
        crafted(GOOD, bytes(7)),
        crafted(GOOD, bytes(9)),
        crafted(GOOD, version=4),
        crafted(GOOD)[:20],
        crafted("__import__('os').system('touch hacked')"),
        crafted("(" * 5000),
        crafted("9" * 9000),
        crafted(GOOD.ljust(10_001)),
        crafted(GOOD.replace("(2,)", "(-2,)")),
        crafted(GOOD.replace("(2,)", "(2.0,)")),
        crafted(GOOD.replace("(2,)", "[2]")),
        crafted(GOOD.replace("(2,)", "(2**62, 2**62)")),
        crafted(GOOD.replace("(2,)", f"({2**62}, {2**62})")),
        crafted(GOOD.replace("False", "0")),
        crafted(GOOD.replace("}", ", 'more': 1}")),
        crafted(GOOD.replace("<f4", "<f99999999999")),
        crafted(GOOD.replace("<f4", "")),
        crafted(GOOD.replace("<f4", "<f²")),
    ],
)
def test_malformed(member: bytes, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "m.npz"
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        opened.writestr("w.npy", member)
    path.write_bytes(file.getvalue())
    (fault,) = faults(open_keyset, path)
    assert fault.code in ("MC002", "MC006")
    assert fault.names == ("w",)
    assert [found.name for found in tmp_path.iterdir()] == ["m.npz"]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_each_version_of_the_header(version: int, tmp_path: Path) -> None:
    path = tmp_path / "m.npz"
    with zipfile.ZipFile(path, "w") as opened:
        opened.writestr("w.npy", crafted(GOOD, struct.pack("<2f", 1, 2), version))
    assert lying(path, "w").tolist() == [1, 2]
