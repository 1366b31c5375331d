"""A transform in a line, as a table of transformers has it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mapcc.dialects.transformers.table import Operation, Transform, Value

_DOT = re.compile(r"(?<!\\)\.(?![*+?{])")
_WORD_START = re.compile(r"[A-Za-z0-9_]")


def text_of(entry: Transform) -> str:
    """
    >>> text_of(Transform("WeightConverter", ("qkv",), ("q", "k", "v"), (Operation("Chunk", (("dim", 1),)),)))
    "WeightConverter('qkv', ['q', 'k', 'v'], [Chunk(dim=1)])"
    """
    options = dict(entry.options)
    scope = options.pop("scope_prefix", None)
    options.pop("base_model_prefix", None)
    if entry.kind == "PrefixChange":
        arguments = []
    else:
        arguments = [_patterns(entry.sources), _patterns(entry.targets)]
    if entry.operations:
        arguments.append(f"[{', '.join(map(_operation, entry.operations))}]")
    arguments += [f"{name}={_value(value)}" for name, value in options.items()]
    text = f"{entry.kind}({', '.join(arguments)})"
    return text if scope is None else f"{text} under {str(scope)!r}"


def _patterns(patterns: Sequence[str]) -> str:
    return _quoted(patterns[0]) if len(patterns) == 1 else f"[{', '.join(map(_quoted, patterns))}]"


def _quoted(text: str) -> str:
    return f"r'{text}'" if "\\" in text and text.isprintable() and "'" not in text else repr(text)


def _operation(operation: Operation) -> str:
    return f"{operation.name}({', '.join(f'{name}={_value(value)}' for name, value in operation.options)})"


def _value(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_value, value))}]"
    return repr(value)


def looseness(entry: Transform) -> str:
    """Why the patterns of an entry may match more than they were written for; "" if they cannot."""
    if entry.kind == "PrefixChange":
        return ""
    why = []
    plain = [re.sub(r"\([^()]*\)", "", pattern) for pattern in entry.sources]
    if any(_WORD_START.match(pattern) for pattern in entry.sources):
        why.append("it begins anywhere, within a word too")
    elif any(not pattern.startswith("^") for pattern in entry.sources):
        why.append("it begins anywhere")
    if any(_DOT.search(pattern.replace("*.", "")) for pattern in plain):
        why.append("a dot stands for any character")
    if any("*." in pattern for pattern in entry.sources):
        why.append("`*.` stands for any text, dots included")
    return "; ".join(why)
