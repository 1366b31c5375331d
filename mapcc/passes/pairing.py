"""Names of one equation: sound in themselves, and their wildcards and axes in pairs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mapcc.diagnostics.model import Edit, Fix
from mapcc.ir import rules
from mapcc.ir.expr import names
from mapcc.ir.notation import print_name, print_part
from mapcc.ir.patterns import Deep, Index, Pattern, Star
from mapcc.passes.faults import Faults
from mapcc.passes.segments import name_axes
from mapcc.passes.sound import condition_faults, name_faults
from mapcc.passes.words import left_names, regex_names, right_names
from mapcc.syntax.editing import exchanged, inserted
from mapcc.text import Span


def names_are_sound(faults: Faults) -> None:
    equation = faults.equation
    for side, separator in zip(
        (left_names(equation), right_names(equation)), equation.separators, strict=True
    ):
        for name in side:
            faults.extend(name_faults(name, separator))
    faults.extend(condition_faults(equation.conditions))
    texts = regex_names(equation)
    for name in (*left_names(equation), *right_names(equation)):
        for part in name.parts:
            if isinstance(part, Index) and part.width and names(part.expr) & texts:
                message = f"{print_part(part)} stands for a text: only a number has zeros in front"
                faults.add("MC205", message, name.span, f"write {print_part(Index(part.expr))}")


def wildcards_pair_up(faults: Faults) -> None:
    every = left_names(faults.equation) + right_names(faults.equation)
    for kind, sign in ((Star, "*"), (Deep, "**")):
        counts = [sum(isinstance(part, kind) for part in name.parts) for name in every]
        for name, count in zip(every, counts, strict=True):
            if count != counts[0]:
                faults.add(
                    "MC202",
                    f"{count} '{sign}' here, but {counts[0]} in {print_name(every[0])}",
                    name.span,
                    f"the k-th '{sign}' is the same text in every name of a rule",
                    fixes=_star_fixes(name.span, every, sign),
                )
                return


def _star_fixes(span: Span | None, every: Sequence[Pattern], sign: str) -> Iterator[Fix]:
    """The other star, or the last part of the first name that has one."""
    if span is None:
        return
    for star in re.finditer(r"\*+", span.text):
        place = Span(span.source, span.start + star.start(), span.start + star.end())
        other = "*" if star[0] == "**" else "**"
        yield Fix(f"write '{other}'", (Edit(place, other),))
    if print_name(every[0]).endswith((".*", ".**")):
        yield Fix(f"the same end: '.{sign}'", (inserted(span, f".{sign}"),))


def reordered(span: Span | None, labels: Sequence[str], like: Sequence[str]) -> tuple[Fix, ...]:
    """Labels in the order of the other side."""
    return exchanged("the same order on both sides", span, ",".join(labels), ",".join(like))


def name_axes_pair_up(faults: Faults) -> None:
    if isinstance(faults.equation.statement, rules.Create):
        _no_name_axes(faults)
        return
    labels: dict[str, tuple[str, ...] | None] = {}
    for name in left_names(faults.equation) + right_names(faults.equation):
        seen: set[str] = set()
        for axis in name_axes(name):
            if axis.atom in seen:
                faults.add("MC303", f"axis [{axis.atom}] stands twice in one name", name.span)
            seen.add(axis.atom)
            known = labels.setdefault(axis.atom, axis.labels)
            if known is None or axis.labels is None:
                labels[axis.atom] = known or axis.labels
            elif len(known) != len(axis.labels):
                there = f"[{axis.atom}={','.join(known)}]"
                message = f"axis [{axis.atom}] has {len(axis.labels)} labels here, {len(known)} in {there}"
                faults.add("MC207", message, name.span, "labels pair by position: as many on each side")
            elif known != axis.labels and sorted(known) == sorted(axis.labels):
                faults.add(
                    "MC203",
                    f"the same labels in another order: [{axis.atom}={','.join(known)}] and "
                    f"[{axis.atom}={','.join(axis.labels)}]",
                    name.span,
                    "labels pair by position; for a real swap write one rule for each tensor",
                    fixes=reordered(name.span, axis.labels, known),
                )


def _no_name_axes(faults: Faults) -> None:
    """What is created is created tensor by tensor: there is no other side for an axis to stand on."""
    for name in right_names(faults.equation):
        for axis in name_axes(name):
            instead = "{" + (axis.atom if axis.labels is None else ",".join(axis.labels)) + "}"
            message = f"the axis [{axis.atom}] has no other side: 'create' gives each tensor by itself"
            written = f"[{axis.atom}]" if axis.labels is None else f"[{axis.atom}={','.join(axis.labels)}]"
            fixes = exchanged(f"write {instead}", name.span, written, instead, certain=True)
            faults.add("MC207", message, name.span, f"write {instead}", fixes=fixes)
