"""Binding: which tensors each equation takes, what it gives, in which shapes.

Every source name is matched once, against all patterns together. The matches of an equation that
agree on its variables are an instance; the members of one are found jointly, as they occur.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from mapcc.diagnostics.model import Diagnostics, Label
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping, Instance, Layout
from mapcc.ir.expr import Unevaluable
from mapcc.ir.printer import print_name
from mapcc.ir.program import Equation, Listed, Program
from mapcc.passes import layout as laying
from mapcc.passes.analyse import analyse, regex_names
from mapcc.passes.findings import Findings
from mapcc.passes.indices import NotOneToOne, domain_conditions
from mapcc.passes.match import Leaf, Trie
from mapcc.passes.paths import PathIndex
from mapcc.passes.resolve import Resolver, Values
from mapcc.passes.segments import name_axes, variants
from mapcc.passes.writer import NameWriter, NegativeIndex, name_writer
from mapcc.tensors.spec import Manifest

Key = tuple[int | str, ...]
Position = tuple[int, ...]

# The value of a variable that a name does not have. No text of a hole is this one.
ABSENT = "\0"


@dataclass(frozen=True, slots=True, eq=False)
class _Taker:
    """A pattern of the left side: which unit of which equation, or a drop."""

    equation: Equation | None
    unit: int
    member: int
    axes: tuple[str, ...]
    resolver: Resolver
    drop: Listed | None = None
    order: tuple[int, ...] | None = None  # holes to variables, where nothing has to be solved

    @property
    def is_default(self) -> bool:
        return self.equation.is_default if self.equation else bool(self.drop and self.drop.is_default)


@dataclass(slots=True)
class _Matched:
    """What an equation's patterns matched: by unit and member, by key, by position on its axes."""

    tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]] = field(default_factory=dict)
    filtered: int = 0


class Binder:
    def __init__(
        self, program: Program, source: Manifest, target: Manifest | None, found: Diagnostics
    ) -> None:
        self.bound = BoundMapping(program, source, target)
        self.program, self.source, self.target = program, source, target
        self.findings = Findings(found)
        self.paths = PathIndex(source.tensors, program.separators[0])
        self.resolvers: dict[int, Resolver] = {}
        self.matched: dict[int, _Matched] = {}
        self.writers: dict[tuple[int, int], NameWriter] = {}
        self.layouts: dict[tuple[object, ...], Layout | laying.Problem] = {}
        self.dropped_by: dict[int, int] = {}
        # What a failed instance would have taken and given: not reported a second time.
        self.excused_sources: set[str] = set()
        self.excused_targets: set[str] = set()

    # --- matching

    def match_sources(self) -> None:
        trie = self._source_trie()
        for name in self.source.tensors:
            candidates = self._candidates(trie, name)
            if len(candidates) > 1:
                strong = [c for c in candidates if not c[0].is_default]
                candidates = strong or candidates
            if len(candidates) > 1:
                self._ambiguous(name, [taker for taker, _, _ in candidates])
                self.excused_sources.add(name)
            for taker, key, position in candidates:
                self._take(name, taker, key, position)

    def _source_trie(self) -> Trie:
        trie = Trie(self.program.separators[0])
        for equation in self.program.equations:
            resolver = self._resolver(equation)
            self.matched[equation.number] = _Matched()
            if equation.broken:
                continue
            regexes = regex_names(equation)
            for u, unit in enumerate(equation.units):
                for m, name in enumerate(unit.names):
                    axes = tuple(axis.atom for axis in name_axes(name))
                    for variant in variants(name, equation.separators[0], regexes):
                        order = _plain_order(variant, equation, resolver) if not axes else None
                        trie.add(_Taker(equation, u, m, axes, resolver, order=order), variant)
        for listed in self.program.drops:
            resolver = self._listed_resolver(listed)
            self.dropped_by.setdefault(id(listed), 0)
            for name in listed.names:
                for variant in variants(name, listed.separator):
                    trie.add(_Taker(None, 0, 0, (), resolver, drop=listed), variant)
        return trie

    def _resolver(self, equation: Equation) -> Resolver:
        if equation.number not in self.resolvers:
            self.resolvers[equation.number] = Resolver(
                equation.conditions,
                equation.indices,
                equation.variables,
                equation.scope,
                equation.prefix,
                self.paths,
                equation.atoms,
            )
        return self.resolvers[equation.number]

    def _resolver_of_create(self, equation: Equation) -> Resolver:
        key = -1 - equation.number
        if key not in self.resolvers:
            self.resolvers[key] = Resolver(
                equation.conditions,
                equation.indices,
                equation.variables,
                equation.scope,
                equation.prefix,
                self.paths,
                equation.atoms,
            )
        return self.resolvers[key]

    def _listed_resolver(self, listed: Listed) -> Resolver:
        from mapcc.ir.expr import names
        from mapcc.ir.patterns import Index

        words = {w for n in listed.names for p in n.parts if isinstance(p, Index) for w in names(p.expr)}
        indices = frozenset(words - set(listed.scope.lets))
        return Resolver(listed.conditions, indices, (), listed.scope, listed.prefix, self.paths)

    def _candidates(self, trie: Trie, name: str) -> list[tuple[_Taker, Key, Position]]:
        out: list[tuple[_Taker, Key, Position]] = []
        for leaf, texts in trie.match(name):
            taker: _Taker = leaf.owner
            if taker.order is not None:
                key = tuple(
                    [int(t) if hole.expr is not None else t for hole, t in zip(leaf.holes, texts, strict=True)]
                )
                if taker.order:
                    key = tuple([key[k] for k in taker.order])
                out.append((taker, key, ()))
                continue
            resolved = self._resolve(taker, leaf, texts)
            if resolved is None:
                if taker.equation is not None:
                    self.matched[taker.equation.number].filtered += 1
                continue
            values, axes = resolved
            variables = taker.equation.variables if taker.equation else ()
            key = tuple(values.get(variable, ABSENT) for variable in variables)
            labels = dict(leaf.variant.positions)
            out.append((taker, key, tuple(labels[a] if a in labels else axes[a] for a in taker.axes)))
        return out

    def _resolve(
        self, taker: _Taker, leaf: Leaf, texts: Sequence[str]
    ) -> tuple[Values, dict[str, int]] | None:
        span = taker.equation.span if taker.equation else taker.drop.span if taker.drop else None
        try:
            return taker.resolver.resolve(leaf, texts)
        except Unevaluable as error:
            self._unevaluable(error, taker.resolver, span)
        except NotOneToOne as error:
            message = f"two choices of {error} give the same number"
            self.findings.add("MC205", message, span, help="narrow the domains: where r in 0..N")
        return None

    def _unevaluable(self, error: Unevaluable, resolver: Resolver, span: object) -> None:
        from mapcc.passes.scope import report

        found = Diagnostics()
        report(error, resolver.scope, span, found)  # type: ignore[arg-type]
        for d in found:
            self.findings.add(d.code, d.message, d.span, notes=d.notes, help=d.help)

    def _take(self, name: str, taker: _Taker, key: Key, position: Position) -> None:
        if taker.drop is not None:
            self.bound.dropped[name] = taker.drop
            self.dropped_by[id(taker.drop)] += 1
            return
        assert taker.equation is not None
        matched = self.matched[taker.equation.number].tensors
        matched.setdefault((taker.unit, taker.member), {}).setdefault(key, {})[position] = name

    def _ambiguous(self, name: str, takers: Sequence[_Taker]) -> None:
        spans = [t.equation.span if t.equation else t.drop.span for t in takers if t.equation or t.drop]
        first, *others = spans
        related = tuple(Label(span, "and this") for span in others)
        self.findings.add(
            "MC403",
            f"{len(spans)} rules take the same source tensors",
            first,
            name,
            label="taken here",
            related=related,
            help="narrow one of the patterns, or put the general rule into 'default { ... }'",
        )

    # --- instances

    def make_instances(self) -> None:
        for equation in self.program.equations:
            if equation.broken:
                continue
            matched = self.matched[equation.number]
            for key, by_member in _joined(equation, matched.tensors):
                self._instance(equation, key, by_member)
            if not matched.tensors and not equation.optional and equation.units[0].names:
                self._dead(equation, matched.filtered)

    def _dead(self, equation: Equation, filtered: int) -> None:
        pattern = equation.units[0].names[0]
        shown = print_name(pattern)
        which = f" (one of {equation.copies} copies)" if equation.copies > 1 else ""
        notes = (f"{filtered} names match the pattern, but not 'where'",) if filtered else ()
        if equation.is_default:
            return
        self.findings.add(
            "MC405",
            f"no source tensor matches {shown}{which}",
            pattern.span or equation.span,
            notes=notes,
            help=self._near_source(shown),
        )

    def _near_source(self, pattern: str) -> str:
        near = self.source_suggester.nearest(_as_template(pattern))
        hint = f"the nearest source name is {near}; " if near else ""
        return f"{hint}add 'optional' if it may be absent"

    @property
    def source_suggester(self):  # type: ignore[no-untyped-def]
        from mapcc.diagnostics.suggest import Suggester

        if not hasattr(self, "_source_suggester"):
            self._source_suggester = Suggester(self.source.tensors)
        return self._source_suggester

    def _instance(
        self, equation: Equation, key: Key, by_member: dict[tuple[int, int], dict[Position, str]]
    ) -> None:
        values = self._with_free_variables(equation, key)
        counts = self._axis_counts(equation, by_member)
        operands = self._operands(equation, key, by_member, counts)
        if operands is None or values is None:
            self._excuse(equation, by_member)
            return
        for full in values:
            self._lay_out(equation, full, operands, counts, by_member)

    def _excuse(self, equation: Equation, by_member: dict[tuple[int, int], dict[Position, str]]) -> None:
        self.excused_sources.update(name for names in by_member.values() for name in names.values())

    def _with_free_variables(self, equation: Equation, key: Key) -> list[Key] | None:
        """The key once for each value of an index that stands on the right only."""
        domains = domain_conditions(equation.conditions, equation.indices)
        free = [k for k, v in enumerate(equation.variables) if key[k] == ABSENT and v in domains]
        if not free:
            return [key]
        resolver = self._resolver(equation)
        values: Values = {v: key[k] for k, v in enumerate(equation.variables) if k not in free}
        try:
            ranges = [resolver.range_of(equation.variables[k], values) for k in free]
        except Unevaluable as error:
            self._unevaluable(error, resolver, equation.span)
            return None
        out = []
        for choice in product(*ranges):
            full = list(key)
            for k, value in zip(free, choice, strict=True):
                full[k] = value
            out.append(tuple(full))
        return out

    def _axis_counts(
        self, equation: Equation, by_member: Mapping[tuple[int, int], dict[Position, str]]
    ) -> dict[str, int]:
        """How long the index axes ``[e]`` of the left are: to the largest index seen."""
        counts: dict[str, int] = {}
        for (u, m), tensors in by_member.items():
            for at, axis in enumerate(name_axes(equation.units[u].names[m])):
                if axis.labels is None:
                    longest = max(position[at] for position in tensors) + 1
                    counts[axis.atom] = max(counts.get(axis.atom, 0), longest)
        return counts

    def _operands(
        self,
        equation: Equation,
        key: Key,
        by_member: Mapping[tuple[int, int], dict[Position, str]],
        counts: Mapping[str, int],
    ) -> list[list[tuple[str, ...]]] | None:
        """For each unit its operands, row-major along its axes; None if one is absent."""
        units: list[list[tuple[str, ...]]] = []
        complete = True
        for u, unit in enumerate(equation.units):
            if unit.is_created:
                units.append([()])
                continue
            axes = name_axes(unit.names[0])
            extents = [range(len(a.labels) if a.labels is not None else counts.get(a.atom, 0)) for a in axes]
            operands: list[tuple[str, ...]] = []
            for position in product(*extents):
                members: list[str] = []
                for m in range(len(unit.names)):
                    name = by_member.get((u, m), {}).get(position)
                    if name is None:
                        complete = False
                        self._absent(equation, u, m, key, position, by_member)
                    else:
                        members.append(name)
                operands.append(tuple(members))
            units.append(operands)
        return units if complete else None

    def _absent(
        self,
        equation: Equation,
        u: int,
        m: int,
        key: Key,
        position: Position,
        by_member: Mapping[tuple[int, int], dict[Position, str]],
    ) -> None:
        pattern = equation.units[u].names[m]
        writer = name_writer(pattern, equation.separators[0], equation.variables, regex_names(equation))
        try:
            name: str | None = writer.write(key, position, self._parameters(equation, key))
        except (NegativeIndex, Unevaluable):
            name = None
        present = next(iter(next(iter(by_member.values())).values()), "")
        self.findings.add(
            "MC406",
            "the rule takes several tensors together, and some are absent",
            equation.span,
            name,
            label="all of them, or none",
            notes=(f"present, for example: {present}",),
            help="absent: " + print_name(pattern) if name is None else "",
        )

    # --- layout

    def _lay_out(
        self,
        equation: Equation,
        key: Key,
        operands: list[list[tuple[str, ...]]],
        counts: Mapping[str, int],
        by_member: dict[tuple[int, int], dict[Position, str]],
    ) -> None:
        shapes = self._shapes(equation, operands)
        if shapes is None:
            self._excuse(equation, by_member)
            return
        layout = self._layout(equation, key, shapes, counts)
        if isinstance(layout, laying.Problem):
            example = next((name for unit in operands for operand in unit for name in operand), None)
            self.findings.add(
                layout.code, layout.message, layout.span or equation.span, example, notes=layout.notes, help=layout.help
            )
            self._excuse(equation, by_member)
            self.excused_targets.update(self._possible_targets(equation, key))
            return
        targets = self._targets(equation, key, layout.sizes)
        sources = tuple(operand for unit in operands for operand in unit)
        self.bound.instances.append(Instance(equation, key, sources, tuple(targets), layout))

    def _shapes(
        self, equation: Equation, operands: list[list[tuple[str, ...]]]
    ) -> tuple[tuple[tuple[int, ...], ...], ...] | None:
        """The shapes of each unit's tensors; along a name axis they have to be the same."""
        tensors = self.source.tensors
        out: list[tuple[tuple[int, ...], ...]] = []
        for u, unit in enumerate(operands):
            first = tuple([tensors[name].shape for name in unit[0]]) if unit else ()
            for operand in unit[1:]:
                shapes = tuple([tensors[name].shape for name in operand])
                if shapes != first:
                    self.findings.add(
                        "MC306",
                        f"tensors along one name axis have different shapes: {_shown(first)} and {_shown(shapes)}",
                        equation.units[u].span or equation.span,
                        operand[0] if operand else None,
                        help="pieces of unequal size are a sum: q : q c, k : k c -> qkv : (q + k) c",
                    )
                    return None
            out.append(first)
        return tuple(out)

    def _layout(
        self,
        equation: Equation,
        key: Key,
        shapes: tuple[tuple[tuple[int, ...], ...], ...],
        counts: Mapping[str, int],
    ) -> Layout | laying.Problem:
        own = key if _depends_on_values(equation) else ()
        memo = (equation.number, shapes, tuple(counts.items()), own)
        known = self.layouts.get(memo)
        if known is not None:
            return known
        resolver = self._resolver(equation)
        lookup = resolver.lookup(dict(zip(equation.variables, key, strict=True)), defined=False)
        state = laying.start(equation, shapes, counts, lookup)
        if isinstance(state, laying.Problem):
            self.layouts[memo] = state
            return state
        if not state.free():
            result = self.layouts[memo] = laying.finish(state)
            return result
        # The source leaves something open: ask the target. That depends on names, so no memo.
        if self.target is not None:
            self._count_target_axes(equation, key, state)
            target_shapes = self._target_shapes(equation, key, state)
            problem = laying.add_targets(state, target_shapes, lookup)
            if problem:
                return problem
        return laying.unsolved(state, self.target is not None) or laying.finish(state)

    def _count_target_axes(self, equation: Equation, key: Key, state: laying.Solving) -> None:
        """An index axis on the right that nothing sizes is as long as the target has it."""
        assert self.target is not None
        for t, target in enumerate(equation.targets):
            if target.name is None:
                continue
            for axis in name_axes(target.name):
                if axis.atom in state.solver.known:
                    continue
                writer = self._writer(equation, t)
                at = 0
                while True:
                    position = [at if a == axis.atom else 0 for a in writer.axes]
                    name = self._write(writer, equation, key, position)
                    if name not in self.target.tensors:
                        break
                    at += 1
                if at:
                    state.solver.known[axis.atom] = at

    def _target_shapes(
        self, equation: Equation, key: Key, state: laying.Solving
    ) -> list[tuple[int, ...] | None]:
        assert self.target is not None
        shapes: list[tuple[int, ...] | None] = []
        for t, target in enumerate(equation.targets):
            shapes.append(None)
            if target.name is None:
                continue
            writer = self._writer(equation, t)
            name = self._write(writer, equation, key, [0] * len(writer.axes))
            spec = self.target.tensors.get(name) if name is not None else None
            shapes[-1] = spec.shape if spec else None
        return shapes

    def _write(
        self, writer: NameWriter, equation: Equation, key: Key, position: Sequence[int]
    ) -> str | None:
        try:
            return writer.write(key, position, self._parameters(equation, key))
        except (NegativeIndex, Unevaluable):
            return None

    # --- names of targets

    def _writer(self, equation: Equation, t: int) -> NameWriter:
        writer = self.writers.get((id(equation), t))
        if writer is None:
            name = equation.targets[t].name
            assert name is not None
            writer = name_writer(name, equation.separators[1], equation.variables, regex_names(equation))
            self.writers[id(equation), t] = writer
        return writer

    def _parameters(self, equation: Equation, key: Key):  # type: ignore[no-untyped-def]
        resolver = self._resolver(equation)
        return lambda word: resolver.parameter(word, dict(zip(equation.variables, key, strict=True)))

    def _targets(self, equation: Equation, key: Key, sizes: Mapping[str, int]) -> list[str]:
        names: list[str] = []
        parameters = self._parameters(equation, key)
        for t, target in enumerate(equation.targets):
            if target.name is None:
                continue
            try:
                names += self._writer(equation, t).write_all(key, sizes, parameters)
            except NegativeIndex as error:
                self.findings.add(
                    "MC204", f"an index on the right is {error}, below zero", target.span or equation.span
                )
                count = 1
                for axis in name_axes(target.name):
                    count *= sizes[axis.atom]
                names += [""] * count
            except Unevaluable as error:
                self._unevaluable(error, self._resolver(equation), target.span)
                names.append("")
        return names

    def _possible_targets(self, equation: Equation, key: Key) -> Iterator[str]:
        """Names that a failed instance would have given, as far as they are known."""
        for t, target in enumerate(equation.targets):
            if target.name is not None and all(a.labels is not None for a in name_axes(target.name)):
                sizes = {a.atom: len(a.labels or ()) for a in name_axes(target.name)}
                try:
                    yield from self._writer(equation, t).write_all(
                        key, sizes, self._parameters(equation, key)
                    )
                except (NegativeIndex, Unevaluable):
                    continue


def _as_template(pattern: str) -> str:
    return pattern.replace("{", "").replace("}", "")


def _shown(shapes: Iterable[tuple[int, ...]]) -> str:
    return ", ".join(str(list(shape)) for shape in shapes)


def _plain_order(variant: object, equation: Equation, resolver: Resolver) -> tuple[int, ...] | None:
    """How holes are permuted into variables where every hole is a variable of its own, else None."""
    holes = [hole.variable for hole in variant.holes]  # type: ignore[attr-defined]
    if not resolver.is_simple or sorted(holes) != sorted(equation.variables):
        return None
    order = tuple(holes.index(variable) for variable in equation.variables)
    return () if order == tuple(range(len(order))) else order


def _depends_on_values(equation: Equation) -> bool:
    """Whether sizes may differ between instances of the same shapes."""
    from mapcc.ir.expr import Count, Name, leaves

    for condition in equation.conditions:
        if isinstance(condition, rules.Compare) and condition.is_equation:
            for operand in condition.operands:
                for leaf in leaves(operand):
                    if isinstance(leaf, Count) or (isinstance(leaf, Name) and leaf.name in equation.indices):
                        return True
    return False


def _joined(
    equation: Equation, tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]]
) -> Iterator[tuple[Key, dict[tuple[int, int], dict[Position, str]]]]:
    """Instances: keys that agree on every variable; ABSENT stands for one that a name does not have."""
    if not tensors:
        return
    if len(tensors) == 1:
        ((member, by_key),) = tensors.items()
        for key, names in by_key.items():
            yield key, {member: names}
        return
    full: dict[Key, dict[tuple[int, int], dict[Position, str]]] = {}
    partial_keys: list[tuple[tuple[int, int], Key, dict[Position, str]]] = []
    most = _most_complete(tensors)
    for member, by_key in tensors.items():
        for key, names in by_key.items():
            if _blanks(key) <= most:
                full.setdefault(key, {})[member] = names
            else:
                partial_keys.append((member, key, names))
    for member, key, names in partial_keys:
        for whole, members in full.items():
            if all(part in (ABSENT, value) for part, value in zip(key, whole, strict=True)):
                members[member] = names
    yield from full.items()


def _most_complete(tensors: dict[tuple[int, int], dict[Key, dict[Position, str]]]) -> frozenset[int]:
    blanks = {_blanks(key) for by_key in tensors.values() for key in by_key}
    return min(blanks, key=len)


def _blanks(key: Key) -> frozenset[int]:
    return frozenset(k for k, value in enumerate(key) if value == ABSENT)


def bind_sources(
    program: Program, source: Manifest, target: Manifest | None, found: Diagnostics
) -> Binder:
    """Everything up to instances; coverage and types come after."""
    analyse(program, found)
    binder = Binder(program, source, target, found)
    binder.match_sources()
    binder.make_instances()
    return binder
