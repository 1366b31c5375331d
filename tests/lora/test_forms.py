"""What an adapter may hold, in every way that names are written: followed, or left out by name."""

from __future__ import annotations

import json
import re
import shlex
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.errors import MappingError

Tensors = dict[str, np.ndarray]

TEXT = """
blocks.{i}.qkv.* : (t d) ... -> layers.{i}.attn.[t=q,k,v].* : d ...
blocks.{i}.out.* -> layers.{i}.out.*
blocks.{i}.norm.* -> layers.{i}.norm.*
blocks.{i}.modulation -> layers.{i}.table
conv.* -> stem.*
wte.weight -> embed_tokens.weight, lm_head.weight
head.* -> classifier.*
"""
MODEL = {
    "conv.weight": [4, 3, 3, 3],
    "conv.bias": [4],
    "wte.weight": [10, 4],
    "head.weight": [2, 4],
    "head.bias": [2],
    **{f"blocks.{i}.qkv.weight": [12, 4] for i in (0, 1)},
    **{f"blocks.{i}.qkv.bias": [12] for i in (0, 1)},
    **{f"blocks.{i}.out.weight": [4, 4] for i in (0, 1)},
    **{f"blocks.{i}.norm.weight": [4] for i in (0, 1)},
    **{f"blocks.{i}.modulation": [1, 6, 4] for i in (0, 1)},
}


def numbers(*shape: int, seed: int = 0) -> np.ndarray:
    """Whole numbers, so that products are exact."""
    return np.random.default_rng(seed + sum(shape)).integers(-8, 8, shape).astype("f4")


def factors(module: str, shape: tuple[int, ...], rank: int = 2) -> Tensors:
    ones = (1,) * (len(shape) - 2)
    return {
        f"{module}.lora_down.weight": numbers(rank, *shape[1:]),
        f"{module}.lora_up.weight": numbers(shape[0], rank, *ones, seed=1),
    }


def product(tensors: Tensors, module: str, down: str = "lora_A", up: str = "lora_B") -> np.ndarray:
    a, b = tensors[f"{module}.{down}.weight"], tensors[f"{module}.{up}.weight"]
    alpha = tensors.get(f"{module}.alpha")
    scale = 1.0 if alpha is None else float(alpha) / a.shape[0]
    out: np.ndarray = (b.reshape(len(b), -1) @ a.reshape(len(a), -1) * scale).reshape(len(b), *a.shape[1:])
    return out


def lora(folder: Path, tensors: Tensors, config: dict[str, Any] | None = None, **options: Any) -> Tensors:
    return load_file(written(folder, tensors, config, **options).path)


def written(
    folder: Path, tensors: Tensors, config: dict[str, Any] | None = None, **options: Any
) -> mapcc.ConvertedLora:
    text, model = options.pop("text", TEXT), options.pop("model", MODEL)
    (folder / "m.mapcc").write_text(text, "utf-8")
    (folder / "keys.json").write_text(json.dumps(model), "utf-8")
    (folder / "in").mkdir(exist_ok=True)
    save_file(tensors, folder / "in" / "adapter_model.safetensors")
    if config is not None:
        (folder / "in" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    return mapcc.convert_lora(
        folder / "m.mapcc", folder / "in", folder / "out", folder / "keys.json", **options
    )


# --- scales


PEFT = "base_model.model."
PATTERNS = {"r": 2, "lora_alpha": 6, "rank_pattern": {"0.out": 4}, "alpha_pattern": {"^blocks.0.out": 16}}
CONFIGS: dict[str, tuple[dict[str, Any], float, float]] = {
    "alpha": ({"r": 2, "lora_alpha": 8}, 4, 4),
    "rslora": ({"r": 2, "lora_alpha": 8, "use_rslora": True}, 8 / 2**0.5, 8 / 2**0.5),
    "patterns": (PATTERNS, 4, 3),
    "an expression": ({"r": 2, "lora_alpha": 2, "alpha_pattern": {r"blocks\.[0]\..*": 8}}, 4, 1),
}


@pytest.mark.parametrize("to", ["", "diffusers", "peft", "kohya", "comfy"])
@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_peft_is_the_scale(case: str, to: str, tmp_path: Path) -> None:
    config, first, second = CONFIGS[case]
    rank = 4 if case == "patterns" else 2
    tensors = {
        f"{PEFT}blocks.{i}.out.lora_{ab}.weight": numbers(*shape, seed=i)
        for i, r in ((0, rank), (1, 2))
        for ab, shape in (("A", (r, 4)), ("B", (4, r)))
    }
    out = lora(tmp_path, tensors, {"peft_type": "LORA", **config}, to=to, prefix="")
    for i, scale in ((0, first), (1, second)):
        wanted = product(tensors, f"{PEFT}blocks.{i}.out") * scale
        if to == "peft":
            module = f"layers.{i}.out"
            found = product(out, module) * scale_of(tmp_path, module)
        elif to == "kohya":
            found = product(out, f"layers_{i}_out", "lora_down", "lora_up")
        else:
            found = product(out, f"layers.{i}.out")
        np.testing.assert_allclose(found, wanted, rtol=1e-6)


def scale_of(folder: Path, module: str) -> float:
    """As PEFT tells it."""
    config = json.loads((folder / "out" / "adapter_config.json").read_text("utf-8"))
    rank, alpha = config["r"], config["lora_alpha"]
    for pattern, value in config["rank_pattern"].items():
        rank = value if re.match(rf"(.*\.)?({pattern})$", module) else rank
    for pattern, value in config["alpha_pattern"].items():
        alpha = value if re.match(rf"(.*\.)?({pattern})$", module) else alpha
    return float(alpha / (rank**0.5 if config["use_rslora"] else rank))


BAD_CONFIGS: dict[str, tuple[dict[str, Any] | str | None, str]] = {
    "none": (None, "not told"),
    "no JSON": ("{", "adapter_config.json"),
    "a list": ("[]", "not an object"),
    "another kind": ({"peft_type": "LOHA"}, "'LOHA'"),
    "a model that changes": ({"r": 2, "init_lora_weights": "pissa_niter_16"}, "path_initial_model"),
    "no number": ({"r": 2, "lora_alpha": "16"}, 'lora_alpha is "16"'),
    "no rank": ({"r": 0, "lora_alpha": 16}, "natural number"),
    "another rank": ({"r": 4, "lora_alpha": 16}, "its rank is 2, and 4"),
    "a pattern": ({"r": 2, "alpha_pattern": {"(": 1}}, "has the pattern"),
    "a flag": ({"r": 2, "use_rslora": "yes"}, "true or false"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_configs_that_do_not_tell_a_scale(case: str, tmp_path: Path) -> None:
    config, words = BAD_CONFIGS[case]
    module = f"{PEFT}blocks.0.out"
    tensors = {f"{module}.lora_A.weight": numbers(2, 4), f"{module}.lora_B.weight": numbers(4, 2)}
    if isinstance(config, str):
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "adapter_config.json").write_text(config, "utf-8")
        config = None
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, config)
    [found] = caught.value.diagnostics
    assert found.code == "MC904"
    assert words in found.message + found.help


def test_a_pattern_that_takes_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(pattern: str, module: str) -> bool:
        raise TimeoutError

    monkeypatch.setattr("mapcc.lora.config.matches_to_end", slow)
    tensors = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, {"r": 2, "lora_alpha": 2, "alpha_pattern": {"(x+x+)+y": 1}})
    assert "takes too long" in caught.value.diagnostics[0].message


def test_a_scale_that_is_said(tmp_path: Path) -> None:
    tensors = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    out = lora(tmp_path, tensors, scale=4.0)
    np.testing.assert_array_equal(product(out, "classifier"), 4 * product(tensors, f"{PEFT}head"))


def test_diffusers_metadata_is_the_scale_and_is_not_carried(tmp_path: Path) -> None:
    """Its names and ranks are those of the source; read, and wrong behind the mapping."""
    tensors = {f"transformer.{n}": a for n, a in factors("blocks.0.qkv", (12, 4)).items()}
    said = {"transformer.r": 2, "transformer.lora_alpha": 8, "text_encoder.lora_alpha": 1}
    (tmp_path / "m.mapcc").write_text(TEXT, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    metadata = {"lora_adapter_metadata": json.dumps(said), "title": "x"}
    save_file(tensors, tmp_path / "in.safetensors", metadata)
    paths = [tmp_path / name for name in ("m.mapcc", "in.safetensors", "out.safetensors", "keys.json")]
    out = mapcc.convert_lora(*paths)
    wanted = 4 * product(tensors, "transformer.blocks.0.qkv", "lora_down", "lora_up")[:4]
    np.testing.assert_array_equal(product(load_file(out.path), "layers.0.attn.q"), wanted)
    assert mapcc.keys(out.path).metadata == {"format": "pt", "title": "x"}


def test_a_scale_is_shared_by_powers_of_two(tmp_path: Path) -> None:
    """As Diffusers does: lora_B stays what it is but for its exponent, lora_A is rounded once."""
    tensors = {n: a.astype("f2") for n, a in factors("head", (2, 4), 4).items()}
    tensors["head.alpha"] = np.array(0.3, "f2")
    done = written(tmp_path, tensors)
    out = load_file(done.path)
    scale = float(np.float16(0.3)) / 4
    np.testing.assert_array_equal(out["classifier.lora_B.weight"], tensors["head.lora_up.weight"] / 4)
    wanted = (tensors["head.lora_down.weight"].astype("f4") * np.float32(scale * 4)).astype("f2")
    np.testing.assert_array_equal(out["classifier.lora_A.weight"], wanted)
    assert done.notes == {"its scale is in lora_A, rounded to F16": ("classifier.weight",)}


def test_a_scale_too_large_for_halves(tmp_path: Path) -> None:
    tensors = {n: (a * 1000).astype("f2") for n, a in factors("head", (2, 4)).items()}
    tensors["head.alpha"] = np.array(4096, "f4")
    out = lora(tmp_path, tensors)
    wanted = 2048 * product(
        {n: a.astype("f4") for n, a in tensors.items() if "lora" in n}, "head", "lora_down", "lora_up"
    )
    np.testing.assert_array_equal(product(out, "classifier"), wanted)


# --- kinds of tensors


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
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, to="comfy")
    [found] = caught.value.diagnostics
    assert (found.code, "LoKr" in found.message) == ("MC902", True)
    assert lora(tmp_path, tensors, to="comfy", skip=skips(found.help)).keys() == out.keys()
    with pytest.raises(MappingError) as caught:
        lora(tmp_path, tensors, to="diffusers", skip=skips(found.help))
    assert caught.value.diagnostics[0].code == "MC905"


def skips(help: str) -> list[str]:
    """The patterns of ``--skip`` in a help."""
    words = shlex.split(help.partition("out: ")[2])
    return [word for before, word in pairwise(words) if before == "--skip"]


# --- names


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


# --- leaving out


def everything() -> Tensors:
    return {
        **factors("transformer.blocks.0.qkv", (12, 4)),
        **factors("transformer.blocks.1.out", (4, 4)),
        **factors("text_encoder.layers.0.q", (4, 4)),
        "transformer.blocks.0.norm.diff": numbers(4),
        "transformer.blocks.1.norm.diff": numbers(4),
        "transformer.blocks.0.diff_m": numbers(1, 6, 4),
        "transformer.blocks.0.out.lora_down.weight": numbers(2, 4),
        "transformer.blocks.1.qkv.lora_down.weight": numbers(2, 7),
        "transformer.blocks.1.qkv.lora_up.weight": numbers(12, 2),
        "transformer.odd name.lora_down.weight": numbers(2, 4),
        "transformer.conv.lokr_w1": numbers(2, 3),
        "transformer.conv.lokr_w2": numbers(2, 9),
        "transformer.head.lora_down.weight": numbers(2, 4).astype("i4"),
        "transformer.head.lora_up.weight": numbers(2, 2).astype("i4"),
    }


@pytest.mark.parametrize("to", ["", "diffusers", "peft", "kohya", "comfy"])
def test_all_is_told_at_once_and_what_is_typed_works(to: str, tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text(TEXT, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    save_file(everything(), tmp_path / "lora.safetensors")
    command = ["lora", tmp_path / "m.mapcc", "--source", tmp_path / "lora.safetensors",
               "--model", tmp_path / "keys.json", "--out", tmp_path / "out"]  # fmt: skip
    command += ["--to", to] if to else []
    ran = mapcc(*command)
    assert ran.code == 1
    assert not (tmp_path / "out").exists()
    typed = [word for line in ran.err.splitlines() if "out: " in line for word in skips(line)]
    again = mapcc(*command, *(word for pattern in typed for word in ("--skip", pattern)))
    assert again.code == 0, again.err
    for pattern in typed:
        assert f"skipped, as {pattern} says: " in again.out
    assert "adapters of" in again.out


def test_what_is_skipped_is_counted(tmp_path: Path) -> None:
    tensors = (
        factors("blocks.0.qkv", (12, 4)) | factors("text.q", (4, 4)) | {"blocks.0.norm.diff": numbers(4)}
    )
    done = written(tmp_path, tensors, skip=["text.**", "**.{diff,diff_b}"])
    assert done.skipped == {
        "text.**": ("text.q.lora_down.weight", "text.q.lora_up.weight"),
        "**.{diff,diff_b}": ("blocks.0.norm.diff",),
    }


@pytest.mark.parametrize(
    ("pattern", "words"),
    [("nothing.**", "matches no tensor"), ("a -> b", "no pattern"), ("**.a.**", "no pattern")],
)
def test_patterns_that_skip_nothing(pattern: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(MappingError) as caught:
        written(tmp_path, factors("blocks.0.out", (4, 4)), skip=[pattern])
    assert caught.value.diagnostics[0].code == "MC906"
    assert words in caught.value.diagnostics[0].message


def test_an_ip_adapter_is_told_for_what_it_is(tmp_path: Path) -> None:
    tensors = {"image_proj.proj.weight": numbers(4, 4), "ip_adapter.1.to_k_ip.weight": numbers(4, 4)}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors)
    assert "IP-Adapter" in caught.value.diagnostics[0].help


# --- values, and size


@pytest.mark.parametrize(
    ("steps", "factor"), [("scale 4", 4), ("add 1", 1), ("cast f32 | scale -2 | add 3", -2)]
)
def test_a_difference_through_what_is_linear(steps: str, factor: int, tmp_path: Path) -> None:
    tensors = factors("a", (4, 3)) | {"a.diff_b": numbers(4)}
    model = {"a.weight": {"dtype": "F16", "shape": [4, 3]}, "a.bias": {"dtype": "F16", "shape": [4]}}
    text = f"a.* | {steps} -> b.*\n"
    out = lora(tmp_path, tensors, text=text, model=model)
    wanted = factor * product(tensors, "a", "lora_down", "lora_up")
    np.testing.assert_array_equal(product(out, "b"), wanted)
    np.testing.assert_array_equal(out["b.lora_B.bias"], factor * tensors["a.diff_b"])


@pytest.mark.parametrize("reading", [True, False])
def test_an_adapter_that_is_too_large(reading: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is read; and as it grows."""
    tensors = factors("conv", (4, 3, 3, 3))
    size = sum(array.nbytes for array in tensors.values())
    monkeypatch.setattr("mapcc.api.lora.MAX_BYTES", size - 1 if reading else size)
    text = "conv.* -> a.*, b.*\n"
    keys = {"conv.weight": [4, 3, 3, 3]}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, text=text, model=keys)
    assert caught.value.diagnostics[0].code == "MC903"


def test_peft_is_a_folder(tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text("keep **\n", "utf-8")
    ran = mapcc(
        "lora", tmp_path / "m.mapcc", "--source", "x", "--to", "peft", "--out", tmp_path / "o.safetensors"
    )
    assert ran.code == 2
    assert f"--out {tmp_path / 'o'}" in ran.err
