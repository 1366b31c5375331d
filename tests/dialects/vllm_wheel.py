"""vLLM's own ``WeightsMapper`` and the mappers of its models, from its wheel; nothing of it is installed."""

from __future__ import annotations

import ast
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from re import _parser
from types import SimpleNamespace
from typing import Any, TypeAlias

import regex

from mapcc.dialects.vllm.engine import Kind, VllmTable

VERSION = "0.33.0"
SHA256 = "4b6bdec4ab269990bf70d45a3c1e94c3760a27064513760193b26d6f0da883aa"
MODELS = Path(__file__).parent / "data" / "vllm_models.txt"
UTILS = "vllm/model_executor/models/utils.py"


def members() -> tuple[str, ...]:
    return tuple(MODELS.read_text("utf-8").split())


def texts(wheel: Path) -> dict[str, str]:
    with zipfile.ZipFile(wheel) as archive:
        return {member: archive.read(member).decode() for member in members()}


def weights_mapper(utils: str) -> type:
    """The class, taken out of its module: the module imports all of vLLM."""
    wanted = ("ShardId", "ShardIds", "WeightsMapper")
    found = [node for node in ast.parse(utils).body if _name(node) in wanted]
    assert len(found) == len(wanted)
    namespace: dict[str, Any] = {
        "re": regex,
        "dataclass": dataclass,
        "field": field,
        "replace": replace,
        "Mapping": Mapping,
        "Iterable": Iterator,
        "TypeAlias": TypeAlias,
        "Any": Any,
        "torch": SimpleNamespace(Tensor=object),
        "logger": SimpleNamespace(warning_once=lambda *_: None),
        "__name__": __name__,
    }
    exec(compile(ast.Module(found, []), "utils.py", "exec"), namespace)
    return namespace["WeightsMapper"]


def _name(node: ast.stmt) -> str:
    match node:
        case ast.ClassDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
            return name
    return ""


def literals(text: str) -> Iterator[str]:
    """The ``WeightsMapper(...)`` of a module that stand by themselves, as they are written."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "WeightsMapper":
            free = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            computed = any(isinstance(each, ast.DictComp | ast.JoinedStr) for each in ast.walk(node))
            if free <= {"WeightsMapper", "re", "regex", "dict"} and not computed:
                yield ast.get_source_segment(text, node) or ""


def evaluated(cls: type, text: str) -> Any:
    return eval(text, {"WeightsMapper": cls, "re": regex, "regex": regex})


def theirs(mapper: Any, name: str) -> tuple[str | None, tuple[object, ...]]:
    """The name and the shards that the real class gives."""
    result = mapper._map_name_with_shard(name)
    if result is None:
        return None, ()
    new, shards = result
    return new, tuple(shards) if isinstance(shards, list) else () if shards is None else (shards,)


# --- names on which a table acts


def synthetic(table: VllmTable) -> list[str]:
    """Names in which the texts of a table's entries stand, alone and together."""
    texts: dict[Kind, list[str]] = {kind: [""] for kind in Kind}
    for rule in table.rules:
        texts[rule.kind].append(example(rule.old) if rule.kind is Kind.REGEX else rule.old)
    middles = texts[Kind.SUBSTR] + texts[Kind.STACKED] + texts[Kind.PARAMS] + texts[Kind.REGEX]
    names = dict.fromkeys(texts[Kind.REGEX])
    for prefix in texts[Kind.PREFIX]:
        for middle in middles:
            names[f"{prefix}{middle}"] = None
            names[f"{prefix}layers.0{middle}weight"] = None
            names[f"{prefix}layers.1.{middle}.{middle}.bias"] = None
            for suffix in texts[Kind.SUFFIX][:6]:
                names[f"{prefix}layers.2.{middle}.x{suffix}"] = None
    return [name for name in names if name]


def example(pattern: str) -> str:
    """A text that a regular expression finds, as far as that is plain."""
    return "".join(_examples(list(_parser.parse(pattern))))


def _examples(tokens: list[tuple[Any, Any]]) -> Iterator[str]:
    for kind, value in tokens:
        match str(kind):
            case "LITERAL":
                yield chr(value)
            case "ANY":
                yield "x"
            case "IN":
                yield "7" if re.search("DIGIT|48", str(value)) else "y"
            case "SUBPATTERN":
                yield from _examples(list(value[3]))
            case "MAX_REPEAT" | "MIN_REPEAT":
                for _ in range(max(value[0], 1)):
                    yield from _examples(list(value[2]))
            case "BRANCH":
                yield from _examples(list(value[1][-1]))
            case _:
                pass
