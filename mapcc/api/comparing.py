"""Two mappings, or a mapping and a chain of them, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api.checking import Checked, KeySet, MappingLike, bound_mapping, check, keys
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir import rules

if TYPE_CHECKING:
    from mapcc.passes.difference import Differences
    from mapcc.passes.origins import Result
    from mapcc.tensors.spec import Manifest


def diff(
    a: MappingLike,
    b: MappingLike | Sequence[MappingLike],
    source: KeySet,
    target: KeySet | None = None,
    **options: object,
) -> Differences:
    """Where two mappings differ on a key set: which tensors, and which of their elements.

    They are equal when their moves are: names of rules, blocks and axes do not matter.

    Args:
        b: a mapping, or a chain of them, each of which takes what the one before it gives.
        options: those of :func:`check`.

    Raises:
        MappingError: one of them does not check clean.
    """
    from mapcc.passes.difference import differences

    chain = [b] if isinstance(b, str | Path | rules.Mapping) else b
    source_keys = keys(source, config=options.pop("source_config", None), select=options.pop("select", None))  # type: ignore[arg-type]
    first = bound_mapping(check(a, source_keys, target, **options))  # type: ignore[arg-type]
    return differences(first, _chained(chain, source_keys, target, options))


def check_parts(
    checked: Checked, parts: Sequence[MappingLike], target: KeySet | None = None, **options: object
) -> Checked:
    """A check that was clean, with MC603 if a chain of mappings is not the mapping that was checked."""
    from mapcc.passes.difference import differences

    bound = bound_mapping(checked)
    options = {key: value for key, value in options.items() if key not in ("source_config", "select")}
    try:
        found = differences(bound, _chained(parts, bound.source, target, options))
    except MappingError as error:
        return Checked((*checked.diagnostics, *error.diagnostics), checked.bound)
    if found.equal:
        return checked
    names = (*found.only_a, *found.only_b, *(one.name for one in found.differing))
    fault = Diagnostic(
        "MC603",
        "the parts, one after the other, do not give what the mapping gives",
        names=tuple(fold(names)),
        help="mapcc diff shows which elements differ",
    )
    return Checked((*checked.diagnostics, fault), checked.bound)


def _chained(
    chain: Sequence[MappingLike], source: Manifest, target: KeySet | None, options: dict[str, object]
) -> Result:
    from mapcc.passes.compose import composed
    from mapcc.passes.origins import result_of

    if not chain:
        raise MappingError([Diagnostic("MC007", "nothing to compare with", help="give a second mapping")])
    result, at = None, source
    for number, mapping in enumerate(chain):
        last = target if number == len(chain) - 1 else None
        options = (
            options if number == 0 else {**options, "under": "", "statements": ""}
        )  # those behind take what it gives
        bound = bound_mapping(check(mapping, at, last, **options))  # type: ignore[arg-type]
        result = result_of(bound) if result is None else composed(result, bound)
        at = replace(result.keys(), config=source.config)
    assert result is not None
    return result
