"""The entries of a mapper as rules of a mapping, as far as patterns can say them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mapcc.dialects.made import Sketch
from mapcc.dialects.regex_sketch import NoSketch, sketch
from mapcc.dialects.vllm.engine import Kind, Rule
from mapcc.dialects.vllm.shards import LETTERS
from mapcc.ir.notation import print_part
from mapcc.ir.patterns import Text

_CHAINED = "no other entry acts on the same names"


def sketches(rules: Sequence[Rule]) -> list[Sketch]:
    return list(_sketches(rules))


def _sketches(rules: Sequence[Rule]) -> Iterator[Sketch]:
    stacked: dict[str, list[int]] = {}
    for number, rule in enumerate(rules):
        if rule.shards and rule.new is not None:
            stacked.setdefault(rule.new, []).append(number)
            continue
        try:
            left, right, assumed = _names(rule)
        except NoSketch as error:
            yield Sketch("", number, (f"not translated: {error}",))
            continue
        if rule.new is None:
            yield Sketch(f'drop {left} because "vLLM leaves it out"', number, (*assumed, _CHAINED))
        elif left == right:
            yield Sketch(f"keep {left}", number, (*assumed, _CHAINED))
        else:
            yield Sketch(f"{left} -> {right}", number, (*assumed, _CHAINED))
    for numbers in stacked.values():
        yield _fused(rules, numbers)


def _names(rule: Rule) -> tuple[str, str, tuple[str, ...]]:
    new = rule.new or ""
    if rule.kind is Kind.REGEX:
        return sketch(rule.old, new if rule.new is not None else r"\g<0>")
    if not rule.old:
        raise NoSketch("an empty text is found in every name")
    before, after = "", ""
    if rule.kind in (Kind.PREFIX, Kind.SUBSTR, Kind.STACKED, Kind.PARAMS):
        after = "**" if rule.old.endswith(".") else "{,*,*.**}"
    if rule.kind in (Kind.SUFFIX, Kind.SUBSTR, Kind.STACKED, Kind.PARAMS):
        before = "**" if rule.old.startswith(".") else "{,*,**.*}"
    left = before + print_part(Text(rule.old)) + after
    right = before + (print_part(Text(new)) if new else "") + after
    return left, right, ()


def _fused(rules: Sequence[Rule], numbers: Sequence[int]) -> Sketch:
    """The entries of one parameter as one rule: its shards along dimension 0."""
    ordered = sorted(numbers, key=lambda number: _place(rules[number]))
    shards = [shard for number in ordered for shard in rules[number].shards]
    if len(ordered) < 2 or len(shards) != len(ordered) or any(isinstance(s, tuple) for s in shards):
        return Sketch("", numbers[0], ("not translated: which shards there are, the entries do not say",))
    names = [_names(rules[number]) for number in ordered]
    terms = ", ".join(f"{left} : p{k} ..." for k, (left, _, _) in enumerate(names))
    whole = " + ".join(f"p{k}" for k in range(len(names)))
    assumed = (_CHAINED, "the shards are concatenated along dimension 0")
    return Sketch(f"{terms} -> {names[0][1]} : ({whole}) ...", numbers[0], assumed)


def _place(rule: Rule) -> int:
    first = rule.shards[0]
    if isinstance(first, tuple):
        return first[0] if first else 0
    if isinstance(first, int):
        return first
    return LETTERS.index(first) if first in LETTERS else len(LETTERS)
