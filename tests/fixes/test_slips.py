"""Lines that are no mapping, and what they were meant to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from mapcc.api import mended
from tests.fixes.promise import Case, broken_promises, key_set, spliced

SOURCE = key_set({"a.0.x.w": (4, 4), "a.1.x.w": (4, 4)})

CERTAIN = [
    ("a.{i} -> b.{i}{\n    keep x.*\n}", "a.{i} -> b.{i} {\n    keep x.*\n}"),
    ("a.** => b.**", "a.** -> b.**"),
    ("a.** \u2192 b.**", "a.** -> b.**"),
    ("a.{i}.x.* : (h d) c -> b.{i}.* : h d c where h = 2 and d = 2", "... where h = 2, d = 2"),
    ("a.** | scale 1/8 -> b.**", "a.** | scale (1/8) -> b.**"),
    ("drop a.** because nobody reads it", 'drop a.** because "nobody reads it"'),
    (
        "a.{i}.x.w : (t d) c -> b.{i}.[q,k].w : d c",
        "a.{i}.x.w : (t d) c -> b.{i}.[t=q,k].w : d c",
    ),
]
OFFERED = [
    ("drop a.**", 'drop a.** because "TODO: why"'),
]


@pytest.mark.parametrize(("text", "meant"), CERTAIN)
def test_a_slip_is_mended(text: str, meant: str, tmp_path: Path) -> None:
    case = Case(tmp_path / "m.mapcc", text + "\n", SOURCE, None)
    checked = case.found()
    assert {found.code for found in checked.diagnostics} == {"MC101"}
    assert not broken_promises(case, checked)
    result = mended(checked)
    assert result.checked.ok
    (after,) = result.after.values()
    assert after.rstrip("\n").endswith(meant.removeprefix("..."))


@pytest.mark.parametrize(("text", "meant"), OFFERED)
def test_what_takes_a_decision_is_offered(text: str, meant: str, tmp_path: Path) -> None:
    case = Case(tmp_path / "m.mapcc", text + "\n", SOURCE, None)
    checked = case.found()
    (found,) = checked.diagnostics
    (fix,) = found.fixes
    assert not fix.certain
    assert not broken_promises(case, checked)
    assert spliced(case.text, fix, str(case.path)) == meant + "\n"
    assert not mended(checked).applied


def test_a_slip_of_two_kinds_in_one_line(tmp_path: Path) -> None:
    case = Case(tmp_path / "m.mapcc", "a.{i} => b.{i}{\n    keep x.*\n}\n", SOURCE, None)
    checked = case.found()
    assert not broken_promises(case, checked)
    assert list(mended(checked).after.values()) == ["a.{i} -> b.{i} {\n    keep x.*\n}\n"]


def test_what_is_quoted_or_a_comment_is_no_slip(tmp_path: Path) -> None:
    text = '"a=>b{" -> c -> d  # => {\n'
    case = Case(tmp_path / "m.mapcc", text, SOURCE, None)
    (found,) = case.found().diagnostics
    assert not found.fixes
