"""Names never drive the terminal: whatever stands in them, three formats print text that prints."""

from __future__ import annotations

import json
from pathlib import Path

from mapcc.diagnostics.codes import CODES
from mapcc.diagnostics.model import Diagnostic, Label
from mapcc.diagnostics.render import render_github, render_json, render_text
from mapcc.text import Source, Span
from tests.conftest import Mapcc
from tests.faults import nasty
from tests.faults.counts import report
from tests.tensors.headers import one

TEXTS = [
    *nasty.CONTROLS,
    *nasty.MARKS,
    *nasty.CODE,
    "::error::x",
    "%0A::warning::x",
    "a\r\n::stop-commands::x",
]
CODE = next(iter(CODES))


def diagnostic(text: str) -> Diagnostic:
    """One that has ``text`` wherever a text can be."""
    name = f"a{text}b"
    source = Source(f"{name}.mapcc", f"x{text} -> y\n{name}")
    span = Span(source, 1, len(text) + 1)
    related = (Label(span, name),)
    message = f"wrong: `{name}`"
    return Diagnostic(CODE, message, span, name, related, notes=(name,), help=name, names=(name,))


def lines_print(text: str) -> None:
    """Lines end with a newline and nothing else; the rest of it prints, and can be encoded."""
    text.encode()
    for line in text.split("\n"):
        assert line.isprintable(), ascii(line)


def test_everywhere_in_a_diagnostic() -> None:
    for text in TEXTS:
        found = [diagnostic(text)]
        lines_print(render_text(found))
        lines_print(render_text(found, color=True).replace("\x1b[", "").replace("\x1b", "!"))
        lines_print(render_json(found))
        assert render_json(found).isascii()
        (entry,) = json.loads(render_json(found))["diagnostics"]
        assert entry["names"] == [f"a{text}b"]
        github = render_github(found)
        lines_print(github)
        assert github.count("\n") == 1  # one command, not two
        assert github.startswith(("::error ", "::warning "))
    report({"texts": 90, "formats": 3}, texts=len(TEXTS), formats=3)


def test_everywhere_on_the_command_line(tmp_path: Path, mapcc: Mapcc, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """In a mapping, in the names of tensors, in a file's name: by each command that prints them."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_COLOR", "1")
    printed = 0
    for text in TEXTS:
        escaped = json.dumps(f"a{text}b")
        Path("m.mapcc").write_text(f"{escaped} -> c\n", "utf-8")
        Path("s.safetensors").write_bytes(one(name=escaped[1:-1]))
        Path("s.json").write_text(f"{{{escaped}: [1]}}", "utf-8")
        for arguments in (
            *(("check", "m.mapcc", "-s", source, "-t", "s.json") for source in ("s.json", "s.safetensors")),
            *(("check", "m.mapcc", "-s", "s.json", "--format", kind) for kind in ("json", "github")),
            ("show", "m.mapcc", "-s", "s.safetensors"),
            ("show", "m.mapcc", "-s", "s.safetensors", "--format", "json"),
            ("keys", "s.safetensors"),
            ("keys", f"{text}.json"),
            ("emit-config", "m.mapcc", "-s", "s.safetensors"),
            ("explain", text or "x"),
        ):
            ran = mapcc(*arguments)
            assert "Traceback" not in ran.err, ran.err
            lines_print(ran.out)
            lines_print(ran.err)
            printed += 1
    report({"commands": 900}, commands=printed)
