"""Fixes for tensors that one side lacks and the other has: a rule, or a reason for there being none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Fix
from mapcc.diagnostics.suggest import Suggester
from mapcc.ir import rules
from mapcc.ir.notation import print_name, print_where
from mapcc.ir.patterns import Pattern
from mapcc.passes.naming import bounds_of, pattern_of
from mapcc.syntax.editing import added
from mapcc.tensors.spec import Manifest
from mapcc.text import Source

REASON = "TODO: why"

_BRACES = re.compile(r"\{([^{}]*)\}")


@dataclass(slots=True)
class Unmatched:
    """The names of one side that nothing speaks of, as templates."""

    keys: Manifest
    names: dict[str, None]
    templates: list[str] = field(default_factory=list)
    _near: Suggester | None = None
    _each: Suggester | None = None

    @classmethod
    def of(cls, keys: Manifest, names: Iterable[str]) -> Unmatched:
        listed = list(names)
        return cls(keys, dict.fromkeys(listed), fold(listed))

    def pattern(self, template: str) -> Pattern:
        return pattern_of(template, self.names)

    def statement(self, word: str, template: str) -> str:
        """``drop NAME because "..."``, or another word, for what a template stands for."""
        where = bounds_of(template, self.names, needed=True)
        behind = f" where {print_where(where)}" if where else ""
        return f'{word} {print_name(self.pattern(template))} because "..."{behind}'

    def kept(self, template: str) -> str:
        """``keep NAME``, for what both sides have under the same name."""
        where = bounds_of(template, self.names, needed=True)
        behind = f" where {print_where(where)}" if where else ""
        return f"keep {print_name(self.pattern(template))}{behind}"

    def first(self, template: str) -> str:
        """One of the names that a template stands for."""
        if template in self.names:
            return template
        return _BRACES.sub(lambda found: re.split(r",|\.\.", found[1])[0], template)

    def like(self, template: str, other: Unmatched) -> Iterator[str]:
        """Templates of this side that another's could go to: as many names of the same shapes."""
        if template in self.templates:
            yield template
            return
        self._near = self._near or Suggester(self.templates)
        for near in self._near.ranked(template, 3):
            if _ranges(near) == _ranges(template) and self._shape(near) == other._shape(template):
                yield near
                return

    def ranked(self, name: str) -> list[str]:
        """Names of this side that look like one, the likest first."""
        self._each = self._each or Suggester(self.names)
        return self._each.ranked(name, 3)

    def _shape(self, template: str) -> tuple[int, ...] | None:
        spec = self.keys.tensors.get(self.first(template))
        return spec.shape if spec else None


def _ranges(template: str) -> list[str]:
    return _BRACES.findall(template)


def fixes_of_source(
    source: Source | None, template: str, left: Unmatched, right: Unmatched | None
) -> Iterator[Fix]:
    """For a source tensor that no rule takes."""
    if source is None:
        return
    if right is not None:
        for other in right.like(template, left):
            yield from _rule(source, template, left, other, right)
    name = left.pattern(template)
    title = f"leave `{print_name(name)}` out"
    yield from _with_bounds(
        source, title, template, left, lambda where: rules.Drop((name,), REASON, rules.Modifiers(where=where))
    )


def fixes_of_module(source: Source | None, word: str, whole: Pattern, on_both: bool) -> Iterator[Fix]:
    """For all that lies in a module: kept, where both sides have the same, or left out."""
    if source is None:
        return
    shown = print_name(whole)
    if on_both:
        fix = added(f"keep `{shown}`", source, rules.Keep((whole,)))
    elif word == "drop":
        fix = added(f"leave `{shown}` out", source, rules.Drop((whole,), REASON))
    else:
        fix = added(f"leave `{shown}` to something else", source, rules.External((whole,), REASON))
    if fix is not None:
        yield fix


def fixes_of_target(source: Source | None, template: str, right: Unmatched, left: Unmatched) -> Iterator[Fix]:
    """For a target tensor that nothing gives."""
    if source is None:
        return
    for other in left.like(template, right):
        yield from _rule(source, other, left, template, right)
    name = right.pattern(template)
    title = f"leave `{print_name(name)}` to something else"
    yield from _with_bounds(
        source,
        title,
        template,
        right,
        lambda where: rules.External((name,), REASON, rules.Modifiers(where=where)),
    )


def _rule(source: Source, ours: str, left: Unmatched, theirs: str, right: Unmatched) -> Iterator[Fix]:
    lhs, rhs = left.pattern(ours), right.pattern(theirs)
    if lhs == rhs:
        yield from _with_bounds(
            source,
            f"keep `{print_name(lhs)}`",
            ours,
            left,
            lambda where: rules.Keep((lhs,), rules.Modifiers(where=where)),
        )
        return
    yield from _with_bounds(
        source,
        f"map `{print_name(lhs)}` to `{print_name(rhs)}`",
        ours,
        left,
        lambda where: rules.Rule(
            (rules.Tensor(lhs),), (rules.Tensor(rhs),), modifiers=rules.Modifiers(where=where)
        ),
    )


def _with_bounds(
    source: Source,
    title: str,
    template: str,
    side: Unmatched,
    statement: Callable[[tuple[rules.Condition, ...]], rules.Statement],
) -> Iterator[Fix]:
    """For every index; and held to those that there are, should other rules take the rest."""
    needed = bounds_of(template, side.names, needed=True)
    for where in dict.fromkeys((needed, bounds_of(template, side.names))):
        fix = added(title, source, statement(where))
        if fix is not None:
            yield fix
