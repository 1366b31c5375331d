"""What is damaged: one or more files of each kind, as their writers make them."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MAPPING = """mapping m "A model"
let n = count(blocks.{i})
blocks.{i} -> layers.{i} where i < n {
    attn.qkv.* : (t d) ... -> attn.[t=q,k,v].* : d ...
    {up,gate}.weight | cast bf16 -> mlp.{w1,w3}.weight
    keep norm.*
}
head.weight : (h d) c -> out.weight : (d h) c where h = 2
drop rope.** because "made again" where exists(rope.{x:/fr.*/})
"""
YAML = """rules:
  - blocks.{i}.attn.qkv.weight: "(t d) c -> layers.{i}.attn.[t=q,k,v].weight : d c"
  - from: "head.weight : a b"
    to: "out.weight : b a"
    where: a = 4
  - drop: [rope.**]
    because: "made again"
"""
KEYS = {
    f"blocks.{at}.{name}": {"dtype": "F32", "shape": [12, 4]}
    for at in range(2)
    for name in ("up.weight", "gate.weight")
}
TABLES = {
    "fastvideo": r"""param_names_mapping = {
    r"^blocks\.(\d+)\.attn\.(.*)$": r"layers.\1.\2",
    r"^qkv(.*)$": (r"to_q\1", 0, 3),
}
""",
    "vllm": """hf_to_vllm_mapper = WeightsMapper(
    orig_to_new_prefix={"model.": "language_model.model.", "x.": None},
    orig_to_new_substr={".a.": ".b."},
    orig_to_new_suffix={".w": ".v"},
)
stacked_params_mapping = [("qkv_proj", "q_proj", "q"), ("gate_up_proj", "up_proj", 1)]
""",
    "transformers": r"""MAPPING = [
    WeightRenaming("a.(.*)", r"b.\1"),
    WeightConverter(
        source_patterns=["q.weight", "k.weight"],
        target_patterns="qk.weight",
        operations=[Concatenate(dim=0)],
    ),
]
""",
    "torchtitan": """from_hf_map = {
    "model.layers.{}.self_attn.q_proj.weight": "layers.{}.attention.wq.weight",
    "lm_head.weight": "output.weight",
    "x": None,
}
""",
}


def zipped(parts: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as opened:
        for name, data in parts.items():
            opened.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue()


def members(raw: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(raw)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    file = io.BytesIO()
    write(file)
    return file.getvalue()


def of_torch() -> dict[str, list[bytes]]:
    """Needs torch and numpy: made before the memory is limited."""
    import argparse

    import numpy as np
    import torch

    plain = OrderedDict(
        {"a.w": torch.arange(6.0).reshape(2, 3).T, "a.b": torch.ones(3, dtype=torch.bfloat16)}
    )
    training = {
        "epoch": 3,
        "args": argparse.Namespace(lr=0.1),
        "best": np.float64(1),
        "model": torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}, "names": ["a", "b"]},
        "half": torch.nn.Parameter(torch.ones(2, dtype=torch.float16)),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        script = saved(
            lambda f: torch.jit.save(
                torch.jit.script(torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))), f
            )
        )
    arrays = {
        "a": np.arange(6, dtype="f4").reshape(2, 3),
        "b/c": np.asfortranarray(np.ones((2, 3))),
        "d": np.array(1),
    }
    legacy = [
        saved(lambda f, v=v: torch.save(v, f, _use_new_zipfile_serialization=False))
        for v in (plain, training)
    ]
    return {
        "archive": [saved(lambda f, v=v: torch.save(v, f)) for v in (plain, training)],
        "script": [script],
        "legacy": legacy,
        "npz": [saved(lambda f: np.savez(f, **arrays))],
    }


def of_text() -> dict[str, list[bytes]]:
    compact = {
        "sizes": ["s", "m"],
        "numbers": {"d": [4, 8]},
        "groups": [{"sizes": ["s", "m"], "keys": {"a.{0..2}.w": "F32 [d, 4]", "b": "[d]"}}],
    }
    config = {"hidden_size": 4, "nested": {"a": [1, 2.5, None, True, float("inf")]}}
    mappings = [path.read_bytes()[:3000] for path in sorted((ROOT / "mappings").rglob("*.mapcc"))[:12]]
    return {
        "keys": [
            json.dumps(KEYS, indent=1).encode(),
            json.dumps({"class": "a.B", "keys": {"a": [1]}}).encode(),
        ],
        "compact": [json.dumps(compact, indent=1).encode()],
        "config": [json.dumps(config, indent=1).encode()],
        "mapping": [MAPPING.encode(), *mappings],
        "yaml": [YAML.encode()],
        **{f"table-{dialect}": [text.encode()] for dialect, text in TABLES.items()},
    }


def of_outputs(folder: Path) -> dict[str, list[bytes]]:
    """A plan, a manifest and a journal that mapcc itself wrote."""
    from mapcc import api
    from mapcc.runtime.journal import Entry, open_journal
    from mapcc.tensors.dtypes import DTYPES
    from mapcc.tensors.safetensors import header_bytes

    head, places = header_bytes(
        [("a", DTYPES["F32"], (4, 2)), ("b", DTYPES["F16"], (8,)), ("c", DTYPES["F32"], (3,))]
    )
    source = folder / "source.safetensors"
    source.write_bytes(head + bytes(places[-1][1] - len(head)))
    (folder / "m.mapcc").write_text("a : x y -> t : y x\nb | cast f32 | scale 2.0 -> s\nkeep c\n", "utf-8")
    api.save_plan(api.make_plan(folder / "m.mapcc", source), folder / "plan.json")
    api.convert(folder / "m.mapcc", source, folder / "out", max_shard_size=40)
    shards = [path.read_bytes() for path in sorted((folder / "out").glob("*.safetensors"))]
    journal = open_journal(folder / "journal", "run", durable=False)
    journal.begin("run")
    for name in ("a.safetensors", "b.safetensors"):
        journal.add(Entry(name, 40, ("0" * 32, "f" * 32), {}))
    journal.close()
    return {
        "safetensors": [source.read_bytes(), *shards],
        "shards": shards,
        "index": [(folder / "out" / "model.safetensors.index.json").read_bytes()],
        "plan": [(folder / "plan.json").read_bytes()],
        "manifest": [(folder / "out" / "mapcc.manifest.json").read_bytes()],
        "journal": [(folder / "journal").read_bytes()],
    }
