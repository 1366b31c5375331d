"""YAML, strictly: scalars, lists and maps with places; nothing that surprises.

Only PyYAML's event stream is used. Anchors, aliases, tags, merge keys, second documents,
duplicate keys and deep nesting are refused; a scalar stays text.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.text import Source, Span

MAX_DEPTH = 32
MAX_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Scalar:
    text: str
    span: Span
    quoted: bool


@dataclass(frozen=True, slots=True)
class Sequence:
    items: tuple[Node, ...]
    span: Span


@dataclass(frozen=True, slots=True)
class Map:
    """Keys in order, with their own places."""

    entries: dict[str, Node]
    keys: dict[str, Span]
    span: Span


Node = Scalar | Sequence | Map


def scalars(node: Node) -> Iterator[Span]:
    """The places of all keys and texts, in order."""
    match node:
        case Scalar():
            yield node.span
        case Sequence(items):
            for item in items:
                yield from scalars(item)
        case Map(entries, keys):
            for key, value in entries.items():
                yield keys[key]
                yield from scalars(value)


class _Refused(Exception):
    def __init__(self, message: str, start: int, end: int) -> None:
        super().__init__(message)
        self.start, self.end = start, end


def read_yaml(source: Source, found: Diagnostics) -> Node | None:
    """The one document of a text, or None with a diagnostic."""
    try:
        return _Composer(source).document()
    except _Refused as error:
        found.add(Diagnostic("MC102", str(error), Span(source, error.start, error.end)))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        at = min(mark.index, len(source.text)) if mark else 0
        found.add(Diagnostic("MC101", f"not YAML: {error.problem or error.context}", Span(source, at, at)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        found.add(Diagnostic("MC101", f"not YAML: {str(error).splitlines()[0]}", Span(source, 0, 0)))
    return None


def _places(event: yaml.Event) -> tuple[int, int]:
    start, end = event.start_mark, event.end_mark
    return (start.index if start else 0), (end.index if end else 0)


class _Composer:
    def __init__(self, source: Source) -> None:
        self.source = source
        self.nodes = 0
        self.events: Iterator[yaml.Event] = yaml.parse(source.text, Loader=yaml.SafeLoader)

    def document(self) -> Node | None:
        next(self.events)
        first = next(self.events)
        if isinstance(first, yaml.StreamEndEvent):
            return None
        node = self._node(next(self.events), 0)
        next(self.events)
        last = next(self.events)
        if not isinstance(last, yaml.StreamEndEvent):
            raise _Refused("a mapping is one YAML document", *_places(last))
        return node

    def _node(self, event: yaml.Event, depth: int) -> Node:
        start, end = _places(event)
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise _Refused(f"nested more than {MAX_DEPTH} deep", start, end)
        if self.nodes > MAX_NODES:
            raise _Refused(f"more than {MAX_NODES:,} nodes", start, end)
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise _Refused("anchors and aliases are not used here", start, end)
        if getattr(event, "tag", None):
            raise _Refused("tags are not used here", start, end)
        match event:
            case yaml.ScalarEvent():
                return Scalar(event.value, self._span(start, end), event.style in ('"', "'"))
            case yaml.SequenceStartEvent():
                return self._sequence(start, depth)
            case _:
                return self._map(start, depth)

    def _sequence(self, start: int, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(tuple(items), self._whole(start, event, items[-1] if items else None))

    def _map(self, start: int, depth: int) -> Map:
        entries: dict[str, Node] = {}
        keys: dict[str, Span] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise _Refused("a key is a text", key.span.start, key.span.end)
            if key.text == "<<":
                raise _Refused("merge keys are not used here", key.span.start, key.span.end)
            if key.text in entries:
                raise _Refused(f"key {key.text!r} stands twice", key.span.start, key.span.end)
            keys[key.text] = key.span
            entries[key.text] = self._node(next(self.events), depth + 1)
        return Map(entries, keys, self._whole(start, event, [None, *entries.values()][-1]))

    def _whole(self, start: int, end: yaml.Event, last: Node | None) -> Span:
        """From the start to the closing bracket, if there is one: a block's end lies behind comments."""
        closed, after = _places(end)
        if last is not None and closed == after:
            return Span(self.source, start, last.span.end)
        return self._span(start, after)

    def _span(self, start: int, end: int) -> Span:
        text = self.source.text
        while end > start + 1 and end <= len(text) and text[end - 1].isspace():
            end -= 1
        return Span(self.source, start, min(end, len(text)))
