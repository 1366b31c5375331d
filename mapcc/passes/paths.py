"""``exists`` and ``count``: what the source has, modules as well as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from mapcc.ir.patterns import Pattern, join
from mapcc.passes.copies import alternatives
from mapcc.passes.match import Trie
from mapcc.passes.segments import variants

Value = int | str


@dataclass(slots=True)
class PathIndex:
    """Every name of a key set and every module path above it, asked by pattern.

    A pattern is scanned once; its matches are then looked up by the variables that are bound.
    """

    names: Iterable[str]
    separator: str
    _paths: list[str] | None = None
    _scans: dict[Pattern, list[dict[str, Value]]] = field(default_factory=dict)
    _tables: dict[tuple[Pattern, tuple[str, ...]], dict[tuple[Value, ...], int]] = field(default_factory=dict)

    def count(self, prefix: Pattern, pattern: Pattern, bound: Mapping[str, Value]) -> int:
        """How many choices of the pattern's free variables exist, given those that are bound."""
        whole = join(prefix, pattern, self.separator)
        return self._lookup(whole, bound)

    def _lookup(self, pattern: Pattern, bound: Mapping[str, Value]) -> int:
        scan = self._scan(pattern)
        variables = {variable for match in scan for variable in match}
        fixed = tuple(sorted(variables & bound.keys()))
        table = self._tables.get((pattern, fixed))
        if table is None:
            groups: dict[tuple[Value, ...], set[tuple[tuple[str, Value], ...]]] = {}
            for match in scan:
                key = tuple(match[variable] for variable in fixed)
                groups.setdefault(key, set()).add(tuple(sorted(match.items(), key=lambda kv: kv[0])))
            table = {key: len(choices) for key, choices in groups.items()}
            self._tables[pattern, fixed] = table
        return table.get(tuple(bound[variable] for variable in fixed), 0)

    def _scan(self, pattern: Pattern) -> list[dict[str, Value]]:
        if pattern not in self._scans:
            trie = Trie(self.separator)
            for copy in alternatives([pattern]):
                for variant in variants(copy, self.separator):
                    trie.add(None, variant)
            self._scans[pattern] = [
                {
                    hole.variable: text if hole.variable[:1] in ("*", "/") else int(text)
                    for hole, text in zip(leaf.holes, texts, strict=True)
                }
                for path in self._every_path()
                for leaf, texts in trie.match(path)
            ]
        return self._scans[pattern]

    def _every_path(self) -> list[str]:
        if self._paths is None:
            paths: dict[str, None] = {}
            for name in self.names:
                while name not in paths:
                    paths[name] = None
                    name, _, _ = name.rpartition(self.separator)
                    if not name:
                        break
            self._paths = list(paths)
        return self._paths
