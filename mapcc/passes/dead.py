"""Rules that match nothing: why, and what they may have been meant to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from mapcc.diagnostics.model import Edit, Fix
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir import rules
from mapcc.ir.expr import Count
from mapcc.ir.notation import print_expr, print_name
from mapcc.ir.patterns import EMPTY, Deep, Index, Pattern, Star, Text, join
from mapcc.ir.program import Equation
from mapcc.passes.binder import Binder
from mapcc.passes.naming import renaming, sample_of, tokens_of
from mapcc.passes.offers import Unmatched
from mapcc.passes.repeats import heads_at
from mapcc.passes.words import condition_leaves, left_names, right_names
from mapcc.syntax.editing import flagged, inserted, removed
from mapcc.text import Span

_DIGIT = re.compile(r"[0-9]$|^[0-9]")
_STAR = re.compile(r"(?<!\*)\*(?!\*)")


def report_dead(binder: Binder, left: Unmatched) -> None:
    """MC405 for each rule that matched nothing; ``left`` is what no rule takes."""
    for equation, filtered in binder.dead:
        pattern = left_names(equation)[0]
        shown = print_name(pattern)
        which = f" (one of {equation.copies} copies)" if equation.copies > 1 else ""
        notes = (f"{filtered} names match the pattern, but not 'where'",) if filtered else ()
        reasons = [*_reasons(binder, equation, filtered)]
        hint = reasons[0][0] if reasons else ""
        if not reasons and not filtered:
            hint = _nearest(binder, pattern, equation.separators[0], left)
        binder.findings.add(
            "MC405",
            f"no source tensor matches {shown}{which}",
            pattern.span or equation.span,
            notes=notes,
            help=f"{hint}add 'optional' if it may be absent",
            fixes=lambda equation=equation, reasons=reasons: (  # type: ignore[misc]
                *(fix for _, fix in reasons if fix is not None),
                *_renamings(binder, equation, left),
                *_without(equation),
            ),
        )


def _nearest(binder: Binder, pattern: Pattern, separator: str, left: Unmatched) -> str:
    sample = sample_of(pattern)
    head = _before_deep(pattern)
    near = next(iter(_near_names(head, pattern, separator, left)), None)
    if near is not None:
        return f"the nearest name that no rule takes is {near}; "
    near = binder.near_source(sample)
    return f"the nearest source name is {near}; " if near else ""


def _reasons(binder: Binder, equation: Equation, filtered: int) -> Iterator[tuple[str, Fix | None]]:
    """What the pattern lacks to match something, in words, and as a fix."""
    if filtered:
        yield from ((text, None) for text in _empty_counts(binder, equation))
        return
    pattern = left_names(equation)[0]
    yield from _zeros_in_front(binder, pattern)
    yield from _several_segments(binder, equation, pattern)
    yield from _more_behind(binder, equation, pattern)
    yield from _other_separator(binder, equation, pattern)
    separator = equation.separators[0]
    if not any(isinstance(part, Deep) for part in pattern.parts):
        below = binder.paths.example(join(Pattern((Deep(),)), pattern, separator))
        if below is not None:
            yield f"{below} is there, with more in front: a block, or --under; ", None


def _empty_counts(binder: Binder, equation: Equation) -> Iterator[str]:
    for condition in equation.conditions:
        for leaf in condition_leaves(condition):
            if isinstance(leaf, Count) and not binder.paths.matches(_prefix(condition), leaf.pattern):
                yield f"{print_expr(leaf)} is 0 here; "


def _prefix(condition: rules.Condition) -> Pattern:
    prefix = getattr(condition, "prefix", None)
    return prefix if isinstance(prefix, Pattern) else EMPTY


def _zeros_in_front(binder: Binder, pattern: Pattern) -> Iterator[tuple[str, Fix | None]]:
    """``layer_{i}`` of ``layer_003``."""
    if not any(isinstance(part, Index) and not part.width for part in pattern.parts):
        return
    digits = any(isinstance(part, Text) and _DIGIT.search(part.text) for part in pattern.parts)
    for width in range(2, 7):
        if not digits and width not in binder.paths.padded():
            continue
        wide = Pattern(tuple(replace(p, width=width) if isinstance(p, Index) else p for p in pattern.parts))
        example = binder.paths.example(wide)
        if example is not None:
            yield (
                f"numbers have zeros in front, as in {example}: `{print_name(wide)}`; ",
                _widened(binder, pattern, width),
            )
            return


def _widened(binder: Binder, pattern: Pattern, width: int) -> Fix | None:
    edits: list[Edit] = []
    for span in _written(binder, pattern):
        places = [span.start + m.end() - 1 for m in re.finditer(r"\{[^{},:/]*\}", span.text)]
        edits += [Edit(Span(span.source, at, at), f":0{width}") for at in places]
    return Fix(f"numbers of {width} digits", tuple(edits), True) if edits else None


def _other_separator(
    binder: Binder, equation: Equation, pattern: Pattern
) -> Iterator[tuple[str, Fix | None]]:
    """``a.b`` of ``a/b``."""
    if equation.separators[0] != ".":
        return
    parts = (replace(p, text=p.text.replace(".", "/")) if isinstance(p, Text) else p for p in pattern.parts)
    swapped = Pattern(tuple(parts))
    example = _below(binder, swapped, equation) if swapped != pattern else None
    if example is not None:
        yield f"names have '/' where this has '.', as in {example}: `{print_name(swapped)}`; ", None


def _several_segments(
    binder: Binder, equation: Equation, pattern: Pattern
) -> Iterator[tuple[str, Fix | None]]:
    """``a.*`` of ``a.b.weight``."""
    stars = [at for at, part in enumerate(pattern.parts) if isinstance(part, Star)]
    if not stars or any(isinstance(part, Deep) for part in pattern.parts):
        return
    parts = list(pattern.parts)
    parts[stars[-1]] = Deep()
    deeper = Pattern(tuple(parts))
    example = _below(binder, deeper, equation)
    if example is None:
        return
    edits: list[Edit] = []
    for span in _spans(equation):
        places = [match.start() for match in _STAR.finditer(span.text)]
        if places:
            at = span.start + places[-1]
            edits.append(Edit(Span(span.source, at, at + 1), "**"))
    fix = Fix("several segments: '**'", tuple(dict.fromkeys(edits))) if edits else None
    yield f"'*' is one segment, and {example} has more: `{print_name(deeper)}`; ", fix


def _more_behind(binder: Binder, equation: Equation, pattern: Pattern) -> Iterator[tuple[str, Fix | None]]:
    """``a.conv`` of ``a.conv.weight``: a name is matched whole."""
    if any(isinstance(part, Deep) for part in pattern.parts):
        return
    separator = equation.separators[0]
    for sign, part in (("*", Star()), ("**", Deep())):
        longer = join(pattern, Pattern((part,)), separator)
        example = _below(binder, longer, equation)
        if example is not None:
            spans = list(_spans(equation))
            edits = tuple(dict.fromkeys(inserted(span, separator + sign) for span in spans))
            fix = Fix(f"whole names: '{separator}{sign}'", edits)
            yield f"a name is matched whole, and {example} goes on: `{print_name(longer)}`; ", fix
            return


def _below(binder: Binder, pattern: Pattern, equation: Equation) -> str | None:
    """A tensor, not a module, that the pattern matches."""
    example = binder.paths.example(pattern)
    return example if example in binder.source.tensors else None


def _spans(equation: Equation) -> Iterator[Span]:
    """Where the names of a rule are written."""
    for name in (*left_names(equation), *right_names(equation)):
        if name.span is not None:
            yield name.span


def _written(binder: Binder, pattern: Pattern) -> list[Span]:
    """Where a name is written: where it stands, and in the heads of the blocks around it."""
    if pattern.span is None:
        return []
    heads = [block.left.span for block in heads_at(binder.program.mapping.body, pattern.span)]
    return [pattern.span, *(span for span in heads if span is not None)]


def _renamings(binder: Binder, equation: Equation, left: Unmatched) -> Iterator[Fix]:
    """The name of a tensor that no rule takes, in place of one that is not there."""
    for pattern in left_names(equation):
        head = _before_deep(pattern)
        for near in _near_names(head, pattern, equation.separators[0], left):
            for span in _written(binder, pattern):
                for found in renaming(span, tokens_of(head), near, {}):
                    yield Fix(f"take {near}", found.edits, found.is_slip)


def _before_deep(pattern: Pattern) -> Pattern:
    """The pattern up to its ``**``, if that ends it."""
    parts = pattern.parts
    return Pattern(parts[:-1]) if parts and isinstance(parts[-1], Deep) else pattern


def _near_names(head: Pattern, pattern: Pattern, separator: str, left: Unmatched) -> list[str]:
    if head is pattern:
        return left.ranked(sample_of(pattern))
    sample = sample_of(head)
    count = sample.count(separator)
    cut = dict.fromkeys(separator.join([*name.split(separator)[:count], ""]) for name in left.names)
    return Suggester(name for name in cut if name.count(separator) == count).ranked(sample, 3)


def _without(equation: Equation) -> Iterator[Fix]:
    span = equation.statement.span
    if span is not None:
        yield flagged("it may be absent: optional", span)
        yield removed("remove the rule", span)
