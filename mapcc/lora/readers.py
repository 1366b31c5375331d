"""Who reads adapters, and what each expects before the names of modules."""

from __future__ import annotations

from collections.abc import Mapping

READERS = ("diffusers", "peft", "kohya", "comfy")
Shapes = Mapping[str, tuple[int, ...]]

TITLES = {"diffusers": "Diffusers", "peft": "PEFT", "kohya": "kohya's trainers", "comfy": "ComfyUI"}
OWN = ("model.diffusion_model.", "diffusion_model.")  # of single files; readers put their own there


def usual_prefix(reader: str, targets: Shapes) -> str:
    """What a reader expects before modules' names."""
    match reader:
        case "peft":
            return "base_model.model."
        case "comfy":
            return "diffusion_model."
        case "kohya":
            return "lora_te_" if _is_text_encoder(targets) else "lora_unet_"
        case "diffusers":
            if _is_text_encoder(targets):
                return "text_encoder."
            is_unet = any(name.startswith("mid_block.") for name in targets)
            return "unet." if is_unet else "transformer."
    return ""


# What text encoders are called before their modules' names, by kohya's trainers and by Diffusers.
_ENCODERS = {"lora_te_": "text_encoder.", "lora_te1_": "text_encoder.", "lora_te2_": "text_encoder_2.",
             "lora_te3_": "text_encoder_3."}  # fmt: skip


def component(prefix: str, reader: str) -> str:
    """What a reader calls a component that another calls by this prefix."""
    if reader in ("", "diffusers"):
        return _ENCODERS.get(prefix, prefix)
    theirs = {ours: kohya for kohya, ours in _ENCODERS.items() if kohya != "lora_te_"}
    return theirs.get(prefix, prefix)


def _is_text_encoder(targets: Shapes) -> bool:
    return any(name.startswith("text_model.") for name in targets)
