"""Every diagnostic code has a page, whose example gives that code and whose fix gives none.

Run as a script, this file writes the index, and into each page what its example prints.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from unittest.mock import patch

import pytest

from mapcc.cli import main
from mapcc.diagnostics.codes import CODES

ROOT = Path(__file__).resolve().parents[2]
PAGES = ROOT / "docs" / "codes"

# Found in no text: a checkpoint, the disk, a tensor that no rule speaks of, an option.
PLACELESS = {
    "MC001",
    "MC002",
    "MC004",
    "MC005",
    "MC006",
    "MC007",
    "MC008",
    "MC009",
    "MC401",
    "MC402",
    "MC417",
    "MC414",
    "MC418",
    "MC419",
    "MC504",
    "MC505",
    "MC602",
    "MC603",
    "MC808",
    "MC820",
    "MC817",
    "MC901",
    "MC903",
    "MC904",
    "MC905",
    "MC906",
}

GROUPS = {
    "0": "The outside world",
    "1": "The text",
    "2": "Names",
    "3": "Axes",
    "4": "Binding",
    "5": "Values",
    "6": "Emitting",
    "7": "Inverting",
    "8": "Lint",
    "9": "Adapters and ports",
}

_FILE = re.compile(r"^`([\w.-]+)`\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_COMMANDS = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OUTPUT = re.compile(r"^```text\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEAD = re.compile(r"^(?:error|warning)\[(MC\d{3})\]: ", re.MULTILINE)
_PLACE = re.compile(r" *--> ([^:\n]+):(\d+):(\d+)")


@dataclass(frozen=True)
class Page:
    """A page, taken apart. The fix stands in the example's folder, with files of its own over it."""

    title: str
    example: str
    fix: str

    @property
    def commands(self) -> str:
        return _only(_COMMANDS, self.example)

    @property
    def output(self) -> str:
        return _only(_OUTPUT, self.example)

    @property
    def fixing_commands(self) -> str:
        return _only(_COMMANDS, self.fix) if _COMMANDS.search(self.fix) else self.commands


def _only(block: re.Pattern[str], text: str) -> str:
    (found,) = block.findall(text)
    return str(found)


def read(code: str) -> Page:
    text = (PAGES / f"{code}.md").read_text("utf-8")
    title, rest = text.split("\n", 1)
    _, example, fix = re.split(r"^## (?:Example|Fix)$", rest, flags=re.MULTILINE)
    return Page(title, example, fix)


def write_files(part: str, folder: Path) -> None:
    for name, text in _FILE.findall(part):
        (folder / name).write_text(text, "utf-8")


def run(commands: str, folder: Path) -> tuple[int, str]:
    """The exit code, and what is printed: both streams, as on a screen."""
    line = commands.strip()
    if line.startswith("mapcc ") and "\n" not in line and "'" not in line:
        return run_here(line.split()[1:], folder)
    tools = folder / ".bin"
    tools.mkdir(exist_ok=True)
    shim = tools / "mapcc"
    shim.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m mapcc "$@"\n', "utf-8")
    shim.chmod(0o755)
    path = os.pathsep.join((str(tools), str(Path(sys.executable).parent), os.environ["PATH"]))
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=folder,
        env=os.environ | {"PATH": path, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout


def run_here(arguments: list[str], folder: Path) -> tuple[int, str]:
    """A command in this process, which takes a hundredth of the time."""
    printed = StringIO()
    with (
        chdir(folder),
        redirect_stdout(printed),
        redirect_stderr(printed),
        patch.object(sys, "argv", ["mapcc", *arguments]),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    return int(ended.value.code or 0), printed.getvalue()


def is_slow(code: str) -> bool:
    path = PAGES / f"{code}.md"
    return path.exists() and "import torch" in path.read_text("utf-8")


def index() -> str:
    """``docs/codes/index.md``, from the registry."""
    lines = [
        "# Diagnostic codes",
        "",
        "What mapcc can find wrong. `mapcc explain CODE` prints a code's page. A command ends with 1 if",
        "the input is wrong, and with 2 if mapcc could not work; a warning does not change how it ends.",
    ]
    for digit, heading in GROUPS.items():
        rows = [entry for entry in CODES.values() if entry.code[2] == digit]
        lines += ["", f"## {heading}", "", "| code | meaning | ends with |", "| --- | --- | --- |"]
        lines += [
            f"| [{row.code}]({row.code}.md) | {row.title} | {'warning' if row.warning else row.exit_code} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def test_the_index_is_that_of_the_registry() -> None:
    assert (PAGES / "index.md").read_text("utf-8") == index(), "run tests/diagnostics/test_code_pages.py"


def test_no_page_is_left_over() -> None:
    assert {path.name for path in PAGES.iterdir()} == {f"{code}.md" for code in CODES} | {"index.md"}


@pytest.mark.parametrize("code", CODES)
def test_title_is_that_of_the_registry(code: str) -> None:
    assert read(code).title == f"# {code}: {CODES[code].title}"


@pytest.mark.parametrize("code", CODES)
def test_explain_prints_the_page(code: str, tmp_path: Path) -> None:
    page = (PAGES / f"{code}.md").read_text("utf-8")
    assert run_here(["explain", code], tmp_path) == (0, page)


@pytest.mark.parametrize(
    "code", [pytest.param(code, marks=[pytest.mark.slow] * is_slow(code)) for code in CODES]
)
def test_example_gives_its_code_and_the_fix_none(code: str, tmp_path: Path) -> None:
    page, entry = read(code), CODES[code]
    write_files(page.example, tmp_path)
    ended, printed = run(page.commands, tmp_path)
    assert printed == page.output
    assert set(_HEAD.findall(printed)) == {code}
    assert ended == (0 if entry.warning else entry.exit_code)
    first = printed[_HEAD.search(printed).start() :]  # type: ignore[union-attr]
    place = _PLACE.match(first.split("\n", 2)[1])
    assert (place is None) == (code in PLACELESS)
    if place is not None:
        lines = (tmp_path / place[1]).read_text("utf-8").split("\n")
        assert int(place[3]) <= len(lines[int(place[2]) - 1]) + 1
    write_files(page.fix, tmp_path)
    ended, printed = run(page.fixing_commands, tmp_path)
    assert ended == 0, printed
    assert "MC" not in printed


def trees() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted((ROOT / "mapcc").rglob("*.py")):
        name = path.relative_to(ROOT).as_posix()
        yield name, ast.parse(path.read_text("utf-8"), name)


def test_every_code_is_given_somewhere() -> None:
    given = {
        argument.value
        for name, tree in trees()
        if not name.startswith("mapcc/diagnostics/")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for argument in (*node.args, *(keyword.value for keyword in node.keywords))
        if isinstance(argument, ast.Constant)
    }
    assert not CODES.keys() - given


def test_every_code_that_the_package_speaks_of_is_in_the_registry() -> None:
    told = {
        (name, code)
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
        for code in re.findall(r"\bMC\d+\b", node.value)
    }
    assert not {(name, code) for name, code in told if code not in CODES}


def rewrite() -> None:
    """Write the index and the examples' output."""
    from tempfile import TemporaryDirectory

    (PAGES / "index.md").write_text(index(), "utf-8")
    for code in sys.argv[1:] or CODES:
        path = PAGES / f"{code}.md"
        with TemporaryDirectory() as folder:
            page = read(code)
            write_files(page.example, Path(folder))
            _, printed = run(page.commands, Path(folder))
        text = path.read_text("utf-8")
        path.write_text(_OUTPUT.sub(lambda _, new=printed: f"```text\n{new}```", text, count=1), "utf-8")  # type: ignore[misc]


if __name__ == "__main__":
    rewrite()
