"""The parity test of a component, as pytest runs it among the target's own tests."""

from __future__ import annotations

import os
from pathlib import Path

from mapcc.errors import MappingError
from mapcc.port.evidence import Evidence
from mapcc.port.files import write_text
from mapcc.port.model import Component, Port
from mapcc.port.parity import parity_fault, run_parity
from mapcc.port.progress import test_path
from mapcc.port.read import read_port
from mapcc.port.state import State

_TEXT = '''"""Parity of `{component}` of {model}: written by `mapcc port parity`, to be run by pytest."""

from pathlib import Path

import pytest

mapcc_port = pytest.importorskip("mapcc.port", reason="mapcc, which runs both modules, is not installed")
PORT = Path(__file__).resolve().parents[{up}] / "{port}"


def test_{function}_parity() -> None:
    """The official module and its port, with the converted weights, on the same inputs."""
    mapcc_port.assert_parity(PORT, "{component}")
'''


def write_test(port: Port, component: Component) -> Path:
    """The test's file below the workspace."""
    path = port.folder / test_path(port, component.name)
    function = "".join(letter if letter.isalnum() else "_" for letter in component.name)
    up = len(path.relative_to(port.folder).parts) - 1
    values = {"component": component.name, "model": port.model, "up": up, "function": function}
    write_text(path, _TEXT.format(port=port.path.name, **values))
    return path


def assert_parity(path: Path, component: str) -> None:
    """What the test does: AssertionError where the two differ, or cannot be compared."""
    port = read_port(path)
    own = port.component(component)
    try:
        result = run_parity(port, own)
    except MappingError as error:
        raise AssertionError(str(error)) from None
    if "PYTEST_CURRENT_TEST" in os.environ:
        _record(port, own, result.passed)
    fault = parity_fault(port, result)
    assert fault is None, fault.message


def _record(port: Port, component: Component, passed: bool) -> None:
    """A test's pass rests on what parity rests on, and on the test itself."""
    state = State(port)
    parity = state.evidence("parity", component.name)
    made_of = dict(parity.made_of) if parity else {}
    made_of |= state.all_of(f"file {test_path(port, component.name)}")
    state.record(Evidence("test", component.name, passed, {}, made_of))
