"""Which names a set of patterns matches: one trie over segments for all of them.

A name is walked once, whatever the number of patterns. Literal segments are looked up; what is
left at a node are the few distinct shapes of segments with holes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import regex

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.passes.segments import Hole, Segment, Variant, is_deep

INTEGER = "0|[1-9][0-9]{0,17}"
REGEX_SECONDS = 0.05
REGEX_BUDGET = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Leaf:
    """The end of a pattern: its owner's key, and the holes whose texts a match gives, in order."""

    owner: Any
    variant: Variant
    holes: tuple[Hole, ...]


@dataclass(slots=True)
class _Node:
    literals: dict[str, _Node] = field(default_factory=dict)
    integer: _Node | None = None
    anything: _Node | None = None
    expressions: dict[str, tuple[Any, _Node]] = field(default_factory=dict)
    deep: _Node | None = None
    leaves: list[Leaf] = field(default_factory=list)


class Trie:
    """Patterns of one side; they share its separator."""

    def __init__(self, separator: str) -> None:
        self.separator = separator
        self._root = _Node()
        self._budget = REGEX_BUDGET

    def add(self, owner: Any, variant: Variant) -> None:
        node = self._root
        for segment in variant.segments:
            node = self._child(node, segment)
        node.leaves.append(Leaf(owner, variant, tuple(variant.holes)))

    def _child(self, node: _Node, segment: Segment) -> _Node:
        if all(isinstance(piece, str) for piece in segment):
            return node.literals.setdefault("".join(map(str, segment)), _Node())
        if is_deep(segment):
            node.deep = node.deep or _Node()
            return node.deep
        if len(segment) == 1 and isinstance(segment[0], Hole) and segment[0].regex is None:
            if segment[0].variable.startswith("*"):
                node.anything = node.anything or _Node()
                return node.anything
            if not segment[0].variable.startswith("/"):
                node.integer = node.integer or _Node()
                return node.integer
        text = _expression(segment)
        if text not in node.expressions:
            node.expressions[text] = (regex.compile(text), _Node())
        return node.expressions[text][1]

    def match(self, name: str) -> list[tuple[Leaf, list[str]]]:
        """Every pattern that matches a name, with the texts of its holes."""
        out: list[tuple[Leaf, list[str]]] = []
        self._walk(self._root, name.split(self.separator), 0, [], out)
        return out

    def _walk(
        self, node: _Node, segments: list[str], at: int, texts: list[str], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        while True:
            if at == len(segments):
                if node.leaves:
                    out.extend((leaf, texts) for leaf in node.leaves)
                return
            segment = segments[at]
            literal = node.literals.get(segment)
            integer = node.integer
            if integer is not None and not (
                segment.isdigit()
                and segment.isascii()
                and (segment[0] != "0" or segment == "0")
                and len(segment) < 19
            ):
                integer = None
            if not (node.anything or node.expressions or node.deep):
                # The usual case by far: one way on.
                if integer is None:
                    if literal is None:
                        return
                    node, at = literal, at + 1
                    continue
                if literal is None:
                    node, at, texts = integer, at + 1, [*texts, segment]
                    continue
            break
        if literal is not None:
            self._walk(literal, segments, at + 1, texts, out)
        if integer is not None:
            self._walk(integer, segments, at + 1, [*texts, segment], out)
        if node.anything is not None and segment:
            self._walk(node.anything, segments, at + 1, [*texts, segment], out)
        for compiled, child in node.expressions.values():
            found = self._full_match(compiled, segment)
            if found is not None:
                self._walk(child, segments, at + 1, texts + found, out)
        if node.deep is not None:
            self._walk_deep(node.deep, segments, at, texts, out)

    def _walk_deep(
        self, node: _Node, segments: list[str], at: int, texts: list[str], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        if node.leaves and all(segments[at:]):
            deep = [*texts, "\0".join(segments[at:])]
            out.extend((leaf, deep) for leaf in node.leaves)
        if node.literals or node.integer or node.anything or node.expressions:
            for end in range(at + 1, len(segments)):
                self._walk_after_deep(node, segments, end, [*texts, "\0".join(segments[at:end])], out)

    def _walk_after_deep(
        self, node: _Node, segments: list[str], at: int, texts: list[str], out: list[tuple[Leaf, list[str]]]
    ) -> None:
        # The node's own leaves end at the ``**``: they were taken above.
        bare = _Node(node.literals, node.integer, node.anything, node.expressions, None, [])
        self._walk(bare, segments, at, texts, out)

    def _full_match(self, compiled: Any, segment: str) -> list[str] | None:
        started = monotonic()
        try:
            found = compiled.fullmatch(segment, timeout=REGEX_SECONDS)
        except TimeoutError:
            raise _too_slow(compiled.pattern) from None
        spent = monotonic() - started
        if spent > 0.001:
            self._budget -= spent
            if self._budget < 0:
                raise _too_slow(compiled.pattern)
        if found is None:
            return None
        return [found.group(f"_{k}") for k in range(sum(key.startswith("_") for key in found.groupdict()))]


def _too_slow(expression: str) -> MappingError:
    message = f"the regular expression {expression!r} takes too long on a name"
    return MappingError([Diagnostic("MC412", message, help="use a template: {i}, *, {a,b}")])


MAX_REGEX = 512
MAX_REPEATS = 1000
_REPEAT = regex.compile(r"\{(\d*)(?:,(\d*))?\}")


def regex_fault(expression: str) -> str:
    """Why a regular expression is refused; "" if it is not.

    Compiling has no time limit, so length and counted repeats are limited before.
    """
    if len(expression) > MAX_REGEX:
        return f"longer than {MAX_REGEX} characters"
    repeats = 1
    for low, high in _REPEAT.findall(expression):
        repeats *= max(1, int((high or low or "1")[:6]))
    if repeats > MAX_REPEATS:
        return f"its counted repeats multiply to more than {MAX_REPEATS}"
    if expression.count("(") > 32:
        return "more than 32 groups"
    try:
        compiled = regex.compile(expression)
    except (regex.error, OverflowError, RecursionError, ValueError) as error:
        return str(error)
    if any(key.startswith("_") for key in compiled.groupindex):
        return "names of groups do not begin with '_'"
    return ""


def _expression(segment: Segment) -> str:
    out: list[str] = []
    holes = 0
    for piece in segment:
        if isinstance(piece, str):
            out.append(regex.escape(piece, special_only=True))
            continue
        if piece.regex is not None:
            body = piece.regex
        elif piece.variable.startswith("*"):
            body = ".*"
        else:
            body = INTEGER
        out.append(f"(?P<_{holes}>{body})")
        holes += 1
    return "".join(out)


def matches(trie: Trie, names: Iterable[str]) -> Iterator[tuple[str, Leaf, list[str]]]:
    """Every match of every name."""
    for name in names:
        for leaf, texts in trie.match(name):
            yield name, leaf, texts
