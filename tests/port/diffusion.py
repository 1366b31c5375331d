"""A tiny Stable Diffusion in one file, as its authors publish it, and what Diffusers makes of such a file.

The file has the names of three components, and foreign tensors beside them. What the official side runs are
Diffusers' own classes, filled by Diffusers' own converters of single files.
"""

from __future__ import annotations

import json
from typing import Any

from tests.library.diffusers_models import source_shapes
from tests.port.conftest import Workspace

UNET: dict[str, Any] = {
    "sample_size": 8,
    "in_channels": 4,
    "out_channels": 4,
    "block_out_channels": [8, 16],
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": 12,
}
VAE: dict[str, Any] = {
    "in_channels": 3,
    "out_channels": 3,
    "block_out_channels": [8, 8, 8, 8],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "sample_size": 32,
}
TEXT: dict[str, Any] = {
    "hidden_size": 12,
    "intermediate_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "vocab_size": 60,
    "max_position_embeddings": 16,
    "projection_dim": 12,
    "bos_token_id": 0,
    "eos_token_id": 1,
}
FOREIGN = {"betas": (10,), "alphas_cumprod": (10,), "model_ema.decay": (), "model_ema.num_updates": ()}
MODELS = '''
"""The official side: Diffusers' classes, filled by Diffusers' own converters from the single file."""

import json

import torch
from safetensors.torch import load_file

CONFIGS = json.loads(open("configs.json").read())
FILE = "official_weights/sd/sd.safetensors"


def unet():
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    model = UNet2DConditionModel(**CONFIGS["unet"])
    model.load_state_dict(convert_ldm_unet_checkpoint(load_file(FILE), config=CONFIGS["unet"]))
    return model


def vae():
    from diffusers import AutoencoderKL
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    model = AutoencoderKL(**CONFIGS["vae"])
    model.load_state_dict(convert_ldm_vae_checkpoint(load_file(FILE), config=CONFIGS["vae"]))
    return model


def text():
    from transformers import CLIPTextConfig, CLIPTextModel

    prefix = "cond_stage_model.transformer."
    model = CLIPTextModel(CLIPTextConfig(**CONFIGS["text"]))
    own = {k[len(prefix):]: v for k, v in load_file(FILE).items() if k.startswith(prefix)}
    own.pop("text_model.embeddings.position_ids", None)
    model.load_state_dict(own)
    return model


def pipeline(official):
    from diffusers import StableDiffusionPipeline

    made = StableDiffusionPipeline.from_pretrained("converted_weights/sd")
    if official:
        made.unet, made.vae, made.text_encoder = unet().eval(), vae().eval(), text().eval()
    made.set_progress_bar_config(disable=True)
    random = torch.Generator().manual_seed(0)
    return made("a b", num_inference_steps=2, generator=random, output_type="np").images


def official_images():
    return pipeline(True)


def ported_images():
    return pipeline(False)


def draw(path, official):
    from PIL import Image

    Image.fromarray((pipeline(official)[0] * 255).round().astype("uint8")).save(path)
'''
EXAMPLE = """
import sys
sys.path.insert(0, ".")
import models

models.draw("ported.png", False)
models.draw("official.png", True)
"""
PORT = """\
model: sd
family: stable_diffusion
weights: {path: official_weights/sd}
target: {kind: diffusers, pipeline: StableDiffusionPipeline, version: "0.42.1"}
components:
  unet:
    source: sd.safetensors
    prefix: model.diffusion_model.
    keep_prefix: true
    mapping: unet.mapcc
    class: diffusers.UNet2DConditionModel
    config: unet.json
    official: {module: "py:models.py:unet", loads: true, output: sample}
    ported: {output: sample}
    inputs:
      sample: {shape: [2, 4, 8, 8]}
      timestep: {shape: [2], dtype: int, high: 1000}
      encoder_hidden_states: {shape: [2, 5, 12]}
  vae:
    source: sd.safetensors
    prefix: first_stage_model.
    keep_prefix: true
    mapping: stable_diffusion/vae_to_diffusers
    class: diffusers.AutoencoderKL
    config: vae.json
    official: {module: "py:models.py:vae", loads: true, output: sample}
    ported: {output: sample}
    inputs: {sample: {shape: [1, 3, 32, 32]}}
  text_encoder:
    source: sd.safetensors
    prefix: cond_stage_model.transformer.
    mapping: text.mapcc
    class: transformers.CLIPTextModel
    config: text.json
    official: {module: "py:models.py:text", loads: true, output: last_hidden_state}
    ported: {output: last_hidden_state}
assets:
  tokenizer: {class: transformers.CLIPTokenizer}
  scheduler: {class: diffusers.DDIMScheduler}
foreign:
  - {names: ["betas", "alphas_*"], because: "the scheduler computes them"}
  - {names: "model_ema.*", because: "a moving average that nobody loads"}
model_index:
  safety_checker: [null, null]
  feature_extractor: [null, null]
  image_encoder: [null, null]
  requires_safety_checker: false
pipeline: {official: "py:models.py:official_images", ported: "py:models.py:ported_images"}
ssim: {official: official.png, ported: ported.png}
example: {run: "EXE example.py", produces: ported.png}
docs: [README.md]
"""
TEXT_MAPPING = (
    'drop text_model.embeddings.position_ids because "counted by the code"\ndefault {\n    keep **\n}\n'
)


def prepare(workspace: Workspace) -> None:
    """The single file, its tokenizer and scheduler, the mappings, the port."""
    import sys

    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from mapcc.resources import library_mapping

    random = torch.Generator().manual_seed(0)
    configs = {"unet": UNET, "vae": VAE, "text": TEXT}
    workspace.write("configs.json", json.dumps(configs))
    for name, config in configs.items():
        workspace.write(f"{name}.json", json.dumps(config))
    # The library's mapping is for four and three levels of the published sizes; this UNet has two.
    library = library_mapping("stable_diffusion/unet_to_diffusers")
    assert library is not None
    workspace.write(
        "unet.mapcc",
        "\n".join(x for x in library.read_text("utf-8").splitlines() if not x.startswith("about")),
    )
    workspace.write("text.mapcc", TEXT_MAPPING)
    shapes: dict[str, tuple[int, ...]] = dict(FOREIGN)
    for mapping, model in (
        ("stable_diffusion/unet_to_diffusers", UNet2DConditionModel(**UNET)),
        ("stable_diffusion/vae_to_diffusers", AutoencoderKL(**VAE)),
    ):
        target = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
        shapes |= source_shapes(mapping, target, {})
    tensors = {name: torch.randn(shape, generator=random) * 0.2 for name, shape in shapes.items()}
    text = CLIPTextModel(CLIPTextConfig(**TEXT)).state_dict()
    tensors |= {
        f"cond_stage_model.transformer.{name}": torch.randn(value.shape, generator=random) * 0.2
        for name, value in text.items()
    }
    tensors["cond_stage_model.transformer.text_model.embeddings.position_ids"] = torch.arange(16)[None]
    workspace.weights("official_weights/sd/sd.safetensors", tensors)
    _tokenizer(workspace)
    scheduler = DDIMScheduler(num_train_timesteps=10, steps_offset=1, clip_sample=False)
    scheduler.save_pretrained(workspace.folder / "official_weights/sd/scheduler")
    workspace.write("models.py", MODELS)
    workspace.write("example.py", EXAMPLE)
    workspace.write("README.md", "# A tiny Stable Diffusion\n")
    workspace.write("port.yaml", PORT.replace("EXE", sys.executable))


def _tokenizer(workspace: Workspace) -> None:
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["<|startoftext|>", "<|endoftext|>", *letters, *(f"{letter}</w>" for letter in letters)]
    folder = "official_weights/sd/tokenizer"
    workspace.write(f"{folder}/vocab.json", json.dumps({word: at for at, word in enumerate(words)}))
    workspace.write(f"{folder}/merges.txt", "#version: 0.2\n")
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 16}
    workspace.write(f"{folder}/tokenizer_config.json", json.dumps(config))
