"""Whole conversions of random checkpoints are what a naive script makes of the whole state dict."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mapcc import api
from mapcc.plan import parts, segments
from mapcc.plan.memory import Buffers
from mapcc.runtime import Options, blocks, worker
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes

Array = npt.NDArray[Any]
State = dict[str, tuple[str, Array]]  # names to types and bits: F4 as bytes of two, BOOL as bytes

_BITS = {"BOOL": "u1", "U8": "u1", "F8_E4M3": "u1", "BF16": "u2", "F16": "u2", "F32": "u4", "I64": "u8"}


@dataclass(frozen=True)
class Rule:
    """A rule for ``x{n}`` to ``y{n}``, the sources it takes, and what a naive script does for it."""

    text: str
    shapes: Callable[[int, int, int], dict[str, tuple[int, ...]]]
    naive: Callable[..., dict[str, Array]]
    dtype: str | None = None


def _values(x: Array) -> Array:
    return (x.view(np.float32) * np.float32(2)).astype(ml_dtypes.bfloat16).view(np.uint16)


RULES = (
    Rule("x{n} -> y{n}", lambda a, b, c: {"x": (a, b, c)}, lambda x: {"y": x}),
    Rule("x{n} : a b -> y{n} : b a", lambda a, b, c: {"x": (a * b, c)}, lambda x: {"y": x.T}),
    Rule(
        "x{n} : a b c -> y{n} : c a b",
        lambda a, b, c: {"x": (a, b, c)},
        lambda x: {"y": x.transpose(2, 0, 1)},
    ),
    Rule(
        "x{n} : (h two) c -> y{n} : (two h) c where two = 2",
        lambda a, b, c: {"x": (2 * a, c)},
        lambda x: {"y": x.reshape(-1, 2, x.shape[1]).swapaxes(0, 1).reshape(x.shape)},
    ),
    Rule(
        "x{n} : (t d) c -> y{n}.[t=q,k,v] : d c",
        lambda a, b, c: {"x": (3 * a, c)},
        lambda x: {f"y.{t}": part for t, part in zip("qkv", np.split(x, 3), strict=True)},
    ),
    Rule(
        "x{n} : a (p + q) -> y{n}.p : p a, y{n}.q : a q where p = 1",
        lambda a, b, c: {"x": (a, c + 1)},
        lambda x: {"y.p": x[:, :1].T, "y.q": x[:, 1:]},
    ),
    Rule(
        "x{n}.[e=a,b] : o i -> y{n} : i (o e)",
        lambda a, b, c: {"x.a": (a, c), "x.b": (a, c)},
        lambda xa, xb: {"y": np.stack([xa, xb]).transpose(2, 1, 0).reshape(xa.shape[1], -1)},
    ),
    Rule(
        "x{n}.a : p c, x{n}.b : q c -> y{n} : c (q + p)",
        lambda a, b, c: {"x.a": (a, c), "x.b": (b, c)},
        lambda xa, xb: {"y": np.concatenate([xb, xa]).T},
    ),
    Rule(
        "x{n} : p c, create : q c = 0 -> y{n} : (p + q) c where q = 2",
        lambda a, b, c: {"x": (a, c)},
        lambda x: {"y": np.concatenate([x, np.zeros((2, x.shape[1]), x.dtype)])},
    ),
    Rule(
        "x{n} : a b | scale 2 | cast bf16 -> y{n} : b a",
        lambda a, b, c: {"x": (a * b, c)},
        lambda x: {"y": _values(x).T},
        "F32",
    ),
    Rule("x{n} -> y{n}, z{n}", lambda a, b, c: {"x": (b,)}, lambda x: {"y": x, "z": x}),
)

case = st.tuples(
    st.sampled_from(RULES), st.sampled_from(sorted(_BITS)), *[st.integers(1, 7)] * 3, st.integers(0, 2)
)


@pytest.mark.slow
@settings(max_examples=150)
@given(
    st.lists(case, min_size=1, max_size=12),
    st.sampled_from([16, 64, 256]),
    st.integers(1, 3),
    st.sampled_from([200, 1000, 10**9]),
    st.sampled_from([1, 64, 4096]),
    st.booleans(),
)
def test_the_whole_state_dict(
    folder: Path, cases: list[Any], window: int, workers: int, shard: int, row: int, through_a_file: bool
) -> None:
    rng = np.random.default_rng(len(cases) * window + row)
    source, wanted, rules = _drawn(cases, rng)
    for number, state in enumerate(source):
        _write(folder / "source" / f"{number}.safetensors", state)
    (folder / "m.mapcc").write_text('mapping m "a test"\n\n' + "\n".join(rules) + "\n")
    with pytest.MonkeyPatch.context() as patch:
        for module in (parts, blocks, worker):
            patch.setattr(module, "PART", 4 * window)
        patch.setattr(segments, "ROW", row)
        plan = api.make_plan(folder / "m.mapcc", folder / "source", max_shard_size=shard)
        if through_a_file:
            api.save_plan(plan, folder / "plan.json")
            plan = api.load_plan(folder / "plan.json")
        sizes = Buffers(workers, window, 4 * window, window, 64, max(1, window // 8))
        api.carry_out(plan, folder / "out", running=Options(sizes=sizes, sync=False, verify=True))
    assert _read(folder / "out") == {name: (t, x.shape, x.tobytes()) for name, (t, x) in wanted.items()}
    shutil.rmtree(folder / "out")
    shutil.rmtree(folder / "source")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


def _drawn(cases: list[Any], rng: np.random.Generator) -> tuple[list[State], State, list[str]]:
    """Three files of the source, the naive output, and the rules."""
    source: list[State] = [{}, {}, {}]
    wanted: State = {}
    rules = []
    for number, (rule, drawn, a, b, c, file) in zip(count(), cases, strict=False):
        dtype = rule.dtype or drawn
        given = {}
        for name, shape in rule.shapes(a, b, c).items():
            bits = rng.integers(0, 256, (*shape, int(_BITS[dtype][1])), np.uint8)
            if rule.dtype:  # NaN payloads are nobody's promise where numbers are computed
                bits = rng.standard_normal(shape).astype(np.float32)[..., None].view(np.uint8)
            given[name] = np.ascontiguousarray(bits).view(_BITS[dtype])[..., 0]
            full = name.replace("x", f"x{number}", 1)
            source[(file + len(given)) % 3][full] = (dtype, given[name])
        rules.append(rule.text.replace("{n}", str(number)))
        for name, x in rule.naive(*given.values()).items():
            kept = "BF16" if rule.dtype else dtype
            wanted[name[0] + str(number) + name[1:]] = (kept, np.ascontiguousarray(x))
    return [state for state in source if state], wanted, rules


def _write(path: Path, state: State) -> None:
    path.parent.mkdir(exist_ok=True)
    head, _ = header_bytes([(name, DTYPES[t], x.shape) for name, (t, x) in state.items()])
    path.write_bytes(head + b"".join(x.tobytes() for _, x in state.values()))


def _read(folder: Path) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    found = {}
    for path in folder.glob("*.safetensors"):
        raw = path.read_bytes()
        data = 8 + int.from_bytes(raw[:8], "little")
        for name, entry in json.loads(raw[8:data]).items():
            if name != "__metadata__":
                begin, end = entry["data_offsets"]
                found[name] = (entry["dtype"], tuple(entry["shape"]), raw[data + begin : data + end])
    return found
