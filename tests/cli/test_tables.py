"""``import``, ``diff``, ``check --from`` and ``--lint``: what is printed, where, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

TABLE = r"""
class Config:
    param_names_mapping = {
        r"^layers\.(\d+)\.w$": r"blocks.\1.weight",
        "^dead$": "x",
    }
"""


@pytest.fixture
def table(folder: Path) -> Path:
    (folder / "t.py").write_text(TABLE, "utf-8")
    return folder


def test_import_to_a_file(table: Path, mapcc) -> None:
    ran = mapcc(
        "import", "t.py", "--from", "fastvideo", "-s", "source.json", "-o", "t.mapcc", "--name", "toy"
    )
    assert (ran.code, ran.out) == (0, "")
    assert "warning[MC801]" in ran.err
    assert "t.py:5:9" in ran.err
    assert "mapping toy\n" in Path("t.mapcc").read_text("utf-8")
    assert mapcc("check", "t.mapcc", "-s", "source.json", "-t", "target.json").code == 0
    assert mapcc("fmt", "t.mapcc", "--check").code == 0


def test_import_without_keys(table: Path, mapcc) -> None:
    ran = mapcc("import", "t.py", "--from", "fastvideo")
    assert ran.code == 0
    assert "MC814" in ran.err
    assert "not exact" in ran.err
    Path("t.mapcc").write_text(ran.out, "utf-8")
    assert mapcc("check", "t.mapcc", "-s", "source.json", "-t", "target.json").code == 0


@pytest.mark.parametrize(
    "name",
    ["t.py#Config.param_names_mapping", "t.py#param_names_mapping", "py:t.py:Config.param_names_mapping"],
)
def test_ways_to_name_a_table(table: Path, mapcc, name: str) -> None:
    name = name.format("param_names_mapping")
    ran = mapcc("check", name, "--from", "fastvideo", "-s", "source.json", "-t", "target.json")
    assert (ran.code, "MC801" in ran.out) == (0, True)


def test_json_report(table: Path, mapcc) -> None:
    ran = mapcc("check", "t.py", "--from", "fastvideo", "-s", "source.json", "--format", "json")
    (one,) = (
        json.loads(ran.out)["diagnostics"] if isinstance(json.loads(ran.out), dict) else json.loads(ran.out)
    )
    assert (one["code"], one["line"]) == ("MC801", 5)


@pytest.mark.parametrize(
    ("arguments", "code", "found"),
    [
        (("import", "absent.py", "--from", "fastvideo"), 2, "MC001"),
        (("import", "m.mapcc", "--from", "fastvideo"), 1, "MC003"),
        (("import", "t.py#Other", "--from", "fastvideo"), 1, "MC003"),
        (("import", "py:t.py:Absent", "--from", "fastvideo"), 2, "MC004"),
        (("import", "py:nowhere:x", "--from", "sglang"), 2, "MC004"),
        (("import", "t.py", "--from", "fastvideo", "-s", "absent.json"), 2, "MC001"),
        (("check", "t.py", "--from", "fastvideo", "-s", "t.py"), 1, "MC006"),
        (("diff", "m.mapcc", "-s", "source.json"), 2, "MC007"),
        (("diff", "m.mapcc", "absent.mapcc", "-s", "source.json"), 2, "MC001"),
        (("emit-config", "m.mapcc", "-s", "source.json", "--format", "cobol"), 2, "MC007"),
        (("emit-config", "m.mapcc", "-s", "source.json", "--residual", "m.mapcc"), 2, "MC005"),
        (("check", "m.mapcc", "-s", "source.json", "--parts", "absent"), 2, "MC001"),
    ],
)
def test_bad_input(table: Path, mapcc, arguments, code: int, found: str) -> None:
    ran = mapcc(*arguments)
    assert (ran.code, found in ran.out + ran.err) == (code, True), ran.out + ran.err
    assert "Traceback" not in ran.err


def test_unknown_dialect(table: Path, mapcc) -> None:
    assert mapcc("import", "t.py", "--from", "cobol").code == 2


def test_nothing_is_run(table: Path, mapcc) -> None:
    Path("evil.py").write_text("open('pwned', 'w')\nparam_names_mapping = {'^a$': open('pwned', 'w').name}\n")
    ran = mapcc("import", "evil.py", "--from", "fastvideo")
    assert (ran.code, Path("pwned").exists()) == (1, False)


def test_a_deep_file_is_an_error(table: Path, mapcc) -> None:
    Path("deep.py").write_text("param_names_mapping = " + "(" * 5000 + ")" * 5000 + "\n")
    assert mapcc("import", "deep.py", "--from", "fastvideo").code == 1
    Path("deep.py").write_text("param_names_mapping = " + "-" * 50_000 + "1\n")
    assert mapcc("import", "deep.py", "--from", "fastvideo").code == 1


def test_diff(table: Path, mapcc) -> None:
    Path("same.mapcc").write_text("layers.{k}.* -> blocks.{k}.weight\n".replace("*", "w"), "utf-8")
    ran = mapcc("diff", "m.mapcc", "same.mapcc", "-s", "source.json")
    assert (ran.code, ran.out) == (0, "equal: 2 target tensors, to the last element\n")
    Path("other.mapcc").write_text("layers.{k}.w -> blocks.{1-k}.weight\n", "utf-8")
    ran = mapcc("diff", "m.mapcc", "other.mapcc", "-s", "source.json")
    assert ran.code == 1
    assert "layers.1.w [0, 0]" in ran.out
    ran = mapcc("diff", "m.mapcc", "other.mapcc", "-s", "source.json", "--format", "json")
    assert ran.code == 1
    assert json.loads(ran.out)


def test_lint(table: Path, mapcc) -> None:
    Path("s.json").write_text('{"w": [4, 4]}', "utf-8")
    Path("sq.mapcc").write_text("w : o i -> wt : i o\n", "utf-8")
    assert "MC812" not in mapcc("check", "sq.mapcc", "-s", "s.json").out
    ran = mapcc("check", "sq.mapcc", "-s", "s.json", "--lint")
    assert (ran.code, "MC812" in ran.out) == (0, True)
    Path("sq.mapcc").write_text('w : o i -> wt : i o   allow MC812 because "as in the paper"\n', "utf-8")
    assert "MC812" not in mapcc("check", "sq.mapcc", "-s", "s.json", "--lint").out
