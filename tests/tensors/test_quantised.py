"""Quantised weights are recognised by what stands beside them; what only looks like one is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapcc.library.catalog import catalog
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.quantised.recognise import quantised
from mapcc.tensors.quantised.words import describe_containers
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.fastvideo_keys import native_keys

Layout = dict[str, tuple[str | None, tuple[int, ...]]]


def manifest(layout: Layout, config: dict[str, object] | None = None) -> Manifest:
    tensors = {
        name: TensorSpec(name, None if dtype is None else DTYPES[dtype], shape)
        for name, (dtype, shape) in layout.items()
    }
    return Manifest(tensors, (), "x", config, {})


NF4 = {
    "l.weight": ("U8", (648, 1)),
    "l.weight.absmax": ("U8", (21,)),
    "l.weight.quant_map": ("F32", (16,)),
    "l.weight.nested_absmax": ("F32", (1,)),
    "l.weight.nested_quant_map": ("F32", (256,)),
    "l.weight.quant_state.bitsandbytes__nf4": ("U8", (165,)),
}
CONTAINERS: dict[str, Layout] = {
    "FP8 blocks with weight_scale_inv, 128 x 128": {
        "l.weight": ("F8_E4M3", (288, 144)),
        "l.weight_scale_inv": ("F32", (3, 2)),
    },
    "FP8 blocks with weight_scale_inv": {
        "mlp.experts.gate_up_proj": ("F8_E4M3", (4, 1, 1)),
        "mlp.experts.gate_up_proj_scale_inv": ("F32", (4, 1, 1)),
    },
    "scaled FP8 with scale_weight": {
        "l.weight": ("F8_E4M3", (8, 8)),
        "l.scale_weight": ("F32", ()),
        "l.scale_input": ("F32", ()),
        "scaled_fp8": ("F8_E4M3", (2,)),
    },
    "scaled FP8 with weight_scale": {
        "l.weight": ("F8_E4M3", (88, 56)),
        "l.weight_scale": ("BF16", (88, 1)),
        "l.input_scale": ("F32", (1,)),
    },
    "scaled FP8 with scale, 128 x 128": {
        "l.weight": ("F8_E4M3", (256, 384)),
        "l.scale": ("F32", (2, 3)),
    },
    "scaled FP8 with a scale beside it": {
        "experts.gate_up_proj": ("F8_E4M3", (4, 8, 6)),
        "experts.gate_up_proj_scale": ("F32", (4, 1, 1)),
    },
    "NVFP4 of compressed-tensors, groups of 16": {
        "l.weight_packed": ("U8", (64, 40)),
        "l.weight_scale": ("F8_E4M3", (64, 5)),
        "l.weight_global_scale": ("F32", (1,)),
        "l.input_global_scale": ("F32", (1,)),
    },
    "compressed-tensors, groups of 128": {
        "l.weight_packed": ("I32", (128, 32)),
        "l.weight_scale": ("BF16", (128, 2)),
        "l.weight_zero_point": ("I32", (16, 2)),
        "l.weight_shape": ("I64", (2,)),
        "l.weight_g_idx": ("I32", (256,)),
    },
    "NVFP4 of ModelOpt, groups of 16": {
        "l.weight": ("U8", (64, 40)),
        "l.weight_scale": ("F8_E4M3", (64, 5)),
        "l.weight_scale_2": ("F32", ()),
        "l.input_scale": ("F32", ()),
    },
    "integers with weight_scale": {"l.weight": ("I8", (56, 56)), "l.weight_scale": ("BF16", (56, 1))},
    "AWQ, groups of 32": {
        "l.qweight": ("I32", (64, 8)),
        "l.qzeros": ("I32", (2, 8)),
        "l.scales": ("F16", (2, 64)),
    },
    "GPTQ, groups of 128": {
        "l.qweight": ("I32", (32, 64)),
        "l.qzeros": ("I32", (2, 8)),
        "l.scales": ("F16", (2, 64)),
        "l.g_idx": ("I32", (256,)),
    },
    "MXFP4 with blocks and scales": {
        "experts.gate_up_proj_blocks": ("U8", (3, 192, 2, 16)),
        "experts.gate_up_proj_scales": ("U8", (3, 192, 2)),
    },
    "bitsandbytes nf4": NF4,
    "bitsandbytes fp4": {name.replace("nf4", "fp4"): layout for name, layout in NF4.items()},
    "bitsandbytes int8": {
        "l.weight": ("I8", (8, 4)),
        "l.SCB": ("F32", (8,)),
        "l.weight_format": ("U8", ()),
    },
    "MLX affine groups, groups of 64": {
        "l.weight": ("U32", (3, 64, 16)),
        "l.scales": ("BF16", (3, 64, 2)),
        "l.biases": ("BF16", (3, 64, 2)),
    },
    "quanto": {"l.weight._data": ("I8", (8, 4)), "l.weight._scale": ("F32", (8, 1))},
    "HQQ": {
        "l.W_q": ("U8", (64, 32)),
        "l.scale": ("F16", (1, 64)),
        "l.zero": ("F16", (1, 64)),
        "l.shape": ("I64", (2,)),
    },
    "EETQ": {"l.weight": ("I8", (4, 8)), "l.weight_scales": ("F16", (8,))},
    "AQLM": {
        "l.codes": ("I16", (8, 4, 1)),
        "l.codebooks": ("F16", (1, 256, 1, 8)),
        "l.scales": ("F16", (8, 1, 1, 1)),
    },
    "torchao": {"l.weight:qdata": ("F8_E4M3", (8, 4)), "l.weight:scale": ("F32", (8, 1))},
    "SVDQuant": {"l.qweight": ("I8", (8, 4)), "l.wscales": ("BF16", (1, 8))},
    "scaled FP8 with weights_scaling_factor": {
        "l.weight": ("F8_E4M3", (8, 4)),
        "l.weights_scaling_factor": ("F32", (1,)),
        "l.activation_scaling_factor": ("F32", (1,)),
    },
    "ExLlamaV2": {
        "l.q_weight": ("I32", (8, 64)),
        "l.q_scale": ("I32", (1, 8)),
        "l.q_scale_max": ("F16", (1,)),
        "l.q_groups": ("I16", (2,)),
        "l.q_invperm": ("I32", (64,)),
    },
    "ExLlamaV3": {"l.trellis": ("I16", (8, 64, 4)), "l.svh": ("F16", (8,)), "l.suh": ("F16", (8,))},
    "QuIP#": {"l.Qidxs": ("I64", (8, 8)), "l.SU": ("F16", (8,)), "l.SV": ("F16", (8,))},
    "VPTQ": {"l.indices": ("I16", (1, 8, 8)), "l.centroids.weight": ("F16", (1, 64))},
    "HIGGS": {"l.weight": ("I16", (8, 8)), "l.tables2": ("F16", (256, 2)), "l.scales": ("F16", (8, 1))},
    "Marlin": {"l.B": ("I32", (4, 128)), "l.s": ("F16", (1, 64)), "l.workspace": ("I32", (8,))},
    "ONNX Runtime's integers": {
        "l.weight_quantized": ("I8", (8, 4)),
        "l.weight_scale": ("F32", ()),
        "l.weight_zero_point": ("I8", ()),
    },
    "microscaling with E8M0 scales": {"w": ("F4", (4, 32)), "w.scale": ("F8_E8M0", (4,))},
}


@pytest.mark.parametrize("called", CONTAINERS)
def test_container(called: str) -> None:
    keys = manifest(CONTAINERS[called] | {"norm.weight": ("BF16", (8,))})
    assert describe_containers(keys) == (f"{called} (1 weight)",)
    found = quantised(keys)
    (weight,) = found.weights.values()
    marked = {"norm.weight", "scaled_fp8"}
    assert set(weight.names) == set(keys.tensors) - marked
    assert all(found.of(name) is weight for name in weight.names)
    assert found.of("norm.weight") is None


NOT: dict[str, Layout] = {
    "a weight of a norm and its scale": {"n.weight": ("BF16", (8,)), "n.scale": ("BF16", (8,))},
    "plain FP8": {"l.weight": ("F8_E4M3", (8, 8)), "l.bias": ("F8_E4M3", (8,))},
    "a learned scale beside plain FP8": {"l.weight": ("F8_E4M3", (8, 8)), "l.scale": ("F8_E4M3", (8,))},
    "a learned scale in BF16": {"l.weight": ("F8_E4M3", (8, 8)), "l.scale": ("BF16", (8,))},
    "BatchNorm": {
        "b.weight": ("F32", (8,)),
        "b.running_mean": ("F32", (8,)),
        "b.num_batches_tracked": ("I64", ()),
    },
    "a codebook": {"c.codes": ("F32", (8, 4)), "c.codebooks": ("F32", (8, 4)), "c.scales": ("F32", (8,))},
    "a mask in bytes": {"a.mask": ("U8", (8, 8)), "a.scale": ("F32", (1,)), "a.weight": ("F32", (8, 8))},
    "a resampler": {"up.weight": ("F32", (8, 8)), "up.scales": ("F32", (2,)), "up.biases": ("F32", (8,))},
    "weight normalisation": {"l.weight_g": ("F32", (8, 1)), "l.weight_v": ("F32", (8, 4))},
    "a scale of another shape": {"l.weight": ("F8_E4M3", (8, 4)), "l.weight_scale": ("F32", (3, 3))},
    "no types, and no certain names": {"l.weight": (None, (8, 8)), "l.scale": (None, (8,))},
    "blocks of a list": {"m_blocks": ("F32", (4, 4)), "m_scales": ("F32", (4,))},
    "float weights beside weight_scale": {"l.weight": ("BF16", (8, 4)), "l.weight_scale": ("BF16", (8, 1))},
}  # fmt: skip


@pytest.mark.parametrize("case", NOT)
def test_not_quantised(case: str) -> None:
    assert describe_containers(manifest(NOT[case])) == ()


def test_names_suffice_where_they_are_certain() -> None:
    keys = manifest({"l.qweight": (None, (64, 8)), "l.qzeros": (None, (2, 8)), "l.scales": (None, (2, 64))})
    assert describe_containers(keys) == ("AWQ, groups of 32 (1 weight)",)


def test_block_is_told_by_all_weights_or_by_the_config() -> None:
    ragged: Layout = {
        "a.weight": ("F8_E4M3", (6, 10)),
        "a.weight_scale_inv": ("F32", (2, 3)),
        "b.weight": ("F8_E4M3", (8, 8)),
        "b.weight_scale_inv": ("F32", (2, 2)),
    }
    (line,) = describe_containers(manifest(ragged))
    assert line == "FP8 blocks with weight_scale_inv, 4 x 4 (2 weights)"
    stated = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [5, 4]}}
    (line,) = describe_containers(manifest(ragged, stated))
    assert line == "FP8 blocks with weight_scale_inv, 5 x 4 (2 weights)"
    untrue = {"quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]}}
    (line,) = describe_containers(manifest(ragged, untrue))
    assert line == "FP8 blocks with weight_scale_inv, 4 x 4 (2 weights)"


def test_config_that_speaks_of_an_unknown_container() -> None:
    keys = manifest({"l.weight": ("BF16", (8, 8))}, {"quantization_config": {"quant_method": "vptq"}})
    assert describe_containers(keys) == ("none that mapcc knows, though its config says vptq",)


QUANTISED = {"deepseek_v3_hf.json", "deepseek_v3_original.json"}  # published so


@pytest.mark.slow
def test_no_model_of_the_library_is_taken_for_a_quantised_one() -> None:
    places = {keys for entry in catalog() for pair in entry.pairs for keys in (pair.source, pair.target)}
    said = {place: describe_containers(open_keyset(place)) for place in places}
    called = {Path(place.partition("#")[0]).name for place, lines in said.items() if lines}
    assert len(places) > 150
    assert called == QUANTISED


def test_no_model_of_fastvideo_is_taken_for_a_quantised_one() -> None:
    models = native_keys()
    assert len(models) == 24
    for model, keys in models.items():
        assert describe_containers(manifest({name: (None, shape) for name, shape in keys.items()})) == (), (
            model
        )
