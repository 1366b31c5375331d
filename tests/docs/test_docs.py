"""The docs, executed: ``README.md``, ``docs/*.md`` and ``docs/dialects/``, each page in a folder of its own.

A page is plain Markdown. What its blocks mean here:

- A block under a line that holds nothing but a name in backticks is a file of that name. A file that
  a reader need not see stands in a comment: ``<!-- file: NAME``, its lines, ``-->``.
- ``sh``: commands. Those of mapcc run (``> FILE`` works, no other shell); a word behind ``make`` is a target
  of the Makefile. They fail if the ``text`` block right behind shows an error or a difference, and only then.
- ``python`` runs too, all blocks of a page in one namespace.
- ``text`` right behind one of these is what it prints, to the last character.
- ``mapcc`` and ``yaml`` that are no file parse, and the first is in canonical form. With a
  ``<!-- source {...} -->`` behind it, and ``<!-- target {...} -->``, it checks clean against these key sets.
- A table under ``<!-- each row: one rule -->`` holds YAML and the same as text; one under
  ``<!-- each row: the same moves; source {...} -->`` two rules that move the same elements.
- ``<!-- not run -->`` before a block makes it mere text.

Run as a script, this file writes into the pages what belongs there.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import pytest

import mapcc
from mapcc.api import bound_mapping
from mapcc.cli import main
from mapcc.diagnostics.render import render_text
from mapcc.passes.invert import Places, places
from mapcc.tensors.spec import Manifest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "docs" / "dialects" / "json.md"]

_NAME = re.compile(r"`([\w./-]+)`")
_HIDDEN_FILE = re.compile(r"<!-- file: ([\w./-]+)")
_KEYS = re.compile(r"<!-- (source|target) (\{.*\}) -->")
_ROWS = re.compile(r"<!-- each row: (?:one rule|the same moves; source (\{.*\})) -->")
_CELL = re.compile(r"(?<!\\)\|")
_ERROR = re.compile(
    r"^(?:error\[|::error |different: |gate: not passed|[\w.]+: first divergence)", re.MULTILINE
)
_TOP_KEYS = ("mapping", "title", "about", "let", "separator", "dtype", "rules")


@dataclass(slots=True)
class Block:
    """A fenced block: ``first`` is its opening fence, from 0, and ``last`` its closing one."""

    language: str
    first: int
    last: int
    lines: list[str]
    name: str | None = None
    run: bool = True
    keys: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def text(self) -> str:
        return "".join(f"{line}\n" for line in self.lines)


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table whose two cells mean the same, and the tensors that they take."""

    first: int
    rows: list[tuple[str, str]]
    source: dict[str, list[int]] | None


def read(lines: list[str]) -> Iterator[Block | Table]:
    """The blocks and tables of a page, and the files in comments, in order."""
    before = ["", ""]
    last: Block | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.startswith("```"):
            end = lines.index("```", at + 1)
            name = _NAME.fullmatch(before[-1] or before[-2])
            last = Block(line[3:], at, end, lines[at + 1 : end], name and name[1])
            last.run = "<!-- not run -->" not in before
            yield last
            at = end
        elif found := _HIDDEN_FILE.fullmatch(line):
            end = lines.index("-->", at)
            yield Block("", at, end, lines[at + 1 : end], found[1])
            at = end
        elif found := _KEYS.fullmatch(line):
            assert last is not None
            last.keys[found[1]] = json.loads(found[2])
        elif found := _ROWS.fullmatch(line):
            rows = [_cells(row) for row in takewhile(lambda row: row.startswith("|"), lines[at + 3 :])]
            yield Table(at, rows, json.loads(found[1]) if found[1] else None)
            at += 2 + len(rows)
        before = [before[-1], lines[at]]
        at += 1


def _cells(row: str) -> tuple[str, str]:
    first, second = (cell.strip().replace("\\|", "|").strip("`") for cell in _CELL.split(row)[1:3])
    return first, second


@dataclass(slots=True)
class Page:
    """A page as it is run; ``faults`` is what does not hold, ``printed`` what belongs into which block."""

    path: Path
    lines: list[str] = field(init=False)
    faults: list[str] = field(default_factory=list)
    printed: list[tuple[Block, str]] = field(default_factory=list)
    namespace: dict[str, object] = field(default_factory=lambda: {"__name__": "__main__"})

    def __post_init__(self) -> None:
        self.lines = self.path.read_text("utf-8").split("\n")

    def run(self) -> None:
        """In the current folder."""
        parts = list(read(self.lines))
        for at, part in enumerate(parts):
            behind = parts[at + 1] if at + 1 < len(parts) else None
            try:
                if isinstance(part, Table):
                    self._table(part)
                elif part.run:
                    self._block(part, behind)
            except mapcc.MappingError as error:
                self._fault(part, render_text(error.diagnostics))
            except Exception as error:  # a fault of the page, to be told with its line
                self._fault(part, repr(error))

    def _fault(self, part: Block | Table, message: str) -> None:
        self.faults.append(f"{self.path.relative_to(ROOT)}:{part.first + 1}: {message}")

    def _block(self, block: Block, behind: Block | Table | None) -> None:
        if block.name is not None:
            path = Path(block.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
            return
        output = behind if isinstance(behind, Block) and self._is_output(block, behind) else None
        match block.language:
            case "sh":
                self._prints(block, output, lambda: _commands(block.text))
            case "python":
                code = compile("\n" * (block.first + 1) + block.text, self.path.name, "exec")
                self._prints(block, output, lambda: bool(exec(code, self.namespace)))
            case "mapcc" | "yaml":
                self._mapping(block)

    def _is_output(self, block: Block, behind: Block) -> bool:
        return behind.language == "text" and not any(self.lines[block.last + 1 : behind.first])

    def _prints(self, block: Block, output: Block | None, run: Callable[[], bool]) -> None:
        stream = StringIO()
        with redirect_stdout(stream), redirect_stderr(stream):
            failed = run()
        if output is not None:
            self._compare(block, output, stream.getvalue())
        if failed != (output is not None and _ERROR.search(stream.getvalue()) is not None):
            self._fault(block, f"{'failed' if failed else 'did not fail'}:\n{stream.getvalue()}")

    def _compare(self, block: Block, output: Block, text: str) -> None:
        """What belongs into a block, held against what stands there."""
        self.printed.append((output, text))
        if text != output.text:
            self._fault(block, f"this belongs here:\n{text}")

    def _mapping(self, block: Block) -> None:
        name = "m.yaml" if block.language == "yaml" else "m.mapcc"
        mapping = mapcc.parse(block.text, name)
        if name == "m.mapcc":
            self._compare(block, block, mapcc.format_mapping(mapping))
        if "source" in block.keys:
            checked = mapcc.check(mapping, *(_key_set(keys) for keys in block.keys.values()))
            if checked.diagnostics:
                self._fault(block, render_text(checked.diagnostics))

    def _table(self, table: Table) -> None:
        for first, second in table.rows:
            if table.source is None:
                same = _rules_of_yaml(first) == mapcc.parse(second).body
            else:
                same = _moves(first, table.source) == _moves(second, table.source)
            if not same:
                self._fault(table, f"not the same: {first} and {second}")


def _commands(text: str) -> bool:
    """Run commands, one a line: whether one of them failed."""
    failed = False
    for command in text.replace("\\\n", " ").splitlines():
        match shlex.split(command, comments=True):
            case []:
                pass
            case ["make", *targets]:
                makefile = (ROOT / "Makefile").read_text("utf-8")
                for target in targets:
                    assert re.search(rf"^{re.escape(target)}:", makefile, re.MULTILINE), f"no target {target}"
            case ["mapcc", *arguments]:
                failed |= _mapcc(arguments) != 0
            case _:
                raise ValueError(f"not a command that can be run here: {command}")
    return failed


def _mapcc(arguments: list[str]) -> int:
    """Run a command in this process: its exit code."""
    out = None
    if ">" in arguments:
        arguments, (out,) = arguments[: arguments.index(">")], arguments[arguments.index(">") + 1 :]
    stream = StringIO()
    with (
        patch.object(sys, "argv", ["mapcc", *arguments]),
        redirect_stdout(stream if out else sys.stdout),
        pytest.raises(SystemExit) as ended,
    ):
        main()
    if out:
        Path(out).write_text(stream.getvalue(), "utf-8")
    return int(ended.value.code or 0)


def _key_set(keys: Mapping[str, object]) -> Manifest:
    Path("keys.json").write_text(json.dumps(keys), "utf-8")
    return mapcc.keys("keys.json")


def _rules_of_yaml(cell: str) -> object:
    is_top = cell.split(":")[0] in _TOP_KEYS
    return mapcc.parse(cell if is_top else f"rules:\n  - {cell}", "m.yaml").body


def _moves(rule: str, source: dict[str, list[int]]) -> Places:
    """Where the elements go, with those of the tensors that the rule takes."""
    checked = mapcc.check(mapcc.parse(rule), _key_set(source))
    assert checked.bound is not None
    taken = {name: source[name] for name in checked.bound.taken}
    bound = bound_mapping(mapcc.check(mapcc.parse(rule), _key_set(taken)))
    return places(bound.instances, swap=False)


def run(path: Path, folder: Path) -> Page:
    """A page, run in ``folder``, where the library of mappings is at hand."""
    (folder / "mappings").symlink_to(ROOT / "mappings")
    page = Page(path)
    with (
        chdir(folder),
        patch.dict(os.environ, {"COLUMNS": "100", "NO_COLOR": "1"}),
        patch.object(sys, "path", [str(folder), *sys.path]),
    ):
        page.run()
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]
    return page


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_holds(path: Path, tmp_path: Path) -> None:
    page = run(path, tmp_path)
    assert not page.faults, "\n\n".join(page.faults)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", path.read_text("utf-8"))
    assert not [link for link in links if not (path.parent / link).exists()]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_files_of_the_project_are_there(path: Path) -> None:
    prose = re.sub(r"^```.*?^```$", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    told = re.findall(r"`((?:\w+/)+(?:\w+\.(?:py|lark|md))?|\w+\.py)`", prose)
    mine = {block.name for block in read(path.read_text("utf-8").split("\n")) if isinstance(block, Block)}
    assert not [
        name
        for name in told
        if name not in mine and not any((base / name).exists() for base in (ROOT, ROOT / "mapcc"))
    ]


def rewrite(path: Path) -> None:
    """Write into a page what its commands print, and its mappings in canonical form."""
    with TemporaryDirectory() as folder:
        page = run(path, Path(folder))
    for block, text in reversed(page.printed):
        page.lines[block.first + 1 : block.last] = text.splitlines()
    path.write_text("\n".join(page.lines), "utf-8")


if __name__ == "__main__":
    for argument in sys.argv[1:] or PAGES:
        rewrite(Path(argument).resolve())
