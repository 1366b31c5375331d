"""Drafts as statements of a mapping."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mapcc.ir import rules
from mapcc.ir.axes import Shape
from mapcc.ir.expr import Binary, Expr, Name, Number
from mapcc.ir.patterns import Deep, Index, NameAxis, Pattern, Star, Text, exact_name
from mapcc.ir.patterns import Part as PatternPart
from mapcc.lift.templates import Axis, Draft, Part, Rest, Term, Var

_LETTERS = "ijklmn"


def statement(draft: Draft, comments: Sequence[str]) -> rules.Statement:
    """``keep`` for names that stay, a rule otherwise; comments stand on the lines before it."""
    trivia = rules.Trivia(tuple(comments))
    modifiers = rules.Modifiers(where=(*_ranges(draft), *_sizes(draft)))
    if draft.left == draft.right and len(draft.left) == 1 and draft.left[0].shape is None:
        return rules.Keep((pattern(draft.left[0]),), modifiers, trivia=trivia)
    return rules.Rule(
        tuple(map(_tensor, draft.left)), tuple(map(_tensor, draft.right)), modifiers=modifiers, trivia=trivia
    )


def dropped(names: Iterable[str], because: str, comments: Sequence[str]) -> rules.Drop:
    patterns = tuple(exact_name(name) for name in names)
    return rules.Drop(patterns, because, trivia=rules.Trivia(tuple(comments)))


def mapping_of(body: Iterable[rules.Statement], name: str, header: Sequence[str]) -> rules.Mapping:
    return rules.Mapping(name or None, None, tuple(body), trivia=rules.Trivia(tuple(header)))


def pattern(term: Term) -> Pattern:
    parts = [_part(part, term.axis) for part in term.template]
    whole = "".join(part.text if isinstance(part, Text) else "x" for part in parts)
    if all(whole.split(".")):
        return Pattern(tuple(parts))
    # What an engine makes of real names has empty segments where they have.
    return Pattern(tuple(Text(part.text, True) if isinstance(part, Text) else part for part in parts))


def _part(part: Part, axis: str) -> PatternPart:
    match part:
        case str():
            return Text(part)
        case Var(number, plus):
            index = Name(letter(number))
            if not plus:
                return Index(index)
            return Index(Binary("+" if plus > 0 else "-", index, Number(abs(plus))))
        case Axis(labels):
            return NameAxis(axis, labels)
        case Rest(deep):
            return Deep() if deep else Star()


def letter(number: int) -> str:
    """The name of an index.

    >>> letter(0), letter(7)
    ('i', 'i7')
    """
    return _LETTERS[number] if number < len(_LETTERS) else f"i{number}"


def _tensor(term: Term) -> rules.Tensor:
    shape: Shape | None = term.shape
    return rules.Tensor(pattern(term), shape)


def _ranges(draft: Draft) -> Iterable[rules.Condition]:
    for number, low, high in draft.ranges:
        yield rules.InRange(Name(letter(number)), Number(low), Number(high))


def _sizes(draft: Draft) -> Iterable[rules.Condition]:
    by_size: dict[int, list[str]] = {}
    for atom, size in draft.sizes:
        by_size.setdefault(size, []).append(atom)
    for size, atoms in by_size.items():
        operands: tuple[Expr, ...] = (*map(Name, atoms), Number(size))
        yield rules.Compare(operands, ("=",) * (len(operands) - 1))
