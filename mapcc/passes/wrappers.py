"""Segments that training leaves in names: what put them there, and how they come off.

A name counts only if a rule takes it without them: a module may be called ``module`` by its author.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from mapcc.diagnostics.render import plural
from mapcc.ir.program import Equation, Listed
from mapcc.passes.binder import Binder
from mapcc.passes.leftover import patterns_of
from mapcc.passes.match import Trie
from mapcc.passes.words import right_names

WRAPPERS = {
    "module": "DistributedDataParallel",
    "_orig_mod": "torch.compile",
    "_fsdp_wrapped_module": "FullyShardedDataParallel",
    "_checkpoint_wrapped_module": "activation checkpointing",
    "_fpw_module": "FullyShardedDataParallel of old releases",
    "_forward_module": "Lightning",
}
_STATEMENTS = 12  # that are shown


class _Owner(Protocol):
    """Who has put a pattern into the trie."""

    @property
    def equation(self) -> Equation | None: ...

    @property
    def drop(self) -> Listed | None: ...


def bare(name: str, separator: str = ".") -> str:
    """A name without the segments of wrappers.

    >>> bare("module._orig_mod.blocks.0._fsdp_wrapped_module.mlp.weight")
    'blocks.0.mlp.weight'
    """
    return separator.join(part for part in name.split(separator) if part not in WRAPPERS)


def check_wrappers(binder: Binder, alone: Iterable[str], trie: Trie) -> None:
    """Of names that no rule takes: those that one takes without wrappers are one finding, and no other."""
    separator = binder.program.separators[0]
    stripped = {name: bare(name, separator) for name in alone}
    wrapped = {
        name: short
        for name, short in stripped.items()
        if short and short != name and short not in binder.source.tensors
    }
    if not wrapped:
        return
    meant = dict.fromkeys(wrapped.values())
    hit = {short: [leaf.owner for leaf, _ in found.leaves] for short, found, _ in trie.open_matches(meant)}
    wrapped = {name: short for name, short in wrapped.items() if hit[short]}
    if not wrapped:
        return
    _excuse(binder, (owner for short in wrapped.values() for owner in hit[short]))
    binder.excused_sources.update(wrapped)
    _tell(binder, wrapped)


def _excuse(binder: Binder, owners: Iterable[_Owner]) -> None:
    """A rule that takes them is not dead, and what it would have given is absent for this reason."""
    for owner in owners:
        equation = owner.equation
        if owner.drop is not None:
            binder.dropped_by[id(owner.drop.written)] += 1
        if equation is None or binder.matched[equation.number].failed:
            continue
        matched = binder.matched[equation.number]
        matched.failed = True
        binder.program.failed_right += right_names(equation)
        if not binder.facts(equation).takes_one:
            # Of a group, some are wrapped and some not: it is whole once the wrappers are off.
            members = (
                by_position.values() for keys in matched.tensors.values() for by_position in keys.values()
            )
            binder.excused_sources.update(name for names in members for name in names)
            matched.tensors.clear()


def _tell(binder: Binder, wrapped: Mapping[str, str]) -> None:
    separator = binder.program.separators[0]
    segments = dict.fromkeys(part for name in wrapped for part in name.split(separator) if part in WRAPPERS)
    who = ", ".join(f"`{segment}` ({WRAPPERS[segment]})" for segment in segments)
    prefix = _shared_wrappers(list(binder.source.tensors), separator)
    whole = all(name == f"{prefix}{separator}{short}" for name, short in wrapped.items())
    notes: tuple[str, ...] = ()
    if prefix and whole:
        help = f'`--under {prefix}`, or a mapping of one line: `use "FILE" under {prefix} -> .`'
    else:
        lines = list(statements(binder.source.tensors, separator))
        notes = tuple(lines[:_STATEMENTS])
        if len(lines) > _STATEMENTS:
            notes = (*notes, f"and {plural(len(lines) - _STATEMENTS, 'line')} more of this kind")
        help = (
            "the lines above, as a mapping, take them off: convert with it, and what it gives with this one"
        )
    for name in wrapped:
        message = f"training has left its wrappers in the names: {who}"
        binder.findings.add("MC009", message, None, name, notes=notes, help=help)


def _shared_wrappers(names: Sequence[str], separator: str) -> str:
    """The wrappers that all names begin with."""
    shared: list[str] = []
    for column in zip(*(name.split(separator)[:-1] for name in names), strict=False):
        if len(set(column)) > 1 or column[0] not in WRAPPERS:
            break
        shared.append(column[0])
    return separator.join(shared)


def statements(names: Iterable[str], separator: str = ".") -> Iterator[str]:
    """A mapping that takes the wrappers off, wherever they stand.

    >>> list(statements(["module.a.w", "module.b.0._orig_mod.w", "module.b.1._orig_mod.w", "c"]))
    ['module.a.** -> a.**', 'module.b.{i}._orig_mod.** -> b.{i}.**', 'keep c']
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        groups.setdefault(_places(name.split(separator)), []).append(name)
    for place, group in groups.items():
        others = [name for other, listed in groups.items() if other != place for name in listed]
        for pattern in _patterns(group, others, separator):
            short = bare(pattern, separator)
            yield f"keep {pattern}" if short == pattern else f"{pattern} -> {short}"


def _patterns(group: Sequence[str], others: Sequence[str], separator: str) -> list[str]:
    """Patterns for the names of a group, each with all wrappers before its ``**``."""
    before = dict.fromkeys(_before_last(name.split(separator), separator) for name in group)
    return patterns_of(group, [*others, *filter(None, before)], separator)


def _before_last(segments: Sequence[str], separator: str) -> str:
    """The name up to its last wrapper, without that."""
    last = max((at for at, part in enumerate(segments) if part in WRAPPERS), default=0)
    return separator.join(segments[:last])


def _places(segments: Sequence[str]) -> tuple[str, ...]:
    """Which wrappers stand in a name, and how many segments lie before each."""
    return tuple(f"{at} {part}" for at, part in enumerate(segments) if part in WRAPPERS)
