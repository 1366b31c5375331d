"""The first divergence: the module at which a port stops doing what the official model does, and why.

Both models run on the same inputs, every activation is kept on the disk, and the mapping says which are to be
the same. In the order of the port's execution the first that is not is found; then it is asked what stands
before it: the module itself, if its input was right; what has made its input, if not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from mapcc.api import load_mapping
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.port.components import mapping_path
from mapcc.port.divergence import Divergence, Parameter, Traced
from mapcc.port.evidence import Evidence
from mapcc.port.inputs import chosen
from mapcc.port.measure import tensors_in
from mapcc.port.model import Component, Port
from mapcc.port.modules import code_of, parity_dtype
from mapcc.port.pairs import LAYER, Pairs, in_any_layer, module_of, pairs_of, same_names, sources_of
from mapcc.port.parity import Pair, Tell, prepared, silent
from mapcc.port.repair import exchange, find_repair, output_is_right
from mapcc.port.sides import GROWTH, Compared, Sides, apart, noise_of
from mapcc.port.spool import Event, Kept, Spool, recorded
from mapcc.port.state import State, weights_keys
from mapcc.port.symptoms import Repair, attributes_that_differ, lost_bias, mixed_sources, standing_elsewhere
from mapcc.text import Span


def run_trace(port: Port, component: Component, tell: Tell = silent) -> Traced:
    """Both models once, with everything recorded; then as many more runs of the port as there are guesses.

    Raises:
        MappingError: as :func:`run_parity`.
    """
    pair = prepared(port, component, tell)
    bound = pair.bound
    official, ported = dict(pair.official.named_modules()), dict(pair.ported.named_modules())
    pairs = pairs_of(bound, official, ported, component.pairs)
    if not any(owner.officials for owner in pairs.owners.values()):
        # Its authors' weights in the port's own class, say, by another converter.
        pairs = same_names(ported, official, component.pairs)
    if not pairs.owners:
        message = f"no module of the official `{component.name}` has a name that the mapping speaks of"
        help = "does its factory wrap it? give the module whose names the checkpoint has"
        raise MappingError([Diagnostic("MC914", message, component.span, help=help)])
    spool = Spool(port.folder)  # not where temporary files are kept in memory
    try:
        tell(f"{component.name}: recording the official module")
        with recorded(official, official, spool) as theirs:
            output = chosen(component, "official", pair.run("official"))
        wanted = [spool.keep(tensor) for _, tensor in tensors_in(output)]
        tell(f"{component.name}: recording the ported module")
        with recorded(ported, ported, spool) as ours:
            output = chosen(component, "ported", pair.run("ported"))
        given = [spool.keep(tensor) for _, tensor in tensors_in(output)]
        tell(f"{component.name}: comparing activations, and asking what would make them right")
        traced = _Tracer(pair, bound, Sides(pairs, theirs, ours, spool, wanted), given).traced()
    finally:
        spool.close()
    state = State(port)
    name = component.name
    keys = (f"mapping {name}", f"settings {name}", f"modules {name}", f"converted {name}")
    code = (f"code {file}" for file in code_of(port, component.ported, pair.ported))
    made_of = state.all_of(*keys, *weights_keys(port, component), *code)
    state.record(Evidence("trace", name, traced.divergence is None, traced.as_json(), made_of))
    return traced


class _Tracer:
    def __init__(self, pair: Pair, bound: BoundMapping, sides: Sides, given: Sequence[Kept]) -> None:
        self.pair, self.bound, self.sides, self.given = pair, bound, sides, given
        self.pairs: Pairs = sides.pairs
        self.noise = noise_of(parity_dtype(pair.component))
        self.rows = tuple(sides.compared())
        self.body = load_mapping(mapping_path(pair.port, pair.component)).body

    def traced(self) -> Traced:
        level, good, found = 0.0, [], None
        for row in self.rows:
            if row.error is None or (row.is_whole and row.where == "in"):
                continue
            if row.error > max(self.noise, GROWTH * level):
                if row.is_whole and self._is_contradicted(row):
                    continue
                found = row
                break
            level = max(level, row.error)
            good.append(row)
        name = self.pair.component.name
        error = self._error_of_the_output()
        # A port whose outputs agree is right: what differs on the way has another place in it, or no effect.
        if error is not None and error <= max(self.noise, GROWTH * level):
            return Traced(name, self.rows, level, None, self._on_the_way(found))
        if found is None:
            return Traced(name, self.rows, level, self._of_the_output(error))
        return Traced(name, self.rows, level, self._divergence(found, good, level))

    def _error_of_the_output(self) -> float | None:
        """How far the outputs are apart; None if they cannot be compared."""
        wanted, given = self.sides.wanted, self.given
        if [kept.shape for kept in wanted] != [kept.shape for kept in given]:
            return None
        read = self.sides.spool.read
        return max((apart(read(a), read(b)) for a, b in zip(wanted, given, strict=True)), default=0.0)

    def _on_the_way(self, first: Compared | None) -> tuple[str, ...]:
        if first is None:
            return ()
        what = "what goes into" if first.where == "in" else "what comes out of"
        where = first.event.module or "the model itself"
        whose = ", ".join(first.officials)
        return (f"{what} {where} is not that of the official {whose}, and the outputs agree all the same",)

    def _of_the_output(self, error: float | None) -> Divergence:
        """Where all activations that could be compared agree, and the outputs do not."""
        given = self.given
        digests = {kept.digest for kept in given}
        right = {row.event.module for row in self.rows if self._is_right(row)}
        makers = [e for e in self.sides.ported if {kept.digest for _, kept in e.outputs[:1]} & digests]
        module = next((e.module for e in sorted(makers, key=lambda e: e.ended) if e.module not in right), "")
        finding = "every activation before it that could be compared agrees"
        parameters = tuple(self._parameter(name) for name in self._owned(module)) if module else ()
        seen = (module, "out")
        return Divergence(
            module, self._officials(module), seen, None, error, parameters, "mapping or code", finding
        )

    def _is_contradicted(self, row: Compared) -> bool:
        """Two modules may hold the same and yet give different things: then what comes next is right."""
        after = [
            later
            for later in self.rows
            if later.event.began > row.event.ended and not later.is_whole and later.error is not None
        ]
        return bool(after) and all(later.error is not None and later.error <= self.noise for later in after)

    # --- from the first activation that differs to the module at fault

    def _divergence(self, row: Compared, good: Sequence[Compared], level: float) -> Divergence:
        event = row.event
        limit = max(self.noise, GROWTH * level)
        if row.where == "out" and not row.is_whole:
            return self._of_owner(row, limit)
        if row.where == "in":
            elsewhere = standing_elsewhere(self.pair, self.sides, event, limit)
            if elsewhere and (self._is_other_layer(row, elsewhere) or self._explains(row, elsewhere, limit)):
                return self._standing(row, elsewhere)
        module = self._maker(row) if row.where == "in" else event.module
        holder = self._holder(event, good) if row.where == "in" else event.module
        repair = self._repair(row, limit, [*dict.fromkeys((module or holder, holder))])
        if repair is not None:
            return self._told(row, holder if repair.of_layers else _common(repair.modules), repair)
        return self._told(row, module or holder, None)

    def _of_owner(self, row: Compared, limit: float) -> Divergence:
        """A module whose input is right and whose output is not."""
        module = row.event.module
        bias = lost_bias(self.pair, self.bound, self.sides, row, limit)
        found = bias or self._repair(row, limit, [module]) or mixed_sources(self.bound, module)
        return self._told(row, module, found)

    def _maker(self, row: Compared) -> str | None:
        """The innermost module that has given what came in wrong, if it came straight from one."""
        digests = {kept.digest for _, kept in row.event.inputs[:1]}
        before = [e for e in self.sides.ported if 0 < e.ended < row.event.began]
        makers = [e for e in before if any(kept.digest in digests for _, kept in e.outputs[:1])]
        right = {(r.event.module, r.event.call) for r in self.rows if self._is_right(r)}
        makers = [e for e in makers if (e.module, e.call) not in right and not _passes_on(e)]
        return min(makers, key=lambda e: e.ended).module if makers else None

    def _is_right(self, row: Compared) -> bool:
        return row.where == "out" and row.error is not None and row.error <= self.noise

    def _holder(self, event: Event, good: Sequence[Compared]) -> str:
        """The smallest module that was still at work, and that has been given something right."""
        around = [
            e for e in self.sides.ported if e.began < event.began and (not e.ended or e.ended > event.began)
        ]
        inner = sorted(around, key=lambda e: e.began, reverse=True)
        given = [row.event.outputs[0][1].digest for row in good if row.where == "out" and row.event.outputs]
        for outer in inner:
            takes = outer.inputs[0][1].digest if outer.inputs else ""
            if takes in given or any(row.event.began > outer.began for row in good):
                return outer.module
        return inner[-1].module if inner else ""

    def _repair(self, row: Compared, limit: float, within: Sequence[str]) -> Repair | None:
        return find_repair(self.pair, self.bound, self.sides, row, limit, within)

    # --- in words

    def _told(self, row: Compared, module: str, repair: Repair | None) -> Divergence:
        names = repair.parameters if repair else self._owned(module)
        parameters = tuple(self._parameter(name) for name in names)
        if repair and repair.of_layers:
            parameters = tuple(map(self._around, parameters))
        extra = tuple(
            Parameter(name, (), self.bound.dropped[name].span) for name in (repair.dropped if repair else ())
        )
        officials = self._officials(module)
        notes = () if repair else attributes_that_differ(self.pair, module, officials)
        fault = "mapping" if repair else self._fault(names, notes)
        return Divergence(
            module,
            officials,
            (row.event.module, row.where),
            self._error(module, "in"),
            self._error(module, "out"),
            (*parameters, *extra),
            fault,
            repair.finding if repair else _finding(fault, notes),
            notes,
        )

    def _is_other_layer(self, row: Compared, elsewhere: str) -> bool:
        return in_any_layer(elsewhere) in [in_any_layer(official) for official in row.officials]

    def _explains(self, row: Compared, elsewhere: str, limit: float) -> bool:
        """Whether all is right when the two modules change places, here or in every layer."""
        owners = self.pairs.owners.values()
        other = next((each.name for each in owners if each.officials == (elsewhere,)), None)
        here = exchange(self.pair, row.event.module, other) if other else None
        if other is None or here is None:
            return False
        everywhere = dict(here)
        for one, two in self._in_every_layer(row.event.module, other):
            everywhere |= exchange(self.pair, one, two) or {}
        return any(output_is_right(self.pair, self.sides, values, limit) for values in (here, everywhere))

    def _in_every_layer(self, one: str, two: str) -> Iterator[tuple[str, str]]:
        """The same two modules of other layers."""
        kind = in_any_layer(one)
        for name in self.pairs.owners:
            if in_any_layer(name) == kind and len(LAYER.findall(two)) == len(LAYER.findall(name)):
                numbers = iter(LAYER.findall(name))
                yield name, LAYER.sub(lambda _, left=numbers: next(left), two)  # type: ignore[misc]

    def _standing(self, row: Compared, elsewhere: str) -> Divergence:
        module = row.event.module
        own = ", ".join(row.officials)
        finding = f"it gets what the official `{elsewhere}` gets, but its weights are those of `{own}`"
        parameters = tuple(self._parameter(name) for name in self._owned(module))
        if self._is_other_layer(row, elsewhere):
            parameters = tuple(map(self._around, parameters))  # of another layer: the block says which
        error = self._error(module, "out")
        seen = (module, row.where)
        return Divergence(module, row.officials, seen, row.error, error, parameters, "mapping", finding)

    def _owned(self, module: str) -> list[str]:
        under = f"{module}." if module else ""
        return [name for name in self.bound.given if name.startswith(under)]

    def _parameter(self, name: str) -> Parameter:
        instance, _ = self.bound.given[name]
        return Parameter(name, tuple(sources_of(self.bound, name)), instance.equation.span)

    def _around(self, parameter: Parameter) -> Parameter:
        """With the head of the block around its rule: there it says which layer is which."""
        head = parameter.rule and _head_around(self.body, parameter.rule)
        return replace(parameter, rule=head) if head else parameter

    def _officials(self, module: str) -> tuple[str, ...]:
        if module in self.pairs.owners:
            return self.pairs.owners[module].officials
        if module in self.sides.wholes:
            return (self.sides.wholes[module],)
        own = [module_of(source) for name in self._owned(module) for source in sources_of(self.bound, name)]
        return tuple(dict.fromkeys(own))

    def _error(self, module: str, where: str) -> float | None:
        return next((r.error for r in self.rows if r.event.module == module and r.where == where), None)

    def _fault(self, names: Sequence[str], notes: Sequence[str]) -> str:
        """Nothing else about the mapping would make it right. Where it only moves, the code is at fault."""
        if notes or not names or all(self._is_plain(name) for name in names):
            return "code"
        return "mapping or code"

    def _is_plain(self, name: str) -> bool:
        """One whole tensor under another name: nothing that could be wrong but the name."""
        instance, number = self.bound.given[name]
        moves = [move for move in instance.layout.moves if move.target == number]
        if len(moves) != 1 or not instance.sources[moves[0].source]:
            return False
        spec = self.bound.source.tensors[instance.sources[moves[0].source][-1]]
        if instance.equation.units[instance.layout.unit_of_source[moves[0].source]].steps:
            return False
        return spec.shape == instance.layout.target_shapes[number] and len(moves[0].dims) <= 1


def _head_around(body: Sequence[rules.Statement], rule: Span) -> Span | None:
    """The first line of the innermost block that a rule stands in."""
    for statement in body:
        if isinstance(statement, rules.Block):
            places = [(each.span.source.name, each.span.start) for each in statement.body if each.span]
            if (rule.source.name, rule.start) in places:
                return statement.span
            if (inner := _head_around(statement.body, rule)) is not None:
                return inner
    return None


def _passes_on(event: Event) -> bool:
    """Whether a module gives what it was given: a dropout that drops nothing."""
    taken = {kept.digest for _, kept in event.inputs}
    return all(kept.digest in taken for _, kept in event.outputs)


def _common(modules: Sequence[str]) -> str:
    parts = [module.split(".") for module in modules]
    out = []
    for column in zip(*parts, strict=False):
        if len(set(column)) > 1:
            break
        out.append(column[0])
    return ".".join(out)


def _finding(fault: str, notes: Sequence[str]) -> str:
    if notes:
        return f"the code differs: {'; '.join(notes)}"
    if fault == "code":
        return "its weights are the official ones: what is computed with them differs"
    return ""
