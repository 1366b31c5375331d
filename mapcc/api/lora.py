"""Low-rank adapters: from the names of one model to the names of another."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mapcc.api.checking import (
    KeySet,
    MappingLike,
    Opened,
    bound_mapping,
    held,
    keys,
    opened_mapping,
    parse,
    raise_if_any,
)
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.library.catalog import models_of
from mapcc.passes.check import Setting
from mapcc.tensors.spec import Manifest

if TYPE_CHECKING:
    from mapcc.ir.bound import BoundMapping
    from mapcc.lora.model import Adapter, Fault
    from mapcc.lora.write import Written

FILE = "pytorch_lora_weights.safetensors"  # as Diffusers looks for it
PEFT_FILE = "adapter_model.safetensors"
MAX_BYTES = 16 << 30  # what an adapter may have: it is held in memory


@dataclass(frozen=True, slots=True)
class ConvertedLora:
    """What was written.

    Attributes:
        path: the file of weights.
        model: the key set that the adapter was read against.
        taken, given: how many weights it changes, under the source's names and the target's.
        left_out: tensors whose names do not begin with ``under``.
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
        under: take only names that begin so.
        prefix: before every name that is written; what the reader expects, if left out.
        skip: patterns of names, as in the language, that are left out.
        scale: what products are multiplied by, where neither the file nor a config says so.
        is_transposed: for PEFT: whether the class of the target's fused experts says so, and has them as
            inputs x outputs; left out: GPT-OSS's does.

    Raises:
        MappingError: MC901: it does not fit the model; MC902: it cannot follow a rule; MC903: it is too
            large; MC904: its config; MC905: the reader cannot hold it; MC906: a pattern of ``skip``; MC005.
    """
    from mapcc.lora.config import LARGEST, find_config
    from mapcc.lora.write import READERS

    if to not in ("", *READERS):
        raise ValueError(f"to is one of {', '.join(READERS)}")
    if scale is not None and not abs(scale) <= LARGEST:
        raise MappingError([Diagnostic("MC007", f"--scale {scale} is no number that an adapter has")])
    if to == "peft" and Path(out).suffix == ".safetensors":
        help = f"--out {quote(str(Path(out).with_suffix('')))}"
        raise MappingError([Diagnostic("MC007", "PEFT reads a folder, with its config in it", help=help)])
    opened = opened_mapping(mapping, found := Diagnostics())
    raise_if_any(found)
    assert opened.mapping is not None
    lora = keys(_file(adapter))
    skipped = _skipped(lora, skip)
    names = {name for names in skipped.values() for name in names}
    _within_memory(lora, names, under)
    help = "name the model that the adapter is for: --model KEYS"
    models = [model] if model else [p.source for p in models_of(opened.mapping, opened.path, help)]
    config = find_config(lora.where, lora.metadata)
    read, known = _best(lora, models, under, names, config, scale)
    bound = _bound(opened, known, settings)
    return _written(bound, read, lora, Path(out), known.where, to, prefix, skipped, config, is_transposed)


def _file(adapter: KeySet) -> KeySet:
    """PEFT's folder may hold other files of weights beside the adapter's."""
    if isinstance(adapter, Manifest):
        return adapter
    beside = [Path(adapter) / name for name in (PEFT_FILE, "adapter_model.bin")]
    return next((path for path in beside if path.is_file()), adapter)


def _best(
    lora: Manifest,
    models: Sequence[KeySet],
    under: str,
    skipped: Collection[str],
    config: tuple[str, object] | None,
    scale: float | None,
) -> tuple[Adapter, Manifest]:
    """The adapter against the first model that it fits, or the one that it fits best."""
    from mapcc.lora.adapter import read_adapter

    best: tuple[Adapter, Manifest] | None = None
    for each in models:
        known = keys(each)
        read = read_adapter(lora, known, under, skipped, config, scale)
        if best is None or _count(read.faults) < _count(best[0].faults):
            best = read, known
        if not read.faults:
            break
    assert best is not None
    return best


def _count(faults: Sequence[Fault]) -> int:
    return sum(max(1, len(fault.names)) for fault in faults)


def _bound(opened: Opened, known: Manifest, settings: Mapping[str, Setting] | None) -> BoundMapping:
    return bound_mapping(held(opened, known, None, settings, None, None, None))


def _skipped(lora: Manifest, patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The names that each pattern matches.

    Raises:
        MappingError: MC906: it matches nothing; or it is no pattern.
    """
    from mapcc.lora.skip import statements

    out: dict[str, tuple[str, ...]] = {}
    faults: list[Diagnostic] = []
    for pattern in patterns:
        try:
            text = statements([pattern])
            checked = held(opened_mapping(parse(text, "--skip"), Diagnostics()), lora, None)
            raise_if_any(_others_aside(checked.diagnostics))
        except MappingError as error:
            why = error.diagnostics[0]
            message = f"--skip {quote(pattern)} is no pattern: {why.message}"
            faults.append(Diagnostic("MC906", message, help=why.help))
            continue
        out[pattern] = tuple(checked.bound.dropped) if checked.bound else ()
        if not out[pattern]:
            message = f"--skip {quote(pattern)} matches no tensor of the adapter"
            help = "`*` is text within one segment, `**` is whole segments: '**.diff', 'lora_te1_*.**'"
            faults.append(Diagnostic("MC906", message, help=help))
    if faults:
        raise MappingError(faults)
    return out


def _others_aside(found: Iterable[Diagnostic]) -> Diagnostics:
    """What is wrong with a pattern: it need not take all tensors, and does not."""
    return Diagnostics([each for each in found if each.code != "MC402"])


def _within_memory(lora: Manifest, skipped: Collection[str], under: str) -> None:
    taken = [s for n, s in lora.tensors.items() if n not in skipped and n.startswith(under) and s.dtype]
    if (size := sum(spec.nbytes for spec in taken)) > MAX_BYTES:
        raise MappingError([_too_large(size)])


def _too_large(size: int) -> Diagnostic:
    message = f"the adapter has {size:,} bytes, and is held in memory: at most {MAX_BYTES:,}"
    help = "take it in parts: --skip PATTERN, or --under PREFIX, and an output for each"
    return Diagnostic("MC903", message, help=help)


def _written(
    bound: BoundMapping,
    adapter: Adapter,
    source: Manifest,
    out: Path,
    model: str,
    to: str,
    prefix: str | None,
    skipped: Mapping[str, tuple[str, ...]],
    config: tuple[str, object] | None,
    is_transposed: bool | None,
) -> ConvertedLora:
    from mapcc.lora.results import carry
    from mapcc.lora.write import usual_prefix, write

    targets = {name: i.layout.target_shapes[number] for name, (i, number) in bound.given.items()}
    try:
        results = carry(bound, adapter, MAX_BYTES)
    except MemoryError as size:
        raise MappingError([_too_large(int(str(size)))]) from None
    before = usual_prefix(to, targets) if prefix is None else prefix
    fields = config[1] if config and to == "peft" and isinstance(config[1], dict) else None
    written = write(results, to, before, targets, adapter.alpha_dtype, fields, is_transposed)
    faults = [*adapter.faults, *results.faults, *written.faults]
    if faults:
        raise MappingError(_told(faults, source, {n for names in skipped.values() for n in names}))
    path = _save(written, out, source.metadata, to)
    return ConvertedLora(
        path,
        model,
        len(adapter.factors) + len(adapter.products),
        len(written.weights),
        adapter.left_out,
        skipped,
        results.dropped,
        {note: tuple(names) for note, names in (adapter.notes | written.notes).items()},
    )


def _told(faults: Sequence[Fault], lora: Manifest, skipped: Collection[str]) -> list[Diagnostic]:
    """Faults as diagnostics; each says what to type to leave its tensors out."""
    from mapcc.lora.skip import joined, listed, patterns_for

    bad = {name for fault in faults for name in fault.names}
    others = [name for name in lora.tensors if name not in bad and name not in skipped]
    out: list[Diagnostic] = []
    for fault in joined(faults):
        help = [fault.help] if fault.help else []
        if others and fault.names:
            patterns = " ".join(f"--skip {quote(p)}" for p in patterns_for(fault.names, others))
            help.append(f"leave {'them' if len(fault.names) > 1 else 'it'} out: {patterns}")
        names = listed(fault.names)
        out.append(
            Diagnostic(
                fault.code, fault.message, fault.span, names=names, help="; or ".join(help).replace("?;", "?")
            )
        )
    return out


def _save(written: Written, out: Path, metadata: Mapping[str, str], to: str) -> Path:
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    from mapcc.lora.config import CONFIG, METADATA

    path = out if out.suffix == ".safetensors" else out / (PEFT_FILE if to == "peft" else FILE)
    # What Diffusers keeps there is about the names and scales that were.
    kept = {key: text for key, text in metadata.items() if key != METADATA}
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {n: np.ascontiguousarray(array).reshape(array.shape) for n, array in written.tensors.items()}
        save_file(whole, part, {"format": "pt", **kept})
        if written.config is not None:
            config = path.with_name(f"{CONFIG}.part")
            config.write_text(json.dumps(written.config, indent=2) + "\n", "utf-8")
            config.replace(path.with_name(CONFIG))
        part.replace(path)
    except (OSError, SafetensorError) as error:
        part.unlink(missing_ok=True)
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why.lower()}")]) from None
    return path
