"""A ``param_names_mapping`` from the text of a config, a JSON file, or a dict."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.fastvideo import ParamNames, looseness, param_names
from mapcc.dialects.made import Entry
from mapcc.dialects.python_source import Assigned, Items, NotLiteral, PythonSource
from mapcc.dialects.regexes import Replacement
from mapcc.errors import MappingError
from mapcc.text import Source, Span

VARIABLE = "param_names_mapping"


def read_param_names(source: Source, dialect: str, wanted: str = "") -> ParamNames:
    """The table of a ``.py`` file, by the name that it is assigned to; of a ``.json`` file, the whole.

    Args:
        wanted: ``param_names_mapping`` if left out; ``Config.param_names_mapping`` where there are several.

    Raises:
        MappingError: MC003: it is not there, or is not a table.
    """
    if source.name.endswith(".json"):
        return of_items(_json_items(source), dialect)
    python = PythonSource(source)
    found = _found(python, source, wanted or VARIABLE)
    try:
        value = python.value(found.node)
    except NotLiteral as error:
        raise _fault(str(error), error.span) from None
    if not isinstance(value, Items):
        raise _fault(f"`{found.name}` is not a dict", found.span)
    return of_items(value.entries, dialect)


def of_mapping(table: Mapping[object, object], dialect: str) -> ParamNames:
    """The table of a dict.

    Raises:
        MappingError: MC003: it is not a table.

    >>> of_mapping({r"^a\\.(.*)$": r"b.\\1"}, "fastvideo").trace("a.w").target
    'b.w'
    """
    return of_items(((key, value, None) for key, value in table.items()), dialect)


def of_items(items: Iterable[tuple[object, object, Span | None]], dialect: str) -> ParamNames:
    return param_names(_checked(items), dialect)


def _checked(
    items: Iterable[tuple[object, object, Span | None]],
) -> Iterator[tuple[str, Replacement, Entry]]:
    for pattern, value, span in items:
        if not isinstance(pattern, str):
            raise _fault(f"a pattern is text, not {pattern!r}", span)
        replacement = _replacement(value, span)
        _compiled(pattern, replacement, span)
        template = replacement[0] if isinstance(replacement, tuple) else replacement
        place = f" ({replacement[1]} of {replacement[2]})" if isinstance(replacement, tuple) else ""
        text = f"{raw(pattern)} -> {raw(template)}{place}"
        yield pattern, replacement, Entry(text, span, looseness(pattern))


def raw(text: str) -> str:
    """Text as a raw string, where that can be said."""
    return f'r"{text}"' if text.isprintable() and '"' not in text and not text.endswith("\\") else repr(text)


def _replacement(value: object, span: Span | None) -> Replacement:
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        help = "a tuple: (replacement, index, number of parts)"
        raise _fault("a list is no replacement: the loader cannot hash it", span, help)
    match value:
        case (str() as template, int() as place, int() as of):
            return template, place, of
    raise _fault(f"{value!r} is no replacement: text, or (text, index, number of parts)", span)


def _compiled(pattern: str, replacement: Replacement, span: Span | None) -> None:
    """A wrong template is an error in the loader when the first name matches: here at once."""
    template = replacement[0] if isinstance(replacement, tuple) else replacement
    try:
        compiled = re.compile(pattern)
        re.compile(f"(?:{pattern})|").sub(template, "")
    except re.error as error:
        raise _fault(f"{error}", span) from None
    except (IndexError, RecursionError, OverflowError) as error:
        raise _fault(f"{pattern!r}: {error}", span) from None
    del compiled


def _json_items(source: Source) -> Iterator[tuple[object, object, Span | None]]:
    try:
        loaded = json.loads(source.text, object_pairs_hook=lambda pairs: pairs)
    except (ValueError, RecursionError) as error:
        raise _fault(f"`{source.name}` is not JSON: {error}", None) from None
    if not isinstance(loaded, list) or not all(isinstance(pair, tuple) for pair in loaded):
        raise _fault(f"`{source.name}` is not an object", None)
    for key, value in loaded:
        # JSON has no tuples: a list is what a program makes a tuple of.
        yield key, tuple(value) if isinstance(value, list) else value, None


def _found(python: PythonSource, source: Source, wanted: str) -> Assigned:
    every = list(python.assigned())
    found = [one for one in every if one.name == wanted or one.name.endswith(f".{wanted}")]
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(one.name for one in found)
        help = f"{source.name}#{found[0].name}"
        raise _fault(f"`{source.name}` has several: {names}", None, help)
    others = ", ".join(one.name for one in every[:8])
    raise _fault(f"`{source.name}` assigns nothing to `{wanted}`", None, f"it has {others}" if others else "")


def _fault(message: str, span: Span | None, help: str = "") -> MappingError:
    return MappingError([Diagnostic("MC003", message, span, help=help)])
