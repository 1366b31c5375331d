"""The inputs of both forward passes: as declared, or derived from signature and config where these tell."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.components import place
from mapcc.port.model import Component, Port, Side, TensorInput
from mapcc.port.modules import device, parity_dtype
from mapcc.tensors.factory import python_value

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Module

# Sizes that nothing else prescribes: small, different from each other, and no size is 1 by accident.
_BATCH, _TOKENS, _SIDE, _FRAMES = 1, 6, 8, 2
_VOCABULARY = ("vocab_size", "padded_vocab_size", "n_vocab")
_TEXT = ("cross_attention_dim", "joint_attention_dim", "text_dim", "caption_channels", "text_embed_dim")
_POOLED = ("pooled_projection_dim",)


def made_inputs(port: Port, component: Component, ported: Module) -> dict[str, Any]:
    """The common inputs by name, the same at each call.

    Raises:
        MappingError: MC914: they are not declared and cannot be derived; MC004: their factory fails.
    """
    import torch

    torch.manual_seed(component.parity.seed)
    declared = component.inputs
    if isinstance(declared, str):
        value = python_value(place(port, declared))
        if not isinstance(value, Mapping):
            message = f"`{declared}` gives {type(value).__name__}, not a dict of inputs by name"
            raise MappingError([Diagnostic("MC004", message, component.span)])
        return {str(name): _moved(one, component) for name, one in value.items()}
    shapes = declared if declared is not None else _derived(component, ported)
    return {name: _tensor(spec, component) for name, spec in shapes.items()}


def arguments(side: Side, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The common inputs under one side's own names."""
    if not side.arguments:
        return dict(inputs)
    return {name: inputs[common] for name, common in side.arguments.items() if common in inputs}


def copied(value: Any) -> Any:
    """A tensor of its own: a forward pass may work in place."""
    import torch

    return value.clone() if isinstance(value, torch.Tensor) else value


def called(module: Module, given: Mapping[str, Any]) -> object:
    """A forward pass; names that begin with a digit are positions."""
    import torch

    positional = [value for name, value in sorted(given.items()) if name.isdecimal()]
    named = {name: value for name, value in given.items() if not name.isdecimal()}
    # As exact as the hardware can: TF32 would be taken for a fault.
    exact = torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False)
    with torch.no_grad(), exact:
        return module(*positional, **named)


def chosen(component: Component, which: str, output: object) -> object:
    """The part of an output that counts, as ``output`` of that side says.

    Raises:
        MappingError: MC914: there is no such part.
    """
    wanted = (component.official if which == "official" else component.ported).output
    try:
        for key in filter(None, wanted.split(".")):
            if key.isdecimal() and not isinstance(output, Mapping):
                output = output[int(key)]  # type: ignore[index]
            else:
                output = output[key] if isinstance(output, Mapping) else getattr(output, key)
    except (LookupError, AttributeError, TypeError):
        parts = ", ".join(map(str, output)) if isinstance(output, Mapping) else type(output).__name__
        message = f"the {which} module of `{component.name}` gives no `{wanted}`, but {parts}"
        raise MappingError([Diagnostic("MC914", message, component.span)]) from None
    return output


def _moved(value: Any, component: Component) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    return value.to(device(), parity_dtype(component) if value.is_floating_point() else value.dtype)


def _tensor(spec: TensorInput, component: Component) -> Tensor:
    import torch

    is_of_the_modules = spec.dtype == "float"
    dtype: torch.dtype = torch.float32 if is_of_the_modules else getattr(torch, spec.dtype)
    if spec.value is not None:
        made = torch.full(spec.shape, spec.value, dtype=dtype)
    elif dtype.is_floating_point or dtype.is_complex:
        made = torch.randn(spec.shape) * spec.scale
    else:
        high = 2 if dtype is torch.bool else max(spec.high, spec.low + 1)
        made = torch.randint(0 if dtype is torch.bool else spec.low, high, spec.shape)
    moved: Tensor = _moved(made, component) if is_of_the_modules else made.to(device(), dtype)
    return moved


# --- derived


def _derived(component: Component, module: Module) -> dict[str, TensorInput]:
    """Of the arguments without a default: those whose shape the config or the first layer tells."""
    config = getattr(module, "config", None)
    known: dict[str, TensorInput] = {}
    unknown: list[str] = []
    for name in _required(module.forward):
        made = _guess(name, config, module)
        if made is None:
            unknown.append(name)
        else:
            known[name] = made
    if unknown or not known:
        names = ", ".join(unknown) or "its arguments"
        example = f"inputs: {{{', '.join(f'{name}: {{shape: [1, 16]}}' for name in unknown or ['x'])}}}"
        message = f"`{component.name}`: nothing tells the shape of {names}"
        raise MappingError([Diagnostic("MC914", message, component.span, help=example)])
    return known


def _required(forward: Callable[..., object]) -> list[str]:
    """Arguments without a default; ``input_ids`` always, since transformers gives all of its a default."""
    parameters = inspect.signature(forward).parameters.values()
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    wanted = [p.name for p in parameters if p.default is p.empty and p.kind in kinds]
    return wanted or [p.name for p in parameters if p.name in ("input_ids", "pixel_values")][:1]


def _guess(name: str, config: object, module: Module) -> TensorInput | None:
    def size(*names: str) -> int | None:
        for each in names:
            value = config.get(each) if isinstance(config, Mapping) else getattr(config, each, None)
            if isinstance(value, int) and value > 0:
                return value
        return None

    match name:
        case "input_ids" | "idx" | "tokens":
            high = size(*_VOCABULARY) or _vocabulary(module)
            return TensorInput((_BATCH, _TOKENS), "int64", 0, high) if high else None
        case "timestep" | "timesteps" | "t":
            return TensorInput((_BATCH,), "int64", 0, 1000)
        case "encoder_hidden_states" | "context":
            width = size(*_TEXT)
            return TensorInput((_BATCH, _TOKENS, width)) if width else None
        case "pooled_projections":
            width = size(*_POOLED)
            return TensorInput((_BATCH, width)) if width else None
        case "pixel_values":
            channels, side = size("num_channels"), size("image_size")
            return TensorInput((_BATCH, channels, side, side)) if channels and side else None
        case "hidden_states" | "sample" | "x" | "input":
            return _first_layer(module)
        case _:
            return None


def _vocabulary(module: Module) -> int | None:
    """How many words the first embedding knows."""
    import torch

    embeddings = (part for part in module.modules() if isinstance(part, torch.nn.Embedding))
    return next((part.num_embeddings for part in embeddings), None)


def _first_layer(module: Module) -> TensorInput | None:
    """The shape that the first layer with a weight takes."""
    import torch

    for part in module.modules():
        if isinstance(part, torch.nn.Conv3d):
            return TensorInput((_BATCH, part.in_channels, _FRAMES, _SIDE, _SIDE))
        if isinstance(part, torch.nn.Conv2d):
            return TensorInput((_BATCH, part.in_channels, _SIDE * 4, _SIDE * 4))
        if isinstance(part, torch.nn.Conv1d):
            return TensorInput((_BATCH, part.in_channels, _SIDE * 4))
        if isinstance(part, torch.nn.Linear):
            return TensorInput((_BATCH, _TOKENS, part.in_features))
    return None
