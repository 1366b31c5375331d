"""What an adapter may hold beside factors: followed, or refused for a reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from mapcc.errors import MappingError
from tests.lora.made import PEFT, Tensors, factors, lora, numbers, product, scale_of, skips, written


def test_convolutions_of_locon(tmp_path: Path) -> None:
    """Both ways: a kernel in the first factor, and a core between two of 1 x 1."""
    out = lora(tmp_path, factors("lora_unet_conv", (4, 3, 3, 3)), to="diffusers", prefix="")
    wanted = product(factors("x", (4, 3, 3, 3)), "x", "lora_down", "lora_up")
    np.testing.assert_array_equal(product(out, "stem"), wanted)
    assert out["stem.lora_B.weight"].shape == (4, 2, 1, 1)
    mid, down, up = numbers(2, 3, 3, 3), numbers(3, 3, 1, 1), numbers(4, 2, 1, 1)
    core = {"conv.lora_mid.weight": mid, "conv.lora_down.weight": down, "conv.lora_up.weight": up}
    core["conv.alpha"] = np.array(6, "f4")
    out = lora(tmp_path, core)
    wanted = 2 * np.einsum("onyz,nmhw,miyz->oihw", up, mid, down)
    np.testing.assert_array_equal(product(out, "stem"), wanted)


def test_differences_of_every_parameter(tmp_path: Path) -> None:
    tensors = factors("blocks.0.out", (4, 4)) | {
        "conv.diff": numbers(4, 3, 3, 3),
        "conv.diff_b": numbers(4),
        "blocks.1.qkv.diff_b": numbers(12),
        "blocks.0.norm.w_norm": numbers(4),
        "blocks.1.norm.diff": np.zeros(4, "f4"),
        "blocks.0.diff_m": numbers(1, 6, 4),
        "blocks.1.modulation.diff": numbers(1, 6, 4, seed=1),
    }
    out = lora(tmp_path, tensors)
    np.testing.assert_array_equal(product(out, "stem"), tensors["conv.diff"])
    np.testing.assert_array_equal(out["stem.lora_B.bias"], tensors["conv.diff_b"])
    np.testing.assert_array_equal(out["layers.1.attn.k.lora_B.bias"], tensors["blocks.1.qkv.diff_b"][4:8])
    assert not product(out, "layers.1.attn.k").any()
    assert not out["layers.0.out.lora_B.bias"].any()
    np.testing.assert_array_equal(out["layers.0.norm.diff"], tensors["blocks.0.norm.w_norm"])
    assert "layers.1.norm.diff" not in out
    np.testing.assert_array_equal(out["layers.0.table.diff"], tensors["blocks.0.diff_m"])
    np.testing.assert_array_equal(out["layers.1.table.diff"], tensors["blocks.1.modulation.diff"])
    comfy = lora(tmp_path, tensors, to="comfy")
    np.testing.assert_array_equal(comfy["diffusion_model.stem.diff"], tensors["conv.diff"])
    np.testing.assert_array_equal(comfy["diffusion_model.stem.diff_b"], tensors["conv.diff_b"])
    np.testing.assert_array_equal(comfy["diffusion_model.layers.0.table.diff"], tensors["blocks.0.diff_m"])
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, to="diffusers")
    assert [d.code for d in caught.value.diagnostics] == ["MC905"]
    assert caught.value.diagnostics[0].names == (
        "blocks.0.norm.w_norm", "blocks.0.diff_m", "blocks.1.modulation.diff",
    )  # fmt: skip


def test_a_bias_of_lora_b_is_scaled_as_its_module(tmp_path: Path) -> None:
    module = f"{PEFT}blocks.0.qkv"
    tensors = {
        f"{module}.lora_A.weight": numbers(2, 4),
        f"{module}.lora_B.weight": numbers(12, 2),
        f"{module}.lora_B.bias": numbers(12),
    }
    config = {"r": 2, "lora_alpha": 6, "lora_bias": True}
    out = lora(tmp_path, tensors, config, to="peft")
    said = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert said["lora_bias"]
    bias = out[f"{PEFT}layers.0.attn.v.lora_B.bias"] * scale_of(tmp_path, "layers.0.attn.v")
    np.testing.assert_array_equal(bias, 3 * tensors[f"{module}.lora_B.bias"][8:])
    comfy = lora(tmp_path, tensors, config, to="comfy")
    np.testing.assert_array_equal(
        comfy["diffusion_model.layers.0.attn.q.diff_b"], 3 * tensors[f"{module}.lora_B.bias"][:4]
    )


@pytest.mark.parametrize("style", ["kohya", "peft"])
def test_magnitudes_follow_rows(style: str, tmp_path: Path) -> None:
    tensors = factors("blocks.0.qkv", (12, 4))
    if style == "kohya":
        tensors["blocks.0.qkv.dora_scale"] = numbers(12, 1)
    else:
        tensors["blocks.0.qkv.lora_magnitude_vector"] = numbers(12)
    rows = next(a for n, a in tensors.items() if "scale" in n or "magnitude" in n).reshape(-1)
    out = lora(tmp_path, tensors, to="diffusers")
    for at, part in enumerate("qkv"):
        found = out[f"transformer.layers.0.attn.{part}.lora_magnitude_vector"]
        np.testing.assert_array_equal(found, rows[4 * at : 4 * at + 4])
    kohya = lora(tmp_path, tensors, to="kohya")
    assert kohya["lora_unet_layers_0_attn_q.dora_scale"].shape == (4, 1)


@pytest.mark.parametrize(
    ("text", "model", "modules", "words"),
    [
        (
            "x.weight : o (i + j) -> u.weight : o i, v.weight : o j where i = 2",
            {"x": [4, 4]},
            "x",
            "whole rows",
        ),
        (
            "u.weight : o i, v.weight : o j -> x.weight : o (i + j)",
            {"u": [4, 2], "v": [4, 2]},
            "uv",
            "whole rows",
        ),
        ("[t=q,k].weight : o i -> x.weight : (t o) i", {"q": [4, 2], "k": [4, 2]}, "q", "some of its parts"),
    ],
)
def test_magnitudes_of_rows_that_are_cut(
    text: str, model: dict[str, list[int]], modules: str, words: str, tmp_path: Path
) -> None:
    tensors: Tensors = {}
    for module in modules:
        rows, columns = model[module]
        tensors |= factors(module, (rows, columns)) | {f"{module}.dora_scale": numbers(rows, 1)}
    keys = {f"{name}.weight": shape for name, shape in model.items()}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, text=text + "\n", model=keys)
    assert caught.value.diagnostics[0].code == "MC902"
    assert words in caught.value.diagnostics[0].message


def test_magnitudes_through_rules_that_keep_rows_whole(tmp_path: Path) -> None:
    """Fused, and with their columns in another order; or turned, where they are norms of columns."""
    model = {"q.weight": [4, 6], "k.weight": [4, 6]}
    tensors = factors("q", (4, 6)) | factors("k", (4, 6), 3)
    tensors |= {"q.dora_scale": numbers(4, 1), "k.dora_scale": numbers(4, 1, seed=1)}
    text = "[t=q,k].weight : o (a b) -> x.weight : (o t) (b a) where a = 2\n"
    out = lora(tmp_path, tensors, text=text, model=model, to="kohya", prefix="")
    wanted = np.stack([tensors["q.dora_scale"], tensors["k.dora_scale"]], 1).reshape(8, 1)
    np.testing.assert_array_equal(out["x.dora_scale"], wanted)
    text = "[t=q,k].weight : o i -> x.weight : i (t o)\n"
    out = lora(tmp_path, tensors, text=text, model=model, to="kohya", prefix="")
    assert out["x.dora_scale"].shape == (1, 8)
    wanted = np.concatenate([tensors["q.dora_scale"], tensors["k.dora_scale"]])
    np.testing.assert_array_equal(out["x.dora_scale"].T, wanted)


def test_embeddings_and_whole_modules(tmp_path: Path) -> None:
    tensors = {
        f"{PEFT}wte.lora_embedding_A": numbers(2, 10),
        f"{PEFT}wte.lora_embedding_B": numbers(4, 2),
        f"{PEFT}head.weight": numbers(2, 4),
        f"{PEFT}head.bias": numbers(2),
    }
    config = {"r": 2, "lora_alpha": 8, "modules_to_save": ["head"], "target_modules": ["wte"]}
    out = lora(tmp_path, tensors, config, to="peft")
    for factor in "AB":
        name = f"lora_embedding_{factor}"
        np.testing.assert_array_equal(out[f"{PEFT}embed_tokens.{name}"], tensors[f"{PEFT}wte.{name}"])
    tied = product(out, f"{PEFT}lm_head")
    np.testing.assert_array_equal(
        tied, (tensors[f"{PEFT}wte.lora_embedding_B"] @ tensors[f"{PEFT}wte.lora_embedding_A"]).T
    )
    np.testing.assert_array_equal(out[f"{PEFT}classifier.weight"], tensors[f"{PEFT}head.weight"])
    said = json.loads((tmp_path / "out" / "adapter_config.json").read_text("utf-8"))
    assert said["modules_to_save"] == ["classifier"]
    assert said["target_modules"] == ["embed_tokens", "lm_head"]
    assert (said["r"], said["lora_alpha"]) == (2, 8)


def test_whole_modules_in_part(tmp_path: Path) -> None:
    model = {"q.weight": [2, 3], "k.weight": [2, 3], "o.weight": [3, 3]}
    tensors = {f"{PEFT}q.weight": numbers(2, 3)} | {
        f"{PEFT}o.lora_A.weight": numbers(2, 3),
        f"{PEFT}o.lora_B.weight": numbers(3, 2),
    }
    text = "[t=q,k].weight : o i -> x.weight : (t o) i\no.* -> o.*\n"
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, {"r": 2, "lora_alpha": 2}, text=text, model=model, to="peft")
    [found] = caught.value.diagnostics
    assert found.code == "MC902"
    assert f"--skip {PEFT}q.weight" in found.help


def test_other_kinds_follow_renames(tmp_path: Path) -> None:
    lokr = {"lokr_w1": numbers(2, 2), "lokr_w2": numbers(2, 2), "alpha": np.array(1, "f4")}
    tensors = {f"lora_unet_blocks_0_out.{n}": a for n, a in lokr.items()}
    out = lora(tmp_path, tensors, to="comfy")
    for name, array in lokr.items():
        np.testing.assert_array_equal(out[f"diffusion_model.layers.0.out.{name}"], array)
    tensors |= {f"lora_unet_blocks_0_qkv.{n}": a for n, a in lokr.items()}
    tensors["lora_unet_blocks_0_qkv.lokr_w1"] = numbers(6, 2)
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, to="comfy")
    [found] = caught.value.diagnostics
    assert (found.code, "LoKr" in found.message) == ("MC902", True)
    assert lora(tmp_path, tensors, to="comfy", skip=skips(found.help)).keys() == out.keys()
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, to="diffusers", skip=skips(found.help))
    assert caught.value.diagnostics[0].code == "MC905"


def loha(module: str, rows: int, columns: int, rank: int, alpha: float, seed: int = 0) -> Tensors:
    return {
        f"{module}.hada_w1_a": numbers(rows, rank, seed=seed),
        f"{module}.hada_w1_b": numbers(rank, columns, seed=seed + 1),
        f"{module}.hada_w2_a": numbers(rows, rank, seed=seed + 2),
        f"{module}.hada_w2_b": numbers(rank, columns, seed=seed + 3),
        f"{module}.alpha": np.array(alpha, "f4"),
    }


def loha_product(tensors: Tensors, module: str) -> np.ndarray:
    first, second = (tensors[f"{module}.hada_w{k}_a"] @ tensors[f"{module}.hada_w{k}_b"] for k in (1, 2))
    scale = float(tensors[f"{module}.alpha"]) / len(tensors[f"{module}.hada_w1_b"])
    out: np.ndarray = first * second * scale
    return out


def test_loha_follows_what_lora_follows(tmp_path: Path) -> None:
    """Cut, joined with another rank and scale, and in quarters: elementwise products of both pairs."""
    tensors = loha("blocks.0.qkv", 12, 4, 2, 4)
    out = lora(tmp_path, tensors, to="comfy", prefix="")
    for at, part in enumerate("qkv"):
        wanted = loha_product(tensors, "blocks.0.qkv")[4 * at : 4 * at + 4]
        np.testing.assert_array_equal(loha_product(out, f"layers.0.attn.{part}"), wanted)
    model = {"p.weight": [2, 3], "q.weight": [2, 4], "r.weight": [4, 3], "s.weight": [4, 4]}
    tensors = loha("p", 2, 3, 2, 2) | loha("q", 2, 4, 1, 4, 5) | loha("s", 4, 4, 3, 6, 9)
    text = "p.weight : a c, q.weight : a e, r.weight : b c, s.weight : b e -> x.weight : (a + b) (c + e)\n"
    whole = loha_product(lora(tmp_path, tensors, text=text, model=model, to="kohya", prefix=""), "x")
    np.testing.assert_array_equal(whole[:2, :3], loha_product(tensors, "p"))
    np.testing.assert_array_equal(whole[:2, 3:], loha_product(tensors, "q"))
    np.testing.assert_array_equal(whole[2:, 3:], loha_product(tensors, "s"))
    assert not whole[2:, :3].any()


@pytest.mark.parametrize(
    "tensors",
    [
        loha("head", 3, 4, 2, 2),
        loha("head", 2, 4, 2, float("nan")),
        {"head.lokr_w1": numbers(2, 2), "head.lokr_w2": numbers(2, 2)},
        {"head.lokr_w1": numbers(2, 2)},
        {"head.hada_w1_a": numbers(2, 2)},
    ],
)
def test_products_that_do_not_fit(tensors: Tensors, tmp_path: Path) -> None:
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, to="comfy")
    assert [d.code for d in caught.value.diagnostics] == ["MC901"]


def test_several_embeddings(tmp_path: Path) -> None:
    """Each is one by itself; what a rule turns is none any more."""
    model = {"words.weight": [10, 4], "places.weight": [6, 4], "types.weight": [2, 4]}
    tensors: Tensors = {}
    for module, count in (("words", 10), ("places", 6), ("types", 2)):
        tensors[f"{module}.lora_embedding_A"] = numbers(2, count)
        tensors[f"{module}.lora_embedding_B"] = numbers(4, 2)
    text = "words.* -> w.*\nplaces.* -> p.*\ntypes.weight : t d -> head.weight : d t\n"
    out = lora(tmp_path, tensors, text=text, model=model)
    assert {"w.lora_embedding_A", "p.lora_embedding_A", "head.lora_A.weight"} <= out.keys()
    wanted = tensors["types.lora_embedding_B"] @ tensors["types.lora_embedding_A"]
    np.testing.assert_array_equal(product(out, "head"), wanted)
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, text=text, model=model, to="diffusers")
    [found] = caught.value.diagnostics
    assert (found.code, "p.weight" in found.message, "w.weight" in found.message) == ("MC905", True, True)
