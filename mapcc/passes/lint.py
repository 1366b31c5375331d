"""Warnings about mappings that check clean: what may be meant, and is silent if it is not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic, Diagnostics, Edit, Fix
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.passes.ambiguity import Ambiguity, ambiguities
from mapcc.passes.binder import Binder
from mapcc.passes.crossed import Crossed, unlike_siblings
from mapcc.passes.instances import make_instances
from mapcc.passes.questions import CODE as QUESTIONS
from mapcc.passes.take import match_sources
from mapcc.syntax.editing import is_yaml, reasoned
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Span

_Allows = tuple[rules.Allow, ...]


def lint(bound: BoundMapping) -> list[Diagnostic]:
    """MC811, MC812, MC813 and MC818 of a mapping that was bound without errors.

    ``allow CODE because "..."`` on a rule, or on a block around it, switches a warning off there.
    """
    linter = _Linter(bound)
    linter.used.update((_key(allow), QUESTIONS) for allow in bound.unanswered)
    linter.used.update((_key(allow), code) for allow, code in bound.allowed)
    found = [*linter.taken_again(), *linter.ambiguous(), *linter.crossed()]
    return [*found, *linter.idle()]


@dataclass(slots=True)
class _Found:
    """What is found of one statement."""

    span: Span
    allows: _Allows
    texts: dict[str, None] = field(default_factory=dict)
    names: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class _Linter:
    bound: BoundMapping
    used: set[tuple[object, str]] = field(default_factory=set)

    def _reported(
        self, code: str, found: Iterable[_Found], help: str, lead: str = ""
    ) -> Iterator[Diagnostic]:
        for one in found:
            if self._is_allowed(code, one.allows):
                continue
            texts = list(one.texts)
            message, notes = (lead, texts[:1]) if lead else ("; ".join(texts), [])
            instead = f'{help}, or: `allow {code} because "..."`'
            names = tuple(fold(one.names))
            clause = reasoned(f"allow {code}", one.span, f'allow {code} because "TODO: why"')
            fixes = () if clause is None else (clause,)
            yield Diagnostic(
                code, message, one.span, notes=tuple(notes), help=instead, names=names, fixes=fixes
            )

    def _is_allowed(self, code: str, allows: _Allows) -> bool:
        """Whether a warning is switched off; whatever says so has its use."""
        saying = [allow for allow in allows if code in allow.codes]
        self.used.update((_key(allow), code) for allow in saying)
        return bool(saying)

    # --- MC811

    def taken_again(self) -> Iterator[Diagnostic]:
        """Rules that take something of what the mapping gives, and give it another name."""
        found: dict[int, _Found] = {}
        again = _bound_again(self.bound)
        for instance in again.bound.instances:
            names = [name for operand in instance.sources for name in operand]
            if names == list(instance.targets):
                continue
            equation = instance.equation
            one = found.setdefault(id(equation.statement), _Found(equation.span, equation.allow))
            one.names.update(dict.fromkeys(names))
            one.texts[f"{', '.join(names)} would become {', '.join(instance.targets)}"] = None
        for name, listed in again.bound.dropped.items():
            one = found.setdefault(id(listed.written), _Found(listed.span, listed.allow))
            one.names[name] = None
            one.texts[f"{name} would be dropped"] = None
        lead = "not idempotent: of what the mapping gives, this takes some again"
        yield from self._reported("MC811", found.values(), "narrow the left side", lead)

    # --- MC812

    def ambiguous(self) -> Iterator[Diagnostic]:
        found: dict[int, _Found] = {}
        by_layout: dict[tuple[int, int], list[Ambiguity]] = {}
        for instance in self.bound.instances:
            if not any(instance.sources):
                continue  # all of it is created
            key = (instance.equation.number, id(instance.layout))
            if key not in by_layout:
                by_layout[key] = ambiguities(self.bound, instance)
            if by_layout[key]:
                equation = instance.equation
                one = found.setdefault(id(equation.statement), _Found(equation.span, equation.allow))
                one.texts.update(dict.fromkeys(ambiguity.text for ambiguity in by_layout[key]))
                one.names.update(dict.fromkeys(_concerned(instance)))
        for instance, text in unlike_siblings(self.bound):
            equation = instance.equation
            one = found.setdefault(id(equation.statement), _Found(equation.span, equation.allow))
            one.texts[text] = None
            one.names.update(dict.fromkeys(instance.sources[0]))
        yield from self._reported("MC812", found.values(), "compare it with the reference once")

    # --- MC818

    def crossed(self) -> Iterator[Diagnostic]:
        names = Crossed(self.bound)
        found: dict[int, _Found] = {}
        for instance in self.bound.instances:
            for name, text in names.of(instance):
                equation = instance.equation
                one = found.setdefault(id(equation.statement), _Found(equation.span, equation.allow))
                one.names[name] = None
                one.texts[text] = None
        lead = "names are crossed: what is one thing in the source becomes another in the target"
        yield from self._reported("MC818", found.values(), "exchange them on one side", lead)

    # --- MC813

    def idle(self) -> Iterator[Diagnostic]:
        """Each ``allow`` that switched nothing off."""
        program = self.bound.program
        covering = [one.allow for one in (*program.equations, *program.creates)]
        covering += [one.allow for one in (*program.drops, *program.externals)]
        for allows in covering:
            for allow in allows:
                idle = [code for code in allow.codes if (_key(allow), code) not in self.used]
                idle = [code for code in idle if code != "MC813"]
                self.used.update((_key(allow), code) for code in idle)  # said once
                if not idle or self._is_allowed("MC813", allows):
                    continue
                message = f"nothing to allow: {', '.join(idle)} is not given here"
                fixes = without_allow(allow, idle)
                yield Diagnostic("MC813", message, allow.span, help="remove it", fixes=fixes)


def without_allow(allow: rules.Allow, idle: Sequence[str]) -> tuple[Fix, ...]:
    """The clause without the codes that it gives no reason for; away with it, if that is all of them."""
    span, left = allow.span, [code for code in allow.codes if code not in idle]
    if span is None or is_yaml(span.source):
        return ()
    if not left:
        start = span.start
        while start and span.source.text[start - 1] in " \t\n":
            start -= 1
        return (Fix("remove it", (Edit(Span(span.source, start, span.end), ""),), True),)
    found = re.match(r"allow\s+(MC[0-9]+(?:\s*,\s*MC[0-9]+)*)", span.text)
    if found is None:
        return ()
    place = Span(span.source, span.start + found.start(1), span.start + found.end(1))
    return (Fix("allow what is given", (Edit(place, ", ".join(left)),), True),)


def _key(allow: rules.Allow) -> object:
    """A file that is used twice is parsed twice: the same place is the same ``allow``."""
    span = allow.span
    return (span.source.name, span.start, span.end) if span else id(allow)


def _concerned(instance: Instance) -> tuple[str, ...]:
    """The tensors in which the order shows: the fused ones."""
    (first, *others) = instance.sources
    return instance.targets if others or not first else first


def _bound_again(bound: BoundMapping) -> Binder:
    """The same rules on the names and shapes that they give; what does not fit is left out in silence."""
    tensors = {
        name: TensorSpec(name, instance.dtypes[number], instance.layout.target_shapes[number])
        for name, (instance, number) in bound.given.items()
    }
    if bound.target is not None:
        tensors |= {name: spec for name, spec in bound.target.tensors.items() if name in bound.external}
    given = Manifest(tensors, (), bound.source.where, bound.source.config, {})
    program = bound.program
    # A program remembers names of rules that fail: those of this attempt are nobody's concern.
    apart = replace(program, failed_left=list(program.failed_left), failed_right=list(program.failed_right))
    binder = Binder(apart, given, None, Diagnostics())
    match_sources(binder)
    make_instances(binder)
    return binder
