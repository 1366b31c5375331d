"""A quantised weight does not part from its companions: they go together, by the same axes, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from mapcc.diagnostics.model import Label
from mapcc.ir import rules
from mapcc.ir.bound import Instance, Layout
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Deep, Pattern, Text
from mapcc.ir.program import Unit
from mapcc.ir.values import cast_loses
from mapcc.passes.binder import Binder
from mapcc.passes.quantised_moves import Pair, is_whole, parts_company
from mapcc.passes.quantised_words import joined_inputs, meant, reason
from mapcc.tensors.dtypes import Dtype
from mapcc.tensors.quantised.model import Companion, Found, Quantised
from mapcc.tensors.quantised.recognise import config_of, is_code, quant_method, quantised
from mapcc.tensors.quantised.table import F8
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Span


@dataclass(frozen=True, slots=True)
class _Way:
    """How a source tensor goes to a target: its operand in an instance, and the target's number there."""

    instance: Instance
    operand: int
    number: int

    @property
    def name(self) -> str:
        return self.instance.targets[self.number]

    @property
    def unit(self) -> Unit:
        return self.instance.equation.units[self.instance.layout.unit_of_source[self.operand]]

    @property
    def dtype(self) -> Dtype | None:
        return self.instance.dtypes[self.number] if self.instance.dtypes else None

    @property
    def span(self) -> Span:
        return self.instance.equation.span


def check_quantised(binder: Binder) -> None:
    """MC416 for each weight of a container whose values are lost on the way, though nothing says so."""
    found = binder.quantised
    if not found.weights:
        _unknown_container(binder)
        return
    checker = _Checker(binder, found)
    for weight in found.weights.values():
        checker.check(weight)


def _unknown_container(binder: Binder) -> None:
    """MC820: a config speaks of quantisation, and mapcc cannot tell which tensors belong together."""
    coded = [
        name
        for name, spec in binder.source.tensors.items()
        if spec.dtype is not None
        and is_code(spec.dtype)
        and len(spec.shape) > 1
        and name in binder.bound.taken
    ]
    method = quant_method(config_of(binder.source)) if coded else ""
    for name in coded if method else ():
        binder.findings.add(
            "MC820",
            f"the config says that weights are quantised ({method}), in a container that mapcc does not know",
            None,
            name,
            notes=(
                "which tensors their values need is not known, nor whether these rules keep them together",
            ),
            help=f"compare the values with what reads {method}; or take a release in BF16 or F16",
        )


@dataclass(slots=True)
class _Checker:
    binder: Binder
    found: Found
    _given: Found | None = None
    _fed_by: dict[tuple[int, int], tuple[int, ...]] = field(default_factory=dict)
    _operands: dict[int, dict[str, list[int]]] = field(default_factory=dict)
    _moved: dict[tuple[object, ...], str] = field(default_factory=dict)
    # Of a target, which is made of many weights at times, and one of their companions.
    _followed: dict[tuple[int, int, int, int, str], str] = field(default_factory=dict)

    # Kinds of weights of which one has been looked at, and nothing was to be said.
    _clean: set[tuple[object, ...]] = field(default_factory=set)
    _is_silent: bool = True

    def check(self, weight: Quantised) -> None:
        kind = self._kind(weight)
        if kind in self._clean:
            return  # nearly always: a model has tens of thousands of a few kinds
        self._is_silent = True
        self._look_at(weight)
        if self._is_silent and kind is not None:
            self._clean.add(kind)

    def _kind(self, weight: Quantised) -> tuple[object, ...] | None:
        """All that is asked of a weight that goes on beside its companions, to one target; None for others.

        Of weights that are joined to one, each asks the same of all of them.
        """
        if weight.container.inputs_first or weight.main.name in self.binder.excused_sources:
            return None
        key: list[object] = [id(weight.container)]
        given = self.given()
        beside: Quantised | None = None
        for companion, spec in ((None, weight.main), *weight.companions):
            instances = self.binder.bound.taken.get(spec.name, ())
            if len(instances) != 1:
                return None
            (instance,) = instances
            if len(instance.targets) != 1 or len(operands := self._operands_of(instance, spec.name)) != 1:
                return None
            (operand,) = operands
            if len(instance.sources[operand]) != 1:
                return None
            name, layout = instance.targets[0], instance.layout
            made = given.weights.get(name) if companion is None else given.owner.get(name)
            if made is None or (beside is not None and made is not beside):
                return None
            beside = made
            dtype = id(instance.dtypes[0]) if instance.dtypes else None
            key += (id(companion), id(spec.dtype), spec.shape, dtype, id(instance.equation), id(layout))
            if len(instance.sources) > 1:
                if weight.container.flat or (companion is not None and companion.role != "factor"):
                    return None
                key += (id(instance), layout.unit_of_source[operand], self._fed(layout, operand))
        return tuple(key)

    def _look_at(self, weight: Quantised) -> None:
        ways = list(self.ways(weight.main.name))
        if not ways or weight.main.name in self.binder.excused_sources:
            return  # dropped, with its companions or without: nothing that is wrong goes on
        computed = [way for way in ways if self._is_computed(weight, way)]
        if computed:
            return  # said already: what becomes of the companions is part of it
        is_told = False  # that it is moved alone: once, however many companions stay behind
        for companion, spec in weight.companions:
            if companion.role != "activation":
                is_told = self._companion(weight, ways, companion, spec, is_told)
        if weight.container.inputs_first:
            self._inputs(weight, ways)

    # --- where tensors go

    def ways(self, name: str) -> Iterator[_Way]:
        for instance in self.binder.bound.taken.get(name, ()):
            layout = instance.layout
            for operand in self._operands_of(instance, name):
                for number in self._fed(layout, operand):
                    if instance.targets[number]:
                        yield _Way(instance, operand, number)

    def _operands_of(self, instance: Instance, name: str) -> Sequence[int]:
        if len(instance.sources) == 1:  # nearly always
            return (0,)
        known = self._operands.get(id(instance))
        if known is None:
            known = self._operands[id(instance)] = {}
            for operand, names in enumerate(instance.sources):
                for each in dict.fromkeys(names):
                    known.setdefault(each, []).append(operand)
        return known[name]

    def _fed(self, layout: Layout, operand: int) -> tuple[int, ...]:
        key = (id(layout), operand)
        fed = self._fed_by.get(key)
        if fed is None:
            targets: dict[int, dict[int, None]] = {number: {} for number in range(len(layout.unit_of_source))}
            for move in layout.moves:
                targets[move.source][move.target] = None
            self._fed_by |= {(id(layout), number): tuple(fed) for number, fed in targets.items()}
            fed = self._fed_by[key]
        return fed

    def given(self) -> Found:
        """What of the mapping's output is a quantised weight again, by its names."""
        if self._given is None:
            tensors = {
                name: TensorSpec(name, instance.dtypes[number], instance.layout.target_shapes[number])
                for name, (instance, number) in self.binder.bound.given.items()
            }
            self._given = quantised(Manifest(tensors, (), "", None, {}))
        return self._given

    # --- values

    def _is_computed(self, weight: Quantised, way: _Way) -> bool:
        """Whether the codes are computed with, as if they were the values."""
        before, after = weight.main.dtype, way.dtype
        names = [step.op.name for step in way.unit.steps]
        is_scaled = set(names) <= {"cast", "scale"}
        if is_scaled and (before == after if before and after else not names):
            return False
        if is_scaled and before is not None and after is not None and {before.name, after.name} <= F8:
            factors = [self._factor(spec.name) for c, spec in weight.companions if c.role == "factor"]
            if all(factor is not None and factor * _factor(way.unit) == 1 for factor in factors):
                return False  # other codes for the same values: their scale makes up for it
        to = f" to {after.name}" if after else ""
        what = f"cast{to}" if is_scaled else f"computed with ({' | '.join(names)})"
        related = self._drops(weight)
        message = f"a quantised weight is {what} without its {_words(weight)}"
        self._say(weight, message, way.instance, way.span, (weight.main.name,), related)
        return True

    def _factor(self, name: str) -> float | None:
        """By what a companion is multiplied, the same everywhere; None if it is left out or computed with."""
        units = [way.unit for way in self.ways(name)]
        if not all({step.op.name for step in unit.steps} <= {"cast", "scale"} for unit in units):
            return None
        factors = {_factor(unit) for unit in units}
        return factors.pop() if len(factors) == 1 else None

    # --- companions

    def _companion(
        self, weight: Quantised, ways: Sequence[_Way], companion: Companion, spec: TensorSpec, is_told: bool
    ) -> bool:
        """Whether it is told that the weight parts from a companion."""
        listed = self.binder.bound.dropped.get(spec.name)
        others = list(self.ways(spec.name))
        if not others:
            taking = self.binder.bound.taken.get(spec.name, ())
            if listed is not None:
                self._left(weight, ways[0], spec, listed.span, listed.allow)
            elif taking:  # all of it goes to a piece that is dropped
                equation = taking[0].equation
                self._left(weight, ways[0], spec, equation.span, equation.allow)
            return is_told  # otherwise nothing takes it, and that is said
        if any(self._is_spoiled(weight, other, spec) for other in others):
            return is_told
        for way in ways if not is_told else ():
            why = self._apart(weight, way, companion, spec, others)
            if why:
                self._say(weight, why, way.instance, way.span, (weight.main.name,), (), others[0].instance)
                return True
        return is_told

    def _left(
        self, weight: Quantised, way: _Way, spec: TensorSpec, span: Span, allows: tuple[rules.Allow, ...]
    ) -> None:
        self._is_silent = False
        if _is_allowed(self.binder, allows):
            return
        message = "what the values of quantised weights need is dropped, and the weights go on"
        related = (Label(way.span, "they go on here"),)
        self._say(weight, message, way.instance, span, (spec.name,), related)

    def _is_spoiled(self, weight: Quantised, other: _Way, spec: TensorSpec) -> bool:
        before, after = spec.dtype, other.dtype
        names = {step.op.name for step in other.unit.steps}
        if not names <= {"cast", "scale"} or len(other.unit.names) > 1:
            what = f"computed with ({' | '.join(sorted(names))})"
        elif before is not None and after is not None and cast_loses(before, after):
            what = f"cast from {before.name} to {after.name}"
        else:
            return False
        message = f"a quantised weight goes on, and what its values need is {what}"
        stated = self.binder.program.dtype
        kept = ""
        if stated is not None and not names and other.instance.equation.targets[0].cast is None:
            tail = print_name(Pattern((Deep(), Text("." + other.name.rpartition(".")[2]))))
            kept = f"keep its type: dtype {stated.dtype.short} {{ keep {tail} }}; for its values: "
        self._say(weight, message, other.instance, other.span, (spec.name,), first=kept)
        return True

    # --- moves

    def _apart(
        self, weight: Quantised, way: _Way, companion: Companion, spec: TensorSpec, others: Sequence[_Way]
    ) -> str:
        """Why a weight and a companion do not belong together any more, as targets; "" if they do."""
        partner = self._partner(weight, way, companion, others)
        if partner is None:
            return f"a quantised weight and its {_called(spec)} go to names that do not belong together"
        if companion.role == "factor" and not weight.container.flat:
            return self._follows(weight, way, companion, spec, partner)
        alone = is_whole(way.instance.layout, way.operand, way.number, weight.main.shape)
        if weight.container.flat and not alone:
            return "a quantised weight is cut, joined or turned, and its blocks run over all of it"
        if companion.role == "shape" and not alone:
            return f"a quantised weight is cut, joined or turned, and its {_called(spec)} is as it was"
        if not is_whole(partner.instance.layout, partner.operand, partner.number, spec.shape):
            return f"the {_called(spec)} of a quantised weight is cut, joined or turned"
        return ""

    def _partner(
        self, weight: Quantised, way: _Way, companion: Companion, others: Sequence[_Way]
    ) -> _Way | None:
        """Which of the tensors that a companion goes to stands beside the weight's target."""
        given = self.given().weights.get(way.name)
        if given is not None:
            beside = {spec.name for _, spec in given.companions}
            return next((other for other in others if other.name in beside), None)
        free = [other for other in others if other.name not in self.given().owner]
        return max(free, key=lambda other: _common(way.name, other.name), default=None)

    def _follows(
        self, weight: Quantised, way: _Way, companion: Companion, spec: TensorSpec, partner: _Way
    ) -> str:
        instances = id(way.instance), way.number, id(partner.instance), partner.number
        key = (*instances, weight.container.name + companion.suffix)
        why = self._followed.get(key)
        if why is None:
            why = self._followed[key] = self._compared(weight, way, companion, partner)
        return why and why.format(_called(spec))

    def _compared(self, weight: Quantised, way: _Way, companion: Companion, partner: _Way) -> str:
        pairs = self._pairs(way, companion, partner)
        if pairs is None:
            return "quantised weights are joined, and not each of them has a {} that follows"
        layout, other = way.instance.layout, partner.instance.layout
        tied = tuple((pair.weight, pair.companion) for pair in pairs)
        key = (id(layout), way.number, id(other), partner.number, id(companion), weight.container.name, tied)
        why = self._moved.get(key)
        if why is None:
            block = self.found.blocks.get(weight.container.name, ())
            why = parts_company(layout, way.number, other, partner.number, companion, pairs, block)
            self._moved[key] = why
        return why and f"a quantised weight is moved, and its {{}} does not follow: {why}"

    def _pairs(self, way: _Way, companion: Companion, partner: _Way) -> tuple[Pair, ...] | None:
        """Of all weights that a target is made of, each with the operand that is its companion's."""
        places = {names[-1]: number for number, names in enumerate(partner.instance.sources) if names}
        pairs: list[Pair] = []
        tensors = self.binder.source.tensors
        for operand in dict.fromkeys(m.source for m in way.instance.layout.moves if m.target == way.number):
            names = way.instance.sources[operand]
            one = self.found.weights.get(names[-1]) if names else None
            if one is None:
                return None
            own = next((s for c, s in one.companions if c.suffix == companion.suffix), None)
            if own is None or own.name not in places:
                return None
            pairs.append(Pair(operand, tensors[names[-1]].shape, places[own.name], own.shape))
        return tuple(pairs)

    def _inputs(self, weight: Quantised, ways: Sequence[_Way]) -> None:
        for way in ways:
            if way.instance.layout.moves and joined_inputs(way.instance, way.operand, way.number, weight):
                name = weight.container.name
                message = (
                    f"quantised weights are joined or cut along their inputs: {name} keeps them as [in, out]"
                )
                self._say(weight, message, way.instance, way.span, (weight.main.name,))
                return

    # --- words

    def _drops(self, weight: Quantised) -> tuple[Label, ...]:
        for companion, spec in weight.companions:
            listed = self.binder.bound.dropped.get(spec.name)
            if listed is not None and companion.role != "activation":
                return (Label(listed.span, f"and its {_called(spec)} is dropped here"),)
        return ()

    def _say(
        self,
        weight: Quantised,
        message: str,
        instance: Instance,
        span: Span,
        names: tuple[str, ...],
        related: tuple[Label, ...] = (),
        other: Instance | None = None,
        first: str = "",
    ) -> None:
        self._is_silent = False
        allow = instance.equation.allow + (other.equation.allow if other is not None else ())
        if _is_allowed(self.binder, allow):
            return
        for name in names:
            self.binder.findings.add(
                "MC416",
                message,
                span,
                name,
                related=related,
                notes=(reason(self.found, weight),),
                help=first + meant(weight),
            )


def _is_allowed(binder: Binder, allows: tuple[rules.Allow, ...]) -> bool:
    saying = [allow for allow in allows if "MC416" in allow.codes]
    binder.bound.allowed += [(allow, "MC416") for allow in saying]
    return bool(saying)


def _factor(unit: Unit) -> float:
    factor = 1.0
    for step in unit.steps:
        if step.op.name == "scale":
            factor *= step.number("factor")
    return factor


def _common(a: str, b: str) -> int:
    """How many characters two names begin with alike."""
    for at, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return at
    return min(len(a), len(b))


def _called(spec: TensorSpec) -> str:
    """A companion, whatever its weight is."""
    return f"`{spec.name.rpartition('.')[2]}`"


def _words(weight: Quantised) -> str:
    return ", ".join(_called(spec) for c, spec in weight.companions if c.role != "activation")
