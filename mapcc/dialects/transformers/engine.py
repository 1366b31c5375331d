"""The tables of transformers 5, and what its loader makes of a checkpoint by one.

``convert_and_load_state_dict_in_model`` reads the checkpoint in natural order, gives each tensor its
name, collects by converter and first target, and lets each converter work on what it collected. What
transformers does in silence, or skips with a line in its report, is a fault here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from mapcc.diagnostics.model import Diagnostic
from mapcc.dialects.made import Entry, Fault, Made, Outcome, Sketch, Trace, renamed
from mapcc.dialects.transformers.axes import Stops, Unfollowed
from mapcc.dialects.transformers.groups import Model, equations
from mapcc.dialects.transformers.names import BadTransform, Namer, Naming, NamingStops, natural_key
from mapcc.dialects.transformers.sketch import sketches
from mapcc.dialects.transformers.table import Transform
from mapcc.dialects.transformers.text import looseness, text_of
from mapcc.errors import MappingError
from mapcc.tensors.spec import Manifest


@dataclass(slots=True)
class _Group:
    """What is collected for one name.

    Attributes:
        converter: the number of the entry that works on it; None for a tensor that is only renamed.
        collected: the tensors by the pattern that found them; one that none found, by its own name.
    """

    target: str
    converter: int | None
    collected: dict[str, list[str]] = field(default_factory=dict)
    fired: set[int] = field(default_factory=set)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(name for names in self.collected.values() for name in names)


@dataclass(frozen=True)
class TransformersTable:
    """A list of transforms, with what the loader takes from the model.

    Attributes:
        base_model_prefix: the model class's; a checkpoint of the bare model has names without it.
        config: the model's; that of the source where there is none.

    Raises:
        MappingError: MC003: an entry that transformers refuses, or of a class that mapcc does not know.
    """

    transforms: tuple[Transform, ...]
    base_model_prefix: str = ""
    config: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        _ = self.naming  # what is wrong is found at once

    @property
    def dialect(self) -> str:
        return "transformers"

    @cached_property
    def entries(self) -> Sequence[Entry]:
        return tuple(Entry(text_of(t), t.span, looseness(t)) for t in self.transforms)

    @cached_property
    def naming(self) -> Naming:
        try:
            return Naming(self.transforms, self.base_model_prefix)
        except BadTransform as error:
            entry = self.transforms[error.number]
            raise MappingError([Diagnostic("MC003", f"{text_of(entry)}: {error}", entry.span)]) from None

    def of_model(self, base_model_prefix: str, config: Mapping[str, object] | None) -> TransformersTable:
        return replace(self, base_model_prefix=base_model_prefix, config=config)

    def trace(self, name: str) -> Trace:
        """A group of renamings is taken to be open, as it is for a checkpoint in the old layout."""
        possible = self.naming.matching(name)
        try:
            way = self.naming.way(name, None, self.naming.all_guards())
        except NamingStops:
            return Trace(None, (), possible)
        return Trace(way.name, way.fired, possible)

    def sketches(self) -> list[Sketch]:
        return sketches(self.transforms, self.naming.namers)

    def backwards(self) -> TransformersTable:
        return replace(self, transforms=self.transforms[::-1])

    def run(self, source: Manifest, target: Manifest | None) -> Outcome:
        out = Outcome()
        config = source.config if self.config is None else self.config
        model = Model(_shapes(target), target is not None, config)
        made: list[Made] = []
        for group in self._groups(source, target, out):
            made += _made(self, group, source, model, out)
        out.made += _once(made, out)
        return out

    def _groups(self, source: Manifest, target: Manifest | None, out: Outcome) -> list[_Group]:
        known = target.tensors if target is not None else None
        guards: set[Namer] = set()
        groups: dict[str, _Group] = {}
        for name in sorted(source.tensors, key=natural_key):
            try:
                way = self.naming.way(name, known, guards)
            except NamingStops as error:
                out.faults.append(Fault("MC806", f"transformers stops at a name: {error}", (name,)))
                continue
            owner = self.naming.owners[way.pattern] if way.pattern is not None else None
            group = groups.setdefault(way.name, _Group(way.name, owner))
            group.collected.setdefault(way.pattern or name, []).append(name)
            if group.converter == owner:
                group.fired.update(way.fired)
        return list(groups.values())


def _shapes(manifest: Manifest | None) -> Callable[[str], tuple[int, ...] | None]:
    tensors = manifest.tensors if manifest is not None else {}
    return lambda name: tensors[name].shape if name in tensors else None


def _made(
    table: TransformersTable, group: _Group, source: Manifest, model: Model, out: Outcome
) -> list[Made]:
    fired = _in_order(group.fired, table.naming)
    if group.converter is None:
        first, *others = group.names
        if others:
            out.faults.append(_second(group.target, first, others, fired))
        return [renamed(first, group.target, fired)]
    namer = table.naming.namers[group.converter]
    operations = table.transforms[group.converter].operations
    try:
        made = equations(group.target, namer, operations, group.collected, _shapes(source), model)
    except Stops as error:
        message = f"{error}: transformers leaves `{group.target}` out"
        if fault := _missing(group, namer, fired):
            message = fault.message
        out.faults.append(Fault("MC806", message, group.names, fired))
        return []
    except Unfollowed as error:
        out.faults.append(Fault("MC809", f"for `{group.target}`: {error}", group.names, fired))
        return []
    if not _as_expected(made, group, source, model) and (fault := _missing(group, namer, fired)):
        out.faults.append(fault)
        return []
    if (
        model.known
        and model.shape(group.target) is None
        and any(
            model.shape(name) is not None for one in made for operand in one.right for name in operand.names
        )
    ):
        message = (
            f"transformers looks for `{group.target}`, which the model does not have, and leaves these out"
        )
        out.faults.append(Fault("MC806", message, group.names, fired))
        return []
    used = {name for one in made for operand in one.left for name in operand.names}
    if unused := [name for name in group.names if name not in used]:
        out.faults.append(_second(group.target, ", ".join(sorted(used)[:2]), unused, fired))
    return [replace(one, entries=fired) for one in made]


def _in_order(fired: set[int], naming: Naming) -> tuple[int, ...]:
    """Renamings act before converters."""
    return tuple(sorted(fired, key=lambda number: (naming.namers[number].is_converter, number)))


def _second(target: str, first: str, others: Sequence[str], fired: tuple[int, ...]) -> Fault:
    message = f"`{target}` is made of `{first}`, which is read first; transformers leaves the others out"
    return Fault("MC807", message, (first, *others), fired)


def _once(made: list[Made], out: Outcome) -> list[Made]:
    """Of two equations that give one target, the one that the loader comes to last."""
    last = {name: number for number, one in enumerate(made) for o in one.right for name in o.names}
    kept = []
    for number, one in enumerate(made):
        again = [name for o in one.right for name in o.names if last[name] != number]
        if again:
            names = tuple(name for operand in one.left for name in operand.names)
            message = f"`{again[0]}` is made twice: transformers keeps what comes last"
            out.faults.append(Fault("MC807", message, names, one.entries))
        else:
            kept.append(one)
    return kept


# --- groups with a member missing


def _as_expected(made: Sequence[Made], group: _Group, source: Manifest, model: Model) -> bool:
    """Whether the model has all that is made, and of as many elements: then nothing is missing."""
    given = [name for one in made for operand in one.right for name in operand.names]
    shapes = [model.shape(name) for name in given]
    if not given or any(shape is None for shape in shapes):
        return False
    elements = sum(_count(shape) for shape in shapes if shape is not None)
    return elements == sum(source.tensors[name].numel for name in group.names) and not _gaps(group, False)


def _count(shape: tuple[int, ...]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _missing(group: _Group, namer: Namer, fired: tuple[int, ...]) -> Fault | None:
    """What a group should have, and has not; transformers makes it of what there is."""
    absent = [pattern for pattern in namer.sources if pattern not in group.collected]
    counts = {len(names) for names in group.collected.values()}
    if absent:
        what = f"there is nothing for `{absent[0]}`"
    elif gaps := _gaps(group, True):
        what = f"number {gaps[0]} is not there"
    elif len(counts) > 1:
        what = f"its lists have {' and '.join(map(str, sorted(counts)))} members"
    else:
        return None
    message = f"`{group.target}` has a member missing: {what}"
    return Fault("MC806", message, group.names, fired, "complete the checkpoint")


def _gaps(group: _Group, from_zero: bool) -> list[int]:
    """Numbers that are left out in a list of tensors: 2, of 0, 1 and 3."""
    out: list[int] = []
    for names in group.collected.values():
        columns = [set(column) for column in zip(*map(_numbers, names), strict=False)]
        varying = [column for column in columns if len(column) > 1]
        if len(varying) == 1:
            begin = 0 if from_zero else min(varying[0])
            out += sorted(set(range(begin, max(varying[0]))) - varying[0])
    return out


def _numbers(name: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", name)]
