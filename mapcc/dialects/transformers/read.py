"""A list of transforms from the text of a Python file, or from transformers' own objects."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.python_inner import assigned_anywhere
from mapcc.dialects.python_source import Called, NotLiteral, PythonSource
from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.patterns import BadTransform, prefix_patterns
from mapcc.dialects.transformers.table import Operation, Transform, Value
from mapcc.errors import MappingError
from mapcc.text import Source, Span

VARIABLE = "weight_mapping"

# The parameters of each class in their order, with their defaults (None where it has none).
_PATTERNS: Mapping[str, Value] = {"source_patterns": None, "target_patterns": None}
_ENTRIES: Mapping[str, Mapping[str, Value]] = {
    "WeightRenaming": _PATTERNS,
    "GroupWeightRename": _PATTERNS,
    "Inkling2IndexOffsetWeightRename": {**_PATTERNS, "offset": None},
    "WeightConverter": {**_PATTERNS, "operations": None, "force_cpu": False},
    "PrefixChange": {"prefix_to_add": None, "prefix_to_remove": None, "model_prefix": None},
}
_PERMUTING: Mapping[str, Value] = {"dim": 0, "permute_layer_names": None}
_ERNIE: Mapping[str, Value] = {"stack_dim": 0, "concat_dim": 1}
_CONV: Mapping[str, Value] = {"in_channels": None, "kernel_size": None}
_OPERATIONS: Mapping[str, Mapping[str, Value]] = {
    "Chunk": {"dim": 0, "num_shards_attribute": None},
    "Split": {"dim": 0},
    "Concatenate": {"dim": 0, "num_shards_attribute": None},
    "MergeModulelist": {"dim": 0},
    "SplitModulelist": {"dim": 0},
    "Transpose": {"dim0": 0, "dim1": 1, "check_dims": False},
    "Interleave": {"dim": 0, "inverse": False},
    "Conv3dToLinear": _CONV,
    "LinearToConv3d": _CONV,
    "PermuteForRope": {"subconfig_key": None, "permute_layer_names": None, "inverse": False},
    "VisionFuseAndPermuteForRope": {**_PERMUTING, "inverse": True},
    "VisionUnfuseAndPermuteForRope": {**_PERMUTING, "inverse": False},
    "ErnieFuseAndSplitTextVisionExperts": _ERNIE,
    "ErnieSplitAndDecoupleTextVisionExperts": _ERNIE,
}
_OWN = ("scope_prefix", "base_model_prefix")


def read_transformers(source: Source, wanted: str = "") -> TransformersTable:
    """The list of a ``.py`` file.

    Args:
        wanted: the name to which the list is assigned (``weight_mapping``, or the only list of transforms,
            if left out), or its key in a dict of model types.

    Raises:
        MappingError: MC003: it is not there, would have to be run, or is no list of transforms.
    """
    try:
        python = PythonSource(source)
    except (SyntaxError, ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, SyntaxError) else str(error)
        raise _fault(f"`{source.name}` is not Python: {why}") from None
    node = _found(python, source, wanted)
    try:
        value = python.value(node)
    except NotLiteral as error:
        raise _fault(str(error), error.span) from None
    if not isinstance(value, list | tuple):
        raise _fault("a table of transformers is a list of transforms", python.span(node))
    return TransformersTable(tuple(_read_entry(item, python.span(node)) for item in value))


def _found(python: PythonSource, source: Source, wanted: str) -> ast.expr:
    lists = dict(_lists(python))
    name = wanted or (VARIABLE if VARIABLE in lists else "")
    if not name and len(lists) == 1:
        return next(iter(lists.values()))
    found = [node for at, node in lists.items() if name and (at == name or at.endswith(f".{name}"))]
    if len(found) == 1:
        return found[0]
    names = list(lists)
    more = ", ..." if len(names) > 8 else ""
    help = f"it has {', '.join(names[:8])}{more}; choose one with {source.name}#NAME" if names else ""
    what = f"no list of transforms `{name}`" if name else "no single list of transforms"
    raise _fault(f"`{source.name}` has {what}", help=help)


def _lists(python: PythonSource) -> Iterator[tuple[str, ast.expr]]:
    """The lists by name: those that are assigned, and the values of dicts, by their keys."""
    for found in assigned_anywhere(python):
        match found.node:
            case ast.List():
                yield found.name, found.node
            case ast.BinOp(op=ast.Add()):
                yield found.name, found.node
            case ast.Dict(keys=keys, values=values):
                for key, value in zip(keys, values, strict=True):
                    if isinstance(key, ast.Constant) and isinstance(key.value, str):
                        yield key.value, value


# --- one transform


def _read_entry(value: object, around: Span) -> Transform:
    if not isinstance(value, Called) or value.name not in _ENTRIES:
        what = value.name if isinstance(value, Called) else repr(value)
        raise _fault(f"{what} is no transform", value.span if isinstance(value, Called) else around)
    given = _arguments(value, _ENTRIES[value.name])
    operations = given.pop("operations", [])
    if not isinstance(operations, list | tuple):
        raise _fault("`operations` is a list", value.span)
    try:
        return _entry(
            value.name, given, tuple(_read_operation(item, value.span) for item in operations), value.span
        )
    except BadTransform as error:
        raise _fault(f"{value.name}: {error}", value.span) from None


def _entry(
    kind: str, given: dict[str, object], operations: Sequence[Operation], span: Span | None
) -> Transform:
    """A transform from its arguments, of which those that are not patterns are its options."""
    if kind == "PrefixChange":
        sources, targets = prefix_patterns(*(given.get(name) for name in _ENTRIES[kind]))
    else:
        sources, targets = (_strings(given.pop(name, ())) for name in _PATTERNS)
    given.pop("force_cpu", None)  # where the work is done, not what
    options = tuple((name, _value(value)) for name, value in given.items() if value is not None)
    return Transform(kind, sources, targets, tuple(operations), options, span)


def _strings(value: object) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if isinstance(items, list | tuple) and all(isinstance(item, str) for item in items):
        return tuple(items)
    raise BadTransform(f"patterns are text, or a list of it, not {value!r}")


def _read_operation(value: object, around: Span) -> Operation:
    if not isinstance(value, Called):
        raise _fault(f"{value!r} is no operation", around)
    parameters = _OPERATIONS.get(value.name)
    given = _arguments(value, parameters)
    try:
        return _operation(value.name, given, parameters or {})
    except BadTransform as error:
        raise _fault(f"{value.name}: {error}", value.span) from None


def _operation(name: str, given: Mapping[str, object], defaults: Mapping[str, Value]) -> Operation:
    values = {key: _value(value) for key, value in given.items()}
    return Operation(name, tuple((k, v) for k, v in values.items() if k not in defaults or v != defaults[k]))


def _arguments(called: Called, parameters: Mapping[str, Value] | None) -> dict[str, object]:
    """By name; those of a class that is not known keep their numbers."""
    names = list(parameters) if parameters is not None else [str(k) for k in range(len(called.arguments))]
    if len(called.arguments) > len(names):
        raise _fault(f"{called.name} has at most {len(names)} arguments", called.span)
    given = dict(zip(names, called.arguments, strict=False))
    for name, value in called.keywords:
        if name in given or (parameters is not None and name not in parameters):
            raise _fault(f"{called.name} has no argument `{name}`, or has it twice", called.span)
        given[name] = value
    return given


def _value(value: object) -> Value:
    if isinstance(value, list | tuple):
        return tuple(map(_value, value))
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise BadTransform(f"{value!r} is no plain value")


# --- objects


def from_objects(objects: Iterable[object]) -> TransformersTable:
    """The table of transformers' own objects, as they were made: nothing of transformers is imported here.

    Raises:
        MappingError: MC003: they are no transforms.
    """
    return TransformersTable(tuple(map(_of_object, objects)))


def _of_object(value: object) -> Transform:
    kind = type(value).__name__
    if not hasattr(value, "_original_source_patterns"):
        raise _fault(f"{kind} is no transform")
    given = _attributes(value, {*_PATTERNS, "operations", "force_cpu"})
    given |= {name: own for name in _OWN if (own := getattr(value, name, None)) is not None}
    operations = [
        _operation(type(one).__name__, _attributes(one, set()), _OPERATIONS.get(type(one).__name__, {}))
        for one in getattr(value, "operations", ())
    ]
    # An empty scope is one; an empty prefix of a model is none.
    given = {name: own for name, own in given.items() if own != "" or name in _OWN}
    options = tuple((name, _value(own)) for name, own in given.items() if own is not None)
    sources, targets = (getattr(value, f"_original_{name}") for name in _PATTERNS)
    return Transform(kind, tuple(sources), tuple(targets), tuple(operations), options)


def _attributes(value: object, leave: set[str]) -> dict[str, object]:
    """What an object was made with, by the names of its constructor; what is no plain value as text."""
    given: dict[str, object] = {}
    for name in inspect.signature(type(value)).parameters:
        if name not in leave and hasattr(value, name):
            own = getattr(value, name)
            try:
                given[name] = _value(own)
            except BadTransform:
                given[name] = repr(own)
    return given


def _fault(message: str, span: Span | None = None, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC003", message, span, help=help)])
