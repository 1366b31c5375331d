"""Types smaller than a byte: what cannot be said of them, and what to do instead."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import mapcc
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

SMALL = ("F4", "F6_E2M3", "F6_E3M2")


def found(text: str, dtype: str, shape: tuple[int, ...] = (4, 8)) -> mapcc.Checked:
    spec = TensorSpec("w", DTYPES[dtype], shape)
    return mapcc.check(mapcc.parse(text), Manifest({"w": spec}, (), "x", None, {}))


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bar", ["w | cast bf16 -> x", "w -> x | cast bf16", "w | scale 2 -> x"])
def test_of_a_small_type_nothing_is_computed(bar: str, name: str) -> None:
    [diagnostic] = found(bar, name).diagnostics
    assert diagnostic.code == "MC502"
    assert diagnostic.help.startswith(f"leave the operation out, and the output has {name}, too")
    assert "share" in diagnostic.notes[0]
    assert found("w -> x", name).ok  # as the help says


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bar", ["w | cast {} -> x", "w -> x | cast {}", "w | add 1 | cast {} -> x"])
def test_a_small_type_is_not_made(bar: str, name: str) -> None:
    [diagnostic] = found(bar.format(name.lower()), "BF16").diagnostics
    assert (diagnostic.code, diagnostic.message) == ("MC502", f"there is no cast to {name}")
    assert diagnostic.help.startswith("leave the operation out: what quantises")


def test_other_types_have_no_such_help() -> None:
    [diagnostic] = found("w | scale 2 -> x", "I64").diagnostics
    assert (diagnostic.code, diagnostic.help, diagnostic.notes) == ("MC502", "", ())


def test_whole_bytes() -> None:
    [diagnostic] = found("w : a b -> x : b a", "F4").diagnostics
    assert diagnostic.code == "MC502"
    assert "cut and permute other dimensions than the last, or whole bytes of it" in diagnostic.help
    for text in ("w : (a b) c -> x : (b a) c where a = 2", "w : a (p + q) -> x : a p, y : a q where p = 2"):
        assert found(text, "F4").ok


def test_they_are_moved(tmp_path: Path) -> None:
    raw = np.arange(16, dtype="u1")
    header = b'{"w":{"dtype":"F4","shape":[4,8],"data_offsets":[0,16]}}'
    (tmp_path / "s.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + raw.tobytes())
    mapcc.convert(
        mapcc.parse("w : (a b) c -> x : (b a) c where a = 2"), tmp_path / "s.safetensors", tmp_path / "out"
    )
    [path] = (tmp_path / "out").glob("*.safetensors")
    assert path.read_bytes()[-16:] == raw.reshape(2, 2, 4).transpose(1, 0, 2).tobytes()
