"""A table by the name that a user types: a file of Python or JSON, an object, an installed model type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.fastvideo_read import of_mapping, read_param_names
from mapcc.dialects.made import Table
from mapcc.errors import MappingError
from mapcc.tensors.disk import read_all
from mapcc.tensors.factory import PREFIX, python_value
from mapcc.text import Source

DIALECTS = ("fastvideo", "sglang", "transformers", "vllm", "torchtitan")
MOST = 16 << 20


def open_table(where: str, dialect: str) -> Table:
    """The table that ``where`` names.

    Args:
        where: ``FILE.py`` or ``FILE.py#NAME`` (read, never run), ``FILE.json``, ``py:module:name`` (run), or,
            for transformers, ``transformers:mixtral``: what the installed package has for a model type.
        dialect: one of :data:`DIALECTS`.

    Raises:
        MappingError: MC001 or MC003: it cannot be read, or is no table; MC004: its code failed; MC007: no
            such dialect.
    """
    if dialect not in DIALECTS:
        known = ", ".join(DIALECTS)
        raise MappingError([Diagnostic("MC007", f"no dialect {dialect!r}", help=f"there is {known}")])
    if where.startswith(PREFIX):
        return _of_object(python_value(where), where, dialect)
    if dialect == "transformers" and where.startswith("transformers:"):
        from mapcc.lift.installed import transformers_table

        return transformers_table(where.removeprefix("transformers:"))
    path, _, name = where.partition("#")
    return _of_source(_read(Path(path)), name, dialect)


def _of_source(source: Source, name: str, dialect: str) -> Table:
    match dialect:
        case "transformers":
            from mapcc.dialects.transformers.read import read_transformers

            return read_transformers(source, name)
        case "vllm":
            from mapcc.dialects.vllm.read import read_vllm

            return read_vllm(source, name)
        case "torchtitan":
            from mapcc.dialects.torchtitan.read import read_torchtitan

            return read_torchtitan(source, name)
        case _:
            return read_param_names(source, dialect, name)


def _of_object(value: object, where: str, dialect: str) -> Table:
    match dialect:
        case "transformers" if isinstance(value, list):
            from mapcc.dialects.transformers.read import from_objects

            return from_objects(value)
        case "vllm":
            from mapcc.dialects.vllm.read import from_object

            return from_object(value)
        case "torchtitan" if isinstance(value, Mapping):
            from mapcc.dialects.torchtitan.read import of_mapping as of_titan

            return of_titan(value)
        case "fastvideo" | "sglang" if isinstance(value, Mapping):
            return of_mapping(value, dialect)
    raise MappingError([Diagnostic("MC003", f"`{where}` is {type(value).__name__}: no table of {dialect}")])


def _read(path: Path) -> Source:
    raw = read_all(path, MOST)
    if raw is None:
        raise MappingError([Diagnostic("MC003", f"`{path}` has more than {MOST:,} bytes: no table has")])
    try:
        return Source(str(path), raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise MappingError(
            [Diagnostic("MC001", f"`{path}` is not UTF-8 text (byte {error.start})")]
        ) from None
