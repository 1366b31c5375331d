"""The two modules of a component: built by their factories, and given their weights, strictly."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api import load, parse
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.port.classes import built
from mapcc.port.components import place
from mapcc.port.evidence import Evidence
from mapcc.port.hashes import code_name
from mapcc.port.model import Component, Port, Side
from mapcc.port.state import State
from mapcc.tensors.dtypes import parse_dtype, torch_name
from mapcc.tensors.factory import python_value
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import Module

_ALL = "keep **"


def parity_dtype(component: Component) -> torch.dtype:
    """The type of both modules: as declared; else bf16 where the hardware computes it, else fp32."""
    import torch

    if component.parity.dtype:
        dtype: torch.dtype = getattr(torch, component.parity.dtype)
        return dtype
    has_bf16 = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def official_module(port: Port, component: Component, bound: BoundMapping) -> Module:
    """The official module with the official weights, those that the mapping is given.

    Raises:
        MappingError: MC004: it cannot be built; MC913: the weights do not fit it.
    """
    module = _built(port, component, component.official)
    if not component.official.loads:
        tensors = load(parse(_ALL), bound.source)
        if component.dtype:
            tensors = _rounded(tensors, bound, component)
        # What the mapping drops the official module need not have either.
        whose = "the official module"
        load_strictly(module, bound.source, tensors, component, whose, extra=bound.dropped)
    return module


def _rounded(
    tensors: Iterable[tuple[str, Tensor]], bound: BoundMapping, component: Component
) -> Iterator[tuple[str, Tensor]]:
    """Of what ``dtype`` rounds in the port, both sides get the rounded values: the rest is compared."""
    import torch

    wanted = parse_dtype(component.dtype)
    short: torch.dtype = getattr(torch, torch_name(wanted) or "float32") if wanted else torch.float32
    for name, tensor in tensors:
        taken = bound.taken.get(name, [])
        is_rounded = bool(taken) and all(wanted in instance.dtypes for instance in taken)
        yield name, tensor.to(short).to(tensor.dtype) if is_rounded else tensor


def ported_module(port: Port, component: Component, bound: BoundMapping) -> Module:
    """The ported module with the converted weights, and the evidence of a strict load.

    Raises:
        MappingError: MC004, MC913; MC917 if nothing is converted.
    """
    state = State(port)
    keys = (f"mapping {component.name}", f"settings {component.name}", f"converted {component.name}")
    module = _built(port, component, component.ported)
    code = tuple(f"code {name}" for name in code_of(port, component.ported, module))
    if not component.ported.loads:
        converted = open_keyset(port.out / component.name)
        try:
            tensors = load(parse(_ALL), converted)
            whose = "the ported module"
            load_strictly(module, converted, tensors, component, whose, absent=bound.external)
        except MappingError as error:
            figures = {"faults": [d.message for d in error.diagnostics]}
            state.record(Evidence("load", component.name, False, figures, state.all_of(*keys, *code)))
            raise
    excluded = [name for each in component.missing for name in each.names]
    loaded: dict[str, object] = {"tensors": len(module.state_dict()), "excluded": excluded}
    state.record(Evidence("load", component.name, True, loaded, state.all_of(*keys, *code)))
    return module


def _built(port: Port, component: Component, side: Side) -> Module:
    import torch

    if side.module:
        value = python_value(place(port, side.module))
        if not isinstance(value, torch.nn.Module):
            message = f"`{side.module}` gives {type(value).__name__}, not a module"
            raise MappingError([Diagnostic("MC004", message, component.span)])
        module: Module = value
    elif component.target_class:
        module = built(port, component)
    else:
        help = "ported: {module: py:models.py:ported}, or `class` and `config`"
        message = f"nothing says how the ported module of `{component.name}` is built"
        raise MappingError([Diagnostic("MC914", message, component.span, help=help)])
    return module.to(device=device(), dtype=parity_dtype(component)).eval()


def load_strictly(
    module: Module,
    given: Manifest,
    tensors: Iterable[tuple[str, Tensor]],
    component: Component,
    whose: str,
    extra: Collection[str] = (),
    absent: Collection[str] = (),
) -> None:
    """All tensors, into parameters and buffers of the same names and shapes; MC913 for what does not fit.

    Args:
        extra: names that the module need not have.
        absent: names that need not be given.
    """
    wanted = module.state_dict()
    shapes = {name: spec.shape for name, spec in given.tensors.items()}
    missing = [name for name in wanted if name not in shapes and not _is_tied(name, wanted, shapes)]
    missing = [name for name in missing if name not in absent]
    unexpected = sorted(shapes.keys() - wanted.keys() - set(extra))
    misshapen = [name for name in shapes if name in wanted and tuple(wanted[name].shape) != shapes[name]]
    faults = (
        (missing, f"{whose} wants tensors that are not there", 'missing: [{names: "...", because: "..."}]'),
        (unexpected, f"{whose} does not have all that is there", "is it the module that `keys` tells of?"),
        (misshapen, f"{whose} has tensors of other shapes", "is it built from the same config?"),
    )
    found = [
        Diagnostic(
            "MC913", f"`{component.name}`: {what}", component.span, help=help, names=tuple(fold(names))
        )
        for names, what, help in faults
        if names
    ]
    if found:
        raise MappingError(found)
    for name, tensor in tensors:
        if name in wanted:
            is_meta = wanted[name].is_meta
            module.load_state_dict(
                {name: tensor.to(device(), wanted[name].dtype)}, strict=False, assign=is_meta
            )


def _is_tied(name: str, wanted: Mapping[str, Tensor], given: Mapping[str, object]) -> bool:
    """Whether it is the same tensor as one that is given, under another name."""
    own = wanted[name]
    if own.is_meta or not own.numel():
        return False
    return any(
        other in given and wanted[other].data_ptr() == own.data_ptr() and wanted[other].shape == own.shape
        for other in wanted
    )


# --- code


def code_of(port: Port, side: Side, module: Module) -> list[str]:
    """The files that the module's behaviour is written in: its classes, but for torch's own, its factory."""
    files = set()
    for part in module.modules():
        for kind in type(part).__mro__:
            if kind.__module__.partition(".")[0] not in ("torch", "builtins", "abc"):
                files.add(_source(kind))
    if side.module:
        files.add(factory_file(port, side.module))
    own = port.folder.resolve()
    return sorted({code_name(path, own) for path in files if path is not None})


def factory_file(port: Port, factory: str) -> Path | None:
    """The file of ``py:FILE.py:NAME`` or ``py:MODULE:NAME``."""
    where = place(port, factory).removeprefix("py:").rpartition(":")[0]
    return Path(where).resolve() if where.endswith(".py") else _source(import_module(where))


def _source(thing: object) -> Path | None:
    try:
        found = inspect.getsourcefile(thing)  # type: ignore[arg-type]
    except TypeError:  # of no file: made in a notebook, or in C
        return None
    path = Path(found).resolve() if found else None
    # Of code in a zip archive, the archive.
    return next((each for each in (path, *path.parents) if each.is_file()), None) if path else None
