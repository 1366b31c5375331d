"""Tables of other frameworks: linted, and turned into mappings."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.api.checking import Checked, KeySet, keys
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.errors import MappingError
from mapcc.passes.check import bind
from mapcc.tensors.selection import Select
from mapcc.tensors.spec import Manifest

# The dialects are read when one is asked for: a check of a mapping has no use for them.
if TYPE_CHECKING:
    from mapcc.dialects.made import Table
    from mapcc.lift.lift import Lifted

ISSUE = "this is a fault of mapcc: please report it with the table and the key set"


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of :func:`import_table`.

    Attributes:
        text: a mapping that does what the table does.
        diagnostics: what the table does silently, and what was assumed: warnings; tensors whose shapes
            it cannot put together: errors.
        exact: whether the mapping was held against the table's engine on a key set.
    """

    text: str
    diagnostics: tuple[Diagnostic, ...]
    exact: bool


def import_table(
    table: str | Table,
    dialect: str = "",
    source: KeySet | None = None,
    target: KeySet | None = None,
    *,
    name: str = "",
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
) -> Imported:
    """A framework's table as a mapping.

    Args:
        table: ``FILE.py``, ``FILE.py#NAME`` (read, never run), ``FILE.json``, ``py:module:name`` (run),
            ``transformers:MODEL_TYPE`` (of the installed package), or one that is open.
        dialect: ``fastvideo``, ``sglang``, ``transformers``, ``vllm`` or ``torchtitan``.
        source: the checkpoint's keys; with them the import is exact, without them it says what it assumed.
        target: the model's keys, where the framework asks them.
        name: of the mapping.

    Raises:
        MappingError: the table cannot be read, or says nothing that can be run.
    """
    from mapcc.lift.assume import assumed
    from mapcc.lift.lint import lint

    opened = _open(table, dialect)
    if source is None:
        text, said = assumed(opened, name)
        return Imported(text, tuple(said), exact=False)
    source_keys = keys(source, config=source_config, select=select)
    target_keys = None if target is None else keys(target, config=target_config)
    lifted = _lifted(opened, source_keys, target_keys, name)
    found = lint(opened, source_keys, lifted.outcome, target_keys)
    found += [_in_table(one, opened, lifted) for one in lifted.diagnostics if one.exit_code]
    return Imported(lifted.text, tuple(found), exact=True)


def check_table(
    table: str | Table,
    dialect: str,
    source: KeySet,
    target: KeySet | None = None,
    *,
    source_config: str | Path | None = None,
    target_config: str | Path | None = None,
    select: Select = None,
) -> Checked:
    """Hold a framework's table against key sets: its lint, and all that :func:`mapcc.check` finds.

    Places are those of the table's own text.
    """
    from mapcc.lift.lint import lint

    try:
        opened = _open(table, dialect)
        source_keys = keys(source, config=source_config, select=select)
        target_keys = None if target is None else keys(target, config=target_config)
        lifted = _lifted(opened, source_keys, target_keys, "")
    except MappingError as error:
        return Checked(tuple(error.diagnostics), None)
    found = Diagnostics()
    # What passes through to no parameter is an error of the check itself.
    warned = lint(opened, source_keys, lifted.outcome, target_keys)
    found.extend(warning for warning in warned if warning.code != "MC808")
    held = Diagnostics()
    bound = bind(lifted.mapping, Path("imported.mapcc"), source_keys, target_keys, {}, held)
    found.extend(_in_table(diagnostic, opened, lifted) for diagnostic in held)
    return Checked(tuple(found), bound)


def _open(table: str | Table, dialect: str) -> Table:
    from mapcc.lift.open import open_table

    return open_table(table, dialect) if isinstance(table, str) else table


def _lifted(table: Table, source: Manifest, target: Manifest | None, name: str) -> Lifted:
    from mapcc.lift.lift import NotLifted, lift

    try:
        return lift(table, source, target, name)
    except NotLifted as error:
        message = f"the imported mapping differs from the table: {error}"
        raise MappingError([Diagnostic("MC602", message, help=ISSUE)]) from None


def _in_table(diagnostic: Diagnostic, table: Table, lifted: Lifted) -> Diagnostic:
    """A finding in the imported mapping, at the table's entry that it comes from."""
    span = diagnostic.span
    if span is None:
        return replace(diagnostic, fixes=())
    for statement, entries in zip(lifted.mapping.body, lifted.origins, strict=True):
        own = statement.span
        if own is not None and own.start <= span.start < own.end and span.source is own.source:
            place = table.entries[entries[0]].span if entries else None
            notes = (*diagnostic.notes, f"as a rule: {' '.join(own.text.split())}")
            return replace(diagnostic, span=place, label="", related=(), notes=notes, fixes=())
    return replace(diagnostic, span=None, related=(), fixes=())
