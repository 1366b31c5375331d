"""A component's official module and its port on the same inputs: first the weights, then the outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mapcc.api import bound_mapping, verify_output
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.port.components import hold
from mapcc.port.evidence import Evidence
from mapcc.port.inputs import arguments, called, chosen, copied, made_inputs
from mapcc.port.measure import Distance, distance, tensors_in
from mapcc.port.model import Component, Port, Side
from mapcc.port.modules import code_of, official_module, parity_dtype, ported_module
from mapcc.port.state import State, weights_keys

if TYPE_CHECKING:
    from torch.nn import Module

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Output:
    """One tensor of the two outputs; ``problem`` where they cannot be compared."""

    label: str
    shape: tuple[int, ...]
    distance: Distance | None
    problem: str = ""

    @property
    def ok(self) -> bool:
        return self.distance is not None and self.distance.ok


@dataclass(frozen=True, slots=True)
class ParityResult:
    """What a run of parity has shown; passed if all outputs agree."""

    component: str
    dtype: str
    atol: float
    rtol: float
    outputs: tuple[Output, ...]

    @property
    def passed(self) -> bool:
        return bool(self.outputs) and all(output.ok for output in self.outputs)

    @property
    def first_differing(self) -> Output | None:
        return next((output for output in self.outputs if not output.ok), None)

    def as_json(self) -> dict[str, Any]:
        return {
            "dtype": self.dtype,
            "atol": self.atol,
            "rtol": self.rtol,
            "outputs": [
                {"output": each.label, "shape": list(each.shape)}
                | (each.distance.as_json() if each.distance else {"problem": each.problem})
                for each in self.outputs
            ],
        }


@dataclass(slots=True)
class Pair:
    """Both modules, loaded, and the inputs of both."""

    port: Port
    component: Component
    bound: BoundMapping
    official: Module
    ported: Module
    inputs: dict[str, Any]

    def run(self, which: str) -> object:
        """One side's forward pass, whole.

        Raises:
            MappingError: MC004: it fails.
        """
        import torch

        side, module = self.side(which)
        given = {name: copied(value) for name, value in arguments(side, self.inputs).items()}
        torch.manual_seed(self.component.parity.seed)  # for what a forward pass draws by itself
        try:
            return called(module, given)
        except Exception as error:  # of the user's code, whatever it may be
            raise MappingError([_failed(self.component, which, error)]) from error

    def side(self, which: str) -> tuple[Side, Module]:
        if which == "official":
            return self.component.official, self.official
        return self.component.ported, self.ported

    def code(self) -> list[str]:
        return sorted(
            set(code_of(self.port, self.component.official, self.official))
            | set(code_of(self.port, self.component.ported, self.ported))
        )


def silent(_: str) -> None:
    """For who does not want to be told what is going on."""


def prepared(port: Port, component: Component, tell: Tell = silent) -> Pair:
    """Both modules with their weights, after the weights themselves were compared.

    Args:
        tell: called with each step, in words, when it begins.

    Raises:
        MappingError: MC917: not converted, or stale; MC503: the weights differ from what the mapping says;
            MC004, MC913, MC914: the modules or their inputs cannot be had.
    """
    if not component.has_parity:
        help = "official: {module: py:models.py:official}"
        message = f"`{component.name}` names no official module to compare with"
        raise MappingError([Diagnostic("MC914", message, component.span, help=help)])
    _check_converted(port, component)
    tell(f"{component.name}: comparing the converted weights with the official ones")
    bound = bound_mapping(hold(port, component).checked)
    found = verify_output(port.out / component.name, bound.source)
    if found:
        raise MappingError(found)
    tell(f"{component.name}: building and loading the ported module")
    ported = ported_module(port, component, bound)
    tell(f"{component.name}: building and loading the official module")
    official = official_module(port, component, bound)
    return Pair(port, component, bound, official, ported, made_inputs(port, component, ported))


def run_parity(port: Port, component: Component, tell: Tell = silent) -> ParityResult:
    """Both modules on the same inputs. What comes of it is evidence, passed or not."""
    pair = prepared(port, component, tell)
    tell(f"{component.name}: running both")
    official = chosen(component, "official", pair.run("official"))
    ported = chosen(component, "ported", pair.run("ported"))
    tolerance = component.parity
    outputs = tuple(_compared(official, ported, tolerance.atol, tolerance.rtol))
    dtype = str(parity_dtype(component)).removeprefix("torch.")
    result = ParityResult(component.name, dtype, tolerance.atol, tolerance.rtol, outputs)
    state = State(port)
    state.record(
        Evidence("parity", component.name, result.passed, result.as_json(), state.all_of(*_keys(pair)))
    )
    return result


def _keys(pair: Pair) -> tuple[str, ...]:
    name = pair.component.name
    kinds = (f"{kind} {name}" for kind in ("mapping", "settings", "modules", "converted"))
    code = (f"code {file}" for file in pair.code())
    return (*kinds, *weights_keys(pair.port, pair.component), *code)


def _compared(official: object, ported: object, atol: float, rtol: float) -> Iterator[Output]:
    """Output by output, in their order; a single one is compared whatever it is called."""
    ours, theirs = tensors_in(official), tensors_in(ported)
    for at in range(max(len(ours), len(theirs))):
        if at >= len(ours) or at >= len(theirs):
            label, tensor = (ours if at < len(ours) else theirs)[at]
            side = "the official module" if at < len(ours) else "the ported module"
            yield Output(label, tuple(tensor.shape), None, f"only {side} gives it")
            continue
        (label, a), (_, b) = ours[at], theirs[at]
        if a.shape != b.shape:
            yield Output(label, tuple(a.shape), None, f"the ported module's has the shape {tuple(b.shape)}")
        else:
            yield Output(label, tuple(a.shape), distance(a, b, atol, rtol))


def _check_converted(port: Port, component: Component) -> None:
    state = State(port)
    made = state.evidence("convert", component.name)
    why = ("it was never converted",) if made is None else state.why_stale(made)
    if why:
        message = f"`{component.name}` is not converted as it stands: {'; '.join(why)}"
        raise MappingError([Diagnostic("MC917", message, component.span, help="mapcc port convert")])


def _failed(component: Component, which: str, error: Exception) -> Diagnostic:
    import traceback

    last = traceback.extract_tb(error.__traceback__)[-1]
    where = f"raised at {last.filename}:{last.lineno}, in {last.name}"
    message = f"the {which} module of `{component.name}` cannot be run: {type(error).__name__}: {error}"
    help = f"{which}: {{arguments: {{ITS_ARGUMENT: INPUT}}}}, and `inputs` for the shapes"
    return Diagnostic("MC004", message, component.span, notes=(where,), help=help)


def parity_fault(port: Port, result: ParityResult) -> Diagnostic | None:
    """MC916 where the outputs differ."""
    first = result.first_differing
    if result.passed:
        return None
    component = port.component(result.component)
    if first is None:
        why = "neither module gives a tensor"
    elif first.distance is None:
        why = f"`{first.label}`: {first.problem}"
    else:
        gap = first.distance
        why = (
            f"`{first.label}` by {gap.max_abs:.3g} at {list(gap.worst)}, {gap.beyond} of {gap.total} elements"
        )
    help = f"mapcc port trace {result.component}"
    return Diagnostic("MC916", f"`{result.component}` differs: {why}", component.span, help=help)


def as_evidence(figures: Mapping[str, Any]) -> str:
    """The largest difference of recorded figures, in a word."""
    outputs = figures.get("outputs") or []
    largest = [each["max_abs"] for each in outputs if "max_abs" in each]
    return f"max abs {max(largest):.3g}" if largest else "nothing compared"
