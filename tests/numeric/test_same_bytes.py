"""The same input, the same bytes: digests of conversions that use every operation and every cast.

They are of the tensors alone, and hold on every machine and with every version of every library.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mapcc
from mapcc.ir.values import VALUE_OPS
from mapcc.numeric.route import FORMATS, INTEGERS
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes
from tests.numeric.elements import digest, is_nan, samples

FLOATS = [name for name, form in FORMATS.items() if form.bits >= 8]
TYPES = [*FLOATS, *INTEGERS, "BOOL"]
GOLDENS = Path(__file__).resolve().parents[1] / "data" / "casts" / "conversions.json"
OPERATIONS = [
    "1.F32 | scale 0.1 | add 0.3 -> scaled",
    "1.BF16 | scale 3 | cast f8_e5m2 -> scaled_bf16",
    "1.F64 | neg_exp -> exp64",
    "1.F16 | neg_exp | cast bf16 -> exp16",
    "2.F32 | round | clamp -100 100 -> rounded",
    "2.F16 | clamp | cast f8_e4m3 -> clamped",
    "2.F64 | clamp -> finite",
    "2.BF16 -> as_it_is",
    "(g, v) : r c | weight_norm dim=0 | cast f16 -> normed : c r",
    "(h, w) | weight_norm dim=1 -> normed64",
]


def written(path: Path, tensors: dict[str, tuple[str, tuple[int, ...], Any]]) -> Path:
    head, _ = header_bytes([(name, DTYPES[dtype], shape) for name, (dtype, shape, _) in tensors.items()])
    path.write_bytes(head + b"".join(np.ascontiguousarray(x).tobytes() for _, _, x in tensors.values()))
    return path


def some(name: str) -> Any:
    """About 5000 elements of all kinds."""
    x = samples(name)
    return np.ascontiguousarray(x[:: max(1, len(x) // 5000)])


def casts(source: str) -> tuple[str, dict[str, tuple[str, tuple[int, ...], Any]]]:
    """Every cast of one type; to integers rounded and clamped first, without NaN, as they must be."""
    x = some(source)
    numbers = x[~is_nan(x, source)] if source in FORMATS else x
    before = " | round | clamp" if source in FORMATS else "" if source == "BOOL" else " | clamp"
    rules, tensors = [], {}
    for to in TYPES:
        if to == source:
            continue
        own, ops = (numbers, before) if to in INTEGERS else (x, "")
        tensors[f"x.{to}"] = (source, own.shape, own)
        rules.append(f"x.{to}{ops} | cast {to.lower()} -> {to}")
    return "\n".join(rules), tensors


def operations() -> tuple[str, dict[str, tuple[str, tuple[int, ...], Any]]]:
    kinds = ("F32", "F64", "F16", "BF16")
    tensors = {f"{k}.{name}": (name, some(name).shape, some(name)) for name in kinds for k in (1, 2)}
    # Whole numbers by an own rule: no generator, and no sine of another library.
    v = ((np.arange(300 * 700, dtype="<i8") * 7919 % 10007) - 5000).astype("<f4").reshape(300, 700) / 4
    tensors |= {"g": ("F32", (300, 1), v[:, 0] + 1), "v": ("F32", (300, 700), v)}
    tensors |= {"h": ("F64", (1, 700, 1), v[0].astype("<f8")), "w": ("F64", (100, 700, 3), v.astype("<f8"))}
    return "\n".join(OPERATIONS), tensors


CASES: dict[str, Callable[[], tuple[str, Any]]] = {
    "operations": operations,
    **{f"casts of {name}": (lambda own=name: casts(own)) for name in TYPES},
}


def made(case: str, folder: Path) -> str:
    rules, tensors = CASES[case]()
    source = written(folder / "source.safetensors", tensors)
    mapcc.convert(mapcc.parse(rules), source, folder / "out")
    raw = (folder / "out" / "model.safetensors").read_bytes()
    return digest(np.frombuffer(raw[8 + int.from_bytes(raw[:8], "little") :], "u1"))


def test_every_operation_is_used() -> None:
    words = " ".join(OPERATIONS).split()
    assert VALUE_OPS.keys() <= set(words)


@pytest.mark.converts
@pytest.mark.parametrize("case", CASES)
def test_the_bytes_are_those_that_are_kept(case: str, tmp_path: Path) -> None:
    assert made(case, tmp_path) == json.loads(GOLDENS.read_text())[case]


if __name__ == "__main__":
    # To be run where a definition was changed, on purpose; then ENGINE of plan/document.py goes up.
    from tempfile import TemporaryDirectory

    found = {}
    for each in CASES:
        with TemporaryDirectory() as folder:
            found[each] = made(each, Path(folder))
    GOLDENS.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
