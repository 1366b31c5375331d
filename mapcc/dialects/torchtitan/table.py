"""torchtitan's ``from_hf_map``: whole names, with ``{}`` for a number.

The engine is the loop that its adapters share. In a name with ``layers`` the first number becomes
``{}``, and fills the ``{}`` of the name that the table has for it; any other name is looked up as it
is. In a table that has ``{}`` twice, names with ``mlp.experts`` lose their first two numbers: tensors
that differ in the second are stacked in its order. ``None`` leaves a tensor out. What an adapter's
code does to values besides, the table does not say: see :attr:`TitanTable.code`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from mapcc.dialects.made import Entry, Fault, Made, Operand, Outcome, Sketch, Trace, renamed
from mapcc.ir.axes import Atom, Rest
from mapcc.ir.notation import print_part
from mapcc.ir.patterns import Text
from mapcc.tensors.spec import Manifest
from mapcc.text import Span

LAYERS = "layers"
EXPERTS = "mlp.experts"
HOLE = "{}"


class TitanWay(NamedTuple):
    """What became of a name; ``fault`` if the adapter ends with an error at it."""

    target: str | None
    entry: int | None
    expert: int | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Code:
    """What an adapter does to values, outside of the table.

    Attributes:
        text: the call.
        keys: the table's keys for which it does so; none if that cannot be told.
    """

    text: str
    keys: tuple[str, ...] = ()
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class TitanTable:
    """A table, as Python has it.

    Attributes:
        numbered: a regular expression: names in which it is found are those with a number.
        code: what the adapter does besides, as far as its text tells.
    """

    table: Mapping[str, str | None]
    spans: tuple[Span | None, ...] = ()
    code: tuple[Code, ...] = ()
    numbered: str = LAYERS
    _numbers: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_numbers", {key: number for number, key in enumerate(self.table)})

    @property
    def dialect(self) -> str:
        return "torchtitan"

    @property
    def entries(self) -> tuple[Entry, ...]:
        spans = self.spans or (None,) * len(self.table)
        return tuple(
            Entry(f"{key!r} -> {'left out' if value is None else repr(value)}", span)
            for (key, value), span in zip(self.table.items(), spans, strict=True)
        )

    @property
    def stacks(self) -> bool:
        return any(EXPERTS in key and key.count(HOLE) == 2 for key in self.table)

    def way(self, name: str) -> TitanWay:
        holes = 2 if self.stacks and EXPERTS in name else 1 if re.search(self.numbered, name) else 0
        numbers = re.findall(r"\d+", name)
        if len(numbers) < holes or (holes == 2 and len(numbers) > 2):
            return TitanWay(
                None, None, fault=f"`{name}` has {len(numbers)} numbers, and the adapter takes {holes}"
            )
        key = re.sub(r"\d+", HOLE, name, count=holes) if holes else name
        if key not in self._numbers:
            return TitanWay(
                None, None, fault=f"`{key}` is not in the table, which ends the adapter with a KeyError"
            )
        value, entry = self.table[key], self._numbers[key]
        if value is None or not holes:
            return TitanWay(value, entry)
        try:
            target = value.format(numbers[0])
        except (IndexError, KeyError, ValueError, AttributeError) as error:
            return TitanWay(None, None, fault=f"`{value}` cannot be filled in: {error!r}")
        return TitanWay(target, entry, int(numbers[1]) if holes == 2 else None)

    def trace(self, name: str) -> Trace:
        way = self.way(name)
        fired = () if way.entry is None else (way.entry,)
        return Trace(way.target, fired, fired)

    def backwards(self) -> TitanTable:
        """Whole names are looked up: their order is nothing."""
        return self

    def run(self, source: Manifest, target: Manifest | None) -> Outcome:
        return _Run(self, source).run()

    def sketches(self) -> list[Sketch]:
        return [self._sketch(number, key, value) for number, (key, value) in enumerate(self.table.items())]

    def _sketch(self, number: int, key: str, value: str | None) -> Sketch:
        code = [code.text for code in self.code if key in code.keys]
        if code:
            return Sketch("", number, (f"not translated: the adapter calls {code[0]}",))
        holes = key.count(HOLE)
        stacked = holes == 2 and EXPERTS in key
        left = _filled(key, "{i}", "[e]" if stacked else "{j}")
        if value is None:
            return Sketch(f'drop {left} because "torchtitan leaves it out"', number)
        right = _filled(value, "{i}", "{}")
        if stacked:
            return Sketch(f"{left} : ... -> {right} : e ...", number)
        return Sketch(f"keep {left}" if left == right else f"{left} -> {right}", number)


def _filled(text: str, *holes: str) -> str:
    parts = text.split(HOLE)
    out = [print_part(Text(parts[0])) if parts[0] else ""]
    for number, part in enumerate(parts[1:]):
        out += [holes[min(number, len(holes) - 1)], print_part(Text(part)) if part else ""]
    return "".join(out)


# --- a key set


@dataclass(slots=True)
class _Run:
    table: TitanTable
    source: Manifest
    out: Outcome = field(default_factory=Outcome)
    made: dict[str, Made] = field(default_factory=dict)
    experts: dict[str, list[tuple[int, str, int]]] = field(default_factory=dict)
    faults: dict[tuple[str, str, tuple[int, ...]], list[str]] = field(default_factory=dict)

    def run(self) -> Outcome:
        changed = {key: code for code in self.table.code for key in code.keys}
        keys = list(self.table.table)
        for code in self.table.code:
            if not code.keys:
                self.fault("MC809", f"the adapter calls {code.text} too, which its table does not say", ())
        for name in self.source.tensors:
            way = self.table.way(name)
            if way.entry is None:
                self.fault("MC809", way.fault, (name,))
            elif keys[way.entry] in changed:
                text = changed[keys[way.entry]].text
                message = f"the adapter calls {text} for `{keys[way.entry]}`, which its table does not say"
                self.fault("MC809", message, (name,), (way.entry,))
            elif way.target is None:
                self.out.dropped[name] = way.entry
            elif way.expert is not None:
                self.experts.setdefault(way.target, []).append((way.expert, name, way.entry))
            else:
                self.give(way.target, renamed(name, way.target, (way.entry,)))
        for target, experts in self.experts.items():
            self.stack(target, sorted(experts))
        self.out.made.extend(self.made.values())
        for (number, message, entries), names in self.faults.items():
            self.out.faults.append(Fault(number, message, tuple(names), entries))
        return self.out

    def fault(self, code: str, message: str, names: tuple[str, ...], entries: tuple[int, ...] = ()) -> None:
        self.faults.setdefault((code, message, entries), []).extend(names)

    def give(self, target: str, made: Made) -> None:
        before = self.made.get(target)
        if before is not None:
            names = tuple(name for operand in before.left for name in operand.names)
            entries = tuple(dict.fromkeys(before.entries + made.entries))
            self.fault("MC807", f"two tensors become `{target}`, and the last counts", names, entries)
        self.made[target] = made

    def stack(self, target: str, experts: list[tuple[int, str, int]]) -> None:
        names = tuple(name for _, name, _ in experts)
        entries = tuple(dict.fromkeys(entry for *_, entry in experts))
        if [number for number, *_ in experts] != list(range(len(experts))):
            numbers = ", ".join(str(number) for number, *_ in experts)
            self.fault("MC806", f"the experts of `{target}` are {numbers}", names, entries)
        elif len({self.source.tensors[name].shape for name in names}) > 1:
            self.fault("MC806", f"the experts of `{target}` have different shapes", names, entries)
        else:
            left = (Operand(names, (Rest(),), "e"),)
            self.give(target, Made(left, (Operand((target,), (Atom("e"), Rest())),), entries=entries))
