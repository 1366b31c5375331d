"""``check --fix``: what it writes, what it says, and what it leaves alone."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

import mapcc
from tests.conftest import Mapcc
from tests.fixes.promise import key_set

SLIPS = 'a.{i} => b.{i}{\n    x.* -> y.*   where i < 3 and i > 0\n}\ndrop a.0.x.w because "first"\n'
MENDED = 'a.{i} -> b.{i} {\n    x.* -> y.*   where i < 3, i > 0\n}\ndrop a.0.x.w because "first"\n'
SOURCE = {"a.0.x.w": [4], "a.1.x.w": [4]}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("m.mapcc").write_text(SLIPS, "utf-8")
    Path("s.json").write_text(json.dumps(SOURCE), "utf-8")
    return tmp_path


def test_the_file_is_mended_and_checked_again(here: Path, mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", "-s", "s.json", "--fix")
    assert ran.code == 0
    assert Path("m.mapcc").read_text("utf-8") == MENDED
    told = ran.out.splitlines()
    assert told[0].startswith("m.mapcc:1:")
    assert told[1] == "m.mapcc:2:29: put a comma between two conditions"
    assert told[2].startswith("clean: 2 source tensors")
    assert sorted(path.name for path in here.iterdir()) == ["m.mapcc", "s.json"]


def test_a_mended_file_is_left_alone(here: Path, mapcc: Mapcc) -> None:
    Path("m.mapcc").write_text(MENDED, "utf-8")
    before = Path("m.mapcc").stat()
    assert mapcc("check", "m.mapcc", "-s", "s.json", "--fix").code == 0
    after = Path("m.mapcc").stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_diff_writes_nothing(here: Path, mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", "-s", "s.json", "--fix", "--diff")
    assert ran.code == 1
    assert Path("m.mapcc").read_text("utf-8") == SLIPS
    lines = ran.out.splitlines()
    assert [line[1:] for line in lines if line.startswith("+")][1:] == MENDED.splitlines()[:2]
    assert "MC101" not in ran.out
    assert "MC101" in ran.err


def test_line_ends_mark_mode_and_link_stay(here: Path, mapcc: Mapcc) -> None:
    kept = here / "kept.mapcc"
    kept.write_bytes(b"\xef\xbb\xbf" + SLIPS.replace("\n", "\r\n").encode())
    kept.chmod(0o640)
    Path("m.mapcc").unlink()
    Path("m.mapcc").symlink_to("kept.mapcc")
    assert mapcc("check", "m.mapcc", "-s", "s.json", "--fix").code == 0
    assert Path("m.mapcc").is_symlink()
    assert kept.read_bytes() == b"\xef\xbb\xbf" + MENDED.replace("\n", "\r\n").encode()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o640


def test_a_used_file_is_mended_where_it_lies(here: Path, mapcc: Mapcc) -> None:
    Path("part.mapcc").write_text(SLIPS, "utf-8")
    Path("m.mapcc").write_text('use "part.mapcc"\n', "utf-8")
    assert mapcc("check", "m.mapcc", "-s", "s.json", "--fix").code == 0
    assert Path("part.mapcc").read_text("utf-8") == MENDED
    assert Path("m.mapcc").read_text("utf-8") == 'use "part.mapcc"\n'


def test_what_is_not_certain_is_offered_and_not_done(here: Path, mapcc: Mapcc) -> None:
    text = "a.1.x.* -> b.x.*\n"
    Path("m.mapcc").write_text(text, "utf-8")
    ran = mapcc("check", "m.mapcc", "-s", "s.json", "--fix", "--format", "json")
    (found,) = json.loads(ran.out)["diagnostics"]
    assert found["code"] == "MC402"
    (fix,) = found["fixes"]
    assert not fix["certain"]
    assert [edit["replacement"] for edit in fix["edits"]] == ['drop a.0.x.w because "TODO: why"\n']
    assert Path("m.mapcc").read_text("utf-8") == text


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "m.mapcc", "--fix"),
        ("check", "m.mapcc", "-s", "s.json", "--diff"),
        ("check", "m.mapcc", "-s", "s.json", "--fix", "--from", "fastvideo"),
    ],
)
def test_what_fix_needs(here: Path, mapcc: Mapcc, arguments: tuple[str, ...]) -> None:
    ran = mapcc(*arguments)
    assert ran.code == 2
    assert "MC007" in ran.err


def test_a_file_that_changed_meanwhile_is_not_written_over(here: Path) -> None:
    mended = mapcc.mended(mapcc.check("m.mapcc", "s.json"))
    assert mended.after == {"m.mapcc": MENDED}
    Path("m.mapcc").write_text(SLIPS + "# more\n", "utf-8")
    with pytest.raises(mapcc.MappingError, match="has changed"):
        mapcc.write_mended(mended)
    assert Path("m.mapcc").read_text("utf-8") == SLIPS + "# more\n"


def test_the_library_is_nobodys_to_mend() -> None:
    """A finding in a shipped file has no fix: the file is not the user's."""
    source = key_set({"x": (1,)})
    checked = mapcc.check("bert/minilm_to_torch", source)
    assert not checked.ok
    assert not any(found.fixes for found in checked.diagnostics)


def test_fixes_are_applied_by_a_program(here: Path) -> None:
    checked = mapcc.check("m.mapcc", "s.json")
    fixes = [fix for found in checked.diagnostics for fix in found.fixes if fix.certain]
    assert mapcc.apply_fixes(fixes) == {"m.mapcc": MENDED}
