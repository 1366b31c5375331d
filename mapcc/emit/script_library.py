"""What a script takes of ``standalone`` and ``numeric``: functions with all that they call, and imports."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from functools import cache
from types import ModuleType
from typing import NamedTuple

from mapcc.emit import pysource
from mapcc.emit.standalone import checkpoint, rearrange, tables
from mapcc.numeric import casts, fault, formats, norms, operations

BEFORE = (tables, rearrange, fault, formats, casts, operations, norms)
AFTER = (checkpoint,)


class Part(NamedTuple):
    """A statement of a module: what it names, what it needs, its lines."""

    names: tuple[str, ...]
    needs: frozenset[str]
    source: str


@cache
def _parts(module: ModuleType) -> tuple[Part, ...]:
    source = inspect.getsource(module)
    lines = source.splitlines()
    parts = []
    for node in ast.parse(source).body:
        names = _named(node)
        if names:
            needs = frozenset(n.id for n in ast.walk(node) if isinstance(n, ast.Name))
            parts.append(Part(names, needs, "\n".join(lines[node.lineno - 1 : node.end_lineno])))
    return tuple(parts)


def _named(node: ast.stmt) -> tuple[str, ...]:
    match node:
        case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
            return (name,)
        case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) | ast.AugAssign(target=target):
            return tuple(n.id for n in ast.walk(target) if isinstance(n, ast.Name))
        case _:
            return ()


def needed(source: str) -> frozenset[str]:
    """Every name that some text uses, with all that these use."""
    parts = [part for module in (*BEFORE, *AFTER) for part in _parts(module)]
    wanted = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    while True:
        more = {need for part in parts if wanted & set(part.names) for need in part.needs} - wanted
        if not more:
            return frozenset(wanted)
        wanted |= more


def library(module: ModuleType, wanted: frozenset[str]) -> list[str]:
    blocks: list[str] = []
    before = ""
    for part in _parts(module):
        if not wanted & set(part.names) or part.names[0] in _TABLES:
            continue
        source = part.source
        is_short = not source.startswith(("def ", "class "))
        if is_short and before:
            blocks[-1] += f"\n{source}"
        else:
            blocks.append(source)
        before = source if is_short else ""
    return blocks


def imports(wanted: frozenset[str]) -> str:
    plain: set[str] = set()
    named: dict[str, set[str]] = {}
    for module in (*BEFORE, *AFTER):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.Import):
                plain |= {alias.name for alias in node.names if (alias.asname or alias.name) in wanted}
            elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] not in _OURS:
                names = {alias.name for alias in node.names} & wanted
                named.setdefault(node.module or "", set()).update(names)
    plain |= {"sys"}
    modules = [(name, _sorted(own)) for name, own in sorted(named.items())]
    return pysource.imports(sorted(plain - {"numpy"}), modules, ["import numpy as np"])


_TABLES = {"SOURCE_FILES", "SOURCE", "DROPPED", "OUTPUTS", "FILES", "INDEX_FILE", "METADATA"}
_OURS = ("mapcc", "__future__")


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (not name[0].isupper(), name))
