"""The parallel copies of a rule: one for each member of its groups."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.ir import rules
from mapcc.ir.patterns import (
    Deep,
    Group,
    NameAxis,
    Part,
    Pattern,
    Text,
    UnpairedGroups,
    count_copies,
    expand_groups,
    first_group,
    join,
)
from mapcc.passes.splits import AXIS, axis_for_group
from mapcc.syntax.editing import exchanged
from mapcc.text import Span

MAX_COPIES = 20_000

# Which members of the groups it takes, and the terms of both sides with their whole names.
Copy = tuple[tuple[int, ...], list[rules.Term], list[rules.Term]]


def copies_of(
    rule: rules.Rule, prefixes: tuple[Pattern, Pattern], separators: tuple[str, str], found: Diagnostics
) -> list[Copy]:
    """The copies of a rule under its block's prefixes; none, with a diagnostic, if groups do not pair."""
    left, right = tensors_of(rule.left), tensors_of(rule.right)
    names = [join(prefixes[0], tensor.name, separators[0]) for tensor in left]
    names += [join(prefixes[1], tensor.name, separators[1]) for tensor in right]
    if any(count_copies(name.parts) > MAX_COPIES for name in names):
        found.add(too_many_copies(rule.span))
        return []
    try:
        copies = list(expand_groups(names))
    except UnpairedGroups as error:
        found.add(_unpaired(error, names, len(left), rule))
        return []
    _same_labels_in_order(names[: len(left)], names[len(left) :], rule.span, found)
    out: list[Copy] = []
    for numbers, copy in copies:
        fresh = iter(copy)
        out.append((numbers, _renamed(rule.left, fresh), _renamed(rule.right, fresh)))
    return out


def copies_of_name(name: Pattern, found: Diagnostics) -> list[tuple[tuple[int, ...], Pattern]]:
    """The names that a name of a list stands for; none, with a diagnostic, if they are too many."""
    if count_copies(name.parts) > MAX_COPIES:
        found.add(too_many_copies(name.span))
        return []
    return [(numbers, copy) for numbers, (copy,) in expand_groups([name])]


def too_many_copies(span: Span | None) -> Diagnostic:
    return Diagnostic("MC103", f"the groups of this rule make more than {MAX_COPIES:,} copies", span)


def _unpaired(error: UnpairedGroups, names: Sequence[Pattern], lefts: int, rule: rules.Rule) -> Diagnostic:
    help = "the k-th group of one name pairs with the k-th of every other"
    if error.at < lefts and any(first_group(name) is not None for name in names[lefts:]):
        help = "one tensor copied to several is said with commas: `a -> x, y`"
    bare = first_group(names[error.at]) is None
    fixes = tuple(axis_for_group(rule, names, error.at, lefts)) if bare else ()
    axis = next((fix.edits[0].replacement for fix in fixes if fix.title == AXIS), "")
    if axis and error.at < lefts:
        help += f"; several tensors out of one are an axis: {axis}"
    elif axis:
        help = f"tensors that are brought together are an axis: {axis}"
    return Diagnostic("MC201", str(error), names[error.at].span or rule.span, help=help, fixes=fixes)


def _same_labels_in_order(
    left: Sequence[Pattern], right: Sequence[Pattern], span: Span | None, found: Diagnostics
) -> None:
    """``{q,k} -> {k,q}`` is a silent swap, and hardly ever meant."""
    pairs = ((ours, theirs) for ours in left for theirs in right)
    for ours, theirs in pairs:
        for a, b in zip(_label_lists(ours.parts), _label_lists(theirs.parts), strict=False):
            if a != b and sorted(a) == sorted(b):
                message = f"the same labels in another order: {{{','.join(a)}}} and {{{','.join(b)}}}"
                help = "members pair by position; for a real swap write one rule for each tensor"
                fixes = exchanged("the same order on both sides", theirs.span, ",".join(b), ",".join(a))
                found.add(Diagnostic("MC203", message, theirs.span or span, help=help, fixes=fixes))
                return


def alternatives(names: Sequence[Pattern]) -> Iterator[Pattern]:
    """Every name that the groups of a name stand for."""
    for name in names:
        if count_copies(name.parts) > MAX_COPIES:  # a fault, told where the name stands
            yield Pattern((Deep(),), name.span)
            continue
        for _, (copy,) in expand_groups([name]):
            yield copy


def tensors_of(terms: Sequence[rules.Term]) -> list[rules.Tensor]:
    out: list[rules.Tensor] = []
    for term in terms:
        match term:
            case rules.Tensor():
                out.append(term)
            case rules.Bundle(members):
                out.extend(members)
            case _:
                pass
    return out


def _renamed(terms: Sequence[rules.Term], names: Iterator[Pattern]) -> list[rules.Term]:
    out: list[rules.Term] = []
    for term in terms:
        match term:
            case rules.Tensor():
                out.append(replace(term, name=next(names)))
            case rules.Bundle(members):
                out.append(replace(term, members=tuple(replace(m, name=next(names)) for m in members)))
            case _:
                out.append(term)
    return out


def _label_lists(parts: Sequence[Part]) -> list[list[str]]:
    """The plain labels of every group and name axis, in order."""
    lists: list[list[str]] = []
    for part in parts:
        match part:
            case NameAxis(_, tuple() as labels):
                lists.append(list(labels))
            case Group(members):
                texts = ["".join(p.text for p in m if isinstance(p, Text)) for m in members]
                plain = all(isinstance(p, Text) for m in members for p in m)
                lists.append(texts if plain else [])
            case _:
                pass
    return lists
