"""``exists`` and ``count`` that nothing answers: a slip of the pen, or a wrong prefix, and silent.

That a name is absent is what these conditions are for, so not every absence is told: a name that some
rule of the mapping takes is a variant's; one that no rule speaks of is nobody's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache

import regex

from mapcc.diagnostics.model import Diagnostic
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir import rules
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import EMPTY, Deep, Pattern, Text, join
from mapcc.ir.program import Equation, Listed, Program
from mapcc.passes.binder import Binder
from mapcc.passes.copies import alternatives
from mapcc.passes.paths import PathIndex
from mapcc.passes.regexes import expression_of
from mapcc.passes.segments import Segment, is_deep, variants
from mapcc.passes.words import asked, left_names
from mapcc.text import Span

CODE = "MC816"

_ALIKE = 0.75


@dataclass(slots=True)
class Question:
    """One ``exists`` or ``count`` as it is written, with all prefixes that it is asked under."""

    word: str
    pattern: Pattern
    span: Span | None
    allows: tuple[rules.Allow, ...]
    is_idle: bool  # its statement has no names to ask for, whatever the answer
    prefixes: dict[Pattern, None] = field(default_factory=dict)


def unanswered(binder: Binder) -> list[tuple[Question, Diagnostic]]:
    """What is asked and matches nothing under any prefix, in the order of the text."""
    out: list[tuple[Question, Diagnostic]] = []
    spoken: _Spoken | None = None
    for question in _questions(binder):
        if any(binder.paths.matches(prefix, question.pattern) for prefix in question.prefixes):
            continue
        spoken = spoken or _Spoken(_taken_names(binder.program), binder.paths)
        told = spoken.tell(question)
        if told is not None:
            out.append((question, told))
    return out


def _questions(binder: Binder) -> Iterable[Question]:
    found: dict[object, Question] = {}
    for owner, is_idle in _owners(binder):
        for condition in owner.conditions:
            for word, pattern, prefix in asked(condition):
                span = pattern.span or condition.span
                place = (span.source.name, span.start, span.end) if span else id(pattern)
                question = found.setdefault(place, Question(word, pattern, span, owner.allow, is_idle))
                question.prefixes[prefix or EMPTY] = None
    return found.values()


def _owners(binder: Binder) -> Iterator[tuple[Equation | Listed, bool]]:
    """Statements that had something to ask: whose names match, whatever the answer was.

    And those that leave tensors out, of which nobody else says that they match nothing.
    """
    program = binder.program
    for equation in program.equations:
        matched = binder.matched.get(equation.number)
        if equation.conditions and matched and (matched.tensors or matched.filtered):
            yield equation, False
    yield from ((each, False) for each in program.creates if each.conditions and not each.broken)
    for listed in (*program.drops, *program.externals):
        if listed.conditions:
            yield listed, not binder.has_matched(listed)


def _taken_names(program: Program) -> Iterator[Pattern]:
    yield from (name for equation in program.equations for name in left_names(equation))
    yield from (listed.name for listed in program.drops)


@dataclass(slots=True)
class _Spoken:
    """What the rules take, to tell a variant's name from one that is wrong."""

    names: Iterable[Pattern]
    paths: PathIndex
    _taken: list[tuple[Segment, ...]] | None = None
    _near: Suggester | None = None

    def tell(self, question: Question) -> Diagnostic | None:
        wholes = [join(prefix, question.pattern, self.paths.separator) for prefix in question.prefixes]
        outside = self._outside(question)
        spoken = max(self._is_spoken_of(whole) for whole in wholes)
        if spoken is _SAID or not wholes:
            return None
        first = next(alternatives(wholes[:1]))
        doubled = self._doubled(question)
        near = None if outside or doubled else self._nearest(first, question)
        is_slip = near is not None and _is_slip(print_name(first), near)
        # A variant may have none of what is asked for by 'exists'; nobody counts what is not there.
        is_certain = outside or doubled or is_slip or question.word == "count"
        if (spoken is _WILD or question.is_idle) and not is_certain:
            return None
        shown = ", ".join(f"`{print_name(whole)}`" for whole in wholes[:3])
        message = f"{question.word}({print_name(question.pattern)}) asks for {shown}: the source has none"
        under = [print_name(prefix) for prefix in question.prefixes if prefix.parts]
        notes = (f"in a block, it asks under the block's prefix: {', '.join(under[:3])}",) if under else ()
        if outside:
            help = f"{outside} is there, outside of the block: ask on the block, or on a rule outside of it"
        elif doubled:
            help = f"the block's prefix stands before it already: {question.word}({doubled})"
        elif near:
            help = self._did_you_mean(near, first, next(iter(question.prefixes)))
        else:
            help = "`mapcc keys SRC` lists the names that there are"
        help += f'; or, if it may be absent: `allow {CODE} because "..."`'
        names = tuple(print_name(whole) for whole in wholes)
        return Diagnostic("MC816", message, question.span, notes=notes, help=help, names=names)

    def _outside(self, question: Question) -> str:
        """The name without the block's prefix, where that is what the source has."""
        if any(prefix.parts for prefix in question.prefixes) and self.paths.matches(EMPTY, question.pattern):
            return print_name(question.pattern)
        return ""

    def _doubled(self, question: Question) -> str:
        """What is asked for without the block's prefix, where that is written out in it."""
        asked_for, separator = print_name(question.pattern), self.paths.separator
        heads = (f"{print_name(prefix)}{separator}" for prefix in question.prefixes if prefix.parts)
        return next((asked_for.removeprefix(head) for head in heads if asked_for.startswith(head)), "")

    def _did_you_mean(self, near: str, whole: Pattern, prefix: Pattern) -> str:
        """With the indices that are asked for in place of the near name's numbers, and as the block asks."""
        separator, asked_for = self.paths.separator, print_name(whole)
        variables = regex.findall(r"\{[^{},]*\}", asked_for)
        numbers = regex.findall("[0-9]+", near)
        shown = print_name(Pattern((Text(near),)))
        if len(numbers) == len(variables) and shown == near and not regex.search("[0-9]", asked_for):
            following = iter(variables)
            shown = regex.sub("[0-9]+", lambda _: next(following), near)
        under = f"{print_name(prefix)}{separator}" if prefix.parts else ""
        if under and not shown.startswith(under):
            return f"did you mean {shown}, which is outside of the block?"
        return f"did you mean {shown.removeprefix(under)}?"

    def _is_spoken_of(self, whole: Pattern) -> int:
        if self._taken is None:
            separator = self.paths.separator
            taken = (
                variant.segments
                for name in self.names
                for copy in alternatives([name])
                for variant in variants(copy, separator)
            )
            self._taken = list(dict.fromkeys(taken))
        asked_for = [
            v.segments for copy in alternatives([whole]) for v in variants(copy, self.paths.separator)
        ]
        return max((_overlap(a, t) for a in asked_for for t in self._taken), default=_NOT)

    def _nearest(self, whole: Pattern, question: Question) -> str | None:
        deeper = join(Pattern((Deep(),)), question.pattern, self.paths.separator)
        is_long = self.paths.separator in print_name(question.pattern)
        if is_long and not any(isinstance(part, Deep) for part in question.pattern.parts):
            below = self.paths.example(deeper)
            if below is not None:
                return below
        self._near = self._near or Suggester(self.paths.every_path())
        plain = regex.sub(r"\{[^{},]*\}", "0", print_name(whole))
        return self._near.nearest(plain)


_NOT, _WILD, _SAID = 0, 1, 2


def _overlap(asked_for: Sequence[Segment], taken: Sequence[Segment]) -> int:
    """Whether a taken name is the asked one, or lies below it: by its words, or by a wildcard alone."""
    result = _SAID
    for at, segment in enumerate(asked_for):
        if at >= len(taken):
            return _NOT
        if is_deep(taken[at]) or is_deep(segment):
            return _WILD
        alike = _alike(segment, taken[at])
        if alike == _NOT:
            return _NOT
        result = min(result, alike)
    return result


@lru_cache(maxsize=1 << 14)
def _alike(asked_for: Segment, taken: Segment) -> int:
    a, b = _literal(asked_for), _literal(taken)
    if a is not None and b is not None:
        return _SAID if a == b else _NOT
    if b is not None:
        return _SAID if regex.fullmatch(expression_of(asked_for), b) else _NOT
    if a is None:
        ours = [piece if isinstance(piece, str) else "" for piece in asked_for]
        theirs = [piece if isinstance(piece, str) else "" for piece in taken]
        return _SAID if ours == theirs else _WILD
    if not regex.fullmatch(expression_of(taken), a):
        return _NOT
    return _SAID if a.isdigit() else _WILD


def _literal(segment: Segment) -> str | None:
    return None if any(not isinstance(piece, str) for piece in segment) else "".join(map(str, segment))


def _is_slip(written: str, near: str) -> bool:
    """Whether two names differ in the letters of one segment, and not much, or in segments in front."""
    ours = regex.sub(r"\{[^{},]*\}|[0-9]+", "0", written).split(".")
    theirs = regex.sub("[0-9]+", "0", near).split(".")
    if len(ours) != len(theirs):
        return ours[-2:] == theirs[-2:]
    differing = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    if len(differing) != 1:
        return False
    return SequenceMatcher(None, *differing[0], autojunk=False).ratio() >= _ALIKE
