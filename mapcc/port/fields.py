"""Maps of YAML read field by field: what is unknown, missing or of another kind is told, all of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.diagnostics.suggest import nearest
from mapcc.syntax.yaml_nodes import Map, Node, Scalar, Sequence
from mapcc.text import Span

_T = TypeVar("_T")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_WORDS = {"true": True, "false": False}


class Fields:
    """One map; each field is asked for once, and :meth:`end` tells of those that nobody asked for."""

    def __init__(self, node: Node | None, what: str, found: Diagnostics, at: Span) -> None:
        self._entries = dict(node.entries) if isinstance(node, Map) else {}
        self._keys = node.keys if isinstance(node, Map) else {}
        self.span = node.span if node is not None else at
        self._what, self._found = what, found
        self._asked: list[str] = []
        if node is not None and not isinstance(node, Map):
            self.fault(f"{what} is a map of fields", node.span)

    def fault(self, message: str, span: Span | None = None, help: str = "") -> None:
        self._found.add(Diagnostic("MC102", message, span or self.span, help=help))

    def has(self, key: str) -> bool:
        return key in self._entries

    def at(self, key: str) -> Span | None:
        """Where the value of a field stands."""
        return self._entries[key].span if key in self._entries else None

    def take(self, key: str, needed: str = "") -> Node | None:
        """The field's node; if it is missing and ``needed``, that is a fault, with this as help."""
        self._asked.append(key)
        if key not in self._entries and needed:
            self.fault(f"{self._what} has no `{key}`", self._head(), f"write `{key}: {needed}`")
        return self._entries.get(key)

    def text(self, key: str, default: str = "", *, needed: str = "", within: Collection[str] = ()) -> str:
        node = self.take(key, needed)
        if node is None:
            return default
        if not isinstance(node, Scalar) or (not node.text and not node.quoted):
            self.fault(f"`{key}` is a text", node.span)
            return default
        if within and node.text not in within:
            near = nearest(node.text, within, 1)
            help = f"did you mean `{near[0]}`?" if near else f"one of {', '.join(within)}"
            self.fault(f"`{key}` cannot be {node.text!r}", node.span, help)
            return default
        return node.text

    def number(self, key: str, default: float, *, low: float | None = None) -> float:
        node = self.take(key)
        if node is None:
            return default
        if not isinstance(node, Scalar) or not _NUMBER.fullmatch(node.text):
            self.fault(f"`{key}` is a number", node.span)
            return default
        value = float(node.text)
        if low is not None and value < low:
            self.fault(f"`{key}` is at least {low:g}", node.span)
            return default
        return value

    def natural(self, key: str, default: int) -> int:
        value = self.number(key, default, low=0)
        if value != int(value):
            self.fault(f"`{key}` is a whole number", self._entries[key].span)
            return default
        return int(value)

    def flag(self, key: str, default: bool = False) -> bool:
        node = self.take(key)
        if node is None:
            return default
        if not isinstance(node, Scalar) or node.text not in _WORDS:
            self.fault(f"`{key}` is true or false", node.span)
            return default
        return _WORDS[node.text]

    def texts(self, key: str, *, needed: str = "") -> tuple[str, ...]:
        """A text, or a list of them."""
        node = self.take(key, needed)
        if node is None:
            return ()
        items = node.items if isinstance(node, Sequence) else (node,)
        wrong = [item for item in items if not isinstance(item, Scalar) or not item.text]
        for item in wrong:
            self.fault(f"`{key}` is a text, or a list of texts", item.span)
        if needed and not items:
            self.fault(f"`{key}` names nothing", node.span, f"write `{key}: {needed}`")
        return tuple(item.text for item in items if isinstance(item, Scalar) and item.text)

    def naturals(self, key: str, *, needed: str = "") -> tuple[int, ...]:
        node = self.take(key, needed)
        if node is None:
            return ()
        items = node.items if isinstance(node, Sequence) else ()
        if not isinstance(node, Sequence) or not all(_is_natural(item) for item in items):
            self.fault(f"`{key}` is a list of whole numbers", node.span, "such as [1, 16, 8, 8]")
            return ()
        return tuple(int(item.text) for item in items if isinstance(item, Scalar))

    def fields(self, key: str, what: str, *, needed: str = "") -> Fields:
        """A map inside; an empty one where it is missing."""
        return Fields(self.take(key, needed), what, self._found, self._head())

    def each(self, key: str, read: Callable[[str, Fields], _T], *, needed: str = "") -> tuple[_T, ...]:
        """A map of maps: ``read(name, fields)`` of each."""
        node = self.take(key, needed)
        if node is None:
            return ()
        if not isinstance(node, Map):
            self.fault(f"`{key}` is a map, a name before each", node.span)
            return ()
        out = []
        for name, value in node.entries.items():
            inner = Fields(value, f"`{name}`", self._found, node.keys[name])
            inner.span = node.keys[name]
            out.append(read(name, inner))
        return tuple(out)

    def listed(self, key: str, what: str) -> Iterator[Fields]:
        """A list of maps; a single one may stand alone."""
        node = self.take(key)
        items = node.items if isinstance(node, Sequence) else () if node is None else (node,)
        for item in items:
            yield Fields(item, what, self._found, item.span)

    def named(self, key: str) -> dict[str, str]:
        """A map of texts."""
        node = self.take(key)
        if node is None:
            return {}
        if not isinstance(node, Map) or not all(isinstance(v, Scalar) for v in node.entries.values()):
            self.fault(f"`{key}` is a map of texts", node.span)
            return {}
        return {name: v.text for name, v in node.entries.items() if isinstance(v, Scalar)}

    def plain(self, key: str) -> dict[str, object]:
        """A map of anything, as plain data."""
        node = self.take(key)
        value = None if node is None else plain(node)
        if node is not None and not isinstance(value, dict):
            self.fault(f"`{key}` is a map", node.span)
        return value if isinstance(value, dict) else {}

    def end(self) -> None:
        for key in self._entries.keys() - set(self._asked):
            near = nearest(key, self._asked, 1)
            help = f"did you mean `{near[0]}`?" if near else f"it may have {', '.join(self._asked)}"
            self.fault(f"{self._what} has no field `{key}`", self._keys[key], help)

    def _head(self) -> Span:
        """Where a fault of the whole map is shown: its first line."""
        text = self.span.source.text
        end = text.find("\n", self.span.start)
        return Span(self.span.source, self.span.start, min(self.span.end, end if end >= 0 else len(text)))


def _is_natural(node: Node) -> bool:
    return isinstance(node, Scalar) and node.text.isdecimal() and len(node.text) < 19


def plain(node: Node) -> object:
    """As JSON would have it: unquoted numbers and words are what they look like."""
    match node:
        case Scalar(text, _, quoted):
            return text if quoted else _value(text)
        case Sequence(items):
            return [plain(item) for item in items]
        case Map(entries):
            return {key: plain(value) for key, value in entries.items()}


def _value(text: str) -> object:
    if text in ("null", "~", ""):
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _NUMBER.fullmatch(text):
        return int(text) if re.fullmatch(r"[+-]?\d+", text) else float(text)
    return text


def canonical(value: object) -> str:
    """The same text for the same data."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
