"""Modules from a library's class and a config: what ``class: diffusers.AutoencoderKL`` names.

The library is imported only here, when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import nearest
from mapcc.errors import MappingError
from mapcc.port.components import config_of
from mapcc.port.model import Component, Port
from mapcc.tensors.spec import Manifest, TensorSpec

if TYPE_CHECKING:
    from torch.nn import Module


def found_class(component: Component) -> Any:
    """The class itself.

    Raises:
        MappingError: MC004: the library is not installed, or has no such class.
    """
    library, _, name = component.target_class.rpartition(".")
    try:
        module = import_module(library)
        if not hasattr(module, name):
            near = nearest(name, dir(module), 1)
            help = f"did you mean `class: {library}.{near[0]}`?" if near else ""
            raise MappingError(
                [Diagnostic("MC004", f"`{library}` has no class `{name}`", component.span, help=help)]
            )
        return getattr(module, name)
    except ImportError as error:
        help = f"pip install {library.partition('.')[0]}, or give `keys` and `ported: {{module: py:...}}`"
        message = f"`{component.target_class}` cannot be imported: {error}"
        raise MappingError([Diagnostic("MC004", message, component.span, help=help)]) from None


def built(port: Port, component: Component) -> Module:
    """A module of the component's class and config, in evaluation mode, its weights as they come.

    Raises:
        MappingError: MC004: the class refuses the config, or is none that this can build.
    """
    kind, config = found_class(component), config_of(port, component) or {}
    try:
        module: Module = _made(kind, dict(config)).eval()
    except MappingError:
        raise
    except Exception as error:  # of the library's own code, whatever it may be
        message = (
            f"`{component.target_class}` cannot be built from its config: {type(error).__name__}: {error}"
        )
        raise MappingError([Diagnostic("MC004", message, component.span)]) from error
    return module


def _made(kind: Any, config: dict[str, object]) -> Any:
    config = {key: value for key, value in config.items() if not key.startswith("_")}
    if hasattr(kind, "config_class") and kind.config_class is not None:  # transformers
        return kind(kind.config_class.from_dict(config))
    return kind.from_config(config) if hasattr(kind, "from_config") else kind(**config)


def class_keys(port: Port, component: Component) -> Manifest:
    """The key set of what :func:`built` gives, on the meta device: nothing is allocated."""
    import torch

    with torch.device("meta"):
        state = built(port, component).state_dict()
    tensors = {name: TensorSpec(name, None, tuple(value.shape)) for name, value in state.items()}
    return Manifest(tensors, (), component.target_class, None, {})
