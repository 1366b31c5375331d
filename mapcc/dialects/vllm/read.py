"""A mapper from the text of a model of vLLM, or from the object itself."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from re import _parser

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.python_inner import assigned_anywhere
from mapcc.dialects.python_source import Assigned, Called, Items, NotLiteral, PythonSource
from mapcc.dialects.vllm.engine import Kind, Rule, VllmTable, table
from mapcc.dialects.vllm.shards import Shard
from mapcc.errors import MappingError
from mapcc.text import Source, Span

CLASS = "WeightsMapper"
MAPPER = "hf_to_vllm_mapper"
PARAMS = "stacked_params_mapping"

_FIELDS = {f"orig_to_new_{kind.word}": kind for kind in Kind if kind is not Kind.PARAMS}
_RENAMING = "orig_to_new_renaming"

_Item = tuple[object, object, Span | None]


def read_vllm(source: Source, wanted: str = "") -> VllmTable:
    """The mapper of a ``.py`` file, by the name that it is assigned to.

    Args:
        wanted: ``hf_to_vllm_mapper`` (or, where there is none, ``stacked_params_mapping``) if left
            out; ``Qwen2VLForConditionalGeneration.hf_to_vllm_mapper`` where there are several.

    Raises:
        MappingError: MC003: it is not there, or would have to be run; MC601: ``orig_to_new_renaming``.
    """
    python = PythonSource(source)
    found = _found(python, source, wanted)
    try:
        return table(_Reader(python).rules(found.node))
    except NotLiteral as error:
        raise _fault(str(error), error.span) from None


def from_object(mapper: object) -> VllmTable:
    """A ``WeightsMapper`` as it is in memory, or a ``stacked_params_mapping``.

    Raises:
        MappingError: MC003: it is none; MC601: it has ``orig_to_new_renaming``.
    """
    if isinstance(mapper, list | tuple):
        return table(_params(mapper, None))
    if not all(hasattr(mapper, field) for field in ("orig_to_new_prefix", "orig_to_new_suffix")):
        raise _fault(f"{type(mapper).__name__} is no {CLASS}", None)
    rules: list[Rule] = []
    for field in (_RENAMING, *_FIELDS):
        value = getattr(mapper, field, None) or {}
        items: object = [(k, v, None) for k, v in value.items()] if isinstance(value, Mapping) else value
        rules += _rules(field, items, None)
    return table(rules)


# --- the text


class _Reader:
    """Reads the expressions that make a mapper; names of others in the file are followed."""

    def __init__(self, python: PythonSource) -> None:
        self.python = python
        self.known = {found.name: found.node for found in python.assigned()}
        self.following: list[str] = []

    def rules(self, node: ast.expr) -> Iterator[Rule]:
        match node:
            case ast.Call(func=function, args=[], keywords=keywords) if _last(function) == CLASS:
                for keyword in keywords:
                    yield from self.field(keyword)
            case ast.BinOp(left=left, op=ast.BitOr(), right=right):
                yield from self.rules(left)
                yield from self.rules(right)
            case ast.List() | ast.Tuple():
                yield from _params(self.python.value(node), self.python.span(node))
            case ast.Name() | ast.Attribute():
                yield from self.followed(node)
            case _:
                raise NotLiteral(f"`{ast.unparse(node)[:60]}` would have to be run", self.python.span(node))

    def followed(self, node: ast.expr) -> Iterator[Rule]:
        name = ast.unparse(node)
        if name not in self.known or name in self.following:
            raise NotLiteral(f"`{name[:60]}` is not in this file", self.python.span(node))
        self.following.append(name)
        yield from self.rules(self.known[name])
        self.following.pop()

    def field(self, keyword: ast.keyword) -> Iterator[Rule]:
        span = self.python.span(keyword.value)
        if keyword.arg not in (_RENAMING, *_FIELDS):
            raise NotLiteral(f"{CLASS} has no `{keyword.arg or '**'}`", span)
        value = self.python.value(keyword.value)
        if isinstance(value, Called) and value.name == "fromkeys":
            value = _from_keys(value)
        yield from _rules(keyword.arg, list(value.entries) if isinstance(value, Items) else value, span)


def _from_keys(call: Called) -> object:
    """``dict.fromkeys(keys, value)``."""
    match call.arguments:
        case ([*keys], *value) if len(value) < 2:
            return [(key, value[0] if value else None, call.span) for key in keys]
    return call


def _last(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


# --- entries


def _rules(field: str, items: object, span: Span | None) -> Iterator[Rule]:
    if not isinstance(items, list):
        raise _fault(f"`{field}` is not a dict", span)
    if field == _RENAMING:
        if items:
            message = f"`{field}` holds objects of transformers, which act before all else"
            raise MappingError([Diagnostic("MC601", message, span, help="import their table by itself")])
        return
    for old, new, place in items:
        yield _rule(_FIELDS[field], old, new, place or span)


def _rule(kind: Kind, old: object, new: object, span: Span | None) -> Rule:
    shards: tuple[Shard, ...] = ()
    if kind in (Kind.STACKED, Kind.PARAMS):
        match new:
            case (str() as text, shard):
                new, shards = text, _shards(shard, span)
            case _:
                raise _fault(f"{new!r} is no (name, shard)", span)
    if new is not None and not isinstance(new, str):
        raise _fault(f"{new!r} is no name", span)
    if kind is Kind.REGEX:
        return Rule(kind, _expression(old, new, span), new, span=span)
    if not isinstance(old, str):
        raise _fault(f"{old!r} is no text", span)
    if kind is Kind.SUFFIX and not old:
        raise _fault("an empty suffix is an error in vLLM", span)
    return Rule(kind, old, new, shards, span)


def _shards(shard: object, span: Span | None) -> tuple[Shard, ...]:
    shards = tuple(_shard(one, span) for one in (shard if isinstance(shard, list) else [shard]))
    if not shards:
        raise _fault("an entry that stacks has a shard", span)
    return shards


def _shard(shard: object, span: Span | None) -> Shard:
    match shard:
        case bool():
            pass
        case str() | int():
            return shard
        case tuple() if shard and all(type(number) is int for number in shard):
            return shard
    raise _fault(f"{shard!r} is no shard: text, a number, or a tuple of numbers", span)


def _params(rows: object, span: Span | None) -> Iterator[Rule]:
    """``[(param, weight, shard), ...]``."""
    if not isinstance(rows, list | tuple):
        raise _fault(f"`{PARAMS}` is not a list", span)
    for row in rows:
        match row:
            case (str() as param, str() as weight, shard):
                yield _rule(Kind.PARAMS, weight, (param, shard), span)
            case _:
                raise _fault(f"{row!r} is no (parameter, weight, shard)", span)


# --- regular expressions

_LETTERS = {re.ASCII: "a", re.IGNORECASE: "i", re.MULTILINE: "m", re.DOTALL: "s", re.VERBOSE: "x"}
_INLINE = re.compile(r"\(\?[aimsux]+\)")
_VERSION_0 = 0x2000  # of the module `regex`: it is as `re` is


def _expression(old: object, new: str | None, span: Span | None) -> str:
    """A pattern with its flags in it."""
    flags = 0
    if isinstance(old, Called) and old.name == "compile" and len(old.arguments) == 1 and not old.keywords:
        old = old.arguments[0]
    elif isinstance(getattr(old, "pattern", None), str):
        flags = int(getattr(old, "flags", 0)) & ~re.UNICODE & ~_VERSION_0
        old = old.pattern  # type: ignore[attr-defined]
    if not isinstance(old, str):
        raise _fault(f"{old!r} is no regular expression: re.compile(...) of a text alone", span)
    letters = "".join(letter for flag, letter in _LETTERS.items() if flags & flag)
    if flags & ~sum(_LETTERS):
        raise _fault(f"`{old}` has flags that mapcc does not know", span)
    expression = f"(?{letters}){_INLINE.sub('', old, count=1)}" if letters else old
    try:
        _parser.parse_template(new or "", re.compile(expression))
    except (re.error, IndexError, RecursionError, OverflowError) as error:
        raise _fault(f"`{old}`: {error}", span) from None
    return expression


# --- the file


def _found(python: PythonSource, source: Source, wanted: str) -> Assigned:
    for name in [wanted] if wanted else [MAPPER, PARAMS]:
        # What a class has before what it makes of it when it is made.
        found = _named(python.assigned(), name) or _named(assigned_anywhere(python), name)
        exact = [one for one in found if one.name == name]
        if len(exact) == 1 or len(found) == 1:
            return (exact or found)[0]
        if found:
            listed = ", ".join(dict.fromkeys(one.name for one in found))
            raise _fault(f"`{source.name}` has several: {listed}", None, f"{source.name}#{found[0].name}")
    others = ", ".join(mappers(python))
    help = f"it has {others}" if others else ""
    raise _fault(f"`{source.name}` assigns nothing to `{wanted or MAPPER}`", None, help)


def _named(assigned: Iterable[Assigned], name: str) -> list[Assigned]:
    return [one for one in assigned if one.name == name or one.name.endswith(f".{name}")]


def mappers(python: PythonSource) -> Iterable[str]:
    """The names of all mappers in a file."""
    for found in assigned_anywhere(python):
        last = found.name.rpartition(".")[2]
        if last in (MAPPER, PARAMS) or CLASS in ast.unparse(found.node):
            yield found.name


def _fault(message: str, span: Span | None, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC003", message, span, help=help)])
