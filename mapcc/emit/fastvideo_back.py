"""The two dicts that follow from ``param_names_mapping``: the way back, and the way of LoRA adapters.

Both are found from the names themselves: what is emitted matches the names of this model and, where an
index runs through them, those of a model with more layers.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mapcc.dialects.made import Made, Operand, renamed
from mapcc.dialects.regexes import Mapped, Replacement, mapper
from mapcc.emit.translate import Kinds, mark, translate
from mapcc.lift.tails import Names, is_exact, with_tails
from mapcc.lift.templates import Draft, Part, Rest, Template, Var, drafts

# The parts of a fused parameter, in their order: a replacement, and the part's rows.
Pieces = tuple[tuple[str, int], ...]
Back = dict[str, str | Pieces]

_ADAPTER = r"((?:\.[^.]+)?)"


@dataclass(frozen=True, slots=True)
class Row:
    """A source tensor, its target, and, where it is a part of one, its place and its rows."""

    source: str
    mapped: Mapped
    rows: int = 0
    rank: int = 0


# --- the way back


def reverse(rows: Sequence[Row]) -> Back:
    """From the model's names to the checkpoint's; a fused parameter has all its parts.

    What no pattern matches stays as it is.
    """
    mades = list(_backwards(rows))
    names = Names(name for made in mades for name in made.left[0].names)
    for literal in (False, True):
        back: Back = {}
        for draft in _exact(mades, names, literal):
            if draft.left != draft.right:
                targets = [term.template for term in draft.right]
                pattern, replacements = _translated(draft.left[0].template, targets)
                back[pattern] = _value(replacements, [size for _, size in draft.sizes])
        if all(way_back(back, made.left[0].names[0]) == _wanted(made) for made in mades):
            return back
    raise AssertionError("whole names match themselves alone")


def way_back(back: Mapping[str, str | Pieces], name: str) -> list[tuple[str, int]]:
    """The names that a parameter is given to, each with its rows (0: all)."""
    for pattern, value in back.items():
        if re.match(pattern, name):
            if isinstance(value, str):
                return [(re.sub(pattern, value, name), 0)]
            return [(re.sub(pattern, template, name), rows) for template, rows in value]
    return [(name, 0)]


def _backwards(rows: Sequence[Row]) -> Iterator[Made]:
    fused: dict[str, list[Row]] = {}
    for row in rows:
        if row.mapped.place is None:
            yield renamed(row.mapped.name, row.source, ())
        else:
            fused.setdefault(row.mapped.name, []).append(row)
    for target, parts in fused.items():
        parts.sort(key=lambda row: row.mapped.place or 0)
        sizes = tuple((f"p{at}", part.rows) for at, part in enumerate(parts))
        yield Made((Operand((target,)),), tuple(Operand((part.source,)) for part in parts), sizes)


def _wanted(made: Made) -> list[tuple[str, int]]:
    sizes = [size for _, size in made.sizes] or [0]
    return [(o.names[0], size) for o, size in zip(made.right, sizes, strict=True)]


def _value(replacements: list[str], sizes: list[int]) -> str | Pieces:
    return tuple(zip(replacements, sizes, strict=True)) if sizes else replacements[0]


# --- LoRA


@dataclass(frozen=True, slots=True)
class Adapters:
    """``table``: from modules of the checkpoint to those of the model, with what follows their names.

    ``fused``: modules of the checkpoint whose adapters cannot go along: their targets are fused.
    """

    table: dict[str, str]
    fused: tuple[str, ...]


def adapters(rows: Sequence[Row], table: Mapping[str, Replacement]) -> Adapters:
    """What ``lora_param_names_mapping`` has to be for adapters in the checkpoint's names.

    FastVideo maps ``MODULE.lora_A``, ``MODULE.lora_B`` and, for alphas, ``MODULE``, with this table and
    then with ``param_names_mapping``, which must leave what comes out of it alone.
    """
    pairs: dict[str, str] = {}
    fused: list[str] = []
    for row in rows:
        module, ending = _module(row.source), _module(row.mapped.name)
        if module is None or row.rank < 2:
            continue
        if row.mapped.place is not None:
            fused.append(module)
        elif ending is not None:
            pairs[module] = ending
    last = mapper(table)

    def arrives(module: str, ending: str, first: Callable[[str], Mapped]) -> bool:
        ends = (".lora_A", ".lora_B", "")
        return all(last(first(module + end).name) == Mapped(ending + end) for end in ends)

    names = Names(pairs)
    mades = [renamed(module, ending, ()) for module, ending in pairs.items()]
    for literal in (False, True):
        found: dict[str, str] = {}
        for draft in _exact(mades, names, literal, tails=False):
            pattern, (template,) = _translated(draft.left[0].template, [draft.right[0].template])
            group = re.compile(pattern).groups + 1
            found[f"{pattern[:-1]}{_ADAPTER}$"] = f"{template}\\g<{group}>"
        first = mapper(found)
        if all(arrives(module, ending, first) for module, ending in pairs.items()):
            astray = [module for module, ending in pairs.items() if not arrives(module, ending, Mapped)]
            kept = {p: t for p, t in found.items() if any(map(re.compile(p).match, astray))}
            return Adapters(kept, tuple(fused))
    return Adapters({}, (*fused, *pairs))


def _module(name: str) -> str | None:
    return name.removesuffix(".weight") if name.endswith(".weight") else None


# --- drafts as regular expressions


def _exact(mades: Sequence[Made], names: Names, literal: bool, tails: bool = True) -> list[Draft]:
    if literal:
        return [draft for made in mades for draft in drafts([made])]
    out: list[Draft] = []
    for draft in drafts(mades):
        counted = any(isinstance(p, Var) and p.plus for term in draft.right for p in term.template)
        if not counted and is_exact(draft, names):  # a replacement cannot count
            out.append(draft)
        else:
            out += [one for made in mades if made.left[0].names[0] in draft.names for one in drafts([made])]
    return with_tails(out, names) if tails else out


def _translated(source: Template, targets: Sequence[Template]) -> tuple[str, list[str]]:
    """An anchored pattern, and the replacement for each target."""
    marks: dict[Part, str] = {}
    for part in source:
        if not isinstance(part, str):
            marks.setdefault(part, mark(len(marks)))
    kinds = Kinds({marks[part]: _kind(part) for part in marks}, ".")
    names = ["".join(p if isinstance(p, str) else marks[p] for p in name) for name in (source, *targets)]
    found = [translate(names[0], target, kinds) for target in names[1:]]
    return found[0][0], [template for _, template in found]


def _kind(part: Part) -> str:
    return ("**" if part.deep else "*") if isinstance(part, Rest) else "i"
