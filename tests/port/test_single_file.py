"""One file of three components and foreign tensors, as a folder that Diffusers' own from_pretrained loads."""

from __future__ import annotations

import json

import pytest

from tests.port.conftest import Workspace
from tests.port.diffusion import PORT, prepare

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.converts]


def test_from_one_file_to_the_gate(workspace: Workspace) -> None:
    from diffusers import StableDiffusionPipeline

    prepare(workspace)
    # What init finds by itself, and then what a person fills in.
    filled = (workspace.folder / "port.yaml").read_text("utf-8")
    (workspace.folder / "port.yaml").unlink()
    pipeline = ("--target", "diffusers", "--pipeline", "StableDiffusionPipeline")
    said = workspace.good("init", "sd", "--weights", "official_weights/sd", *pipeline)
    assert "layout: monolithic" in said
    assert 'prefix: "first_stage_model."' in (workspace.folder / "port.yaml").read_text("utf-8")
    workspace.write("port.yaml", filled)

    assert "layout: monolithic" in workspace.good("inspect")
    workspace.good("keys")
    assert workspace.good("check").count("strict_load: not_run") == 3
    workspace.good("convert")
    out = workspace.folder / "converted_weights/sd"
    assert sorted(entry.name for entry in out.iterdir()) == [
        *("_mapping", "model_index.json", "scheduler", "text_encoder", "tokenizer", "unet", "vae")
    ]
    index = json.loads((out / "model_index.json").read_text("utf-8"))
    assert index["_class_name"] == "StableDiffusionPipeline"
    assert index["unet"] == ["diffusers", "UNet2DConditionModel"]
    assert index["text_encoder"] == ["transformers", "CLIPTextModel"]
    assert (out / "unet" / "diffusion_pytorch_model.safetensors").exists()
    assert (out / "text_encoder" / "model.safetensors").exists()

    loaded = StableDiffusionPipeline.from_pretrained(out)
    assert sum(parameter.numel() for parameter in loaded.unet.parameters()) > 1000

    parity = workspace.good("parity")
    assert parity.count("agrees") == 3
    assert workspace.good("parity", "pipeline").count("agrees") == 1
    workspace.good("review", "--by", "a reviewer")
    workspace.good("example")
    assert "image: alike" in workspace.good("compare", "--sheet", "sheet.png")
    assert "gate: passed" in workspace.good("gate")

    # The wrong weights in one place, and the gate is not passed any more.
    unet = workspace.folder / "unet.mapcc"
    unet.write_text(unet.read_text("utf-8") + "\n# another text\n", "utf-8")
    ran = workspace.port("gate")
    assert ran.code == 1
    stale = [line for line in ran.out.splitlines() if line.startswith("stale")]
    assert stale
    assert all("mapping unet has changed" in line for line in stale)
    assert "vae" not in "".join(stale)


def test_what_no_component_takes_is_told(workspace: Workspace) -> None:
    prepare(workspace)
    port = "\n".join(line for line in PORT.splitlines() if "model_ema" not in line)
    workspace.write("port.yaml", port + "\n")
    ran = workspace.port("check")
    assert ran.code == 1
    assert "MC911" in ran.out
    assert "model_ema.{decay,num_updates}" in ran.out
    assert "2 tensors that no component takes" in ran.out
    assert not (workspace.folder / "converted_weights/sd/unet").exists()
    assert workspace.port("convert").code == 1
    assert not (workspace.folder / "converted_weights/sd").exists()


def test_a_target_that_the_loader_would_refuse(workspace: Workspace) -> None:
    prepare(workspace)
    port = PORT.replace("kind: diffusers", "kind: fastvideo").replace(
        "class: transformers.CLIPTextModel", "class: diffusers.CLIPTextModel"
    )
    workspace.write("port.yaml", port)
    ran = workspace.port("check")
    assert ran.code == 2  # Diffusers has no such class
    assert "MC912" in ran.out
    assert "`unet` is no component that FastVideo has a loader for" in ran.out
    assert "`text_encoder` is loaded from transformers by FastVideo, not from diffusers" in ran.out
