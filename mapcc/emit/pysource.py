"""The one module that builds Python source text.

Names come from files, and a file may hold anything: a name with a quote, a backslash or a line end
must stay text. It goes into the source as a literal, or into a comment as the ``ascii()`` of itself.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mapcc.diagnostics.escape import shorten
from mapcc.dialects.regexes import Replacement
from mapcc.emit.layout import WIDTH, Expr, call, laid_out, steps

Entry = Replacement
Literal = str | int | None | tuple["Literal", ...]

COMMENT_LIMIT = 100

# Raw strings are how regular expressions are read and written; in these characters they are exact.
_PLAIN = re.compile(r"[A-Za-z0-9_ .^$()\[\]|*+?<>{}/:,;=!@%&~\\-]*")


@dataclass(frozen=True, slots=True)
class Section:
    """Entries of a dict that stand under a comment of their own."""

    comments: tuple[str, ...]
    entries: tuple[tuple[str, Literal], ...]


def literal(value: Literal) -> str:
    r"""A literal that reads back as ``value``, in ASCII.

    >>> print(literal("^blocks\\.(.+)$"), literal("it's"), literal(("x.\\1", 0, 3)))
    r"^blocks\.(.+)$" "it's" (r"x.\1", 0, 3)
    """
    if isinstance(value, tuple):
        return f"({', '.join(map(literal, value))}{',' if len(value) == 1 else ''})"
    return _scalar(value)


def _scalar(value: str | int | None) -> str:
    if not isinstance(value, str) or not _PLAIN.fullmatch(value) or value.endswith("\\"):
        return ascii(value)
    return f'r"{value}"' if "\\" in value else f'"{value}"'


def quoted(text: str) -> str:
    r"""Text from a file, for a comment.

    >>> print(quoted("a\nimport os"))
    'a\nimport os'
    """
    return ascii(shorten(text, COMMENT_LIMIT))


def comment(text: str) -> str:
    """A comment line of our words and :func:`quoted` ones.

    >>> comment(f"line 3: {quoted('a -> b')}")
    "# line 3: 'a -> b'"
    """
    # Only \n and \r end a comment for Python, but what reads lines may split at more than these.
    plain = text.isascii() and text.isprintable()
    assert plain, "a comment is one line of plain text"
    return f"# {text}".rstrip()


def assigned_dict(variable: str, header: Iterable[str], sections: Sequence[Section]) -> str:
    """``variable = {...}`` under its header, an entry a line."""
    assert variable.isidentifier()
    if not any(section.entries for section in sections):
        return "\n".join([*header, variable + " = {}", ""])
    lines = [*header, variable + " = {"]
    for section in sections:
        lines += [f"    {line}" for line in section.comments]
        lines += [line for key, value in section.entries for line in _item(key, value)]
    text = "\n".join([*lines, "}", ""])
    written = [entry for section in sections for entry in section.entries]
    assert read_dict(text, variable) == written, "the text reads back as what was written"
    return text


def _item(key: str, value: Literal) -> list[str]:
    line = f"    {literal(key)}: {literal(value)},"
    if len(line) <= WIDTH or not isinstance(value, tuple) or not isinstance(value[0], tuple):
        return [line]
    return [f"    {literal(key)}: (", *(f"        {literal(part)}," for part in value), "    ),"]


def read_dict(text: str, variable: str) -> list[tuple[str, Literal]]:
    """The entries of an assigned dict, as Python reads them; nothing is run."""
    for statement in ast.parse(text).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Dict(keys=keys, values=values)):
                if name == variable:
                    return [
                        (ast.literal_eval(key), ast.literal_eval(value))
                        for key, value in zip(keys, values, strict=True)
                        if key is not None
                    ]
            case _:
                pass
    return []


@dataclass(frozen=True, slots=True)
class Keyword:
    """A dict that is an argument of a call; ``wrap`` is what its keys are given to (``re.compile``)."""

    name: str
    sections: tuple[Section, ...]
    wrap: str = ""


def assigned_call(variable: str, function: str, before: Iterable[str], keywords: Sequence[Keyword]) -> str:
    """``variable = function(keyword={...})``, an entry a line, with lines before it."""
    assert variable.isidentifier()
    assert function.isidentifier()
    lines = [*before, f"{variable} = {function}("]
    for keyword in keywords:
        lines.append(f"    {keyword.name}={{")
        for section in keyword.sections:
            lines += [f"        {line}" for line in section.comments]
            for key, value in section.entries:
                written = f"{keyword.wrap}({literal(key)})" if keyword.wrap else literal(key)
                lines.append(f"        {written}: {literal(value)},")
        lines.append("    },")
    text = "\n".join([*lines, ")", ""])
    given = {
        keyword.name: [e for section in keyword.sections for e in section.entries] for keyword in keywords
    }
    assert _read_call(text) == given, "the text reads back as what was written"
    return text


def _read_call(text: str) -> dict[str, list[tuple[object, object]]]:
    """The dicts of the call that ends a text, as Python reads them; nothing is run."""
    found: dict[str, list[tuple[object, object]]] = {}
    match ast.parse(text).body[-1]:
        case ast.Assign(value=ast.Call(args=[], keywords=keywords)):
            for keyword in keywords:
                assert keyword.arg is not None
                assert isinstance(keyword.value, ast.Dict)
                entries = found.setdefault(keyword.arg, [])
                for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                    inner = key.args[0] if isinstance(key, ast.Call) else key
                    assert inner is not None
                    entries.append((ast.literal_eval(inner), ast.literal_eval(value)))
        case _:
            pass
    return found


# --- functions and tables of a script


def function(
    name: str, parameters: Iterable[str], comments: Iterable[str], lines: Sequence[Expr]
) -> list[str]:
    """A function under comments: all expressions but the last are values of its first parameter."""
    names = list(parameters)
    assert all(word.isidentifier() for word in (name, *names))
    *before, result = [part for line in lines for part in steps(line, names[0])]
    body = [line for step in before for line in laid_out(step, 4, f"{names[0]} = ")]
    head = laid_out(call(f"def {name}", names), 0, "", ":")
    return [*comments, *head, *body, *laid_out(result, 4, "return ")]


def assigned(name: str, value: Expr) -> list[str]:
    assert name.isidentifier()
    return laid_out(value, 0, f"{name} = ")


def assigned_list(name: str, sections: Iterable[tuple[Sequence[str], Sequence[Expr]]]) -> list[str]:
    """A list whose items stand under comments, an item a line."""
    assert name.isidentifier()
    lines = []
    for comments, items in sections:
        lines += [f"    {line}" for line in comments]
        lines += [line for item in items for line in laid_out(item, 4, "", ",")]
    return [name + " = [", *lines, "]"] if lines else [name + " = []"]


def imports(plain: Iterable[str], named: Iterable[tuple[str, Sequence[str]]], third: Iterable[str]) -> str:
    """Import statements, in the order given; ``third`` are lines as they stand."""
    lines = [f"import {name}" for name in plain]
    lines += [f"from {module} import {', '.join(names)}" for module, names in named if names]
    return "\n".join([*lines, "", *third])
