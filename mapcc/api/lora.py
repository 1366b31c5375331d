"""Low-rank adapters: from the names of one model to the names of another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api.checking import KeySet, MappingLike, bound_mapping, held, keys, opened_mapping, raise_if_any
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.library.catalog import models_of
from mapcc.passes.check import Setting

if TYPE_CHECKING:
    from mapcc.ir.bound import BoundMapping
    from mapcc.lora.adapter import Adapter, Array
    from mapcc.tensors.spec import Manifest

FILE = "pytorch_lora_weights.safetensors"  # as Diffusers looks for it


@dataclass(frozen=True, slots=True)
class ConvertedLora:
    """What was written.

    Attributes:
        model: the key set that the adapter was read against.
        taken, given: how many weights it changes, under the source's names and the target's.
        left_out: tensors whose names do not begin with ``under``.
        dropped: adapted weights that the mapping drops, and their adapters with them.
    """

    path: Path
    model: str
    taken: int
    given: int
    left_out: int
    dropped: tuple[str, ...]


def convert_lora(
    mapping: MappingLike,
    adapter: KeySet,
    out: str | Path,
    model: KeySet | None = None,
    *,
    under: str = "",
    prefix: str = "",
    settings: Mapping[str, Setting] | None = None,
) -> ConvertedLora:
    """An adapter for the mapping's source as one for its target, exactly: factors are cut, joined, moved.

    Where a rule splits a weight's outputs, each piece gets its rows of ``lora_B`` and all of ``lora_A``;
    inputs the other way round. Where it joins weights, their ranks stand one behind the other, and those
    without an adapter stay as they are. ``alpha / rank`` stays what it was.

    Args:
        adapter: its file; names as PEFT, Diffusers and kohya write them.
        out: a file (``.safetensors``), or a folder for ``pytorch_lora_weights.safetensors``.
        model: the key set of the model it is for; one of those that the mapping names, if left out.
        under: take only names that begin so.
        prefix: before every name that is written: ``transformer.``

    Raises:
        MappingError: MC901: it does not fit the model; MC902: it cannot follow a rule; MC005.
    """
    from mapcc.lora.adapter import read_adapter

    found = Diagnostics()
    opened = opened_mapping(mapping, found)
    raise_if_any(found)
    assert opened.mapping is not None
    lora = keys(adapter)
    help = "name the model that the adapter is for: --model KEYS"
    models = [model] if model else [p.source for p in models_of(opened.mapping, opened.path, help)]
    faults: list[Diagnostic] = []
    for each in models:
        known = keys(each)
        try:
            read = read_adapter(lora, known, under)
        except MappingError as error:
            better = not faults or len(error.diagnostics) < len(faults)
            faults = list(error.diagnostics) if better else faults
            continue
        bound = bound_mapping(held(opened, known, None, settings, None, None, None))
        return _written(bound, read, lora, Path(out), known.where, prefix)
    raise MappingError(faults)


def _written(
    bound: BoundMapping, adapter: Adapter, source: Manifest, out: Path, model: str, prefix: str
) -> ConvertedLora:
    tensors = dict(_tensors(bound, adapter))
    path = out if out.suffix == ".safetensors" else out / FILE
    _save({prefix + name: array for name, array in tensors.items()}, path, source.metadata)
    given = sum(name.endswith(".lora_A.weight") for name in tensors)
    adapted = [*adapter.factors, *(name for name, _ in adapter.whole)]
    dropped = tuple(name for name in dict.fromkeys(adapted) if name in bound.dropped)
    return ConvertedLora(path, model, len(adapter.factors), given, adapter.left_out, dropped)


def _tensors(bound: BoundMapping, adapter: Adapter) -> Iterator[tuple[str, Array]]:
    import numpy as np

    from mapcc.lora.follow import Unfollowable, adapted, follow, moved

    faults: list[Diagnostic] = []
    out: list[tuple[str, Array]] = []
    for target in adapted(bound, adapter.factors):
        instance, number = bound.given[target]
        module = target.removesuffix(".weight")
        try:
            if module == target:
                raise Unfollowable("it is not the weight of a module")
            factors = follow(bound, target, adapter.factors)
        except Unfollowable as why:
            faults.append(_refused(target, why, bound))
            continue
        shape = instance.layout.target_shapes[number]
        ones = (1,) * (len(shape) - 2)
        out.append((f"{module}.lora_A.weight", factors.down.reshape(factors.rank, *shape[1:])))
        out.append((f"{module}.lora_B.weight", factors.up.reshape(shape[0], factors.rank, *ones)))
        if factors.alpha is not None:
            out.append((f"{module}.alpha", np.array(factors.alpha, adapter.alpha_dtype)))
    for suffix in dict.fromkeys(suffix for _, suffix in adapter.whole):
        arrays = {name: array for (name, own), array in adapter.whole.items() if own == suffix}
        for target in adapted(bound, arrays):
            try:
                out.append((target.rpartition(".")[0] + suffix, moved(bound, target, arrays)))
            except Unfollowable as why:
                faults.append(_refused(target, why, bound))
    if faults:
        raise MappingError(faults)
    yield from out


def _refused(target: str, why: Exception, bound: BoundMapping) -> Diagnostic:
    instance, _ = bound.given[target]
    help = "merge the adapter into the weights, and convert those"
    message = f"an adapter cannot follow into {target}: {why}"
    return Diagnostic("MC902", message, instance.equation.span, help=help)


def _save(tensors: Mapping[str, Array], path: Path, metadata: Mapping[str, str]) -> None:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
        save_file(whole, part, {"format": "pt", **metadata})
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why.lower()}")]) from None
