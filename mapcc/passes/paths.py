"""``exists`` and ``count``: what the source has, modules as well as tensors."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from mapcc.ir.expr import Config, Count, Expr, Name, Unevaluable, evaluate, names
from mapcc.ir.patterns import Pattern, join
from mapcc.passes.copies import alternatives
from mapcc.passes.indices import NotOneToOne, solve_indices
from mapcc.passes.match import Leaf, Trie
from mapcc.passes.segments import variants

_ZEROS = re.compile(r"(?<![0-9])0[0-9]+")

Value = int | str
# A word of an index expression that is no index; Unevaluable if it has no value.
Parameter = Callable[[str], int]
Choice = dict[str, Value]


def no_parameter(word: str) -> int:
    raise Unevaluable(f"{word!r} has no value here", word)


@dataclass(slots=True)
class _Scan:
    """What a pattern matches, by its variables; the numbers of ``{i+1}`` by ``=0``, ``=1``, ..."""

    choices: list[Choice] = field(default_factory=list)
    exprs: dict[str, Expr] = field(default_factory=dict)
    tables: dict[tuple[str, ...], dict[tuple[Value, ...], int]] = field(default_factory=dict)


@dataclass(slots=True)
class PathIndex:
    """Every name of a key set and every module path above it, asked by pattern.

    A pattern is scanned once; its matches are then looked up by the variables that are bound.
    """

    names: Iterable[str]
    separator: str
    _paths: list[str] | None = None
    _kinds: list[str] | None = None
    _padded: frozenset[int] | None = None
    _scans: dict[Pattern, _Scan] = field(default_factory=dict)

    def count(
        self,
        prefix: Pattern,
        pattern: Pattern,
        bound: Mapping[str, Value],
        parameter: Parameter = no_parameter,
    ) -> int:
        """How many choices of the pattern's free variables exist, given those that are bound."""
        scan = self._scan(join(prefix, pattern, self.separator))
        if scan.exprs:
            bound = {**bound, **_told(scan.exprs, bound, parameter)}
            if not scan.exprs.keys() <= bound.keys():
                return _solved(scan, bound, parameter)
        return _looked_up(scan, bound)

    def example(self, whole: Pattern) -> str | None:
        """A name or module that a pattern matches."""
        trie = self._trie(whole)
        paths = self._one_of_a_kind() if trie.is_blind else self.every_path()
        return next((path for path, found, _ in trie.open_matches(paths) if found.leaves), None)

    def padded(self) -> frozenset[int]:
        """How many digits numbers have that begin with zeros."""
        if self._padded is None:
            runs = _ZEROS.findall("\n".join(self.names))
            self._padded = frozenset(map(len, runs))
        return self._padded

    def _one_of_a_kind(self) -> list[str]:
        """The first of all paths that differ in their numbers alone."""
        if self._kinds is None:
            paths = self.every_path()
            shapes = Trie(self.separator).shapes(paths)
            first: dict[str, str] = {}
            for path, shape in zip(paths, shapes or paths, strict=True):
                first.setdefault(shape, path)
            self._kinds = list(first.values())
        return self._kinds

    def matches(self, prefix: Pattern, pattern: Pattern) -> int:
        """How many names and modules match, whatever the variables are."""
        return len(self._scan(join(prefix, pattern, self.separator)).choices)

    def every_path(self) -> list[str]:
        """All names, and all modules above them."""
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

    def _scan(self, pattern: Pattern) -> _Scan:
        scan = self._scans.get(pattern)
        if scan is None:
            scan = self._scans[pattern] = _Scan()
            trie = self._trie(pattern)
            for path in self.every_path():
                for leaf, texts in trie.match(path):
                    choice = _choice(leaf, texts, scan.exprs)
                    if choice is not None:
                        scan.choices.append(choice)
        return scan

    def _trie(self, pattern: Pattern) -> Trie:
        trie = Trie(self.separator)
        for copy in alternatives([pattern]):
            for variant in variants(copy, self.separator):
                trie.add(None, variant)
        return trie


def _choice(leaf: Leaf, texts: list[str], exprs: dict[str, Expr]) -> Choice | None:
    """The values of one match; None if a variable that stands twice has two of them."""
    choice: Choice = {}
    for at, (hole, text) in enumerate(zip(leaf.holes, texts, strict=True)):
        key = hole.variable
        if hole.expr is not None and not key:
            key = f"={at}"
            exprs[key] = hole.expr
        value: Value = text if key[:1] in ("*", "/") else int(text)
        if choice.setdefault(key, value) != value:
            return None
    return choice


def _looked_up(scan: _Scan, bound: Mapping[str, Value]) -> int:
    variables = {variable for match in scan.choices for variable in match} if bound else set()
    fixed = tuple(sorted(variables & bound.keys()))
    table = scan.tables.get(fixed)
    if table is None:
        groups: dict[tuple[Value, ...], set[tuple[tuple[str, Value], ...]]] = {}
        for match in scan.choices:
            key = tuple(match[variable] for variable in fixed)
            groups.setdefault(key, set()).add(tuple(sorted(match.items(), key=lambda kv: kv[0])))
        table = {key: len(choices) for key, choices in groups.items()}
        scan.tables[fixed] = table
    return table.get(tuple(bound[variable] for variable in fixed), 0)


def _told(exprs: Mapping[str, Expr], bound: Mapping[str, Value], parameter: Parameter) -> Choice:
    """The numbers of the index expressions whose words all have a value."""

    def look(leaf: Name | Config | Count) -> int | float | str:
        if not isinstance(leaf, Name):
            raise Unevaluable("only indices stand in a name")
        return bound[leaf.name] if leaf.name in bound else parameter(leaf.name)

    out: Choice = {}
    for key, expr in exprs.items():
        try:
            value = evaluate(expr, look)
        except Unevaluable:
            continue
        if isinstance(value, int):
            out[key] = value
    return out


def _solved(scan: _Scan, bound: Mapping[str, Value], parameter: Parameter) -> int:
    """The same where an index expression has words of its own: ``{2*k + 1}`` is an odd number."""
    words = {word for expr in scan.exprs.values() for word in names(expr)}
    indices = frozenset(word for word in words if word in bound or not _has_value(word, parameter))
    found: set[tuple[tuple[str, Value], ...]] = set()
    for match in scan.choices:
        if any(match.get(variable, value) != value for variable, value in bound.items()):
            continue
        known = {word: int(bound.get(word, match.get(word, -1))) for word in indices}
        known = {word: value for word, value in known.items() if value >= 0}
        numbers = [(expr, int(match[key])) for key, expr in scan.exprs.items() if key in match]
        try:
            solved = solve_indices(numbers, known, parameter, {}, indices)
        except NotOneToOne:
            solved = {}
        if solved is not None:
            found.add(tuple(sorted(match.items(), key=lambda kv: kv[0])))
    return len(found)


def _has_value(word: str, parameter: Parameter) -> bool:
    try:
        parameter(word)
    except Unevaluable:
        return False
    return True
