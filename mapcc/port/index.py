"""``model_index.json``: what the target's loader reads first, and what it would refuse.

FastVideo's rules were read in ``fastvideo/models/loader/component_loader.py`` and ``fastvideo/utils.py`` of
its wheel 0.2.1: each kind of component has one library, unless its token begins with ``fastvideo.``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.port.model import Asset, Component, Port

INDEX = "model_index.json"
_DIFFUSERS = (
    *("scheduler", "audio_scheduler", "transformer", "transformer_ref", "sr_transformer", "vae", "light_vae"),
    *("audio_vae", "audio_decoder", "vocoder", "upsampler", "spatial_upsampler", "temporal_upsampler"),
)
_TRANSFORMERS = (
    *("text_encoder", "tokenizer", "image_processor", "feature_extractor", "image_encoder", "processor"),
    "vision_language_encoder",
)
FASTVIDEO = (
    dict.fromkeys(_DIFFUSERS, "diffusers")
    | dict.fromkeys(_TRANSFORMERS, "transformers")
    | {"conditioner": "fastvideo"}
)
# Those of which a pipeline may have several: text_encoder_2.
_NUMBERED = re.compile(r"^(transformer|text_encoder|tokenizer|image_encoder|upsampler)_[23]$")


def is_indexed(port: Port) -> bool:
    """Whether the target reads a ``model_index.json``."""
    return port.target.kind in ("diffusers", "fastvideo")


def model_index(port: Port) -> dict[str, object]:
    """What the file says.

    >>> from mapcc.port.model import Target, Weights
    >>> port = Port(None, "m", Weights(), Target("diffusers", "WanPipeline", "0.42.1"), ())
    >>> model_index(port)
    {'_class_name': 'WanPipeline', '_diffusers_version': '0.42.1'}
    """
    parts: tuple[Component | Asset, ...] = (*port.components, *port.assets)
    named = {part.name: list(token(part)) for part in parts if part.target_class}
    return {
        "_class_name": port.target.pipeline,
        "_diffusers_version": port.target.version,
        **dict(sorted(named.items())),
        **port.index,
    }


def token(part: Component | Asset) -> tuple[str, str]:
    """The library and the class: ``("diffusers", "AutoencoderKL")``."""
    library, _, name = part.target_class.rpartition(".")
    return library, name


def index_faults(port: Port) -> Iterator[Diagnostic]:
    """MC912 for each thing at which the target's loader would stop."""
    if not is_indexed(port):
        return
    for component in port.components:
        if not component.target_class:
            yield _fault(component, "has no class for model_index.json", "class: diffusers.CLASS")
        if component.config is None:
            yield _fault(component, "has no config: its loader reads config.json", "config: FILE, or a map")
    parts: tuple[Component | Asset, ...] = (*port.components, *port.assets)
    for part in parts:
        if port.target.kind == "fastvideo" and part.target_class:
            yield from _fastvideo_faults(part)


def _fastvideo_faults(part: Component | Asset) -> Iterator[Diagnostic]:
    library, name = token(part)
    if library.startswith("fastvideo."):
        return
    kind = _kind(part.name)
    if kind is None:
        near = nearest(part.name, FASTVIDEO, 1)
        help = f"did you mean `{near[0]}`?" if near else f"class: fastvideo.MODULE.{name}"
        yield _fault(part, "is no component that FastVideo has a loader for", help)
    elif library != FASTVIDEO[kind]:
        message = f"is loaded from {FASTVIDEO[kind]} by FastVideo, not from {library}"
        yield _fault(part, message, f"class: {FASTVIDEO[kind]}.{name}")


def _kind(name: str) -> str | None:
    numbered = _NUMBERED.match(name)
    kind = numbered[1] if numbered else name
    return kind if kind in FASTVIDEO else None


def _fault(part: Component | Asset, what: str, help: str) -> Diagnostic:
    return Diagnostic("MC912", f"`{part.name}` {what}", part.span, help=help)


def file_prefix(port: Port, component: Component) -> str:
    """What the component's files are called: as its library's own loader looks for them."""
    if component.library == "transformers" or not is_indexed(port):
        return "model"
    return "diffusion_pytorch_model"


def is_one_file(port: Port, component: Component) -> bool:
    """FastVideo reads its conditioner from ``diffusion_pytorch_model.safetensors`` and no other file."""
    return port.target.kind == "fastvideo" and component.name == "conditioner"
