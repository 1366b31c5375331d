"""Activations as FastVideo writes them: written, read, and compared through the mapping."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.port.conftest import RIGHT, Workspace, with_twins

pytestmark = [pytest.mark.slow, pytest.mark.converts]


def traces(workspace: Workspace, mapping: str = RIGHT) -> None:
    with_twins(workspace, mapping)
    workspace.good("convert")
    workspace.good("trace", "--write-official", "a.jsonl", "--write-ported", "b.jsonl")


def test_rows_are_fastvideos(workspace: Workspace) -> None:
    traces(workspace)
    rows = [json.loads(line) for line in Path("b.jsonl").read_text("utf-8").splitlines()]
    assert all(row.keys() == {"module", "tensor", "step", "abs_mean", "sum", "max", "shape"} for row in rows)
    assert {"layers.0.attn1.to_q", "layers.2", "proj_out"} <= {row["module"] for row in rows}


def test_two_files_that_agree(workspace: Workspace) -> None:
    """Names differ, gate and up are fused on one side: the mapping brings them together."""
    traces(workspace)
    said = workspace.good("trace", "--official", "a.jsonl", "--ported", "b.jsonl")
    assert "the traces agree in" in said
    assert int(said.split("agree in ")[1].split()[0]) > 25


def test_one_side_from_a_file(workspace: Workspace) -> None:
    traces(workspace)
    assert "agree" in workspace.good("trace", "--official", "a.jsonl")


def test_the_first_that_differs(workspace: Workspace) -> None:
    traces(workspace, RIGHT.replace("[n=gate_proj,up_proj]", "[n=up_proj,gate_proj]"))
    ran = workspace.port("trace", "--official", "a.jsonl", "--ported", "b.jsonl")
    assert ran.code == 1
    assert "first divergence in layers.0.ff.down_proj" in ran.out


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("no json", "MC003"),
        ('{"module": "a"}', "MC003"),
        (
            '{"module": "x", "tensor": "out", "step": null, "abs_mean": 1, "sum": 1, "max": 1, "shape": [1]}',
            "MC914",
        ),
        ("", "MC914"),
    ],
)
def test_other_files(line: str, code: str, workspace: Workspace) -> None:
    with_twins(workspace)
    workspace.good("convert")
    workspace.write("a.jsonl", line + "\n")
    ran = workspace.port("trace", "--official", "a.jsonl", "--ported", "a.jsonl")
    assert ran.code == 1
    assert code in ran.err
    assert workspace.port("trace", "--official", "gone.jsonl").code == 2
