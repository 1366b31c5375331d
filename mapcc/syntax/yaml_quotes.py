"""Patterns that stand in YAML without quotes, where braces, brackets and stars mean something else."""

from __future__ import annotations

import json
import re

from mapcc.diagnostics.model import Diagnostic, Edit, Fix
from mapcc.syntax.yaml_nodes import Map, Node, Scalar, Sequence
from mapcc.text import Source, Span

HELP = "quote patterns in YAML"

# A value that begins with what YAML reads itself, or text that touches a bracket in a list or a map.
_SUSPECT = re.compile(r"(?:[:\-,\[{][ \t]+|^[ \t]*)[{\[*&!%@`|>]|[\w.*/-][{\[]|[}\]][\w.*/-]|\{[^{}:]*\}")


def unquoted(node: Node) -> Diagnostic | None:
    """A map or list that was a pattern: ``{a,b}``, ``{i}``, ``[t=q,k]``."""
    text = node.span.text
    match node:
        case Map(entries) if text.startswith("{") and entries:
            if not all(isinstance(value, Scalar) and not value.span.text for value in entries.values()):
                return None
            kind = "map"
        case Sequence(items) if text.startswith("[") and items:
            first = items[0]
            if not isinstance(first, Scalar) or first.quoted or not re.match(r"\w+=", first.text):
                return None
            kind = "list"
        case _:
            return None
    quoted = json.dumps(text, ensure_ascii=False)
    fix = Fix(f"{text} in quotes", (Edit(node.span, quoted),), "\n" not in text)
    message = f"{text} without quotes is a {kind} in YAML, and no pattern"
    return Diagnostic("MC102", message, node.span, help=f"{HELP}: {quoted}", fixes=(fix,))


def advice(source: Source, at: int) -> str:
    """What to do about text that is not YAML, if a pattern without quotes may be why."""
    start = source.text.rfind("\n", 0, at) + 1
    line = Span(source, start, start).line
    return f'{HELP}: from: "x.{{i}}"' if _SUSPECT.search(source.line(line)) else ""
