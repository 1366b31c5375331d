"""Comments: none is lost, wherever it stands and whatever is printed, and printing settles at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc import resources
from mapcc.api import format_mapping, parse
from mapcc.ir import rules
from mapcc.ir.printer import print_mapping
from mapcc.ir.yaml_printer import print_yaml
from tests.language import strategies

CORPUS = sorted(resources.mappings().rglob("*.mapcc"))


@st.composite
def commented(draw: st.DrawFn, text: str) -> tuple[str, int]:
    """A text with numbered comments and empty lines in between, and how many there are."""
    out: list[str] = []
    count = 0
    lines = text.splitlines()
    for line in [*lines, None]:
        for kind in draw(st.lists(st.sampled_from(["empty", "alone"]), max_size=2)):
            count += kind == "alone"
            indent = " " * draw(st.integers(0, 10))
            out.append("" if kind == "empty" else f"{indent}# <{count}>")
        if line is not None:
            behind = bool(line.strip()) and draw(st.booleans())
            count += behind
            out.append(line + f"  # <{count}>" * behind)
    return "\n".join(out) + "\n", count


def numbers_in(text: str, count: int) -> set[int]:
    return {k for k in range(1, count + 1) if text.count(f"<{k}>") == 1}


def without_empty(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


@given(strategies.mappings(), st.data())
def test_none_is_lost_in_text(mapping: rules.Mapping, data: st.DataObject) -> None:
    text, count = data.draw(commented(print_mapping(mapping)))
    again = parse(text)
    printed = print_mapping(again)
    assert again == mapping
    assert numbers_in(printed, count) == set(range(1, count + 1)), printed
    assert print_mapping(parse(printed)) == printed


@given(strategies.mappings(), st.data())
def test_none_is_lost_in_yaml(mapping: rules.Mapping, data: st.DataObject) -> None:
    text, count = data.draw(commented(print_yaml(mapping)))
    again = parse(text, "m.yaml")
    printed = print_yaml(again)
    assert again == parse(print_yaml(mapping), "m.yaml")
    assert numbers_in(printed, count) == set(range(1, count + 1)), printed
    assert print_yaml(parse(printed, "m.yaml")) == printed


@given(strategies.mappings(), st.data())
def test_none_is_lost_on_the_way_to_the_other_form(mapping: rules.Mapping, data: st.DataObject) -> None:
    text, count = data.draw(commented(print_mapping(mapping)))
    yaml = print_yaml(parse(text))
    back = print_mapping(parse(yaml, "m.yaml"))
    everything = set(range(1, count + 1))
    assert numbers_in(yaml, count) == everything, yaml
    assert numbers_in(back, count) == everything, back
    assert without_empty(print_yaml(parse(back))) == without_empty(yaml)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_the_shipped_mappings_are_formatted(path: Path) -> None:
    text = path.read_text("utf-8")
    assert format_mapping(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "formatted"),
    [
        ("# top\nmapping m   # behind\na -> b\n", "# top\nmapping m  # behind\na -> b\n"),
        ("a -> b # one\n  where i < 3 # two\n", "a -> b   where i < 3  # one # two\n"),
        ("a ->\n# between\n b\n", "# between\na -> b\n"),
        ("a -> b {\n  # alone\n}\n", "a -> b {\n    # alone\n}\n"),
        ("a -> b {   # head\n x -> y\n  # last\n}  # brace\n", None),
        ("dtype bf16 {\n  # nothing kept\n}\n", "# nothing kept\ndtype bf16\n"),
        ("dtype bf16 {  # head\n keep f32 : **.norm  # why\n  # last\n}\n", None),
        ('drop a because "#1"  # 2\n', 'drop a because "#1"  # 2\n'),
        ('{x:/a"#/}.w -> {x}.w  # 2\n', '{x:/a"#/}.w -> {x}.w  # 2\n'),
        ("\n\n\n# a\n\n\n\n# b\n\na -> b\n\n\n# c\n\n\n", "# a\n\n# b\n\na -> b\n\n# c\n"),
    ],
)
def test_where_they_go(text: str, formatted: str | None) -> None:
    printed = format_mapping(parse(text))
    assert formatted is None or printed == formatted
    assert format_mapping(parse(printed)) == printed
    assert all(printed.count(word) == 1 for word in ("head", "last", "brace", "why") if word in text)


YAML = """\
# top
mapping: m  # the name
title: "a # no comment"
let:  # lets
  # of D
  D: 3  # three
rules:  # all of them
  # a block
  - scope: {from: "a", to: "b"}  # scope
    rules:
      - keep: 'x'
      # inside
  # outside
  - drop:
      keys: "y"
      because: |
        # not a comment
        at all  # nor this
    # of drop
# end
"""


def test_what_yaml_takes_for_a_comment() -> None:
    mapping = parse(YAML, "m.yaml")
    assert mapping.trivia.before == ("# top",)
    assert mapping.trivia.after == "# the name"
    let, block, drop = mapping.body
    assert let.trivia.before == ("# lets", "# of D")
    assert let.trivia.after == "# three"
    assert isinstance(block, rules.Block)
    assert block.trivia.before == ("# all of them", "# a block")
    assert block.trivia.after == "# scope"
    assert block.tail == ("# inside",)
    assert isinstance(drop, rules.Drop)
    assert drop.trivia.before == ("# outside",)
    assert drop.because == "# not a comment\nat all  # nor this\n"
    assert mapping.tail == ("# of drop", "# end")


@pytest.mark.parametrize("char", ["\r", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x07", "\x7f"])
def test_a_line_break_in_a_comment_adds_nothing(char: str) -> None:
    """A text with one is refused; a comment with one that a program made is printed without it."""
    (rule,) = parse("a -> b").body
    comments = rules.Trivia((f"# zero{char}b -> c",), f"# one{char}rules: []")
    mapping = rules.Mapping(None, None, (replace(rule, trivia=comments),))
    for text, name in ((print_yaml(mapping), "m.yaml"), (print_mapping(mapping), "m.mapcc")):
        assert char not in text
        assert parse(text, name).body == (rule,)


def test_blank_lines_of_two_pieces_are_one() -> None:
    """Found by chance: printed once more, one of the two was gone."""
    text = "# <1>\n\ndtype: bf16\n\n # <2>\nrules:\n  - keep: a\n"
    printed = print_yaml(parse(text, "m.yaml"))
    assert "\n\n\n" not in printed
    assert print_yaml(parse(printed, "m.yaml")) == printed
