"""Low-rank adapters: from the names of one model to the names of another."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mapcc.api import lora_files
from mapcc.api.checking import (
    KeySet,
    MappingLike,
    bound_mapping,
    held,
    keys,
    opened_mapping,
    parse,
    raise_if_any,
)
from mapcc.api.lora_files import (
    adapter_file,
    beneath,
    names_to_skip,
    prefix_of,
    save,
    told_with_skips,
    too_large,
)
from mapcc.api.lora_given import best_given, sides_of
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.library.catalog import models_of
from mapcc.passes.check import Setting
from mapcc.tensors.spec import Manifest

if TYPE_CHECKING:
    from mapcc.ir.bound import BoundMapping
    from mapcc.lora.model import Adapter, Fault
    from mapcc.lora.results import Results
    from mapcc.lora.write import Written


@dataclass(frozen=True, slots=True)
class ConvertedLora:
    """What was written.

    Attributes:
        path: the file of weights.
        model: the key set that the adapter was read against.
        taken, given: how many weights it changes, under the source's names and the target's.
        left_out: tensors that do not lie under what ``under`` says.
        skipped: tensors that were left out by name, for each pattern.
        dropped: adapted tensors that the mapping drops, and their adapters with them.
        notes: what else is to be known, each with the target's tensors that it is about.
    """

    path: Path
    model: str
    taken: int
    given: int
    left_out: int
    skipped: Mapping[str, tuple[str, ...]]
    dropped: tuple[str, ...]
    notes: Mapping[str, tuple[str, ...]]


def convert_lora(
    mapping: MappingLike,
    adapter: KeySet,
    out: str | Path,
    model: KeySet | None = None,
    *,
    to: str = "",
    under: str = "",
    prefix: str | None = None,
    skip: Sequence[str] = (),
    beside: Mapping[str, KeySet] | None = None,
    scale: float | None = None,
    is_transposed: bool | None = None,
    settings: Mapping[str, Setting] | None = None,
) -> ConvertedLora:
    """An adapter for the mapping's source as one for its target, exactly: factors are cut, joined, moved.

    Where a rule splits a weight's outputs, each piece gets its rows of ``lora_B`` and all of ``lora_A``;
    inputs the other way round. Where it joins weights, their ranks stand one behind the other, and those
    without an adapter stay as they are. What the product is multiplied by stays what it was.

    Args:
        adapter: its file, or a folder with ``adapter_config.json``; names as PEFT, Diffusers, kohya,
            XLabs and ComfyUI write them.
        out: a file (``.safetensors``), or a folder; for PEFT a folder.
        model: the key set of the model it is for; one of those that the mapping names, if left out.
        to: who is to read it: ``diffusers``, ``peft``, ``kohya`` or ``comfy``. Left out: ``lora_A`` and
            ``lora_B`` under the target's names, with a scale of 1, which all of them read.
        under: ``A``, or ``A -> B``, as elsewhere: the mapping is for what lies beneath ``A`` in the adapter,
            or in the model, and the rest is left out; what is written lies beneath ``B``. Flat names of
            kohya's begin with all of it: ``lora_unet_``.
        prefix: before every name that is written; what the reader expects, if left out.
        skip: patterns of names, as in the language, that are left out.
        beside: other components that the adapter is for, whose modules keep their names: text encoders,
            by the prefix of their names in the adapter (``lora_te1_``).
        scale: what products are multiplied by, where neither the file nor a config says so.
        is_transposed: for PEFT: whether the class of the target's fused experts says so, and has them as
            inputs x outputs; left out: GPT-OSS's does.

    Raises:
        MappingError: MC901: it does not fit the model; MC902: it cannot follow a rule; MC903: it is too
            large; MC904: its config; MC905: the reader cannot hold it; MC906: a pattern of ``skip``; MC008:
            nothing lies under the prefix; MC005.
    """
    from mapcc.lora.config import LARGEST, find_config
    from mapcc.lora.readers import READERS

    if to not in ("", *READERS):
        raise ValueError(f"to is one of {', '.join(READERS)}")
    if scale is not None and not abs(scale) <= LARGEST:
        raise MappingError([Diagnostic("MC007", f"--scale {scale} is no number that an adapter has")])
    if to == "peft" and Path(out).suffix == ".safetensors":
        help = f"--out {quote(str(Path(out).with_suffix('')))}"
        raise MappingError([Diagnostic("MC007", "PEFT reads a folder, with its config in it", help=help)])
    if to == "peft" and beside:
        raise MappingError(
            [Diagnostic("MC007", "PEFT's folder is of one component", help="leave --beside out")]
        )
    opened = opened_mapping(mapping, found := Diagnostics())
    raise_if_any(found)
    assert opened.mapping is not None
    lora = keys(adapter_file(adapter))
    skipped = names_to_skip(lora, skip)
    names = {name for names in skipped.values() for name in names}
    left, right = sides_of(under)
    help = "name the model that the adapter is for: --model KEYS"
    models = (
        [model] if model is not None else [p.source for p in models_of(opened.mapping, opened.path, help)]
    )
    config = find_config(lora.where, lora.metadata)
    others = {prefix_of(lora, place): keys(component) for place, component in (beside or {}).items()}
    elsewhere = {name for name in lora.tensors for place in others if name.startswith(place)}
    given = best_given(lora, models, model is None, left, names | elsewhere, config, scale)
    around = f"{given.left or '.'} -> {right or '.'}" if given.left or right else ""
    bound = bound_mapping(held(opened, given.model, None, settings, under=around))
    fields = config[1] if config and to == "peft" and isinstance(config[1], dict) else None
    parts = [_part(bound, given.adapter, to, prefix, right, fields, is_transposed)]
    for place, component in others.items():
        parts.append(_beside(lora, place, component, names, config, scale, to))
    if faults := [fault for part in parts for fault in part.faults]:
        raise MappingError(told_with_skips(faults, lora, names))
    tensors = {name: array for part in parts for name, array in part.written.tensors.items()}
    path = save(tensors, parts[0].written.config, Path(out), lora.metadata, to)
    left_out = len(lora.tensors.keys() - given.names - names - elsewhere)
    return _converted(path, given.model.where, left_out, skipped, parts)


# --- components


@dataclass(frozen=True, slots=True)
class _Part:
    """A component's part of an adapter, as it was read and as it is written."""

    adapter: Adapter
    results: Results
    written: Written

    @property
    def faults(self) -> list[Fault]:
        return [*self.adapter.faults, *self.results.faults, *self.written.faults]


def _part(
    bound: BoundMapping,
    adapter: Adapter,
    to: str,
    prefix: str | None,
    right: str = "",
    fields: dict[str, object] | None = None,
    is_transposed: bool | None = None,
) -> _Part:
    from mapcc.lora.readers import usual_prefix
    from mapcc.lora.results import carry
    from mapcc.lora.write import write

    targets = {name: i.layout.target_shapes[number] for name, (i, number) in bound.given.items()}
    try:
        results = carry(bound, adapter, lora_files.MAX_BYTES)
    except MemoryError as size:
        raise MappingError([too_large(int(str(size)))]) from None
    bare = {name.removeprefix(f"{right}."): shape for name, shape in targets.items()}
    before = usual_prefix(to, bare) if prefix is None else prefix
    written = write(results, to, before, targets, adapter.alpha_type, fields, is_transposed)
    return _Part(adapter, results, written)


def _beside(
    lora: Manifest,
    place: str,
    known: Manifest,
    skipped: Collection[str],
    config: tuple[str, object] | None,
    scale: float | None,
    to: str,
) -> _Part:
    """A component whose modules keep their names. ComfyUI reads text encoders' as kohya writes them."""
    from mapcc.lora.adapter import read_adapter
    from mapcc.lora.readers import component

    opened = opened_mapping(parse("keep **\n"), Diagnostics())
    bound = bound_mapping(held(opened, known, None))
    read = read_adapter(beneath(lora, place), known, place, skipped, config, scale)
    return _part(bound, read, "kohya" if to == "comfy" else to, component(place, to))


def _converted(
    path: Path, model: str, left_out: int, skipped: Mapping[str, tuple[str, ...]], parts: Sequence[_Part]
) -> ConvertedLora:
    notes: dict[str, tuple[str, ...]] = {}
    for part in parts:
        for note, names in (part.adapter.notes | part.written.notes).items():
            notes[note] = (*notes.get(note, ()), *names)
    taken = sum(len(part.adapter.factors) + len(part.adapter.products) for part in parts)
    given = sum(len(part.written.weights) for part in parts)
    dropped = tuple(name for part in parts for name in part.results.dropped)
    return ConvertedLora(path, model, taken, given, left_out, skipped, dropped, notes)
