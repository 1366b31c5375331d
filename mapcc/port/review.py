"""Who has read a mapping and takes it for right: of this very text, and no other."""

from __future__ import annotations

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.port.components import hold
from mapcc.port.evidence import Evidence
from mapcc.port.model import Component, Port
from mapcc.port.state import State


def review(port: Port, component: Component, by: str) -> Evidence:
    """Record that ``by`` accepts the component's mapping as it is now.

    Raises:
        MappingError: MC917: it does not check clean, so there is nothing to accept.
    """
    held = hold(port, component)
    if not held.checked.ok:
        message = f"the mapping of `{component.name}` does not check clean: there is nothing to accept"
        raise MappingError([Diagnostic("MC917", message, component.span, help="mapcc port check")])
    state = State(port)
    bound = held.checked.bound
    figures = {"by": by, "tensors": len(bound.given) if bound else 0}
    key = f"mapping {component.name}"
    made = Evidence("review", component.name, True, figures, state.all_of(key))
    state.record(made)
    return made
