"""Names of one equation: sound in themselves, and their wildcards and axes in pairs."""

from __future__ import annotations

from mapcc.ir.patterns import Deep, Index, NameAxis, Part, Pattern, Regex, Star, Text
from mapcc.ir.printer import print_name
from mapcc.passes.faults import Faults
from mapcc.passes.match import regex_fault
from mapcc.passes.segments import name_axes
from mapcc.passes.words import left_names, right_names


def names_are_sound(faults: Faults) -> None:
    for side, names_ in ((0, left_names(faults.equation)), (1, right_names(faults.equation))):
        for name in names_:
            _parts_are_sound(faults, name, faults.equation.separators[side])


def _parts_are_sound(faults: Faults, name: Pattern, separator: str) -> None:
    previous: Part | None = None
    for at, part in enumerate(name.parts):
        if isinstance(part, Deep):
            after = name.parts[at + 1] if at + 1 < len(name.parts) else None
            if not _ends_segment(previous, separator) or not _begins_segment(after, separator):
                faults.add("MC208", "'**' stands for whole segments: put a separator beside it", name.span)
        if _is_open(previous) and _is_open(part):
            faults.add(
                "MC208",
                "two wildcards touch, so that a name could be read in two ways",
                name.span,
                "put a literal character between them",
            )
        if isinstance(part, Regex):
            _regex_is_sound(faults, part, name)
        if isinstance(part, Text) and not part.text.isprintable():
            faults.add("MC209", "a tensor's name has no control characters", name.span)
        previous = part
    if sum(isinstance(part, Deep) for part in name.parts) > 1:
        faults.add("MC208", "a name has one '**' at most", name.span)
    if not name.parts:
        faults.add("MC209", "a name is empty", name.span)
    else:
        text = "".join(p.text if isinstance(p, Text) else "x" for p in name.parts)
        if any(not segment for segment in text.split(separator)) and "[" not in print_name(name):
            help = f"two {separator!r} in a row, or one at an end"
            faults.add("MC209", f"{print_name(name)!r} has an empty segment", name.span, help)


def _regex_is_sound(faults: Faults, part: Regex, name: Pattern) -> None:
    fault = regex_fault(part.expression)
    if fault:
        help = "it is matched against one whole segment; the language is that of Python's re"
        faults.add("MC106", f"/{part.expression}/: {fault}", name.span, help)


def wildcards_pair_up(faults: Faults) -> None:
    every = left_names(faults.equation) + right_names(faults.equation)
    for kind, sign in ((Star, "*"), (Deep, "**")):
        counts = [sum(isinstance(part, kind) for part in name.parts) for name in every]
        for name, count in zip(every, counts, strict=True):
            if count != counts[0]:
                faults.add(
                    "MC202",
                    f"{count} '{sign}' here, {counts[0]} in {print_name(every[0])}",
                    name.span,
                    f"the k-th '{sign}' is the same text in every name of a rule",
                )
                return


def name_axes_pair_up(faults: Faults) -> None:
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
                faults.add(
                    "MC207",
                    f"axis [{axis.atom}] has {len(axis.labels)} labels here, {len(known)} elsewhere",
                    name.span,
                )
            elif known != axis.labels and sorted(known) == sorted(axis.labels):
                faults.add(
                    "MC203",
                    f"the same labels in another order: [{axis.atom}={','.join(known)}] and "
                    f"[{axis.atom}={','.join(axis.labels)}]",
                    name.span,
                    "labels pair by position; for a real swap write one rule for each tensor",
                )


def _is_open(part: Part | None) -> bool:
    return isinstance(part, Star | Index | Regex | Deep) or (
        isinstance(part, NameAxis) and part.labels is None
    )


def _ends_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.endswith(separator))


def _begins_segment(part: Part | None, separator: str) -> bool:
    return part is None or (isinstance(part, Text) and part.text.startswith(separator))
