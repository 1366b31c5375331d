"""``port.yaml``: everything that is wrong in it is told at once, with its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostics
from mapcc.port.read import parse_port
from mapcc.text import Source
from tests.port.conftest import TWINS_PORT, Workspace

WRONG = """\
modle: twins
weights: {repository: some/model, revision: main}
target: {kind: difusers}
components:
  transformer:
    source: 3
    mapping: [a]
    dtype: bf17
    class: AutoencoderKL
    missing: [{names: a.*}]
    inputs: {x: {shape: [1, -2], dtype: complex}}
    parity: {atol: -1, seed: 1.5}
    official: {module: models.py}
  "../x": {source: a.safetensors, mapping: m.mapcc}
assets:
  transformer: {from: ../../etc}
"""


def faults(text: str) -> list[str]:
    found = Diagnostics()
    parse_port(Source("port.yaml", text), found)
    assert all(diagnostic.span is not None for diagnostic in found)
    return [f"{diagnostic.span.line}: {diagnostic.message}" for diagnostic in found if diagnostic.span]


def test_every_fault_at_once() -> None:
    assert sorted(faults(WRONG)) == sorted(
        [
            "1: a port has no `model`",
            "1: a port has no field `modle`",
            "2: the revision of weights is a commit: 40 digits, so that they stay what they are",
            "3: `kind` cannot be 'difusers'",
            "7: `mapping` is a text",
            "8: no type 'bf17'",
            "9: `class` is a library and a class, and not 'AutoencoderKL'",
            "10: an entry of `missing` has no `because`",
            "11: `shape` is a list of whole numbers",
            "11: no type 'complex'",
            "12: `atol` is at least 0",
            "12: `seed` is a whole number",
            "13: `module` is a Python factory",
            "14: the component '../x' cannot be the name of a folder",
            "16: `from: ../../etc` leads out of its folder",
            "16: `transformer` is a component and an asset",
        ]
    )


def test_a_right_one() -> None:
    assert faults(TWINS_PORT) == []


def test_the_command_shows_the_places(workspace: Workspace) -> None:
    workspace.write("port.yaml", WRONG)
    ran = workspace.port("check")
    assert (ran.code, ran.out) == (1, "")
    assert "port.yaml:1:1" in ran.err
    assert "did you mean `model`?" in ran.err
    assert "did you mean `diffusers`?" in ran.err


@pytest.mark.parametrize("text", ["", "[]", "a", "model: {}", "components: {a: }", "a: &x 1", "\t"])
def test_other_texts(text: str) -> None:
    assert faults(text)


LINES = TWINS_PORT.splitlines()


@given(st.integers(0, len(TWINS_PORT) - 1), st.sampled_from([*"{}[]:,-'\"#&*!|> \n\t0ax", ""]))
def test_mutations_end_in_diagnostics(at: int, char: str) -> None:
    faults(TWINS_PORT[:at] + char + TWINS_PORT[at + 1 :])


@given(st.permutations(LINES), st.integers(0, len(LINES)))
def test_lines_in_any_order(lines: list[str], count: int) -> None:
    faults("\n".join(lines[:count]))
