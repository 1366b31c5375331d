"""An adapter's files: what is read, what is left out by name, and what is written."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from mapcc.api.checking import KeySet, held, opened_mapping, parse, raise_if_any
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes
from mapcc.tensors.spec import Manifest

if TYPE_CHECKING:
    from mapcc.lora.model import Fault
    from mapcc.lora.values import Array

FILE = "pytorch_lora_weights.safetensors"  # as Diffusers looks for it
PEFT_FILE = "adapter_model.safetensors"
MAX_BYTES = 16 << 30  # what an adapter may have: it is held in memory


def adapter_file(adapter: KeySet) -> KeySet:
    """PEFT's folder may hold other files of weights beside the adapter's."""
    if isinstance(adapter, Manifest):
        return adapter
    beside = [Path(adapter) / name for name in (PEFT_FILE, "adapter_model.bin")]
    return next((path for path in beside if path.is_file()), adapter)


def names_to_skip(lora: Manifest, patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
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


def prefix_of(lora: Manifest, text: str) -> str:
    """How the names beneath a prefix begin: with a dot behind it, or as kohya's flat ones: ``lora_te1_``."""
    bare = text.rstrip("./")
    if not bare or (bare.endswith("_") and not any(name.startswith(bare + ".") for name in lora.tensors)):
        return bare
    return bare + "."


def beneath(keys: Manifest, prefix: str) -> Manifest:
    """The tensors whose names begin so, by their whole names."""
    return replace(keys, tensors={n: spec for n, spec in keys.tensors.items() if n.startswith(prefix)})


def nothing_under(lora: Manifest, left: str) -> Diagnostic:
    """MC008; kohya's flat names have prefixes that end without a dot."""
    from mapcc.lora.names import flat_prefix
    from mapcc.passes.under import nothing_beneath

    flat = {found: None for name in lora.tensors if (found := flat_prefix(name))}
    return nothing_beneath(lora, left, also=tuple(flat))


def within_memory(lora: Manifest, skipped: Collection[str]) -> None:
    """Whether an adapter may be held in memory.

    Raises:
        MappingError: MC903.
    """
    taken = [s for n, s in lora.tensors.items() if n not in skipped and s.dtype]
    if (size := sum(spec.nbytes for spec in taken)) > MAX_BYTES:
        raise MappingError([too_large(size)])


def too_large(size: int) -> Diagnostic:
    message = f"the adapter has {size:,} bytes, and is held in memory: at most {MAX_BYTES:,}"
    help = "take it in parts: --skip PATTERN, or --under PREFIX, and an output for each"
    return Diagnostic("MC903", message, help=help)


def told_with_skips(faults: Sequence[Fault], lora: Manifest, skipped: Collection[str]) -> list[Diagnostic]:
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


def save(
    tensors: Mapping[str, Array],
    config: Mapping[str, object] | None,
    out: Path,
    metadata: Mapping[str, str],
    to: str,
) -> Path:
    """Writes an adapter, and PEFT's config before it.

    Raises:
        MappingError: MC005.
    """
    from mapcc.lora.config import CONFIG, METADATA

    path = out if out.suffix == ".safetensors" else out / (PEFT_FILE if to == "peft" else FILE)
    # What Diffusers keeps there is about the names and scales that were.
    kept = {key: text for key, text in metadata.items() if key != METADATA}
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(tensors, part, {"format": "pt", **kept})
        if config is not None:
            beside = path.with_name(f"{CONFIG}.part")
            beside.write_text(json.dumps(config, indent=2) + "\n", "utf-8")
            beside.replace(path.with_name(CONFIG))
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        why = error.strerror or str(error)
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why.lower()}")]) from None
    return path


def _write(tensors: Mapping[str, Array], path: Path, metadata: Mapping[str, str]) -> None:
    """The widest types first, so that every tensor begins where its type wants it, and then by name."""
    from mapcc.lora.values import codes_of, type_of

    order = sorted(tensors.items(), key=lambda pair: (-pair[1].itemsize, pair[0]))
    specs = [(name, DTYPES[type_of(array)], array.shape) for name, array in order]
    header, _ = header_bytes(specs, metadata)
    with path.open("wb") as file:
        file.write(header)
        for _, array in order:
            file.write(codes_of(array).data)
