"""Diagnostics as text, JSON and workflow commands."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.diagnostics.model import Diagnostic, Label
from mapcc.diagnostics.render import render_github, render_json, render_text, tally
from mapcc.text import Source, Span

MAPPING = Source(
    "m.mapcc",
    "mapping m\n\nimg_in.proj.* -> x_embedder.proj.*\n\timg_in.*  -> x_embedder.*\n"
    "blocks.{i} -> {\n  a -> b\n}\n",
)


def span(text: str) -> Span:
    start = MAPPING.text.index(text)
    return Span(MAPPING, start, start + len(text))


CLASH = Diagnostic(
    "MC403",
    "`img_in.proj.weight` is taken by two rules",
    span("img_in.proj.*"),
    label="this one",
    related=(Label(span("img_in.*"), "and this one"),),
    notes=("the rules have no order",),
    help="drop one of them",
    names=("img_in.proj.{weight,bias}",),
)
MISSING = Diagnostic("MC410", "matches nothing", names=("a.{0..3}.weight",), help="mark it `optional`")


def test_text() -> None:
    assert render_text([CLASH, MISSING]) == (
        """\
error[MC403]: `img_in.proj.weight` is taken by two rules
  --> m.mapcc:3:1
   |
 3 | img_in.proj.* -> x_embedder.proj.*
   | ^^^^^^^^^^^^^ this one
  ::: m.mapcc:4:2
   |
 4 |     img_in.*  -> x_embedder.*
   |     -------- and this one
   |
   = names: img_in.proj.{weight,bias}
   = note: the rules have no order
   = help: drop one of them

warning[MC410]: matches nothing
  = names: a.{0..3}.weight
  = help: mark it `optional`
"""
    )


def test_color_adds_nothing_but_ansi() -> None:
    colored = render_text([CLASH, MISSING], color=True)
    assert "\x1b[1;31merror[MC403]\x1b[0m" in colored
    assert re.sub(r"\x1b\[[0-9;]*m", "", colored) == render_text([CLASH, MISSING])


def test_span_over_lines_is_marked_to_the_end_of_its_first() -> None:
    block = span("blocks.{i} -> {\n  a -> b\n}")
    text = render_text([Diagnostic("MC405", "dead", block, label="never matches")])
    assert " 5 | blocks.{i} -> {\n   | ^^^^^^^^^^^^^^^ never matches (to line 7)\n" in text


@pytest.mark.parametrize("at", [0, 9, len(MAPPING.text)], ids=["start", "line end", "text end"])
def test_empty_span_has_one_mark(at: int) -> None:
    text = render_text([Diagnostic("MC101", "unexpected end", Span(MAPPING, at, at))])
    assert text.count("^") == 1


def test_a_line_of_a_megabyte_costs_one_line() -> None:
    source = Source("keys.json", "x" * 700_000 + "HERE" + "y" * 300_000)
    text = render_text([Diagnostic("MC003", "malformed", Span(source, 700_000, 700_004))])
    line, marks = text.splitlines()[3:5]
    assert len(line) < 140
    assert line.index("HERE") == marks.index("^^^^")
    assert line.endswith("...")


def test_marks_stand_under_wide_and_escaped_characters() -> None:
    source = Source("m", "層\x1b.重み -> b")
    text = render_text([Diagnostic("MC101", "wrong", Span(source, 3, 5))])
    line, marks = text.splitlines()[3:5]
    assert line == " 1 | 層\\x1b.重み -> b"
    assert marks == "   |        ^^^^"


def test_names_that_the_words_say_are_not_listed_again() -> None:
    diagnostic = Diagnostic("MC401", "`a.weight` is missing", names=("a.weight",))
    assert render_text([diagnostic]) == "error[MC401]: `a.weight` is missing\n"


def test_names_are_listed_up_to_a_limit() -> None:
    text = render_text([Diagnostic("MC401", "missing", names=tuple(f"t{i}.w" for i in range(30)))])
    assert "  = names: t0.w\n           t1.w\n" in text
    assert text.endswith("           t9.w\n           ... and 20 more\n")


def test_json() -> None:
    document = json.loads(render_json([CLASH, MISSING]))
    assert document["version"] == 1
    assert document["tally"] == {"errors": 1, "warnings": 1}
    first, second = document["diagnostics"]
    assert first == {
        "code": "MC403",
        "title": "ambiguous: source tensor taken by two rules",
        "severity": "error",
        "message": "`img_in.proj.weight` is taken by two rules",
        "file": "m.mapcc",
        "line": 3,
        "column": 1,
        "end_line": 3,
        "end_column": 14,
        "label": "this one",
        "notes": ["the rules have no order"],
        "help": "drop one of them",
        "names": ["img_in.proj.{weight,bias}"],
        "fixes": [],
        "related": [
            {
                "file": "m.mapcc",
                "line": 4,
                "column": 2,
                "end_line": 4,
                "end_column": 10,
                "text": "and this one",
            }
        ],
    }
    assert second.keys() == first.keys()
    assert second["file"] is second["line"] is second["end_column"] is None


def test_github() -> None:
    lines = render_github([CLASH, MISSING]).splitlines()
    assert lines[0] == (
        "::error file=m.mapcc,line=3,col=1,endColumn=14,"
        "title=MC403 ambiguous%3A source tensor taken by two rules"
        "::`img_in.proj.weight` is taken by two rules%0Aimg_in.proj.{weight,bias}"
        "%0Athe rules have no order%0Ahelp: drop one of them"
    )
    assert lines[1].startswith("::warning title=MC410 ")


def test_github_properties_and_data_cannot_break_out() -> None:
    source = Source("a,line=9::x%\n.mapcc", "text")
    (line,) = render_github([Diagnostic("MC101", "50%\n::error::forged", Span(source, 0, 4))]).splitlines()
    assert line.startswith("::error file=a%2Cline=9%3A%3Ax%25\\x0a.mapcc,line=1,col=1,")
    assert line.endswith("::50%25\\x0a::error::forged")


ANY = st.text(st.characters(exclude_categories=()), max_size=60)


@st.composite
def hostile(draw: st.DrawFn) -> Diagnostic:
    source = Source(draw(ANY), draw(ANY))
    start, end = sorted(draw(st.tuples(*[st.integers(0, len(source.text))] * 2)))
    place = Span(source, start, end)
    return Diagnostic(
        draw(st.sampled_from(["MC101", "MC410"])),
        draw(ANY),
        draw(st.sampled_from([None, place])),
        draw(ANY),
        (Label(place, draw(ANY)),),
        (draw(ANY),),
        draw(ANY),
        (draw(ANY),),
    )


@given(hostile())
def test_nothing_from_a_file_reaches_the_terminal(diagnostic: Diagnostic) -> None:
    for text in (render_text([diagnostic]), render_github([diagnostic]), render_json([diagnostic])):
        assert all(line.isprintable() for line in text.removesuffix("\n").split("\n"))
        text.encode()
    assert render_github([diagnostic]).count("\n") == 1


@pytest.mark.parametrize(
    ("codes", "words"),
    [
        ([], "no errors"),
        (["MC401"], "1 error"),
        (["MC401"] * 3 + ["MC410"], "3 errors, 1 warning"),
        (["MC410"] * 2, "2 warnings"),
    ],
)
def test_tally(codes: list[str], words: str) -> None:
    assert tally(Diagnostic(code, "x") for code in codes) == words


def test_nothing_found_renders_as_nothing() -> None:
    assert render_text([]) == render_github([]) == ""
    assert json.loads(render_json([]))["diagnostics"] == []
