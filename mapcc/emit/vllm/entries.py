"""A rule as entries of a ``WeightsMapper``: anchored regular expressions, and substrings that stack.

A tensor that becomes a shard is first given a name in which the shard shows, and an entry that stacks
takes that away again. Where it can be, that is the module's own name (``.q_proj.`` becomes
``.qkv_proj.``); a tag at the name's end where that would be found in other names too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from mapcc.dialects.regexes import literal_prefix
from mapcc.dialects.vllm.engine import Kind, Rule
from mapcc.dialects.vllm.shards import LETTERS, Shard
from mapcc.emit.entries import Candidate, Level, Marked, marked_rows
from mapcc.emit.translate import FIRST_MARK, LAST_MARK, Kinds, mark, translate
from mapcc.ir.expr import Name
from mapcc.ir.patterns import Deep, Index, Pattern, Star, Text
from mapcc.ir.program import Listed
from mapcc.passes.paths import PathIndex


class Style(IntEnum):
    """How a shard shows in a name."""

    MODULE = 0  # the name of the module
    PARENT = 1  # with that of the module around it
    TAG = 2


@dataclass(slots=True, eq=False)
class Moving:
    """A rule that gives names."""

    candidate: Candidate
    letters: bool
    style: Style = Style.MODULE


@dataclass(slots=True, eq=False)
class Dropping:
    """A ``drop``: by its pattern, or name by name."""

    listed: Listed
    names: list[str]
    literal: bool = False


Owner = Moving | Dropping


@dataclass(frozen=True, slots=True)
class Line:
    """An entry, and the rule that it comes from."""

    owner: Owner
    rule: Rule


@dataclass(frozen=True, slots=True)
class Signs:
    """Texts that no name has: ``first`` before a name that is done ("": none is needed), ``tag``."""

    first: str
    tag: str

    def tagged(self, shard: Shard) -> str:
        """At the end of a name; no tag is in another."""
        return f"{self.tag}{shard}{self.tag}"


def lines_of(owner: Owner, paths: PathIndex, signs: Signs) -> Iterator[Line]:
    """All entries of a rule; those that stack may be the same for several rules."""
    if isinstance(owner, Dropping):
        for pattern in _dropped(owner):
            yield Line(owner, Rule(Kind.REGEX, _apart(pattern, signs.first), None))
        return
    for marked in marked_rows(owner.candidate, paths):
        between = marked.target
        if marked.row.place is not None:
            shard = shard_of(owner, marked.row.place)
            old, new, between = _shown(marked, owner.style, shard, signs)
            yield Line(owner, Rule(Kind.STACKED, old, new, (shard,)))
        if signs.first or between != marked.source or marked.row.place is None:
            pattern, template = translate(marked.source, signs.first + between, marked.kinds)
            yield Line(owner, Rule(Kind.REGEX, _apart(pattern, signs.first), template))


def _apart(pattern: str, first: str) -> str:
    """A pattern that matches no name that is done."""
    start = literal_prefix(pattern)
    if not first or (start and not first.startswith(start) and not start.startswith(first)):
        return pattern
    return f"^(?!{first}){pattern.removeprefix('^')}"


# --- shards


def shard_of(owner: Moving, place: int) -> Shard:
    return LETTERS[place] if owner.letters else place


def has_letters(candidate: Candidate) -> bool:
    """Whether the parts are an attention's q, k and v: for these vLLM has a layer of its own."""
    for instance, rows in candidate.moved:
        for target in {row.target for row in rows if row.of == len(LETTERS)}:
            parts = sorted((row for row in rows if row.target == target), key=lambda row: row.place or 0)
            names = [instance.sources[row.source][-1] for row in parts]
            found = tuple(_differing(names))
            modules = instance.targets[target].lower()
            return found in (LETTERS, ("query", "key", "value")) or "qkv" in modules
    return False


def _differing(names: Sequence[str]) -> Iterator[str]:
    """What is left of names without what they begin and end with alike."""
    start = 0
    while start < min(map(len, names)) and len({name[start] for name in names}) == 1:
        start += 1
    rests = [name[start:] for name in names]
    end = 0
    while end < min(map(len, rests)) and len({rest[-1 - end] for rest in rests}) == 1:
        end += 1
    for rest in rests:
        yield rest[: len(rest) - end].lower()


def _shown(marked: Marked, style: Style, shard: Shard, signs: Signs) -> tuple[str, str, str]:
    """The substring, what replaces it, and the name in which it stands."""
    if style is not Style.TAG and marked.kinds.separator == ".":
        found = _by_module(marked.source.split("."), marked.target.split("."), 1 + style)
        if found is not None:
            return found
    tag = signs.tagged(shard)
    return tag, "", marked.target + tag


def _by_module(source: list[str], target: list[str], width: int) -> tuple[str, str, str] | None:
    """The module that differs in the two names, with ``width - 1`` modules around it."""
    tail = 0
    while tail < min(len(source), len(target)) - 1 and source[-1 - tail] == target[-1 - tail]:
        tail += 1
    at = len(target) - 1 - tail
    own, around = source[-1 - tail], target[max(at + 1 - width, 0) : at]
    module = target[at]
    if own == module or any(map(_has_marks, (own, module, *around))):
        return None
    before = ("." if at > len(around) else "") + "".join(f"{segment}." for segment in around)
    after = "." if tail else ""
    between = ".".join([*target[:at], own, *target[at + 1 :]])
    return f"{before}{own}{after}", f"{before}{module}{after}", between


def _has_marks(text: str) -> bool:
    return any(FIRST_MARK <= ord(char) <= LAST_MARK for char in text)


# --- drops


def _dropped(owner: Dropping) -> Iterator[str]:
    marked = None if owner.literal else _marked(owner.listed.name)
    if marked is None:
        for name in owner.names:
            yield translate(name, name, Kinds({}, owner.listed.separator))[0]
        return
    name, variables = marked
    yield translate(name, name, Kinds(variables, owner.listed.separator))[0]


def _marked(name: Pattern) -> tuple[str, dict[str, str]] | None:
    """A name with markers for its variables; None if a template has no words for one."""
    out: list[str] = []
    variables: dict[str, str] = {}
    indices: dict[str, str] = {}
    for number, part in enumerate(name.parts):
        sign = mark(number)
        match part:
            case Text(text):
                out.append(text)
                continue
            case Index(Name(word), 0):
                sign = indices.setdefault(word, sign)
                variables[sign] = word
            case Star():
                variables[sign] = "*"
            case Deep():
                variables[sign] = "**"
            case _:
                return None
        out.append(sign)
    return "".join(out), variables


_LAST = 1 << 30


def rank(owner: Owner) -> tuple[bool, bool, bool, int]:
    """Where the first that matches counts: the same order as :func:`mapcc.emit.sayable.precedence`."""
    if isinstance(owner, Dropping):
        return not owner.literal, owner.listed.is_default, True, _LAST
    equation = owner.candidate.equation
    is_open = owner.candidate.open_variables == frozenset(equation.variables)
    return owner.candidate.level is not Level.NAMES, equation.is_default, is_open, equation.number
