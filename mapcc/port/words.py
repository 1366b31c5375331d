"""A component's check in FastVideo's words: what a reviewer of a port looks for, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping, Instance
from mapcc.port.components import Held, hold, unclaimed
from mapcc.port.evidence import Evidence
from mapcc.port.index import index_faults
from mapcc.port.model import Component, Port
from mapcc.port.state import State, target_key

PASS, EXCLUSIONS, BLOCKED, NOT_RUN = "pass", "pass_with_documented_exclusions", "blocked", "not_run"


@dataclass(frozen=True, slots=True)
class Words:
    """Names, complete: of the target; of ``unexpected`` and ``skipped`` some are the source's.

    ``strict_load``: ``pass``, ``pass_with_documented_exclusions``, ``blocked`` or ``not_run``.
    """

    missing: tuple[str, ...] = ()
    unexpected: tuple[str, ...] = ()
    skipped: tuple[tuple[str, str], ...] = ()
    unchanged: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    shape_mismatched: tuple[str, ...] = ()
    strict_load: str = NOT_RUN

    def as_json(self) -> dict[str, object]:
        return {
            "missing": fold(self.missing),
            "unexpected": fold(self.unexpected),
            "skipped": [
                {"names": fold(n for n, why in self.skipped if why == because), "because": because}
                for because in dict.fromkeys(why for _, why in self.skipped)
            ],
            "unchanged": len(self.unchanged),
            "renamed": len(self.renamed),
            "shape-mismatched": fold(self.shape_mismatched),
            "strict_load": self.strict_load,
        }


@dataclass(frozen=True, slots=True)
class ComponentCheck:
    name: str
    words: Words
    diagnostics: tuple[Diagnostic, ...]

    @property
    def ok(self) -> bool:
        return not any(d.exit_code for d in self.diagnostics)


def check_port(port: Port) -> Iterator[ComponentCheck]:
    """Every component's mapping against its key sets, and what concerns them all, as evidence too.

    What keeps one from being read is told of it, and the others are checked.
    """
    state = State(port)
    unread = False
    for component in port.components:
        try:
            held = hold(port, component)
        except MappingError as error:
            unread = True
            checked = ComponentCheck(component.name, Words(strict_load=BLOCKED), error.diagnostics)
        else:
            checked = ComponentCheck(component.name, words_of(held, state), held.checked.diagnostics)
        words = checked.words
        state.record(
            Evidence(
                "check", component.name, checked.ok, words.as_json(), state.all_of(*_keys(port, component))
            )
        )
        yield checked
    of_all = (*(() if unread else unclaimed(port)), *index_faults(port))
    state.record(Evidence("check", "", not of_all, {}, state.all_of("section foreign", "section components")))
    if of_all:
        yield ComponentCheck("", Words(), of_all)


def _keys(port: Port, component: Component) -> list[str]:
    kinds = [f"{kind} {component.name}" for kind in ("mapping", "settings", "names")]
    return kinds + target_key(port, component)


def words_of(held: Held, state: State) -> Words:
    bound = held.checked.bound
    if bound is None:
        return Words(strict_load=BLOCKED)
    source, target = held.source.tensors, held.target.tensors if held.target else {}
    given = bound.given
    unexpected = [name for name in source if name not in bound.taken and name not in bound.dropped]
    skipped = [
        (name, listed.because)
        for names in (bound.dropped, bound.external)
        for name, listed in names.items()
        if names is bound.dropped or name in target
    ]
    same = {name for name, (instance, _) in given.items() if _is_unchanged(instance, bound)}
    return Words(
        missing=tuple(name for name in target if name not in given and name not in bound.external),
        unexpected=(*unexpected, *(name for name in given if held.target and name not in target)),
        skipped=tuple(skipped),
        unchanged=tuple(name for name in given if name in same),
        renamed=tuple(name for name in given if name not in same),
        shape_mismatched=tuple(
            name
            for name, (instance, number) in given.items()
            if name in target and instance.layout.target_shapes[number] != target[name].shape
        ),
        strict_load=strict_load(held, state),
    )


def _is_unchanged(instance: Instance, bound: BoundMapping) -> bool:
    """One tensor, under its own name, as it was."""
    if len(instance.targets) != 1 or instance.sources != (instance.targets,):
        return False
    [name] = instance.targets
    spec = bound.source.tensors[name]
    is_same_type = not instance.dtypes or instance.dtypes[0] in (None, spec.dtype)
    return is_same_type and len(instance.layout.moves) == 1 and instance.layout.target_shapes == (spec.shape,)


def strict_load(held: Held, state: State) -> str:
    """What the last strict load has shown, if that still holds."""
    if not held.checked.ok:
        return BLOCKED
    component = held.component
    made = state.evidence("load", component.name)
    if made is None or state.why_stale(made):
        return NOT_RUN
    if not made.passed:
        return BLOCKED
    return EXCLUSIONS if component.missing else PASS
