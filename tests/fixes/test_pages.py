"""Every fix that the examples of the codes' pages get, applied to its own input."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mapcc.diagnostics.codes import CODES
from tests.diagnostics.test_code_pages import is_slow, read, run_here, write_files

Found = list[dict[str, Any]]


def checks(code: str) -> list[str]:
    """The words of the page's command, if it is one ``mapcc check``."""
    lines = read(code).commands.strip().splitlines()
    words = shlex.split(lines[0]) if len(lines) == 1 else []
    return words[1:] if words[:2] == ["mapcc", "check"] and "--from" not in words else []


def asked(words: list[str], folder: Path) -> Found:
    _, printed = run_here([*words, "--format", "json"], folder)
    found: Found = json.loads(printed)["diagnostics"]
    return found


def offset(text: str, line: int, column: int) -> int:
    return sum(len(each) + 1 for each in text.split("\n")[: line - 1]) + column - 1


def apply(folder: Path, fix: dict[str, Any]) -> None:
    """Carry out what the JSON says, the last edit first."""
    for edit in sorted(fix["edits"], key=lambda e: (e["line"], e["column"]), reverse=True):
        path = folder / edit["file"]
        text = path.read_text("utf-8")
        start = offset(text, edit["line"], edit["column"])
        end = offset(text, edit["end_line"], edit["end_column"])
        path.write_text(text[:start] + edit["replacement"] + text[end:], "utf-8")


def counted(found: Found) -> Counter[tuple[str, str, tuple[str, ...]]]:
    return Counter((d["code"], d["message"], tuple(d["names"])) for d in found)


# MC007 is of the command itself, before anything is read.
CHECKED = [code for code in CODES if code != "MC007" and not is_slow(code) and checks(code)]


@pytest.mark.parametrize("code", CHECKED)
def test_every_fix_of_a_page_keeps_its_promise(code: str, tmp_path: Path) -> None:
    words, page = checks(code), read(code)
    write_files(page.example, tmp_path)
    found = asked(words, tmp_path)
    was = counted(found)
    for diagnostic in found:
        for fix in diagnostic["fixes"]:
            apply(tmp_path, fix)
            now = counted(asked(words, tmp_path))
            assert not now - was, fix["title"]
            (gone,) = counted([diagnostic])
            assert now[gone] < was[gone], fix["title"]
            write_files(page.example, tmp_path)
