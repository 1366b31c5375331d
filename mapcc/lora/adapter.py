"""What an adapter holds, told by its names: factors, their alphas, and whole differences."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Any

import ml_dtypes
import numpy as np

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.spec import Manifest, TensorSpec

Array = np.ndarray[Any, np.dtype[Any]]

# Behind a module's name: PEFT and Diffusers; kohya and most trainers; Diffusers before PEFT.
_DOWN = (".lora_A.weight", ".lora_A.default.weight", ".lora_down.weight", ".lora.down.weight")
_UP = (".lora_B.weight", ".lora_B.default.weight", ".lora_up.weight", ".lora.up.weight")
_ALPHA = (".alpha", ".lora_alpha")
# Differences of whole tensors: of which parameter of the module, and what they are called again.
_WHOLE = {".diff": ".weight", ".diff_b": ".bias", ".lora_B.bias": ".bias"}
# kohya writes a module's dots as underscores, behind the name of the component.
_FLAT = ("lora_unet_", "lora_transformer_", "lora_dit_", "lora_te_", "lora_te1_", "lora_te2_")

_DTYPES: dict[str, np.dtype[Any]] = {
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype("<f4"),
    "F64": np.dtype("<f8"),
}


@dataclass(slots=True)
class Factors:
    """``up @ down`` times ``alpha / rank`` is added to a weight; both are matrices here.

    Attributes:
        down: rank x inputs: the columns of a convolution count as inputs.
        up: outputs x rank.
        alpha: None means the rank: a scale of 1.
    """

    down: Array
    up: Array
    alpha: float | None

    @property
    def rank(self) -> int:
        return int(self.down.shape[0])

    @property
    def scale(self) -> float:
        return 1.0 if self.alpha is None else self.alpha / self.rank


@dataclass(slots=True)
class Adapter:
    """An adapter under the names of a model's tensors.

    Attributes:
        factors: by the weight that they are for.
        whole: differences, by the tensor that is changed and the suffix of their own names.
        alpha_dtype: of the alphas; None if there are none.
        left_out: names that do not begin with the prefix that was asked for.
    """

    factors: dict[str, Factors] = field(default_factory=dict)
    whole: dict[tuple[str, str], Array] = field(default_factory=dict)
    alpha_dtype: np.dtype[Any] | None = None
    left_out: int = 0


def read_adapter(adapter: Manifest, model: Manifest, under: str = "") -> Adapter:
    """The tensors of an adapter, by the tensors of the model that they change.

    Raises:
        MappingError: MC901: a name is not an adapter's, or of no module of the model; a factor has no
            partner; shapes do not fit the model's.
    """
    out = Adapter()
    faults: list[Diagnostic] = []
    modules = _Modules(model)
    pairs: dict[str, dict[str, TensorSpec]] = {}
    strange: list[str] = []
    for name, spec in adapter.tensors.items():
        if not name.startswith(under):
            out.left_out += 1
            continue
        role, module, suffix = _told(name.removeprefix(under))
        found = modules.find(module, _WHOLE.get(suffix, ".weight")) if role else None
        if found is None:
            strange.append(name)
        elif role == "whole":
            array = read(adapter, spec)
            if array.shape != model.tensors[found].shape:
                faults.append(_misshapen(name, spec, found, model))
            out.whole[found, suffix] = array
        else:
            pairs.setdefault(found, {})[role] = spec
    if strange:
        message = f"{len(strange)} of {len(adapter.tensors)} tensors belong to no module of the model"
        help = "--under PREFIX takes only the names that begin with PREFIX; --model KEYS names another model"
        faults.append(Diagnostic("MC901", message, names=tuple(fold(strange)), help=help))
    for weight, roles in pairs.items():
        faults += _add(out, weight, roles, adapter, model)
    if not pairs and not out.whole and not faults:
        faults.append(Diagnostic("MC901", f"`{adapter.where}` holds no adapter"))
    if faults:
        raise MappingError(faults)
    return out


def _add(
    out: Adapter, weight: str, roles: dict[str, TensorSpec], adapter: Manifest, model: Manifest
) -> Iterator[Diagnostic]:
    absent = [word for role, word in (("down", "lora_A"), ("up", "lora_B")) if role not in roles]
    if absent:
        [present] = [spec.name for role, spec in roles.items() if role != "alpha"] or [weight]
        yield Diagnostic("MC901", f"{absent[0]} of {weight} is missing", names=(present,))
        return
    down, up = read(adapter, roles["down"]), read(adapter, roles["up"])
    shape = model.tensors[weight].shape
    inputs = prod(shape[1:])
    rank = down.shape[0] if down.ndim > 1 else 0
    fits = {"down": rank > 0 and down.size == rank * inputs, "up": up.size == rank * shape[0] and up.ndim > 1}
    for role, is_right in fits.items():
        if not is_right or (role == "up" and up.shape[0] != shape[0]):
            yield _misshapen(roles[role].name, roles[role], weight, model)
            return
    alpha = None
    if "alpha" in roles:
        array = read(adapter, roles["alpha"])
        if array.size != 1:
            yield Diagnostic("MC901", f"{roles['alpha'].name} is not one number: {list(array.shape)}")
            return
        out.alpha_dtype = out.alpha_dtype or array.dtype
        alpha = float(array.reshape(()))
    out.factors[weight] = Factors(down.reshape(rank, inputs), up.reshape(shape[0], rank), alpha)


def _misshapen(name: str, spec: TensorSpec, of: str, model: Manifest) -> Diagnostic:
    message = f"{name} has shape {list(spec.shape)}, and {of} of the model {list(model.tensors[of].shape)}"
    return Diagnostic(
        "MC901", message, names=(name,), help="is it the model that the adapter was trained on?"
    )


def _told(name: str) -> tuple[str, str, str]:
    """What a tensor is, its module, and the suffix that told it."""
    for role, suffixes in (("down", _DOWN), ("up", _UP), ("whole", _WHOLE), ("alpha", _ALPHA)):
        for suffix in suffixes:
            if name.endswith(suffix):
                return role, name.removesuffix(suffix), suffix
    return "", name, ""


class _Modules:
    """Finds a module of the model under a longer name, or with underscores for its dots."""

    def __init__(self, model: Manifest) -> None:
        self.names = model.tensors.keys()
        self.flat: dict[str, str | None] = {}
        for name in self.names:
            flat = name.replace(".", "_")
            self.flat[flat] = None if flat in self.flat else name

    def find(self, module: str, parameter: str) -> str | None:
        rest = module + parameter
        while rest:
            if rest in self.names:
                return rest
            rest = rest.partition(".")[2]
        for prefix in _FLAT:
            if module.startswith(prefix):
                return self.flat.get((module.removeprefix(prefix) + parameter).replace(".", "_"))
        return None


def read(manifest: Manifest, spec: TensorSpec) -> Array:
    """A tensor's values, mapped, not copied.

    Raises:
        MappingError: MC006: it has no bytes, or is not of floating point.
    """
    dtype = _DTYPES.get(spec.dtype.name if spec.dtype else "")
    if dtype is None or spec.file is None:
        what = "has no values here" if spec.file is None else f"is {spec.dtype and spec.dtype.name}"
        raise MappingError(
            [Diagnostic("MC006", f"{spec.name} {what}: an adapter is of F16, BF16, F32 or F64")]
        )
    if not spec.numel:
        return np.zeros(spec.shape, dtype)
    count = (spec.end - spec.begin) // dtype.itemsize
    raw = np.memmap(manifest.files[spec.file], np.uint8, "r", spec.begin, (count * dtype.itemsize,))
    flat = np.asarray(raw).view(dtype)
    if spec.strides is None:
        return flat.reshape(spec.shape)
    steps = [stride * dtype.itemsize for stride in spec.strides]
    return np.lib.stride_tricks.as_strided(flat, spec.shape, steps, writeable=False)
