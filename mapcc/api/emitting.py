"""A mapping as something else: a framework's config, a script, its inverse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api.checking import (
    KeySet,
    MappingLike,
    and_also,
    bound_mapping,
    check,
    held,
    opened_mapping,
    put_under,
    raise_if_any,
)
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.check import Setting
from mapcc.tensors.selection import Select

if TYPE_CHECKING:
    from mapcc.emit.emitted import Emitted
    from mapcc.emit.residual import Residual
    from mapcc.passes.invert import Inverted


def emit_config(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    format: str = "fastvideo",
    **options: object,
) -> str:
    """A framework's own config that does what the mapping does, replayed over the key set first.

    Raises:
        MappingError: a rule cannot be said there (``MC601``, one for each rule), or the mapping
            does not check clean.
    """
    emit = _emitter(format)
    checked = check(mapping, source, target, **options)  # type: ignore[arg-type]
    emitted = emit(bound_mapping(checked))
    if emitted.diagnostics:
        raise MappingError(map(_with_the_split, emitted.diagnostics))
    return emitted.text


def _with_the_split(diagnostic: Diagnostic) -> Diagnostic:
    if diagnostic.code != "MC601":
        return diagnostic
    return replace(diagnostic, help=f"{diagnostic.help}; --residual DIR keeps what can be said here")


def split_config(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    format: str = "fastvideo",
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
    under: str = "",
    statements: str = "",
) -> Residual:
    """A mapping in two: what the config cannot say as a conversion, and a config for the rest.

    That the two compose to the whole is proven on the key set, element by element.

    Raises:
        MappingError: MC601: there is nothing that a config could say; or the mapping does not check clean.
    """
    from mapcc.emit.residual import residual

    emit = _emitter(format)
    found = Diagnostics()
    opened = and_also(opened_mapping(mapping, found), statements)
    checked = held(opened, source, target, settings, source_config, target_config, select, under)
    return residual(bound_mapping(checked), opened.path, emit, dict(settings or {}))


def _emitter(format: str) -> Callable[[BoundMapping], Emitted[object]]:
    from mapcc.emit import EMITTERS

    if format not in EMITTERS:
        known = ", ".join(EMITTERS)
        raise MappingError([Diagnostic("MC007", f"no format {format!r}", help=f"there is {known}")])
    return EMITTERS[format]


def emit_script(
    mapping: MappingLike,
    source: KeySet,
    target: KeySet | None = None,
    *,
    max_shard_size: int = 5_000_000_000,
    prefix: str = "model",
    **options: object,
) -> str:
    """A standalone script that writes the shards that :func:`convert` would write, byte for byte.

    Its tables were written out again and held against the plan before it was given.

    Args:
        source: the checkpoint itself: the script is for this one, and refuses what differs from it.

    Raises:
        MappingError: a script cannot do it (``MC601``), the mapping does not check clean, or the
            source has no weights.
    """
    from mapcc.emit.script import emit_script as emitted
    from mapcc.plan import make_plan as planned

    bound = bound_mapping(check(mapping, source, target, **options))  # type: ignore[arg-type]
    return emitted(bound, planned(bound, max_shard_size=max_shard_size, prefix=prefix))


def invert(
    mapping: MappingLike,
    source: KeySet | None = None,
    target: KeySet | None = None,
    *,
    settings: Mapping[str, Setting] | None = None,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
    under: str = "",
) -> Inverted:
    """The mapping from target to source, as a mapping.

    With both key sets it is proven: bound backwards, its moves are the original's, reversed.

    Raises:
        MappingError: an inverse cannot be written (``MC701``), with the rules at fault.
    """
    from mapcc.passes.invert import invert_bound, invert_text

    found = Diagnostics()
    opened = opened_mapping(mapping, found)
    raise_if_any(found)
    assert opened.mapping is not None
    if source is None or target is None:
        placed = put_under(opened, under, None, None, settings)
        raise_if_any(found)
        assert placed is not None
        return invert_text(placed, opened.path, opened.loader)
    checked = held(opened, source, target, settings, source_config, target_config, select, under)
    bound = bound_mapping(checked)
    return invert_bound(bound.program.mapping, opened.path, bound, opened.loader, settings)
