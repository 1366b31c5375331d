"""``--under``: the same prefixes as everywhere, of an adapter's names and of the model's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.errors import MappingError
from tests.lora.made import MODEL, PEFT, TEXT, factors, numbers, product, written

OUT = product(factors("x", (4, 4)), "x", "lora_down", "lora_up")
OTHERS = factors("text_encoder.q", (4, 4))


@pytest.mark.parametrize("under", ["transformer", "transformer.", "transformer -> .", "transformer. -> ."])
def test_with_or_without_a_final_dot(under: str, tmp_path: Path) -> None:
    done = written(tmp_path, factors("transformer.blocks.0.out", (4, 4)) | OTHERS, under=under)
    assert (done.taken, done.left_out) == (1, 2)
    np.testing.assert_array_equal(product(load_file(done.path), "layers.0.out"), OUT)


def test_names_that_only_begin_alike_are_elsewhere(tmp_path: Path) -> None:
    tensors = factors("net.blocks.0.out", (4, 4)) | factors("net_2.blocks.1.out", (4, 4))
    done = written(tmp_path, tensors, under="net")
    assert (done.taken, done.left_out) == (1, 2)


def test_what_is_written_lies_beneath_the_other(tmp_path: Path) -> None:
    tensors = factors("a.b.blocks.0.out", (4, 4)) | OTHERS
    for to, name in {
        "": "c.layers.0.out",
        "diffusers": "transformer.c.layers.0.out",
        "peft": "base_model.model.c.layers.0.out",
        "kohya": "lora_unet_c_layers_0_out",
    }.items():
        out = load_file(written(tmp_path, tensors, under="a.b -> c", to=to).path)
        assert {n.rpartition(".lora")[0] for n in out if "alpha" not in n} == {name}


def test_the_usual_prefix_is_of_what_lies_beneath(tmp_path: Path) -> None:
    model = {"text_model.q.weight": [4, 4]}
    options: dict[str, Any] = {"text": "keep **\n", "model": model, "to": "kohya", "under": "x -> enc"}
    out = load_file(written(tmp_path, factors("x.text_model.q", (4, 4)), **options).path)
    assert "lora_te_enc_text_model_q.lora_up.weight" in out


@pytest.mark.parametrize("under", ["lora_unet_", "lora_unet_ -> ."])
@pytest.mark.parametrize("between", ["", "_"])
def test_flat_names(under: str, between: str, tmp_path: Path) -> None:
    tensors = factors(f"lora_unet_{between}blocks_0_out", (4, 4)) | factors("lora_te1_q", (4, 4))
    done = written(tmp_path, tensors, under=under)
    assert (done.taken, done.left_out) == (1, 2)


@pytest.mark.parametrize("name", ["m.net.blocks.0.out", "blocks.0.out", "lora_unet_blocks_0_out"])
def test_a_model_within_a_checkpoint(name: str, tmp_path: Path) -> None:
    """The key set is of all components: whatever the adapter's own names begin with."""
    model = {f"m.net.{key}": shape for key, shape in MODEL.items()} | {"vae.blocks.0.out.weight": [4, 4]}
    done = written(tmp_path, factors(name, (4, 4)), model=model, under="m.net -> n")
    np.testing.assert_array_equal(product(load_file(done.path), "n.layers.0.out"), OUT)


def test_a_mapping_that_carries_the_prefix(tmp_path: Path) -> None:
    text = "".join(f"m.net.{line}\n" for line in TEXT.strip().splitlines())
    model = {f"m.net.{key}": shape for key, shape in MODEL.items()} | {"vae.q": [4]}
    tensors = factors("m.net.blocks.0.out", (4, 4)) | factors("vae.q", (4, 4))
    done = written(tmp_path, tensors, text=text, model=model, under="m.net")
    assert (done.taken, done.left_out) == (1, 2)


def test_a_module_with_the_prefix_for_its_own_name(tmp_path: Path) -> None:
    """What lies beneath ``encoder`` of the model is meant, as elsewhere, and not its ``q``."""
    model = {"q.weight": [2, 4], "encoder.q.weight": [4, 4], "encoder.q.bias": [4]}
    tensors = factors("encoder.q", (4, 4))
    done = written(tmp_path, tensors, text="keep **\n", model=model, under="encoder -> e")
    assert set(load_file(done.path)) == {"e.q.lora_A.weight", "e.q.lora_B.weight"}


@pytest.mark.parametrize(
    ("mapping", "module", "under", "target"),
    [
        ("flux/flux2_diffusers_to_fastvideo", "transformer.{}.linear_1", "transformer", "{}.linear_1"),
        ("flux/flux2_diffusers_to_fastvideo", "{}.linear_1", "transformer", "{}.linear_1"),
        ("flux/flux2_to_diffusers", "x.time_in.in_layer", "x", "{}.linear_1"),
    ],
)
def test_a_library_mapping_fits_its_own_model(
    mapping: str, module: str, under: str, target: str, tmp_path: Path
) -> None:
    """Whether all names of that model begin with the prefix, or the adapter's alone do."""
    embedder = "time_guidance_embed.timestep_embedder"
    width = 3072 if "fastvideo" in mapping else 6144
    tensors = factors(module.format(embedder), (width, 256))
    save_file(tensors, tmp_path / "lora.safetensors")
    done = mapcc.convert_lora(mapping, tmp_path / "lora.safetensors", tmp_path / "out", under=under)
    name = target.format(embedder)
    assert set(load_file(done.path)) == {f"{name}.lora_A.weight", f"{name}.lora_B.weight"}


def test_a_scale_is_told_beneath_a_prefix(tmp_path: Path) -> None:
    """In the header, under the component's name; and of PEFT it has to be."""
    tensors = factors("transformer.blocks.0.out", (4, 4))
    tensors = {n.replace("down", "A").replace("up", "B"): a for n, a in tensors.items()}
    config = {"transformer.r": 2, "transformer.lora_alpha": 8, "transformer.alpha_pattern": {"blocks.0": 1}}
    path = tmp_path / "lora.safetensors"
    save_file(tensors, path, {"lora_adapter_metadata": json.dumps(config)})
    (tmp_path / "m.mapcc").write_text(TEXT, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    paths = [tmp_path / "m.mapcc", path, tmp_path / "out", tmp_path / "keys.json"]
    for under in ("", "transformer"):
        out = load_file(mapcc.convert_lora(*paths, under=under).path)
        np.testing.assert_array_equal(product(out, "layers.0.out"), OUT * 4)
    peft = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    for under in ("", PEFT):
        with pytest.raises(MappingError) as caught:
            written(tmp_path, peft, under=under)
        assert [each.code for each in caught.value.diagnostics] == ["MC904"]
    config = {"r": 2, "lora_alpha": 2, "alpha_pattern": {"^head": 6}}
    out = load_file(written(tmp_path, peft, config, under=PEFT).path)
    np.testing.assert_array_equal(product(out, "classifier"), 3 * product(peft, f"{PEFT}head"))


@pytest.mark.parametrize(
    ("under", "words"),
    [("transformr", "did you mean transformer"), ("te1_", "lora_te1_"), ("lora_unet", "lora_te1_")],
)
def test_nothing_beneath(under: str, words: str, tmp_path: Path) -> None:
    tensors = factors("transformer.blocks.0.out", (4, 4)) | factors("lora_te1_q", (4, 4))
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, under=under)
    [found] = caught.value.diagnostics
    assert (found.code, words in found.help) == ("MC008", True), found.help


def test_what_is_no_prefix(tmp_path: Path, mapcc: Any) -> None:
    with pytest.raises(MappingError) as caught:
        written(tmp_path, factors("blocks.0.out", (4, 4)), under="a -> b -> c")
    assert [each.code for each in caught.value.diagnostics] == ["MC007"]
    save_file(factors("net.blocks.0.out", (4, 4)) | OTHERS, tmp_path / "lora.safetensors")
    ran = mapcc("lora", tmp_path / "m.mapcc", "--source", tmp_path / "lora.safetensors",
                "--model", tmp_path / "keys.json", "--out", tmp_path, "--under", "net -> x")  # fmt: skip
    assert ran.code == 0, ran.err
    assert "left out: 2 tensors, not under net\n" in ran.out


def test_components_beside_by_their_modules(tmp_path: Path) -> None:
    tensors = factors("transformer.blocks.0.out", (4, 4)) | factors("text_encoder.text_model.q", (4, 4))
    (tmp_path / "text.json").write_text('{"text_model.q.weight": [4, 4]}', "utf-8")
    for place in ("text_encoder", "text_encoder."):
        done = written(tmp_path, tensors, under="transformer", beside={place: tmp_path / "text.json"})
        assert (done.taken, done.left_out) == (2, 0)
        assert "text_encoder.text_model.q.lora_A.weight" in load_file(done.path)
