"""A quantised weight that parts from its companions is an error; one that goes with them is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

import mapcc
from mapcc.diagnostics.model import Diagnostic
from mapcc.passes.lint import lint
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Layout = Mapping[str, tuple[str | None, Sequence[int]]]


def manifest(layout: Layout, config: Mapping[str, object] | None = None) -> Manifest:
    tensors = {
        name: TensorSpec(name, None if dtype is None else DTYPES[dtype], tuple(shape))
        for name, (dtype, shape) in layout.items()
    }
    return Manifest(tensors, (), "x", config, {})


def checked(text: str, source: Layout, target: Layout | None = None) -> tuple[Diagnostic, ...]:
    given = None if target is None else manifest(target)
    return mapcc.check(mapcc.parse(text), manifest(source), given).diagnostics


def refused(text: str, source: Layout) -> Diagnostic:
    (diagnostic,) = checked(text, source)
    assert diagnostic.code == "MC416"
    assert diagnostic.exit_code == 1
    return diagnostic


def fp8(*names: str, rows: int = 256, block: int = 128) -> dict[str, tuple[str, tuple[int, ...]]]:
    out: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        out[f"{name}.weight"] = ("F8_E4M3", (rows, 384))
        out[f"{name}.weight_scale_inv"] = ("F32", (-(-rows // block), -(-384 // block)))
    return out


def scaled(*names: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    out: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        out |= {f"{name}.weight": ("F8_E4M3", (24, 8)), f"{name}.scale_weight": ("F32", ())}
    return out


def awq(*names: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    out: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        out[f"{name}.qweight"] = ("I32", (64, 8))
        out |= {f"{name}.qzeros": ("I32", (2, 8)), f"{name}.scales": ("F16", (2, 64))}
    return out


def gptq(*names: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    out: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        out |= {f"{name}.qweight": ("I32", (32, 64)), f"{name}.qzeros": ("I32", (2, 8))}
        out |= {f"{name}.scales": ("F16", (2, 64)), f"{name}.g_idx": ("I32", (256,))}
    return out


def packed(*names: str) -> dict[str, tuple[str, tuple[int, ...]]]:
    out: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in names:
        out |= {f"{name}.weight_packed": ("I32", (64, 16)), f"{name}.weight_scale": ("BF16", (64, 1))}
        out |= {f"{name}.weight_zero_point": ("I32", (8, 1)), f"{name}.weight_shape": ("I64", (2,))}
    return out


NF4 = {
    "l.weight": ("U8", (96, 1)),
    "l.weight.absmax": ("F32", (3,)),
    "l.weight.quant_map": ("F32", (16,)),
    "l.weight.quant_state.bitsandbytes__nf4": ("U8", (80,)),
}
NVFP4 = {
    "l.weight_packed": ("U8", (64, 40)),
    "l.weight_scale": ("F8_E4M3", (64, 5)),
    "l.weight_global_scale": ("F32", (1,)),
    "l.input_global_scale": ("F32", (1,)),
}
MXFP4 = {"e.gate_up_proj_blocks": ("U8", (4, 8, 2, 16)), "e.gate_up_proj_scales": ("U8", (4, 8, 2))}
MLX = {
    "e.weight": ("U32", (4, 8, 16)),
    "e.scales": ("BF16", (4, 8, 2)),
    "e.biases": ("BF16", (4, 8, 2)),
}
INT8 = {"l.weight": ("I8", (8, 4)), "l.SCB": ("F32", (8,)), "l.weight_format": ("U8", ())}
EETQ = {"l.weight": ("I8", (4, 8)), "l.weight_scales": ("F16", (8,))}

PARTED: dict[str, tuple[str, Layout]] = {
    "cast, and the scale dropped": (
        'l.weight | cast bf16 -> l.weight\ndrop l.weight_scale_inv because "unused"',
        fp8("l"),
    ),
    "cast on the right": (
        'l.weight -> l.weight | cast bf16\ndrop l.scale_weight because "unused"',
        scaled("l"),
    ),
    "cast, and the scale kept": ("l.weight | cast bf16 -> l.weight\nkeep l.scale_weight", scaled("l")),
    "kept, and the scale dropped": ('keep l.weight\ndrop l.weight_scale_inv because "unused"', fp8("l")),
    "the scale taken by a star": ('keep l.weight\ndrop l.scale_* because "the rest"', scaled("l")),
    "all of the scale to a piece that is dropped": (
        'keep l.weight\nl.weight_scale_inv : a b -> drop : a b because "unused"',
        fp8("l"),
    ),
    "a part of the scale dropped": (
        "keep l.weight\nl.weight_scale_inv : (a + c) b -> l.weight_scale_inv : a b, "
        'drop : c b because "unused" where a = 1',
        fp8("l"),
    ),
    "AWQ without its zeros": ('keep l.{qweight,scales}\ndrop l.qzeros because "unused"', awq("l")),
    "GPTQ without its order": ('keep l.{qweight,qzeros,scales}\ndrop l.g_idx because "unused"', gptq("l")),
    "nf4 as bytes": ('keep l.weight\ndrop l.weight.** because "not in the target"', NF4),
    "MXFP4 without scales": (
        'e.gate_up_proj_blocks -> e.gate_up_proj\ndrop e.gate_up_proj_scales because "unused"',
        MXFP4,
    ),
    "MLX without biases": ('keep e.{weight,scales}\ndrop e.biases because "unused"', MLX),
    "NVFP4 without its global scale": (
        'keep l.{weight_packed,weight_scale}\ndrop l.*_global_scale because "unused"',
        NVFP4,
    ),
    "int8 cast": ('l.weight | cast f16 -> l.weight\ndrop l.{SCB,weight_format} because "unused"', INT8),
    "the type of the output rounds the scale": ("keep **\ndtype bf16", fp8("l")),
    "the scale is cast": ("keep l.weight\nl.weight_scale_inv | cast f16 -> l.weight_scale_inv", fp8("l")),
    "codes to which is added": ("l.weight | add 1 -> l.weight\nkeep l.scale_weight", scaled("l")),
    "names exchanged": (
        "{q,k}.weight -> {a,b}.weight\nq.scale_weight -> b.scale_weight\nk.scale_weight -> a.scale_weight",
        scaled("q", "k"),
    ),
    "a copy of the weight alone": (
        "l.weight -> a.weight, b.weight\nl.scale_weight -> a.scale_weight",
        scaled("l"),
    ),
    "fused, and one scale for three": (
        "[t=q,k,v].weight : d c -> qkv.weight : (t d) c\nq.scale_weight -> qkv.scale_weight\n"
        'drop {k,v}.scale_weight because "the same"',
        scaled("q", "k", "v"),
    ),
    "fused with a ragged block": (
        "[t=q,k,v].{weight,weight_scale_inv} : d c -> qkv.{weight,weight_scale_inv} : (t d) c",
        fp8("q", "k", "v", rows=160),
    ),
    "fused in another order": (
        "[t=q,k].weight : d c -> qk.weight : (t d) c\n"
        "[t=k,q].weight_scale_inv : d c -> qk.weight_scale_inv : (t d) c",
        fp8("q", "k"),
    ),
    "cut within a block": (
        "l.{weight,weight_scale_inv} : (p + q) c -> a.{weight,weight_scale_inv} : p c, "
        "b.{weight,weight_scale_inv} : q c where p = q",
        fp8("l", rows=192),
    ),
    "transposed without its scale": ("l.weight | transpose -> l.weight\nkeep l.weight_scale_inv", fp8("l")),
    "rows interleaved": (
        "l.weight : (h t) c -> l.weight : (t h) c where t = 2\nkeep l.weight_scale_inv",
        fp8("l"),
    ),
    "experts stacked in another order": (
        "e.0.weight -> a.1.weight\ne.1.weight -> a.0.weight\n"
        "e.{i}.weight_scale_inv -> a.{i}.weight_scale_inv",
        fp8("e.0", "e.1"),
    ),
    "AWQ fused as plain weights": (
        "[t=q_proj,k_proj,v_proj].* : d c -> qkv.* : (t d) c",
        awq("q_proj", "k_proj", "v_proj"),
    ),
    "GPTQ fused as plain weights": (
        "[t=q_proj,k_proj].{qweight,qzeros,scales} : d c -> qk.{qweight,qzeros,scales} : (t d) c\n"
        "[t=q_proj,k_proj].g_idx : d -> qk.g_idx : (t d)",
        gptq("q_proj", "k_proj"),
    ),
    "EETQ transposed alone": ("l.weight | transpose -> l.weight\nkeep l.weight_scales", EETQ),
    "nf4 cut in two": (
        "l.weight : (p + q) c -> a.weight : p c, b.weight : q c where p = q\n"
        "l.weight.absmax -> a.weight.absmax, b.weight.absmax\n"
        "l.weight.quant_map -> a.weight.quant_map, b.weight.quant_map\n"
        "l.weight.quant_state.* -> a.weight.quant_state.*, b.weight.quant_state.*",
        NF4,
    ),
    "a stated shape that is another": (
        "[t=q,k].{weight_packed,weight_scale,weight_zero_point} : d c -> "
        "qk.{weight_packed,weight_scale,weight_zero_point} : (t d) c\n"
        "q.weight_shape -> qk.weight_shape, k.weight_shape\n"
        "k.weight_shape -> other",
        packed("q", "k"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PARTED)
def test_parted(case: str) -> None:
    text, source = PARTED[case]
    found = checked(text, source)
    assert found
    assert {d.code for d in found} == {"MC416"}
    for diagnostic in found:
        assert diagnostic.span is not None
        assert "=" in diagnostic.notes[0] or "values" in diagnostic.notes[0]
        assert "allow MC416" in diagnostic.help


FUSE = "[t=q,k,v].{weight,weight_scale_inv} : d c -> qkv.{weight,weight_scale_inv} : (t d) c"

TOGETHER: dict[str, tuple[str, Layout]] = {
    "kept": ("keep **", fp8("l") | scaled("m") | awq("n") | gptq("o") | packed("p") | NVFP4 | MXFP4 | MLX),
    "bytes kept": ("keep **", NF4),
    "renamed": ("l.* -> m.*\nm.* -> other.sub.*", fp8("l") | scaled("m")),
    "renamed to another container's names": (
        "l.{weight,weight_scale_inv} -> w.{weight,scale}",
        fp8("l"),
    ),
    "renamed to names of no container": ("l.{weight,scale_weight} -> {codes,factor}_l", scaled("l")),
    "dropped together": ('keep norm\ndrop l.** because "unpacked elsewhere"', NF4 | {"norm": ("F32", [4])}),
    "the weight dropped, the scale kept": ('keep l.scale_weight\ndrop l.weight because "x"', scaled("l")),
    "fused": (FUSE, fp8("q", "k", "v")),
    "split": (
        "l.{weight,weight_scale_inv} : (p + q) c -> a.{weight,weight_scale_inv} : p c, "
        "b.{weight,weight_scale_inv} : q c where p = q",
        fp8("l"),
    ),
    "half of both dropped": (
        "l.weight : (a + c) b -> l.weight : a b, drop : c b because 'x' where a = 128\n".replace("'", '"')
        + "l.weight_scale_inv : (a + c) b -> l.weight_scale_inv : a b, "
        'drop : c b because "x" where a = 1',
        fp8("l"),
    ),
    "halves exchanged": (
        "l.{weight,weight_scale_inv} : (p + q) c -> l.{weight,weight_scale_inv} : (q + p) c where p = q",
        fp8("l"),
    ),
    "transposed together": ("l.* | transpose -> l.*", fp8("l")),
    "whole blocks of rows in another order": (
        "l.weight : (h t d) c -> l.weight : (t h d) c where t = 2, h = 2\n"
        "l.weight_scale_inv : (h t d) c -> l.weight_scale_inv : (t h d) c where t = 2, h = 2",
        fp8("l", rows=512),
    ),
    "experts stacked": (
        "e.[e].{weight,weight_scale_inv} : o c -> e.{weight,weight_scale_inv} : e o c",
        fp8("e.0", "e.1", "e.2"),
    ),
    "experts with one scale each stacked": (
        "e.[e].weight : o c -> e.weight : e o c\ne.[e].scale_weight : () -> e.scale_weight : e",
        scaled("e.0", "e.1", "e.2"),
    ),
    "experts unstacked": (
        "e.{weight,scales,biases} | unstack -> e.[e].{weight,scales,biases}",
        MLX,
    ),
    "blocks of experts unstacked": (
        "e.gate_up_proj_{blocks,scales} | unstack -> e.[e].gate_up_proj_{blocks,scales}",
        MXFP4,
    ),
    "gate and up unwoven": (
        "e.gate_up_proj_{blocks,scales} : e (o p) ... -> e.[p=gate,up]_proj_{blocks,scales} : e o ...",
        MXFP4,
    ),
    "one scale copied to three parts": (
        "qkv.weight : (t d) c -> [t=q,k,v].weight : d c\n"
        "qkv.scale_weight -> q.scale_weight, k.scale_weight, v.scale_weight",
        scaled("qkv"),
    ),
    "AWQ joined along its outputs": (
        "[t=q,k,v].{qweight,qzeros,scales} : a b -> qkv.{qweight,qzeros,scales} : a (t b)",
        awq("q", "k", "v"),
    ),
    "AWQ of two ranks joined along its inputs": (
        "[r=r0,r1].o.{qweight,qzeros,scales} : a b -> o.{qweight,qzeros,scales} : (r a) b",
        awq("r0.o", "r1.o"),
    ),
    "the activation's scale dropped": ('keep l.weight*\ndrop l.input_* because "dynamic"', NVFP4),
    "a scale widened": (
        "keep l.weight\nl.weight_scale | cast f32 -> l.weight_scale",
        {"l.weight": ("F8_E4M3", (8, 4)), "l.weight_scale": ("BF16", (8, 1))},
    ),
    "half the codes, twice the scale": (
        "l.weight | scale 0.5 | cast f8_e4m3fnuz -> l.weight\nl.scale_weight | scale 2 -> l.scale_weight",
        scaled("l"),
    ),
    "plain FP8 cast": ("l.weight | cast bf16 -> l.weight", {"l.weight": ("F8_E4M3", (8, 8))}),
    "a list of what keeps its type": ("keep **\ndtype bf16 { keep f32 : **.weight_scale_inv }", fp8("l")),
    "words packed along rows": (
        "[t=q,k].{weight_packed,weight_scale,weight_zero_point} : d c -> "
        "qk.{weight_packed,weight_scale,weight_zero_point} : (t d) c",
        {name: layout for name, layout in packed("q", "k").items() if "shape" not in name},
    ),
}


@pytest.mark.parametrize("case", TOGETHER)
def test_together(case: str) -> None:
    text, source = TOGETHER[case]
    assert checked(text, source) == ()


ALLOWED = (
    'l.weight | cast bf16 -> l.weight allow MC416 because "all scales are 1"\ndrop l.scale_* because "1"',
    'keep l.weight\ndrop l.scale_weight because "1" allow MC416 because "the scales are 1"',
    '. -> . allow MC416 because "the scales are 1" {\nkeep l.weight\ndrop l.scale_weight because "1"\n}',
)


@pytest.mark.parametrize("text", ALLOWED)
def test_what_is_meant_is_said(text: str) -> None:
    result = mapcc.check(mapcc.parse(text), manifest(scaled("l")))
    assert result.diagnostics == ()
    assert result.bound is not None
    assert lint(result.bound) == []  # an allow that has its use is none that suppresses nothing


def test_an_allow_without_use_is_told() -> None:
    result = mapcc.check(mapcc.parse('keep ** allow MC416 because "x"'), manifest(scaled("l")))
    assert result.bound is not None
    assert [d.code for d in lint(result.bound)] == ["MC813"]


def test_one_cause_is_one_finding() -> None:
    names = [f"layers.{i}.{part}" for i in range(8) for part in ("q", "k", "v", "o")]
    text = "layers.{i}.{q,k,v,o}.weight -> l.{i}.{a,b,c,d}.weight\n" + 'drop **.scale_weight because "unused"'
    diagnostic = refused(text, scaled(*names))
    assert diagnostic.names == tuple(f"layers.{{0..7}}.{part}.scale_weight" for part in ("q", "k", "v", "o"))


def test_the_type_of_the_output_is_not_that_of_scales() -> None:
    diagnostic = refused("keep **\ndtype bf16", fp8("l"))
    assert diagnostic.help.startswith("keep its type: dtype bf16 { keep **.weight_scale_inv }; ")
    assert checked("keep **\ndtype bf16 { keep **.weight_scale_inv }", fp8("l")) == ()


def test_a_config_that_cannot_be_read_is_no_hindrance(tmp_path: Path) -> None:
    """It only helps to recognise."""
    (tmp_path / "source.json").write_text(
        '{"l.weight": {"dtype": "F8_E4M3", "shape": [256, 384]}, '
        '"l.weight_scale_inv": {"dtype": "F32", "shape": [2, 3]}}'
    )
    (tmp_path / "config.json").write_text('{"quantization_config": NaN')
    assert mapcc.check(mapcc.parse("keep **"), tmp_path / "source.json").diagnostics == ()
    mapping = mapcc.parse('keep l.weight\ndrop l.weight_scale_inv because "unused"')
    (diagnostic,) = mapcc.check(mapping, tmp_path / "source.json").diagnostics
    assert diagnostic.code == "MC416"


def test_helps_do_not_lead_to_a_wrong_cast_or_drop() -> None:
    target = {"l.weight": ("BF16", (256, 384))}
    by_code = {d.code: d for d in checked("l.weight -> l.weight", fp8("l"), target)}
    assert set(by_code) == {"MC402", "MC409"}
    for diagnostic in by_code.values():
        assert "BF16 = F8 * scale of its block" in diagnostic.help
        assert "FineGrainedFP8Config(dequantize=True)" in diagnostic.help
        assert "| cast" not in diagnostic.help
        assert 'because "' not in diagnostic.help


def test_help_for_a_shape_of_a_packed_weight() -> None:
    (diagnostic,) = [
        d
        for d in checked(
            'l.qweight -> l.weight\ndrop l.{qzeros,scales} because "?"',
            awq("l"),
            {"l.weight": ("I32", (8, 64))},
        )
        if d.code == "MC408"
    ]
    assert "transpose ->" not in diagnostic.help
    assert "(code - zero) * scale" in diagnostic.help


def test_a_library_mapping_on_a_packed_model() -> None:
    layer = "model.layers.0"
    plain = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    source: dict[str, tuple[str, tuple[int, ...]]] = {
        plain[0]: ("F16", (32, 64)),
        plain[2]: ("F16", (32, 64)),
    }
    source |= {plain[1]: ("F16", (64,))}
    source |= {f"{layer}.{norm}_layernorm.weight": ("F16", (64,)) for norm in ("input", "post_attention")}
    source |= awq(*(f"{layer}.self_attn.{p}_proj" for p in "qkvo"))
    source |= awq(*(f"{layer}.mlp.{p}_proj" for p in ("gate", "up", "down")))
    found = mapcc.check("llama/hf_to_litgpt", manifest(source)).diagnostics
    assert "MC416" in {d.code for d in found if d.exit_code}


def test_a_container_that_is_not_known_but_named_by_the_config() -> None:
    codes = {"l.indices": ("I16", (64, 8)), "l.centroids": ("F16", (256, 8))}
    config = {"quantization_config": {"quant_method": "vptq"}}
    (diagnostic,) = mapcc.check(mapcc.parse("keep **"), manifest(codes, config)).diagnostics
    assert diagnostic.code == "MC820"
    assert diagnostic.names == ("l.indices",)
    assert mapcc.check(mapcc.parse("keep **"), manifest(codes)).diagnostics == ()
    left_over = {"l.weight": ("BF16", (64, 64)), "ids": ("I64", (8,))}
    assert mapcc.check(mapcc.parse("keep **"), manifest(left_over, config)).diagnostics == ()


def test_companions_that_stay_behind_are_one_finding() -> None:
    groups: Layout = {
        "a.weight": ("U32", (64, 8)),
        "a.scales": ("BF16", (64, 1)),
        "a.biases": ("BF16", (64, 1)),
    }
    refused("a.weight | transpose -> b.weight\na.{scales,biases} -> b.{scales,biases}", groups)


@pytest.mark.parametrize("scale", ["per_channel_scale", "scales", "scale_inv", "weights_scaling_factor"])
@pytest.mark.parametrize("codes", ["I8", "F8_E4M3"])
def test_scales_by_whatever_name(scale: str, codes: str) -> None:
    source: Layout = {"a.weight": (codes, (64, 8)), f"a.{scale}": ("F16", (64, 1))}
    refused(f'a.weight | cast f16 -> a.weight\ndrop a.{scale} because "x"', source)
    assert not checked(f"a.weight -> b.weight\na.{scale} -> b.{scale}", source)


def test_parts_without_a_rule_are_one_finding() -> None:
    """Of each container, however many modules and kinds of companions there are."""
    four_bits: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name in ("q", "k", "v", "o"):
        four_bits[f"{name}.weight"] = ("U8", (128, 1))
        four_bits |= {f"{name}.weight.absmax": ("F32", (4,)), f"{name}.weight.quant_map": ("F32", (16,))}
    (missing,) = checked("keep *.weight", four_bits)
    assert missing.code == "MC402"
    assert len(missing.names) == 4
    assert "drop" not in missing.message
