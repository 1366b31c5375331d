"""DeepSeek-V3 at full size: 92,000 names and their real renaming, as the benchmark makes them."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mapcc
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec


@pytest.fixture(scope="module")
def bench(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_92k", root / "benchmarks/check_92k.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def manifest(keys: Mapping[str, Any]) -> Manifest:
    tensors = {
        name: TensorSpec(name, DTYPES[entry["dtype"]], tuple(entry["shape"])) for name, entry in keys.items()
    }
    return Manifest(tensors, (), "benchmark", None, {})


@pytest.mark.slow
def test_the_whole_model(bench: ModuleType) -> None:
    source = bench.source_keys()
    target = bench.original_keys(source)
    assert (len(source), len(target)) == (91_991, 90_427)
    checked = mapcc.check(bench.MAPPING, manifest(source), manifest(target))
    assert not checked.diagnostics
    assert checked.bound is not None
    given = {name: instance.sources for name, (instance, _) in checked.bound.given.items()}
    assert given == {bench.original_name(name): ((name,),) for name in source if ".61." not in name[:16]}


def test_names_as_the_inference_code_has_them(bench: ModuleType) -> None:
    """Three layers of it: one dense, two with experts, and the prediction module behind them."""
    source = bench.source_keys(layers=3, dense=1, experts=2)
    checked = mapcc.check(
        bench.MAPPING,
        manifest(source),
        manifest(bench.original_keys(source, layers=3)),
        settings={"layers": 3},
    )
    assert not checked.diagnostics
    assert checked.bound is not None
    given = checked.bound.given
    for ours, theirs in {
        "model.embed_tokens.weight": "embed.weight",
        "model.layers.0.mlp.gate_proj.weight_scale_inv": "layers.0.ffn.w1.scale",
        "model.layers.1.self_attn.kv_a_proj_with_mqa.weight": "layers.1.attn.wkv_a.weight",
        "model.layers.1.mlp.gate.e_score_correction_bias": "layers.1.ffn.gate.bias",
        "model.layers.2.mlp.experts.1.down_proj.weight": "layers.2.ffn.experts.1.w2.weight",
        "model.layers.2.mlp.shared_experts.up_proj.weight": "layers.2.ffn.shared_experts.w3.weight",
        "lm_head.weight": "head.weight",
    }.items():
        assert given[theirs][0].sources == ((ours,),)
    assert not any(name.startswith("layers.3.") for name in given)


def test_experts_stacked(bench: ModuleType, tmp_path: Path) -> None:
    mapping = mapcc.parse(bench.STACKED)
    source = bench.source_keys(layers=3, dense=1, experts=4)
    target = manifest(bench.stacked_keys(source, layers=3, experts=4))
    checked = mapcc.check(mapping, manifest(source), target, settings={"layers": 3})
    assert not checked.diagnostics
    assert checked.bound is not None
    instance, _ = checked.bound.given["model.layers.1.mlp.experts.gate_up_proj"]
    names = [f"{e}.{p}_proj" for e in range(4) for p in ("gate", "up")]
    assert instance.sources == tuple((f"model.layers.1.mlp.experts.{name}.weight",) for name in names)
