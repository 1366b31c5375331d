"""A ``from_hf_map`` from the text of an adapter, or from the dict itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.python_inner import assigned_anywhere
from mapcc.dialects.python_source import Assigned, Items, NotLiteral, PythonSource
from mapcc.dialects.torchtitan.table import LAYERS, Code, TitanTable
from mapcc.errors import MappingError
from mapcc.text import Source, Span

VARIABLE = "from_hf_map"
LOOP = "from_hf"

# Of the adapters' own methods: what the engine does itself, and what changes no value.
_KNOWN = ("_concatenate_expert_weights", "_concatenate_expert_weights_dtensor")
_CHECKS = ("_validate",)
_RESHAPING = frozenset(
    (
        "view",
        "reshape",
        "transpose",
        "permute",
        "chunk",
        "split",
        "cat",
        "stack",
        "flip",
        "flatten",
        "unflatten",
    )
)


def read_torchtitan(source: Source, wanted: str = "") -> TitanTable:
    """The table of an adapter's ``.py`` file.

    Args:
        wanted: ``from_hf_map`` if left out; ``Llama3StateDictAdapter.from_hf_map`` where there are several.

    Raises:
        MappingError: MC003: it is not there, or would have to be run.
    """
    try:
        python = PythonSource(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _fault(f"`{source.name}` is not Python: {why}", None) from None
    found = _found(python, source, wanted or VARIABLE)
    try:
        value = python.value(found.node)
    except NotLiteral as error:
        raise _fault(str(error), error.span) from None
    if not isinstance(value, Items):
        raise _fault(f"`{found.name}` is not a dict", found.span)
    owner = found.name.rpartition(".")[0].partition(".")[0]
    code = tuple(_code(python, owner, found.name))
    return replace(of_items(value.entries), code=code, numbered=_numbered(python, owner))


def of_mapping(table: Mapping[object, object]) -> TitanTable:
    """The table of a dict.

    >>> of_mapping({"model.layers.{}.w": "layers.{}.w"}).trace("model.layers.3.w").target
    'layers.3.w'
    """
    return of_items((key, value, None) for key, value in table.items())


def of_items(items: Iterable[tuple[object, object, Span | None]]) -> TitanTable:
    table: dict[str, str | None] = {}
    spans: dict[str, Span | None] = {}
    for key, value, span in items:
        if not isinstance(key, str) or not (value is None or isinstance(value, str)):
            raise _fault(f"{key!r}: {value!r} is no entry: two names, or a name and None", span)
        table[key], spans[key] = value, span
    return TitanTable(table, tuple(spans.values()))


def _found(python: PythonSource, source: Source, wanted: str) -> Assigned:
    every = list(assigned_anywhere(python))
    found = [one for one in every if one.name == wanted or one.name.endswith(f".{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.name for one in found)
        raise _fault(f"`{source.name}` has several: {names}", None, f"{source.name}#{found[0].name}")
    others = ", ".join(one.name for one in every[:8])
    raise _fault(f"`{source.name}` assigns nothing to `{wanted}`", None, f"it has {others}" if others else "")


# --- what the adapter's code does besides


def _code(python: PythonSource, owner: str, table: str) -> Iterator[Code]:
    """The calls of ``from_hf`` that change values, and entries that are added after the table was made."""
    for function in _methods(python, owner):
        if function.name == LOOP:
            yield from _changing(python, function.body, ())
        else:
            yield from _added(python, function, table.rpartition(".")[2])


def _methods(python: PythonSource, owner: str) -> Iterator[ast.FunctionDef]:
    for node in ast.walk(python.tree):
        if isinstance(node, ast.ClassDef) and node.name == owner:
            yield from (each for each in node.body if isinstance(each, ast.FunctionDef))


def _numbered(python: PythonSource, owner: str) -> str:
    """Which names have a number that counts: what ``from_hf`` asks before it takes the first one out."""
    for function in _methods(python, owner):
        for node in ast.walk(function) if function.name == LOOP else ():
            match node:
                case ast.If(test=test, body=body) if _takes_one(body):
                    match test:
                        case ast.Compare(left=ast.Constant(value=str(text)), ops=[ast.In()]):
                            return re.escape(text)
                        case ast.Call(
                            func=ast.Attribute(attr="search"), args=[ast.Constant(value=str(text)), *_]
                        ):
                            return text
                        case _:
                            pass
                case _:
                    pass
    return LAYERS


def _takes_one(body: list[ast.stmt]) -> bool:
    return any("re.sub(" in (text := ast.unparse(each)) and "count=1" in text for each in body)


def _added(python: PythonSource, function: ast.FunctionDef, last: str) -> Iterator[Code]:
    for node in ast.walk(function):
        match node:
            case (
                ast.Call(func=ast.Attribute(value=ast.Attribute(attr=name), attr="update" | "setdefault"))
                | ast.Assign(targets=[ast.Subscript(value=ast.Attribute(attr=name))])
            ) if name == last:
                yield Code(f"`{ast.unparse(node)[:40]}`", (), python.span(node))
            case _:
                pass


def _changing(python: PythonSource, body: list[ast.stmt], keys: tuple[str, ...]) -> Iterator[Code]:
    """Calls with the keys that the conditions around them name."""
    for statement in body:
        match statement:
            case ast.If(test=test, body=inner, orelse=other):
                yield from _changing(python, inner, _texts(test) or keys)
                yield from _changing(python, other, keys)
            case ast.For(body=inner) | ast.While(body=inner) | ast.With(body=inner):
                yield from _changing(python, inner, keys)
            case _:
                for call in _calls(statement):
                    yield Code(f"`{ast.unparse(call)[:60]}`", keys, python.span(call))


def _texts(test: ast.expr) -> tuple[str, ...]:
    """The keys with which a condition compares: ``key == "..."``, ``key in ("...", "...")``."""
    found: list[str] = []
    for node in ast.walk(test):
        match node:
            case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=str(text))]):
                found.append(text)
            case ast.Compare(ops=[ast.In()], comparators=[ast.Tuple(elts=items) | ast.List(elts=items)]):
                found += [i.value for i in items if isinstance(i, ast.Constant) and isinstance(i.value, str)]
            case _:
                pass
    return tuple(found)


def _calls(statement: ast.stmt) -> Iterator[ast.Call]:
    for node in ast.walk(statement):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="self"), attr=name)):
                if name not in _KNOWN and not name.startswith(_CHECKS) and not name.startswith("_map_"):
                    yield node
            case ast.Call(func=ast.Attribute(attr="replace")):
                yield node  # of a name
            case ast.Call(func=ast.Attribute(attr=name)) if name in _RESHAPING and not _of_text(node):
                yield node
            case _:
                pass


def _of_text(call: ast.Call) -> bool:
    """``key.split(".")``: a method of a text."""
    return bool(call.args) and isinstance(call.args[0], ast.Constant) and isinstance(call.args[0].value, str)


def _fault(message: str, span: Span | None, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC003", message, span, help=help)])
