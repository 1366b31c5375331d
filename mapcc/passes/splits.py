"""A group on one side only, where an axis of the name is meant: ``qkv -> {q,k,v}``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.diagnostics.model import Edit, Fix
from mapcc.ir import rules
from mapcc.ir.axes import atoms
from mapcc.ir.patterns import Group, Pattern, Text, first_group
from mapcc.syntax.editing import inserted
from mapcc.text import Span

AXIS = "an axis of the name"
_LETTERS = "tpsnxyz"


def axis_for_group(rule: rules.Rule, names: Sequence[Pattern], at: int, lefts: int) -> Iterator[Fix]:
    """``[t=q,k,v]`` in place of the group that has no partner.

    ``at`` is the name without a group, one of ``names``, of which the first ``lefts`` are of the left.
    """
    if len(rule.left) != 1 or len(rule.right) != 1:
        return
    grouped = names[lefts:] if at < lefts else names[:lefts]
    own, other = (rule.right[0], rule.left[0]) if at < lefts else (rule.left[0], rule.right[0])
    if len(grouped) != 1 or not isinstance(own, rules.Tensor) or not isinstance(other, rules.Tensor):
        return
    place = _group_in(grouped[0])
    if place is None or own.span is None or other.span is None or own.ops or other.ops:
        return
    span, labels = place
    if at < lefts and own.shape is None and other.shape is None and grouped[0].span is not None:
        before, behind = grouped[0].span.text.split("{" + labels + "}")
        listed = ", ".join(f"{before}{label}{behind}" for label in labels.split(","))
        yield Fix("copies", (Edit(grouped[0].span, listed),))
    words = set(re.findall(r"\w+", f"{own.span.text} {other.span.text}"))
    free = [letter for letter in _LETTERS if letter not in words]
    if own.shape is not None and other.shape is not None:
        for axis in [atom for atom in atoms(other.shape) if atom not in set(atoms(own.shape))]:
            yield Fix(AXIS, (Edit(span, f"[{axis}={labels}]"),))
    elif own.shape is None and other.shape is None and free:
        axis = free[0]
        edits = (
            Edit(span, f"[{axis}={labels}]"),
            inserted(own.span, " : d ..."),
            inserted(other.span, f" : ({axis} d) ..."),
        )
        yield Fix(AXIS, edits)


def _group_in(name: Pattern) -> tuple[Span, str] | None:
    """Where the name's only group is written, and its labels, if they are plain words."""
    at = first_group(name)
    span = name.span
    part = name.parts[at] if at is not None else None
    if span is None or not isinstance(part, Group):
        return None
    texts = ["".join(p.text for p in member if isinstance(p, Text)) for member in part.members]
    labels = ",".join(texts)
    found = span.text.find("{" + labels + "}")
    if span.text.count("{" + labels + "}") != 1 or not all(re.fullmatch(r"[\w./-]+", text) for text in texts):
        return None
    return Span(span.source, span.start + found, span.start + found + len(labels) + 2), labels
