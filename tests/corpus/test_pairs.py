"""Tiny models: converted as others' converters did it, and back again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcc
from mapcc.errors import MappingError

Tensors = dict[str, Any]
Reader = Callable[[Path], Tensors]

TOLERANCE = {"hifigan_pwg_to_hf": 1e-6}
LOSSY = {"hifigan_pwg_to_hf": "weight_norm"}


def differences(name: str, wanted: Tensors, found: Tensors) -> list[str]:
    """Names, types, shapes and bytes; values within a tolerance where they are computed."""
    out = [f"missing {key}" for key in wanted.keys() - found.keys()]
    out += [f"extra {key}" for key in found.keys() - wanted.keys()]
    for key in wanted.keys() & found.keys():
        a, b = wanted[key], found[key]
        if (a.dtype, a.shape) != (b.dtype, b.shape):
            out.append(f"{key} is {b.dtype} {b.shape}, should be {a.dtype} {a.shape}")
        elif a.data != b.data and not within(TOLERANCE.get(name, 0), a, b):
            out.append(f"values of {key}")
    return out


def within(tolerance: float, a: Any, b: Any) -> bool:
    if not tolerance:
        return False
    assert a.dtype == "F32"
    return bool(np.abs(np.frombuffer(a.data, "<f4") - np.frombuffer(b.data, "<f4")).max() <= tolerance)


def test_converts_as_the_oracle_did(pair: Any, tmp_path: Path, read_tensors: Reader) -> None:
    out = mapcc.convert(pair.mapping, pair.source, tmp_path / "out", pair.target, settings=pair.settings)
    assert differences(pair.name, read_tensors(pair.target), read_tensors(out)) == []


def test_converts_on_the_command_line(
    pair: Any, tmp_path: Path, library_copy: Path, read_tensors: Reader, mapcc: Any
) -> None:
    """In many small shards, from the YAML form, without being told what is wanted."""
    settings = [word for key, value in pair.settings.items() for word in ("--set", f"{key}={value}")]
    form = library_copy / pair.mapping.parent.name / f"{pair.name}.yaml"
    form.write_text(mapcc("fmt", pair.mapping, "--to", "yaml").out, "utf-8")
    out = tmp_path / "out"
    ran = mapcc("convert", form, "-s", pair.source, "-o", out, "--max-shard-size", "100KB", *settings)
    assert (ran.code, ran.err.startswith("source: 1 file, ")) == (0, True)
    assert (out / "model.safetensors.index.json").exists() == (pair.target.stat().st_size > 100_000)
    assert differences(pair.name, read_tensors(pair.target), read_tensors(out)) == []


def test_converts_back(pair: Any, tmp_path: Path, read_tensors: Reader) -> None:
    if pair.name in LOSSY:
        with pytest.raises(MappingError, match=f"MC701.*{LOSSY[pair.name]}"):
            mapcc.invert(pair.mapping, pair.source, pair.target, settings=pair.settings)
        return
    inverted = mapcc.invert(pair.mapping, pair.source, pair.target, settings=pair.settings)
    assert inverted.proven
    back = tmp_path / "back.mapcc"
    back.write_text(inverted.text, "utf-8")
    out = mapcc.convert(back, pair.target, tmp_path / "out", pair.source, settings=pair.settings)
    checked = mapcc.check(pair.mapping, pair.source, pair.target, settings=pair.settings)
    assert checked.bound is not None
    wanted = {name: t for name, t in read_tensors(pair.source).items() if name not in checked.bound.dropped}
    assert differences(pair.name, wanted, read_tensors(out)) == []


def test_the_inverse_on_the_command_line(pair: Any, tmp_path: Path, read_tensors: Reader, mapcc: Any) -> None:
    settings = [word for key, value in pair.settings.items() for word in ("--set", f"{key}={value}")]
    ran = mapcc("invert", pair.mapping, "-s", pair.source, "-t", pair.target, *settings)
    if pair.name in LOSSY:
        assert (ran.code, ran.out) == (1, "")
        assert LOSSY[pair.name] in ran.err
        return
    assert ran.code == 0
    back = tmp_path / "back.mapcc"
    back.write_text(ran.out, "utf-8")
    assert mapcc("check", back, "-s", pair.target, "-t", pair.source, *settings).code == 0
