"""Shapes that are not the target's: what the rule may have been meant to do with the axes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mapcc.diagnostics.model import Edit, Fix
from mapcc.ir.axes import ANY_SHAPE
from mapcc.ir.bound import Instance
from mapcc.ir.patterns import Star
from mapcc.ir.program import Equation
from mapcc.passes.segments import name_axes
from mapcc.syntax.editing import inserted, is_yaml
from mapcc.tensors.dtypes import Dtype
from mapcc.text import Span

Shape = tuple[int, ...]

# Of numbers to others of their kind, or to larger ones: none has a fraction to lose.
_CASTS = {("float", "float"), ("int", "int"), ("uint", "uint"), ("int", "float"), ("uint", "float")}
_LETTERS = "oihwdcefg"


@dataclass(frozen=True, slots=True)
class Reshaping:
    """What a help says of two shapes, and the shapes to write, left and right; or an operation."""

    words: str
    left: str = ""
    right: str = ""
    operation: str = ""
    certain: bool = False


def reshaping(ours: Shape, theirs: Shape) -> Reshaping | None:
    """How a tensor of one shape becomes one of another, as far as numbers tell."""
    if len(ours) == 2 and ours == theirs[::-1]:
        return Reshaping("transposed? `x | transpose -> y`", operation="transpose")
    if (ones := _ones(ours, theirs)) is not None:
        left, right = ones
        return Reshaping(
            f"only dimensions of 1 differ: write them, as in `x : {left} -> y : {right}`",
            left,
            right,
            certain=True,
        )
    if len(ours) == len(theirs) and sorted(ours) == sorted(theirs):
        left, right = _order(ours, theirs)
        return Reshaping(f"the dimensions stand in another order: `x : {left} -> y : {right}`", left, right)
    if numel(ours) == numel(theirs) > 0:
        return _joined(ours, theirs) or Reshaping(
            "as many elements, in other dimensions: say with axes how they are joined or split"
        )
    return None


def numel(shape: Shape) -> int:
    count = 1
    for extent in shape:
        count *= extent
    return count


def _ones(ours: Shape, theirs: Shape) -> tuple[str, str] | None:
    """Both shapes in letters, where they are the same but for dimensions of 1."""
    big = [n for n in ours if n != 1]
    if ours == theirs or big != [n for n in theirs if n != 1] or len(big) > len(_LETTERS):
        return None
    out = []
    for shape in (ours, theirs):
        letters = iter(_LETTERS)
        out.append(" ".join("1" if n == 1 else next(letters) for n in shape) or "()")
    return out[0], out[1]


def _order(ours: Shape, theirs: Shape) -> tuple[str, str]:
    letters = _LETTERS[: len(ours)]
    free = list(zip(ours, letters, strict=True))
    right = []
    for n in theirs:
        taken = next(pair for pair in free if pair[0] == n)
        free.remove(taken)
        right.append(taken[1])
    return " ".join(letters), " ".join(right)


def _joined(ours: Shape, theirs: Shape) -> Reshaping | None:
    """``[o, i, 2, 2]`` and ``[o, 4 i]``: neighbours that one side holds in one dimension."""
    long, short = (ours, theirs) if len(ours) > len(theirs) else (theirs, ours)
    letters = iter(_LETTERS)
    groups: list[list[str]] = []
    at = 0
    for extent in short:
        group: list[str] = []
        size = 1
        while at < len(long) and size < extent:
            size *= long[at]
            at += 1
            group.append(next(letters, ""))
        if size != extent or "" in group or not group:
            return None
        groups.append(group)
    if at < len(long):
        return None
    flat = " ".join(letter for group in groups for letter in group)
    held = " ".join(f"({' '.join(group)})" if len(group) > 1 else group[0] for group in groups)
    left, right = (flat, held) if long is ours else (held, flat)
    return Reshaping(f"dimensions are joined or split: `x : {left} -> y : {right}`", left, right)


def lengths(ours: Shape, theirs: Shape) -> str:
    """What to say where dimensions are longer, shorter, or empty."""
    if 0 in ours and 0 not in theirs:
        return (
            "the source's tensor is empty: a shard of training (ZeRO-3) whose weights lie elsewhere; "
            "gather them first"
        )
    if len(ours) != len(theirs):
        return ""
    differing = [at for at, (a, b) in enumerate(zip(ours, theirs, strict=True)) if a != b]
    if len(differing) != 1:
        return ""
    at = differing[0]
    if max(ours[at], theirs[at]) >= 2 * min(ours[at], theirs[at]):
        return f"dimension {at} is {ours[at]}, and {theirs[at]} in the target"
    before, behind = " ".join(_LETTERS[:at]), " ".join(_LETTERS[at + 1 : len(ours)])
    lead, tail = (f"{before} " if before else ""), (f" {behind}" if behind else "")
    if ours[at] > theirs[at]:
        rest = f"{lead}rest{tail}"
        return (
            f"dimension {at} is longer by {ours[at] - theirs[at]}; to cut it: "
            f'`x : {lead}(n + rest){tail} -> y : {lead}n{tail}, drop : {rest} because "..." '
            f"where n = {theirs[at]}`"
        )
    return (
        f"dimension {at} is shorter by {theirs[at] - ours[at]}; to fill it up: "
        f"`x : {lead}n{tail}, create : {lead}pad{tail} = 0 -> y : {lead}(n + pad){tail} "
        f"where pad = {theirs[at] - ours[at]}`"
    )


def reshapings(instance: Instance, ours: Shape, theirs: Shape, others: Sequence[str]) -> Iterator[Fix]:
    """Edits of a rule that has no shapes yet; ``others`` are what its star matches besides."""
    equation = instance.equation
    found = reshaping(ours, theirs)
    if found is None or len(equation.units) != 1 or len(equation.targets) != 1:
        return
    unit, target = equation.units[0], equation.targets[0]
    if len(unit.names) != 1 or target.name is None or target.cast is not None or name_axes(target.name):
        return
    left, right = unit.names[0].span, target.name.span
    if left is None or right is None or unit.shape != ANY_SHAPE or target.shape != ANY_SHAPE or left == right:
        return
    whole = unit.span or left
    if left.text != whole.text and "|" not in whole.text[len(left.text) :]:
        return
    if found.operation:
        yield Fix(f"| {found.operation}", (inserted(left, f" | {found.operation}"),), found.certain)
    if found.left:
        edits = (inserted(left, f" : {found.left}"), inserted(right, f" : {found.right}"))
        yield Fix(f"write the shapes: {found.left} -> {found.right}", edits, found.certain)
    yield from _apart(equation, instance, found, left, right, others)


def _apart(
    equation: Equation, instance: Instance, found: Reshaping, left: Span, right: Span, others: Sequence[str]
) -> Iterator[Fix]:
    """The same for one of the tensors that a last ``*`` takes: a rule of its own."""
    own = _last_star(equation, instance)
    span = equation.statement.span
    if own is None or not others or span is None or is_yaml(span.source):
        return
    if not (left.text.endswith(".*") and right.text.endswith(".*")) or "|" in span.text:
        return
    rest = others[0] if len(others) == 1 else "{" + ",".join(others) + "}"
    line = span.source.text.rfind("\n", 0, span.start) + 1
    lead = span.source.text[line : span.start]
    if lead.strip():
        return
    text, at = span.text, span.start
    behind = text[left.end - at : right.start - at], text[right.end - at :]

    def rule(tail: str, shapes: tuple[str, str]) -> str:
        return f"{left.text[:-1]}{tail}{shapes[0]}{behind[0]}{right.text[:-1]}{tail}{shapes[1]}{behind[1]}"

    if found.operation:
        first = rule(own, (f" | {found.operation}", ""))
    else:
        first = rule(own, (f" : {found.left}", f" : {found.right}"))
    if found.operation or found.left:
        edit = Edit(span, f"{first}\n{lead}{rule(rest, ('', ''))}")
        yield Fix(f"a rule of its own for {own}", (edit,), found.certain)


def _last_star(equation: Equation, instance: Instance) -> str | None:
    """What the rule's last star is in an instance."""
    pattern = equation.units[0].names[0]
    stars = sum(isinstance(part, Star) for part in pattern.parts)
    if not stars or not isinstance(pattern.parts[-1], Star):
        return None
    value = dict(zip(equation.variables, instance.values, strict=True)).get(f"*{stars}")
    return value if isinstance(value, str) and value.replace("_", "a").isalnum() else None


def casts(instance: Instance, ours: Dtype, theirs: Dtype) -> Iterator[Fix]:
    """A cast behind each term of the left; certain where it loses nothing, and no scale may be due."""
    spans = [unit.span for unit in instance.equation.units if unit.names]
    if (ours.kind, theirs.kind) not in _CASTS or not all(spans):
        return
    edits = tuple(inserted(span, f" | cast {theirs.short}") for span in spans if span is not None)
    exact = ours.kind == theirs.kind == "float" and 16 <= ours.bits < theirs.bits
    yield Fix(f"| cast {theirs.short}", edits, exact)


def star_texts(instances: Iterable[Instance]) -> dict[int, list[str]]:
    """What the last star of each rule takes, by the number of its equation."""
    found: dict[int, dict[str, None]] = {}
    for instance in instances:
        if instance.equation.units[0].names and (text := _last_star(instance.equation, instance)) is not None:
            found.setdefault(instance.equation.number, {})[text] = None
    return {number: list(texts) for number, texts in found.items()}


def beside(texts: Mapping[int, list[str]], instance: Instance) -> tuple[str, list[str]]:
    """What the star is in an instance, and what it is besides; "" where there is no such star."""
    listed = texts.get(instance.equation.number, [])
    own = _last_star(instance.equation, instance) if listed else None
    return own or "", [text for text in listed if text != own] if own else []
