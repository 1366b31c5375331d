"""From a mapping to a plan, and from a plan to files or to a module."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api.checking import (
    KeySet,
    MappingLike,
    Progress,
    and_also,
    bound_mapping,
    held,
    keys,
    opened_mapping,
)
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.passes.check import Setting
from mapcc.tensors.selection import Select, as_written
from mapcc.tensors.strict_json import collector_off

if TYPE_CHECKING:
    from mapcc.plan import Plan
    from mapcc.runtime import Options
    from mapcc.runtime.loading import Module, Tensor
    from mapcc.runtime.losses import RuleLosses

_MOST_OF_A_PLAN = 1 << 30  # bytes


def make_plan(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    max_shard_size: int = 5_000_000_000,
    prefix: str = "model",
    hash_source: bool = False,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
    under: str = "",
    statements: str = "",
    warned: Callable[[Sequence[Diagnostic]], None] | None = None,
) -> Plan:
    """What :func:`convert` will do, from headers alone: exact files, ranges and moves, as data.

    Args:
        max_shard_size: bytes of tensors in one file.
        prefix: of the file names: ``model`` or ``diffusion_pytorch_model``.
        hash_source: read the whole source once more, for the SHA-256 of its files in the record.
        under, statements: see :func:`mapcc.check`.
        warned: is called with the warnings of the check, if there are any. Without it, that a source is
            none of the mapping's models is one of Python's warnings.

    Raises:
        MappingError: the mapping does not check clean, or the source has no weights.
    """
    from mapcc.origin import origin
    from mapcc.passes.metadata import carried_metadata
    from mapcc.passes.under import left_out
    from mapcc.plan import make_plan as planned

    with collector_off():
        opened = and_also(opened_mapping(mapping, Diagnostics()), statements)
        checked = held(opened, source, target, settings, source_config, target_config, select, under)
        bound = bound_mapping(checked)
        if warned is not None and checked.diagnostics:
            warned(checked.diagnostics)
        elif warned is None:
            for stranger in (each for each in checked.diagnostics if each.code == "MC417"):
                notes = "; ".join(stranger.notes)
                warnings.warn(f"MC417: {stranger.message} ({notes})", UserWarning, stacklevel=2)
        asked = {"max_shard_size": max_shard_size, "prefix": prefix, "select": as_written(select)}
        asked |= {"under": under or None, "statements": statements or None}
        asked |= {"settings": dict(settings)} if settings else {}
        asked |= {"had_target": True} if target is not None else {}
        made = planned(bound, max_shard_size=max_shard_size, prefix=prefix)
        record = origin(
            opened.loader,
            opened.path,
            bound.source,
            asked,
            hash_source=hash_source,
            left_out=left_out(bound) if under else 0,
            metadata_left_out=carried_metadata(bound).lost,
        )
        return replace(made, origin=record)


def convert(
    mapping: MappingLike,
    source: KeySet,
    out: str | Path,
    target: KeySet | None = None,
    *,
    progress: Progress | None = None,
    running: Options | None = None,
    **options: object,
) -> Path:
    """Convert a checkpoint; ``out`` is absent or complete afterwards.

    An attempt that was interrupted goes on where it stopped. An output that is there already, made
    from the same plan, is left as it is.

    Args:
        out: a directory that does not exist yet, or is empty.
        progress: called with bytes done and bytes in all.
        running: memory, threads, and how durable the output is (:class:`mapcc.Options`).
        options: those of :func:`make_plan`.

    Raises:
        MappingError: the mapping does not check clean, or the files cannot be read or written.
    """
    carry_out(make_plan(mapping, source, target, **options), out, progress=progress, running=running)  # type: ignore[arg-type]
    return Path(out)


def carry_out(
    plan: Plan,
    out: str | Path,
    *,
    progress: Progress | None = None,
    running: Options | None = None,
) -> bool:
    """Do what a plan says. Whether something was written: not if the output was there already."""
    from mapcc.runtime import execute

    return execute(plan, Path(out), progress, running)


def values_lost(out: str | Path) -> tuple[RuleLosses, ...]:
    """What the operations on values of a conversion have lost, rule by rule, as its manifest tells.

    Of each rule and each of its tensors: how many elements became infinite, NaN or 0, or were clamped or
    rounded to whole numbers. What loses nothing is not there.

    Raises:
        MappingError: MC001 or MC003 if there is no manifest, or it is not one.
    """
    from mapcc.runtime.record import read_record

    return read_record(Path(out)).values


def save_plan(plan: Plan, path: str | Path) -> None:
    """Write a plan to a file, for :func:`load_plan`, here or on another machine."""
    from mapcc.plan.document import dump_plan

    try:
        Path(path).write_text(dump_plan(plan), encoding="utf-8")
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise MappingError([Diagnostic("MC005", f"cannot write `{path}`: {why}")]) from None


def load_plan(path: str | Path) -> Plan:
    """The plan of a file.

    Raises:
        MappingError: MC001 if it cannot be read, MC003 if it is no plan, or was changed.
    """
    from mapcc.plan.document import PlanFault
    from mapcc.plan.document import load_plan as parsed
    from mapcc.tensors.disk import read_all

    with collector_off():
        raw = read_all(Path(path), _MOST_OF_A_PLAN)
        try:
            if raw is None:
                raise PlanFault(f"it has more than {_MOST_OF_A_PLAN:,} bytes")
            return parsed(raw.decode())
        except (PlanFault, UnicodeDecodeError) as error:
            help = "make it again with `mapcc plan`"
            raise MappingError([Diagnostic("MC003", f"`{path}`: {error}", help=help)]) from None


def verify_output(
    out: str | Path,
    source: KeySet | None = None,
    *,
    samples: int = 64,
    seed: int = 0,
    source_config: str | Path | None = None,
    select: Select = None,
    progress: Progress | None = None,
) -> tuple[Diagnostic, ...]:
    """Whether an output of :func:`convert` is still what was written, and what its mapping says.

    Every byte is held against the hashes of its manifest. Given the source, elements of every tensor
    are computed a second time, from the mapping in the manifest, by other code than converts.

    Args:
        samples: how many elements of a tensor, beside those where its pieces meet.
        seed: of the chance by which elements are chosen.
        progress: called with bytes hashed and bytes in all.

    Returns:
        MC504 for a file that is not as it was written, MC503 for values that are not what the mapping
        says; nothing if all is well.

    Raises:
        MappingError: MC001 or MC003 if there is no manifest, or it is not one.
    """
    from mapcc.verify.output import select_of, verify

    folder = Path(out)
    manifest = None
    if source is not None:
        manifest = keys(source, config=source_config, select=select or select_of(folder))
    return verify(folder, manifest, samples=samples, seed=seed, progress=progress)


def load(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    device: str = "cpu",
    into: Module | None = None,
    running: Options | None = None,
    **options: object,
) -> Iterator[tuple[str, Tensor]]:
    """The mapped tensors one at a time, without writing a file.

    The mapping is held against the key sets, and the module checked, before the first tensor.

    Args:
        target: the wanted key set; with ``into``, the module itself is one.
        device: where the tensors are put.
        into: a module, possibly on the meta device, whose parameters and persistent buffers these are
            to be, strictly: names, shapes and types. Each becomes the module's as it is yielded.
        options: those of :func:`make_plan`.

    Warns:
        ValuesLost: at the end, for each rule whose operations made numbers infinite, NaN or 0, or clamped or
            rounded them.

    Raises:
        MappingError: the mapping does not check clean, or a file cannot be read; MC505 or MC502 for a number
            that the integer type of a cast does not have; MC401, MC407, MC408
            or MC409 where the module wants other tensors.
    """
    from mapcc.runtime.loading import loaded

    return loaded(make_plan(mapping, source, target, **options), device, into, running)  # type: ignore[arg-type]
