"""The whole way from a mapping and its key sets to the bound mapping, as one function."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from mapcc.diagnostics.model import Diagnostics
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.ir.program import Program
from mapcc.passes.bind import bind_sources
from mapcc.passes.coverage import cover
from mapcc.passes.flatten import flatten
from mapcc.passes.metadata import carried_metadata
from mapcc.passes.verdict import check_bijections
from mapcc.syntax.load import Loader
from mapcc.tensors.spec import Manifest

Setting = int | float | str


def program_of(
    mapping: rules.Mapping,
    path: Path,
    settings: Mapping[str, Setting],
    configs: Mapping[str, Mapping[str, object] | None],
    found: Diagnostics,
    loader: Loader | None = None,
) -> Program:
    return flatten(mapping, path, settings, configs, found, loader)


def bind(
    mapping: rules.Mapping,
    path: Path,
    source: Manifest,
    target: Manifest | None,
    settings: Mapping[str, Setting],
    found: Diagnostics,
    loader: Loader | None = None,
) -> BoundMapping:
    """Flatten, analyse, bind, and hold against both sides. Findings of all passes go to ``found``.

    The bound mapping is complete only if no error was found.
    """
    configs = {"source": source.config, "target": target.config if target else None}
    program = program_of(mapping, path, settings, configs, found, loader)
    binder = bind_sources(program, source, target, found)
    cover(binder)
    check_bijections(binder.bound, found)
    if source.metadata:
        found.extend(carried_metadata(binder.bound).told)
    return binder.bound
