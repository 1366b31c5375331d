"""The beginning of a port: what a folder of weights tells, the two files, the worktree, the inputs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from mapcc.port.layout import layout_of
from mapcc.port.read import read_port
from tests.port.conftest import Workspace, with_twins

pytestmark = pytest.mark.converts


def save(path: str, *names: str) -> None:
    import torch
    from safetensors.torch import save_file

    Path(path).parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.zeros(2) for name in names}, path)


LAYOUTS: dict[str, tuple[str, dict[str, tuple[str, ...]], tuple[str, ...]]] = {
    "one model": ("raw_official", {"model.safetensors": ("blocks.0.w",)}, ()),
    "shards": (
        "raw_official",
        {"m-00001-of-00002.safetensors": ("a",), "m-00002-of-00002.safetensors": ("b",)},
        (),
    ),
    "one file of several": (
        "monolithic",
        {"sd.safetensors": ("model.diffusion_model.w", "first_stage_model.w", "betas")},
        (),
    ),
    "files": ("separate_components", {"dit.safetensors": ("a",), "vae.safetensors": ("b",)}, ()),
    "folders": ("separate_components", {"dit/a.safetensors": ("a",), "vae/b.safetensors": ("b",)}, ()),
    "diffusers": ("diffusers", {"transformer/model.safetensors": ("a",)}, ("model_index.json",)),
    "diffusers and more": (
        "mixed",
        {"transformer/model.safetensors": ("a",), "extra.safetensors": ("b",)},
        ("model_index.json",),
    ),
    "folders and files": ("mixed", {"dit/a.safetensors": ("a",), "vae.safetensors": ("b",)}, ()),
    "nothing that can be read": ("custom", {}, ("model.py", "weights.ckpt")),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str, workspace: Workspace) -> None:
    word, checkpoints, others = LAYOUTS[name]
    Path("w").mkdir()
    for path, names in checkpoints.items():
        save(f"w/{path}", *names)
    for path in others:
        workspace.write(f"w/{path}", "{}")
    assert layout_of(Path("w")).word == word


def test_init_from_a_folder_of_diffusers(workspace: Workspace) -> None:
    save("w/transformer/diffusion_pytorch_model.safetensors", "a")
    workspace.write("w/scheduler/scheduler_config.json", "{}")
    index = {
        "_class_name": "WanPipeline",
        "transformer": ["diffusers", "WanTransformer3DModel"],
        "scheduler": ["diffusers", "UniPCMultistepScheduler"],
    }
    workspace.write("w/model_index.json", json.dumps(index))
    said = workspace.good("init", "wan", "--weights", "w", "--target", "fastvideo")
    assert "pipeline: WanPipeline, from the model_index.json of the weights" in said
    assert "layout: diffusers" in said
    port = read_port(Path("port.yaml"))
    assert port.target.pipeline == "WanPipeline"
    assert [component.target_class for component in port.components] == ["diffusers.WanTransformer3DModel"]
    assert [asset.target_class for asset in port.assets] == ["diffusers.UniPCMultistepScheduler"]


def test_init_finds_the_components_of_one_file(workspace: Workspace) -> None:
    save("official_weights/sd/sd.safetensors", "model.diffusion_model.w", "first_stage_model.w", "betas")
    workspace.good("init", "sd", "--target", "python")
    port = read_port(Path("port.yaml"))
    assert {each.name: each.prefix for each in port.components} == {
        "transformer": "model.diffusion_model.",
        "vae": "first_stage_model.",
    }
    plan = Path("PLAN.md").read_text("utf-8")
    titles = [line for line in plan.splitlines() if line.startswith("## ")]
    assert len(titles) == 7
    milestones = plan.partition("## 3.")[2].partition("## 4.")[0]
    assert milestones.index("transformer") < milestones.index("vae")
    assert "`mapcc port parity transformer`" in milestones


def test_init_asks_for_what_nothing_tells(workspace: Workspace) -> None:
    ran = workspace.port("init", "m")
    assert ran.code == 2
    assert "where are the official weights?" in ran.err
    save("w/a.safetensors", "a")
    ran = workspace.port("init", "m", "--weights", "w", "--target", "diffusers")
    assert ran.code == 2
    assert "--pipeline WanPipeline" in ran.err
    assert not Path("port.yaml").exists()
    workspace.good("init", "m", "--weights", "w", "--target", "python")
    ran = workspace.port("init", "m", "--weights", "w", "--target", "python")
    assert ran.code == 2
    assert "it is there already" in ran.err


def test_a_worktree_of_its_own(workspace: Workspace) -> None:
    repository = workspace.folder / "repo"
    repository.mkdir()
    identity = ["-c", "user.email=a@b", "-c", "user.name=a"]
    for command in (["init", "-q"], [*identity, "commit", "-q", "--allow-empty", "-m", "x"]):
        subprocess.run(["git", "-C", str(repository), *command], check=True)
    save("w/a.safetensors", "a")
    weights = workspace.folder / "w"
    arguments = ("--weights", weights, "--target", "python", "--worktree", "--folder", repository)
    said = workspace.good("init", "wan", *arguments)
    place = workspace.folder / "repo-port-wan"
    assert f"worktree: {place}, on the branch port/wan" in said
    assert (place / "port.yaml").exists()
    report = json.loads(workspace.good("report", "--port", place, "--format", "json"))
    assert report["branch"] == "port/wan"
    ran = workspace.port("init", "wan", *arguments)
    assert ran.code == 2
    assert "git worktree" in ran.err


# --- inputs


DERIVED: dict[str, tuple[str, dict[str, Any], dict[str, tuple[int, ...]]]] = {
    "llama": (
        "transformers.LlamaForCausalLM",
        {
            "vocab_size": 9,
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
        },
        {"input_ids": (1, 6)},
    ),
    "vit": (
        "transformers.ViTModel",
        {
            "hidden_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 8,
            "image_size": 16,
            "patch_size": 8,
        },
        {"pixel_values": (1, 3, 16, 16)},
    ),
    "vae": ("diffusers.AutoencoderKL", {"block_out_channels": [32]}, {"sample": (1, 3, 32, 32)}),
    "unet": (
        "diffusers.UNet2DConditionModel",
        {
            "cross_attention_dim": 8,
            "block_out_channels": [32],
            "down_block_types": ["CrossAttnDownBlock2D"],
            "up_block_types": ["CrossAttnUpBlock2D"],
            "attention_head_dim": 8,
            "layers_per_block": 1,
        },
        {"sample": (1, 4, 32, 32), "timestep": (1,), "encoder_hidden_states": (1, 6, 8)},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", DERIVED)
def test_inputs_of_which_config_and_signature_tell(name: str, workspace: Workspace) -> None:
    """They are not only of the right shape: the module runs on them."""
    from mapcc.port.classes import built
    from mapcc.port.inputs import called, made_inputs

    kind, config, shapes = DERIVED[name]
    component = {"source": "a.safetensors", "mapping": "m", "class": kind, "config": config}
    port = {
        "model": "m",
        "weights": {"path": "w"},
        "target": {"kind": "python"},
        "components": {"a": component},
    }
    workspace.write("port.yaml", json.dumps(port))
    opened = read_port(Path("port.yaml"))
    module = built(opened, opened.components[0])
    inputs = made_inputs(opened, opened.components[0], module)
    assert {key: tuple(value.shape) for key, value in inputs.items()} == shapes
    called(module, inputs)
    again = made_inputs(opened, opened.components[0], module)
    assert all((again[key] == value).all() for key, value in inputs.items())


@pytest.mark.slow
def test_inputs_that_nothing_tells(workspace: Workspace) -> None:
    with_twins(workspace)
    text = Path("port.yaml").read_text("utf-8")
    workspace.write("port.yaml", text.partition("    inputs:")[0])
    workspace.good("convert")
    ran = workspace.port("parity")
    assert ran.code == 1
    assert "nothing tells the shape of condition" in ran.err
    assert "inputs: {condition: {shape:" in ran.err


@pytest.mark.slow
def test_a_module_that_does_not_run(workspace: Workspace) -> None:
    with_twins(workspace)
    text = Path("port.yaml").read_text("utf-8")
    workspace.write("port.yaml", text.replace("condition: {shape: [2, 16]}", "condition: {shape: [2, 17]}"))
    workspace.good("convert")
    ran = workspace.port("parity")
    assert ran.code == 2
    assert "the official module of `transformer` cannot be run: RuntimeError" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.slow
@pytest.mark.parametrize("wanted", ["logits", "sample.5", "sample.nothing"])
def test_an_output_that_the_module_does_not_give(wanted: str, workspace: Workspace) -> None:
    with_twins(workspace)
    text = Path("port.yaml").read_text("utf-8")
    workspace.write("port.yaml", text.replace("output: sample", f"output: {wanted}"))
    workspace.good("convert")
    for verb in ("parity", "trace"):
        ran = workspace.port(verb)
        assert ran.code == 1
        assert f"the ported module of `transformer` gives no `{wanted}`, but " in ran.err
        assert "Traceback" not in ran.err


@pytest.mark.slow
def test_parity_wants_a_conversion_of_today(workspace: Workspace) -> None:
    with_twins(workspace)
    ran = workspace.port("parity")
    assert ran.code == 1
    assert "it was never converted" in ran.err
    workspace.good("convert")
    workspace.good("parity")
    mapping = Path("twins.mapcc")
    mapping.write_text(mapping.read_text("utf-8") + "# more\n", "utf-8")
    ran = workspace.port("parity")
    assert ran.code == 1
    assert "mapping transformer has changed" in ran.err
    assert "help: mapcc port convert" in ran.err


@pytest.mark.slow
def test_changed_code_makes_parity_stale(workspace: Workspace) -> None:
    with_twins(workspace)
    workspace.good("convert")
    workspace.good("parity")
    assert "done      transformer: agrees" in workspace.good("status")
    code = Path("models.py")
    code.write_text(code.read_text("utf-8") + "# more\n", "utf-8")
    said = workspace.good("status")
    assert "stale     transformer: agrees with the official module" in said
    assert "code models.py has changed" in said
    assert "done      transformer: converted" in said


@pytest.mark.slow
def test_weights_that_do_not_fit_the_module(workspace: Workspace) -> None:
    """The converted weights are right, and the module has changed since."""
    with_twins(workspace)
    text = Path("port.yaml").read_text("utf-8")
    with_keys = text.replace("    inputs:", "    keys: keys.json\n    inputs:")
    ran = workspace.mapcc("keys", "py:models.py:ported", "--out", "keys.json")
    assert ran.code == 0
    workspace.write("port.yaml", with_keys)
    workspace.good("convert")
    workspace.write("twin.json", json.dumps({"out_bias": False}))
    ran = workspace.port("parity")
    assert ran.code == 1
    assert "MC913" in ran.err
    assert "layers.{0..2}.attn1.to_out.0.bias" in ran.err
    assert "strict_load: blocked" in workspace.good("check")


# --- conversion, or a config


def needs(workspace: Workspace, rule: str, target: dict[str, list[int]], **more: str) -> str:
    port: dict[str, Any] = {"model": "m", "weights": {"path": "."}}
    port["target"] = {"kind": "fastvideo", "pipeline": "P", "version": "0.42.1"}
    component = {"source": "source.json", "mapping": "m.mapcc", "keys": "target.json", **more}
    port["components"] = {"transformer": component}
    workspace.write("source.json", json.dumps({"a.0.w": [4, 4], "a.1.w": [4, 4]}))
    workspace.write("target.json", json.dumps(target))
    workspace.write("m.mapcc", rule + "\n")
    workspace.write("port.yaml", json.dumps(port))
    return workspace.good("inspect")


def test_what_fastvideos_config_can_say_needs_no_conversion(workspace: Workspace) -> None:
    said = needs(workspace, "a.{i}.w -> b.{i}.w", {"b.0.w": [4, 4], "b.1.w": [4, 4]})
    assert "transformer: needs_conversion: no" in said
    assert "mapcc emit-config m.mapcc --source source.json --format fastvideo" in said


def test_the_rules_that_force_a_conversion_are_named(workspace: Workspace) -> None:
    rules = "# first\na.0.w -> b.0.w\na.1.w : x y -> b.1.w : y x"
    said = needs(workspace, rules, {"b.0.w": [4, 4], "b.1.w": [4, 4]})
    assert "transformer: needs_conversion: yes" in said
    assert "line 3: " in said
    assert "line 2: " not in said


def test_a_mapping_that_is_not_clean_leaves_it_open(workspace: Workspace) -> None:
    said = needs(workspace, "a.{i}.w -> b.{i}.w", {"b.0.w": [4, 4]})
    assert "transformer: needs_conversion: unknown" in said
