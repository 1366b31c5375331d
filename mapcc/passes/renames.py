"""Names on the right that are not the target's: what was meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.diagnostics.model import Edit, Fix
from mapcc.ir import rules
from mapcc.ir.bound import Instance
from mapcc.ir.patterns import Pattern, Text
from mapcc.ir.program import Equation
from mapcc.passes.naming import renaming, tokens_of
from mapcc.passes.offers import Unmatched
from mapcc.passes.repeats import heads_at
from mapcc.passes.words import left_names, regex_names, right_names, variables_of
from mapcc.syntax.editing import inserted
from mapcc.text import Span

_NUMBER = re.compile(r"[0-9]+")
_INDEX = re.compile(r"\{([A-Za-z_]\w*)([+-][0-9]+)?\}")


def lost_indices(equation: Equation) -> list[str]:
    """Indices that stand on the left only, so that several sources have one target."""
    regexes = regex_names(equation)
    ours, theirs = (
        {v for name in names for v in variables_of(name, equation.indices, regexes)}
        for names in (left_names(equation), right_names(equation))
    )
    return sorted(v for v in ours - theirs if v[0] not in "*/")


def renamings(
    instance: Instance, number: int, right: Unmatched, body: Sequence[rules.Statement]
) -> Iterator[Fix]:
    """The name of a target tensor that nothing gives, in place of the one that is given."""
    equation = instance.equation
    name = equation.targets[instance.layout.term_of_target[number]].name
    given = instance.targets[number]
    if name is None or name.span is None:
        return
    lost = lost_indices(equation)
    heads = [span for block in heads_at(body, name.span) if (span := block.right.span) is not None]
    for near in right.ranked(given):
        title = f"give {near}"
        if only_numbers_differ(given, near) and not lost:
            yield from _shifted(name, given, near, title)
            continue
        # An index that the right has lost is one of the numbers of the name that is wanted.
        numbers: list[str] = list(dict.fromkeys(_NUMBER.findall(near))) if lost else [""]
        for text in numbers:
            indices = {lost[-1]: text} if lost else {}
            for span in (name.span, *heads):
                for found in renaming(span, tokens_of(Pattern((Text(given),))), near, indices):
                    yield Fix(title, found.edits, found.is_slip)


def only_numbers_differ(given: str, wanted: str) -> bool:
    """Whether two names are the same but for indices, so that the pattern is not misspelt."""
    return given != wanted and _NUMBER.sub("0", given) == _NUMBER.sub("0", wanted)


def _shifted(name: Pattern, given: str, near: str, title: str) -> Iterator[Fix]:
    """``{i}`` where the target begins with another number, and ``{i+1}`` where it does not."""
    differing = [
        int(theirs) - int(ours)
        for ours, theirs in zip(_NUMBER.findall(given), _NUMBER.findall(near), strict=True)
        if ours != theirs
    ]
    if len(differing) != 1 or name.span is None:
        return
    for index in _INDEX.finditer(name.span.text):
        at = name.span.start + index.start()
        for shift in dict.fromkeys((differing[0], -1, 1)):
            offset = int(index[2] or 0) + shift
            text = "{" + index[1] + (f"{offset:+d}" if offset else "") + "}"
            yield Fix(title, (Edit(Span(name.span.source, at, at + len(index[0])), text),))


def stackings(instance: Instance, number: int, wanted: tuple[int, ...] | None) -> Iterator[Fix]:
    """``experts.{e}.w -> experts.w`` where the target holds all of them: an axis of the name."""
    equation, layout = instance.equation, instance.layout
    lost, shape = lost_indices(equation), layout.target_shapes[number]
    if wanted is None or wanted[1:] != shape or len(equation.units) != 1 or len(equation.targets) != 1:
        return
    unit, target = equation.units[0], equation.targets[0]
    if len(unit.names) != 1 or len(lost) != 1 or unit.steps or target.name is None:
        return
    left, right = unit.names[0].span, target.name.span
    if left is None or right is None or left != unit.span or right != target.span:
        return  # a shape or an operation is written
    atoms = " ".join(letter for letter, _ in zip(_letters(lost[0]), shape, strict=False)) or "()"
    at = left.text.find(f"{{{lost[0]}}}")
    if at >= 0:
        whole = Span(left.source, left.start + at, left.start + at + len(lost[0]) + 2)
        stacked = f" : {lost[0]} {atoms}" if shape else f" : {lost[0]}"
        edits = (Edit(whole, f"[{lost[0]}]"), inserted(left, f" : {atoms}"), inserted(right, stacked))
        yield Fix(f"stack them: an axis [{lost[0]}]", edits)


def _letters(taken: str) -> Iterator[str]:
    return (letter for letter in "ocdefghabk" if letter != taken)
