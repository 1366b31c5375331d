"""What goes from a name to another name's counterpart, and a square matrix that goes its own way.

Names are words by convention: ``q`` becomes ``to_q``, and hardly ever ``to_k``. Where both names of a
tensor have one word each of the same family, they are to mean the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache

from mapcc.ir.bound import BoundMapping, Instance
from mapcc.ir.patterns import Index, NameAxis, Part, Text
from mapcc.ir.program import Equation

# By family: what a word means there. Llama's numbers count only where all three stand together.
_FAMILIES: tuple[dict[str, str], ...] = (
    {
        **dict.fromkeys(("q", "query", "queries", "wq"), "query"),
        **dict.fromkeys(("k", "key", "keys", "wk"), "key"),
        **dict.fromkeys(("v", "value", "values", "wv"), "value"),
    },
    {
        **dict.fromkeys(("gate", "w1"), "gate projection"),
        **dict.fromkeys(("up", "w3"), "up projection"),
        **dict.fromkeys(("down", "w2"), "down projection"),
    },
    {"shift": "shift", "scale": "scale"},
)
_NUMBERED = re.compile(r"(?<![A-Za-z0-9])w[123](?![A-Za-z0-9])")
_WORD = re.compile(r"[A-Za-z]+[0-9]*|[0-9]+")
_DIGITS = re.compile(r"[0-9]+")
_EDGE = Text(" ")  # of a name
_LAYER = re.compile(r"(?:^|.*[./])[0-9]+(?=[./])")


class Crossed:
    """Names that are crossed, looked for once in a rule whose instances differ in their numbers alone."""

    def __init__(self, bound: BoundMapping) -> None:
        self.bound = bound
        self._plain: dict[int, bool] = {}
        # By instance's rule, layout and texts.
        self._clean: dict[tuple[object, ...], bool] = {}

    def of(self, instance: Instance) -> Iterator[tuple[str, str]]:
        equation = instance.equation
        is_plain = self._plain.get(id(equation))
        if is_plain is None:
            is_plain = self._plain[id(equation)] = _is_plain(equation)
        if not is_plain:
            yield from crossed(self.bound, instance)
            return
        texts = [value for value in instance.values if isinstance(value, str)]
        key = (id(equation), id(instance.layout), *texts)
        clean = self._clean.get(key)
        if clean is None:
            clean = self._clean[key] = not _may_cross(instance)
        if not clean:
            yield from crossed(self.bound, instance)


def _is_plain(equation: Equation) -> bool:
    """Whether no number of its names touches a letter, so that their words are the same for all numbers."""
    names = [name for unit in equation.units for name in unit.names]
    names += [target.name for target in equation.targets if target.name is not None]
    return all(
        _is_apart(before, -1) and _is_apart(behind, 0)
        for parts in (name.parts for name in names)
        for before, part, behind in zip((_EDGE, *parts), parts, (*parts[1:], _EDGE), strict=False)
        if isinstance(part, Index) or (isinstance(part, NameAxis) and part.labels is None)
    )


def _is_apart(part: Part, at: int) -> bool:
    return part is _EDGE or (isinstance(part, Text) and not part.text[at].isalnum())


def _may_cross(instance: Instance) -> bool:
    """Whether words differ in meaning, whatever else the key sets have."""
    for move in instance.layout.moves:
        target = instance.targets[move.target]
        for source in instance.sources[move.source]:
            for family in range(len(_FAMILIES)):
                ours, theirs = _said(source, family), _said(target, family)
                if len(ours) == len(theirs) == 1 and ours != theirs:
                    return True
    return False


def crossed(bound: BoundMapping, instance: Instance) -> Iterator[tuple[str, str]]:
    """The pairs of source and target names of an instance whose words say that they are not counterparts.

    Yields:
        the source's name, and a line.
    """
    seen: set[tuple[str, str]] = set()
    for move in instance.layout.moves:
        operand, target = instance.sources[move.source], instance.targets[move.target]
        for source in operand if len(operand) == 1 else ():
            if (source, target) in seen:
                continue
            seen.add((source, target))
            for family in range(len(_FAMILIES)):
                ours = _meant(source, family, bound.source.tensors)
                theirs = _meant(target, family, bound.given)
                if ours and theirs and ours != theirs:
                    yield source, f"{source} is the {ours}, {target} the {theirs}: are the names crossed?"


def _meant(name: str, family: int, names: Collection[str]) -> str | None:
    """What the words of a family in a name mean; None if there is none, or they mean several things."""
    meanings = _said(name, family)
    if len(meanings) != 1:
        return None
    if family == 1 and (found := _NUMBERED.search(name)) and len(_NUMBERED.findall(name)) == 1:
        beside = [name[: found.start()] + word + name[found.end() :] for word in ("w1", "w2", "w3")]
        if not all(each in names for each in beside):
            return None
    return next(iter(meanings))


def _said(name: str, family: int) -> frozenset[str]:
    return _meanings(_DIGITS.sub("0", name) if not _NUMBERED.search(name) else name, family)


@lru_cache(maxsize=1 << 14)
def _meanings(name: str, family: int) -> frozenset[str]:
    words = (word.lower() for word in _WORD.findall(name))
    return frozenset(_FAMILIES[family][word] for word in words if word in _FAMILIES[family])


# --- square matrices


def unlike_siblings(bound: BoundMapping) -> Iterator[tuple[Instance, str]]:
    """Square matrices that keep their dimensions, where all their siblings are transposed.

    Siblings are what one layer has under the same last name. Those that are transposed though their siblings
    are not are found as every square matrix that is transposed is (MC812).
    """
    layers: dict[tuple[str, str], list[tuple[Instance, bool, bool]]] = {}
    for instance in bound.instances:
        kind = _turned(bound, instance)
        if kind is None:
            continue
        ((name,),) = instance.sources
        layer = _LAYER.match(name)
        if layer is not None:
            last = re.split(r"[./]", name)[-1]
            layers.setdefault((layer[0], last), []).append((instance, *kind))
    for members in layers.values():
        oblong = [is_turned for _, is_square, is_turned in members if not is_square]
        if len(oblong) < 2 or not all(oblong):
            continue
        for instance, is_square, is_turned in members:
            if is_square and not is_turned:
                size = instance.layout.target_shapes[0][0]
                yield (
                    instance,
                    f"shapes cannot tell whether it is transposed, as all beside it are: both are {size}",
                )


def _turned(bound: BoundMapping, instance: Instance) -> tuple[bool, bool] | None:
    """Whether a matrix is square, and whether it is transposed; None for what moves otherwise."""
    if len(instance.sources) != 1 or len(instance.sources[0]) != 1 or len(instance.targets) != 1:
        return None
    shape, made = bound.source.tensors[instance.sources[0][0]].shape, instance.layout.target_shapes[0]
    if len(shape) != 2 or len(made) != 2 or min(shape) < 2 or len(instance.layout.moves) != 1:
        return None
    (move,) = instance.layout.moves
    rows, columns = shape
    if made == shape and move.dims == ((rows * columns, 1, 1),):
        return rows == columns, False
    if made == shape[::-1] and move.dims == ((columns, 1, rows), (rows, columns, 1)):
        return rows == columns, True
    return None
