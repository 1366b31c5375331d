"""Two mappings side by side, in words and as JSON: what ``diff`` prints."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from mapcc.diagnostics.escape import escape
from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.render import plural
from mapcc.ir.values import Step
from mapcc.passes.difference import Difference, Differences, Elements, Taken
from mapcc.tensors.dtypes import Dtype

INDENT = "    "
_NUMBER = re.compile(r"\d+")


def difference_lines(found: Differences, a: str = "A", b: str = "B") -> list[str]:
    """What differs, folded by index; ``a`` and ``b`` are what the two mappings are called."""
    lines = [_summary(found)]
    lines += _listed(f"only {a} gives", found.only_a)
    lines += _listed(f"only {b} gives", found.only_b)
    for group in _alike(found.differing):
        lines += [escape(name) for name in fold(one.name for one in group)]
        lines += [f"{INDENT}{line}" for line in _facts(group[0], len(group) > 1, a, b)]
    lines += _listed(f"only {a} takes", found.taken_a)
    lines += _listed(f"only {b} takes", found.taken_b)
    return lines


def _summary(found: Differences) -> str:
    if found.equal:
        return f"equal: {plural(found.same, 'target tensor')}, to the last element"
    unknown = len(found.problems)
    counts = [f"{len(found.differing) - unknown} differ"] if len(found.differing) > unknown else []
    counts += [f"{unknown} cannot be compared"] if unknown else []
    alone = len(found.only_a) + len(found.only_b)
    counts += [f"{alone} on one side only"] if alone else []
    return f"different: {', '.join(counts)}; {plural(found.same, 'target tensor')} the same"


def _listed(title: str, names: Iterable[str]) -> list[str]:
    folded = fold(names)
    return [f"{title}:", *(f"{INDENT}{escape(name)}" for name in folded)] if folded else []


def _alike(differing: Iterable[Difference]) -> list[list[Difference]]:
    """Tensors of which the same is to be said, but for the numbers in names."""
    groups: dict[tuple[object, ...], list[Difference]] = {}
    for one in differing:
        elements = one.elements
        said = elements and (
            *(elements.count, elements.total, elements.first),
            *(_said(taken) for taken in (elements.a, elements.b)),
        )
        problem = _NUMBER.sub("#", one.problem)
        key = (_NUMBER.sub("#", one.name), one.shapes, one.dtypes, said, problem)
        groups.setdefault(key, []).append(one)
    return list(groups.values())


def _said(taken: Taken) -> tuple[object, ...]:
    names = tuple(_NUMBER.sub("#", name) for name in taken.names)
    return names, taken.index, taken.constant, taken.steps


def _facts(one: Difference, is_example: bool, a: str, b: str) -> list[str]:
    lines: list[str] = []
    if one.shapes:
        lines.append(f"shape: {a} {list(one.shapes[0])}, {b} {list(one.shapes[1])}")
    if one.dtypes:
        lines.append(f"type: {a} {_type(one.dtypes[0])}, {b} {_type(one.dtypes[1])}")
    if one.problem:
        lines.append(f"cannot be compared: {escape(one.problem)}")
    if one.elements:
        where = f" of {escape(one.name)}" if is_example else ""
        lines.append(f"{one.elements.count:,} of {one.elements.total:,} elements differ")
        lines.append(f"at {list(one.elements.first)}{where}: {_takes(one.elements, a, b)}")
    return lines


def _takes(elements: Elements, a: str, b: str) -> str:
    return f"{a} takes {_taken(elements.a)}, {b} takes {_taken(elements.b)}"


def _taken(taken: Taken) -> str:
    if not taken.names:
        words = f"the number {taken.constant}"
    else:
        words = f"{escape(taken.names[-1])} {list(taken.index)}"
        if len(taken.names) > 1:
            words += f" with {escape(', '.join(taken.names[:-1]))}"
    return " | ".join((words, *_steps(taken.steps)))


def _steps(steps: Sequence[Step]) -> list[str]:
    """Operations as they are written behind bars."""
    out: list[str] = []
    for step in steps:
        words = [step.op.name, *([step.dtype.short] if step.dtype else [])]
        options = {key for key, _ in step.op.options}
        words += [f"{key}={value}" if key in options else str(value) for key, value in step.numbers]
        out.append(" ".join(words))
    return out


def _type(dtype: Dtype | None) -> str:
    return dtype.name if dtype else "?"


# --- as JSON


def differences_json(found: Differences) -> dict[str, object]:
    """All of it, nothing folded or shortened."""
    return {
        "version": 1,
        "equal": found.equal,
        "same": found.same,
        "only_a": list(found.only_a),
        "only_b": list(found.only_b),
        "differing": [_entry(one) for one in found.differing],
        "taken_a": list(found.taken_a),
        "taken_b": list(found.taken_b),
    }


def _entry(one: Difference) -> dict[str, object]:
    elements = one.elements
    return {
        "name": one.name,
        "shapes": [list(shape) for shape in one.shapes] if one.shapes else None,
        "dtypes": [dtype.name if dtype else None for dtype in one.dtypes] if one.dtypes else None,
        "elements": elements
        and {
            "count": elements.count,
            "total": elements.total,
            "first": list(elements.first),
            "a": _taken_entry(elements.a),
            "b": _taken_entry(elements.b),
        },
        "problem": one.problem or None,
    }


def _taken_entry(taken: Taken) -> dict[str, object]:
    return {
        "names": list(taken.names),
        "index": list(taken.index),
        "constant": taken.constant,
        "steps": _steps(taken.steps),
    }
