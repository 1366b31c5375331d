"""Every operation on values through all that reads mappings; a new one has to be added here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import mapcc
from mapcc.ir.values import VALUE_OPS
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes

Mapcc = Callable[..., Any]


class Case(NamedTuple):
    """One rule.

    Attributes:
        op: the operation that it is about.
        rule: from ``a`` and ``b`` to ``out``.
        source: the types of ``a`` and ``b``.
        target: the type of ``out``.
        step: what the document of ``emit_json`` has for the operation.
        undone: what the inverse has instead; None if there is none.
    """

    op: str
    rule: str
    source: tuple[str, ...]
    target: str
    step: dict[str, Any]
    undone: str | None = None


def doc(op: str, **numbers: Any) -> dict[str, Any]:
    return {"op": op, **numbers}


CASES = [
    Case("cast", "a | cast bf16 -> out", ("F32",), "BF16", doc("cast", dtype="BF16"), "cast f32"),
    Case("cast", "a -> out | cast f8_e5m2", ("F16",), "F8_E5M2", doc("cast", dtype="F8_E5M2"), "cast f16"),
    Case("scale", "a | scale 0.5 -> out", ("F16",), "F16", doc("scale", factor=0.5), "scale (1 / 0.5)"),
    Case("add", "a | add 1 -> out", ("BF16",), "BF16", doc("add", number=1), "add -1"),
    Case("neg_exp", "a | neg_exp -> out", ("F32",), "F32", doc("neg_exp")),
    Case("round", "a | round -> out", ("F64",), "F64", doc("round")),
    Case("round", "a | round | cast i8 -> out", ("F32",), "I8", doc("round")),
    Case("clamp", "a | clamp -1 1.5 -> out", ("F32",), "F32", doc("clamp", low=-1, high=1.5)),
    Case("clamp", "a | clamp -2 (1 + 1) | cast f16 -> out", ("F32",), "F16", doc("clamp", low=-2, high=2)),
    Case("clamp", "a | clamp | cast f8_e4m3 -> out", ("F32",), "F8_E4M3", doc("clamp", dtype="F8_E4M3")),
    Case("clamp", "a | scale 1000 | clamp -> out", ("F16",), "F16", doc("clamp", dtype="F16")),
    Case("clamp", "a | clamp -> out | cast i8", ("I32",), "I8", doc("clamp", dtype="I8")),
    Case(
        "weight_norm",
        "(b, a) | weight_norm dim=0 | cast f16 -> out",
        ("F32", "F32"),
        "F16",
        doc("weight_norm", dim=0),
    ),
]
IDS = [case.rule for case in CASES]
SHAPE = (3, 700)


def test_every_operation_is_here() -> None:
    assert {case.op for case in CASES} == VALUE_OPS.keys()


@pytest.fixture
def source(tmp_path: Path) -> Callable[[Case], Path]:
    def written(case: Case) -> Path:
        rows, data = [], []
        for name, dtype in zip("ab", case.source, strict=False):
            shape = SHAPE if name == "a" else (SHAPE[0], 1)
            x = np.linspace(-90, 90, int(np.prod(shape)))
            kind = {"BF16": "<f4", "F32": "<f4", "F64": "<f8", "F16": "<f2", "I32": "<i4"}[dtype]
            raw = (x * (7 if dtype == "I32" else 1)).astype(kind)
            rows.append((name, DTYPES[dtype], shape))
            data.append((raw.view("<u4") >> 16).astype("<u2").tobytes() if dtype == "BF16" else raw.tobytes())
        path = tmp_path / "source.safetensors"
        path.write_bytes(header_bytes(rows)[0] + b"".join(data))
        return path

    return written


def tensors(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.converts
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_through_everything(case: Case, source: Any, tmp_path: Path, mapcc: Mapcc) -> None:
    path = source(case)
    keys = {"out": {"dtype": case.target, "shape": list(SHAPE)}}
    (tmp_path / "target.json").write_text(json.dumps(keys))
    file = tmp_path / "m.mapcc"
    file.write_text(f'mapping m "one rule"\n\n{case.rule}\n')
    both = ("--source", path, "--target", tmp_path / "target.json")

    # Texts: fmt is a fixed point; YAML says the same, and is read back.
    assert mapcc("fmt", file, "--check").code == 0, file.read_text()
    yaml = tmp_path / "m.yaml"
    yaml.write_text(mapcc("fmt", file, "--to", "yaml").out)
    assert mapcc("fmt", yaml, "--to", "text").out == file.read_text()
    assert mapcc("check", file, *both).code == 0, mapcc("check", file, *both).err
    assert mapcc("check", yaml, *both).code == 0
    assert mapcc("show", "out", "--mapping", file, *both).code in (0, 2)

    # Plans and files, with as little memory as there can be, and from the YAML.
    assert mapcc("plan", file, *both, "-o", tmp_path / "p.json").code == 0
    outs = [tmp_path / name for name in ("plain", "small", "planned", "yaml")]
    more = [(file, *both), (file, *both, "--memory", "16MiB", "--workers", "1"), (), (yaml, *both)]
    for out, arguments in zip(outs, more, strict=True):
        planned = arguments or ("--plan", tmp_path / "p.json")
        ran = mapcc("convert", *planned, "--out", out, "--quiet")
        assert ran.code == 0, ran.err
    assert len({tensors(out) for out in outs}) == 1
    for out in outs[:3]:
        ran = mapcc("verify", out, "--source", path, "--quiet", "--samples", "3000")
        assert ran.code == 0, ran.out + ran.err


@pytest.mark.slow
@pytest.mark.converts
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_in_programs(case: Case, source: Any, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    path = source(case)
    mapping = mapcc.parse(case.rule)
    mapcc.convert(mapping, path, tmp_path / "out")
    raw = tensors(tmp_path / "out")[-int(np.prod(SHAPE)) * DTYPES[case.target].bits // 8 :]

    # load gives what convert writes.
    loaded = loaded_quietly(mapping, path)["out"]
    assert loaded.view(torch.uint8).numpy().tobytes() == raw

    # An emitted script too, which has nothing of mapcc.
    script: dict[str, Any] = {"__name__": "emitted"}
    exec(mapcc.emit_script(mapping, path), script)
    script["convert"](path, tmp_path / "by_script", lambda line: None)
    assert tensors(tmp_path / "by_script") == tensors(tmp_path / "out")

    # The document says it.
    document = json.loads(mapcc.emit_config(mapping, path, format="json"))
    (move,) = document["target"]["out"]["moves"]
    assert case.step in move["steps"]

    # The way back, or why there is none.
    keys = {"out": {"dtype": case.target, "shape": list(SHAPE)}}
    (tmp_path / "target.json").write_text(json.dumps(keys))
    if case.undone is not None:
        assert case.undone in str(mapcc.invert(mapping, path, tmp_path / "target.json").text)
    else:
        with pytest.raises(mapcc.MappingError, match=f"MC701.*{case.op} cannot be undone"):
            mapcc.invert(mapping)


def loaded_quietly(mapping: Any, path: Path) -> dict[str, Any]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mapcc.ValuesLost)
        return dict(mapcc.load(mapping, path))


# --- what makes no sense


@pytest.mark.parametrize(
    ("rule", "code", "words"),
    [
        ("a | clamp 1 -1 -> out", "MC506", "nothing lies between 1 and -1"),
        ("a | clamp 1 -> out", "MC501", "clamp takes LOW HIGH, or no argument"),
        ("a | clamp | scale 2 -> out", "MC506", "what follows is 'scale 2'"),
        ("a | clamp | clamp -1 1 -> out", "MC506", "what follows is 'clamp -1 1'"),
        ("a | clamp | cast bool -> out", "MC506", "what follows is 'cast bool'"),
        ("a | round 2 -> out", "MC501", "round takes no argument"),
        ("n | round -> out", "MC502", "round computes with floating-point numbers, not I64"),
        ("n | clamp 0 5 -> out", "MC502", "clamp computes with floating-point numbers, not I64"),
        (
            "a | scale (10 ** 60 * 10 ** 60 * 10 ** 60 * 10 ** 60 * 10 ** 60 * 10 ** 60) -> out",
            "MC108",
            "number too large",
        ),
        ("keep **\ndtype i64", "MC507", "I64 is no type for all of them"),
        ("keep **\ndtype bf16 { keep u8 : a }", "MC507", "U8 is no type for all of them"),
        ("keep **\ndtype f4", "MC507", "F4 is no type for all of them"),
    ],
)
def test_what_is_refused(rule: str, code: str, words: str, tmp_path: Path) -> None:
    keys = {"a": {"dtype": "F32", "shape": [4]}, "n": {"dtype": "I64", "shape": [4]}}
    (tmp_path / "s.json").write_text(json.dumps(keys))
    found = mapcc.check(mapcc.parse(rule), tmp_path / "s.json").diagnostics
    assert any(d.code == code and words in d.message for d in found), found
