"""Every way that modules and factors are named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.errors import MappingError
from tests.lora.made import MODEL, factors, lora, numbers, product, skips, written


def test_names_of_processors(tmp_path: Path) -> None:
    model = {f"down.0.attn1.{n}.weight": [4, 4] for n in ("to_q", "to_k", "to_out.0")}
    processor = "unet.down.0.attn1.processor"
    tensors = {}
    for part in ("to_q", "to_k", "to_out"):
        tensors[f"{processor}.{part}_lora.down.weight"] = numbers(2, 4)
        tensors[f"{processor}.{part}_lora.up.weight"] = numbers(4, 2)
    out = lora(tmp_path, tensors, text="keep **\n", model=model)
    assert {n.rpartition(".lora")[0] for n in out} == {n.removesuffix(".weight") for n in model}
    linear = {
        n.replace("_lora.", ".lora_linear_layer.").replace(".processor", ""): a for n, a in tensors.items()
    }
    assert lora(tmp_path, linear, text="keep **\n", model=model).keys() == out.keys()


def test_xlabs(tmp_path: Path) -> None:
    """1 is the picture and 2 the text; a single block's qkv are the first rows of linear1."""
    text = (
        "double_blocks.{i}.{img,txt}_attn.qkv.weight : (t d) c -> b.{i}.{x,y}.[t=q,k,v].weight : d c\n"
        "double_blocks.{i}.{img,txt}_attn.proj.* -> b.{i}.{x,y}.o.*\n"
        "single_blocks.{i}.linear1.weight : (q + k + v + m) c -> s.{i}.q.weight : q c,\n"
        "    s.{i}.k.weight : k c, s.{i}.v.weight : v c, s.{i}.m.weight : m c   where q = k = v = 4\n"
        "single_blocks.{i}.linear2.* -> s.{i}.o.*\n"
    )
    model = {
        "double_blocks.0.img_attn.qkv.weight": [12, 4], "double_blocks.0.txt_attn.qkv.weight": [12, 4],
        "double_blocks.0.img_attn.proj.weight": [4, 4], "double_blocks.0.txt_attn.proj.weight": [4, 4],
        "single_blocks.0.linear1.weight": [28, 4], "single_blocks.0.linear2.weight": [4, 20],
    }  # fmt: skip
    tensors = {}
    for module, rows, columns in (
        ("double_blocks.0.processor.qkv_lora1", 12, 4),
        ("double_blocks.0.processor.qkv_lora2", 12, 4),
        ("double_blocks.0.processor.proj_lora1", 4, 4),
        ("single_blocks.0.processor.qkv_lora", 12, 4),
        ("single_blocks.0.processor.proj_lora", 4, 20),
    ):
        tensors[f"{module}.down.weight"] = numbers(2, columns, seed=rows)
        tensors[f"{module}.up.weight"] = numbers(rows, 2, seed=len(module))

    def delta(module: str) -> np.ndarray:
        out: np.ndarray = tensors[f"{module}.up.weight"] @ tensors[f"{module}.down.weight"]
        return out

    out = lora(tmp_path, tensors, text=text, model=model)
    assert {n.rpartition(".lora")[0] for n in out} == {
        *(f"b.0.{s}.{p}" for s in "xy" for p in "qkv"), "b.0.x.o", *(f"s.0.{p}" for p in "qkvo"),
    }  # fmt: skip
    np.testing.assert_array_equal(product(out, "b.0.y.k"), delta("double_blocks.0.processor.qkv_lora2")[4:8])
    np.testing.assert_array_equal(product(out, "s.0.v"), delta("single_blocks.0.processor.qkv_lora")[8:])
    np.testing.assert_array_equal(product(out, "s.0.o"), delta("single_blocks.0.processor.proj_lora"))


@pytest.mark.parametrize("own", ["model.diffusion_model.", "net."])
@pytest.mark.parametrize("style", ["lora_unet_blocks_0_out", "diffusion_model.blocks.0.out", "blocks.0.out"])
def test_a_model_whose_names_have_a_prefix(own: str, style: str, tmp_path: Path) -> None:
    model = {f"{own}{name}": shape for name, shape in MODEL.items()}
    text = f"{own}** -> **\n"
    out = lora(tmp_path, factors(style, (4, 4)), text=text, model=model)
    assert {n.rpartition(".lora")[0] for n in out} == {"blocks.0.out"}


def test_flat_names_under_a_prefix(tmp_path: Path) -> None:
    tensors = factors("lora_unet_blocks_0_out", (4, 4)) | factors("lora_te1_blocks_0_out", (4, 4))
    done = written(tmp_path, tensors, under="lora_unet_")
    assert (done.taken, done.left_out) == (1, 2)
    double = factors("lora_unet__blocks_0_out", (4, 4))
    assert written(tmp_path, double).taken == 1


def test_a_flat_name_with_two_meanings(tmp_path: Path) -> None:
    model = {"a.b_c.weight": [4, 4], "a_b.c.weight": [4, 4], "o.weight": [4, 4]}
    tensors = factors("lora_unet_a_b_c", (4, 4)) | factors("lora_unet_o", (4, 4))
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, text="keep **\n", model=model)
    found = caught.value.diagnostics[0]
    assert "a.b_c.weight or a_b.c.weight" in found.message
    assert written(tmp_path, tensors, text="keep **\n", model=model, skip=skips(found.help)).taken == 1


def test_another_component_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """A text encoder may have modules of the same names."""
    tensors = factors("transformer.blocks.0.out", (4, 4)) | factors("transformer.blocks.1.out", (4, 4))
    tensors |= factors("text_encoder.blocks.0.out", (4, 4))
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors)
    [found] = caught.value.diagnostics
    assert "2 of 6 tensors" in found.message
    assert skips(found.help) == ["text_encoder.**"]


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("", "text_encoder.text_model.q"),
        ("diffusers", "text_encoder.text_model.q"),
        ("kohya", "lora_te1_text_model_q"),
        ("comfy", "lora_te1_text_model_q"),
    ],
)
def test_components_beside(to: str, name: str, tmp_path: Path) -> None:
    tensors = factors("lora_unet_blocks_0_out", (4, 4)) | factors("lora_te1_text_model_q", (4, 4))
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, to=to)
    assert "--beside lora_te1_=KEYS" in caught.value.diagnostics[0].help
    (tmp_path / "text.json").write_text('{"text_model.q.weight": [4, 4]}', "utf-8")
    done = written(tmp_path, tensors, to=to, beside={"lora_te1_": tmp_path / "text.json"})
    assert (done.taken, done.given, done.left_out) == (2, 2, 0)
    out = load_file(done.path)
    words = ("lora_down", "lora_up") if "lora_te1" in name else ("lora_A", "lora_B")
    np.testing.assert_array_equal(
        product(out, name, *words), product(factors("x", (4, 4)), "x", "lora_down", "lora_up")
    )


def test_components_beside_that_cannot_be(tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text("keep **\n", "utf-8")
    command = ["lora", tmp_path / "m.mapcc", "--source", "x", "--out", tmp_path / "o"]
    ran = mapcc(*command, "--beside", "lora_te1_")
    assert (ran.code, "PREFIX=KEYS" in ran.err) == (2, True)
    ran = mapcc(*command, "--to", "peft", "--beside", "lora_te1_=keys.json")
    assert (ran.code, "one component" in ran.err) == (2, True)


@pytest.mark.parametrize(
    ("mapping", "module", "shape", "target"),
    [
        ("flux/official_to_diffusers", "lora_unet_double_blocks_3_img_mlp_2", (3072, 12288),
         "transformer.transformer_blocks.3.ff.net.2"),
        ("flux/official_to_diffusers", "diffusion_model.single_blocks.37.linear2", (3072, 15360),
         "transformer.single_transformer_blocks.37.proj_out"),
        ("wan/official_to_diffusers", "lora_unet_blocks_39_ffn_0", (13824, 5120),
         "transformer.blocks.39.ffn.net.0.proj"),
        ("stable_diffusion/unet_to_diffusers", "lora_unet_middle_block_1_proj_in", (1280, 1280),
         "unet.mid_block.attentions.0.proj_in"),
        ("stable_diffusion/unet_to_diffusers", "diffusion_model.input_blocks.4.1.proj_in", (640, 640),
         "unet.down_blocks.1.attentions.0.proj_in"),
    ],
)  # fmt: skip
def test_a_library_mapping_knows_its_models(
    mapping: str, module: str, shape: tuple[int, int], target: str, tmp_path: Path
) -> None:
    """In kohya's names and ComfyUI's, of the model that has these shapes, without further options."""
    save_file(factors(module, shape, 1), tmp_path / "lora.safetensors")
    done = mapcc.convert_lora(mapping, tmp_path / "lora.safetensors", tmp_path / "out", to="diffusers")
    assert load_file(done.path).keys() == {f"{target}.lora_A.weight", f"{target}.lora_B.weight"}
