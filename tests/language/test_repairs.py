"""Syntax errors whose cause lies before the place where the parser stops: told there, with the edit."""

from __future__ import annotations

import pytest

from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostic, Diagnostics
from mapcc.syntax.load import parse_source
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Source


def faults(text: str, name: str = "m.mapcc") -> tuple[Diagnostic, ...]:
    found = Diagnostics()
    parse_source(Source(name, text), found)
    return tuple(found)


def fixed(text: str, fault: Diagnostic) -> str:
    """The text with the first fix of a fault."""
    for edit in sorted(fault.fixes[0].edits, key=lambda edit: -edit.span.start):
        text = text[: edit.span.start] + edit.replacement + text[edit.span.end :]
    return text


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("A -> B{\n    c -> d\n}", "A -> B {\n    c -> d\n}"),
        ("A.{i} -> B.{i}{ c -> d }", "A.{i} -> B.{i} { c -> d }"),
        ("A -> B{}", "A -> B {}"),
        ("x -> y\nA -> B{ # why\n\n  c -> d\n}\nkeep z", "x -> y\nA -> B { # why\n\n  c -> d\n}\nkeep z"),
        ("A.{i} -> B.{i} where i < 2{\n c -> d\n}", "A.{i} -> B.{i} where i < 2 {\n c -> d\n}"),
        ("default{\n    ** -> **\n}", "default {\n    ** -> **\n}"),
        ("dtype bf16{\n keep a\n}", "dtype bf16 {\n keep a\n}"),
        (
            "A -> B {\n  C.{q,k} -> D.{q,k}{\n    e -> f\n  }\n}",
            "A -> B {\n  C.{q,k} -> D.{q,k} {\n    e -> f\n  }\n}",
        ),
        ('A -> B{\n drop {a,b}.c\n  because "x"\n}', 'A -> B {\n drop {a,b}.c\n  because "x"\n}'),
    ],
)
def test_a_block_without_its_space(text: str, right: str) -> None:
    (fault,) = faults(text)
    assert (fault.code, fault.help) == ("MC101", "put a space before the '{' of a block")
    assert fault.span is not None
    assert fault.span.text == "{"
    assert fault.fixes[0].certain
    assert fixed(text, fault) == right
    assert parse(right).body


@pytest.mark.parametrize(
    ("text", "right", "certain"),
    [
        ("[q,k,v].w : d c -> y : (t d) c", "[t=q,k,v].w : d c -> y : (t d) c", True),
        ("y : (s d) c -> a.[q, k].w : d c", "y : (s d) c -> a.[s=q, k].w : d c", True),
        ("a.[0,1].w | cat -> y", "a.[t=0,1].w | cat -> y", False),
        ("[q,k].w -> y.[q,k].w", "[t=q,k].w -> y.[t=q,k].w", True),
        ("[w1,w3].x : t -> y : (p s t)", "[p=w1,w3].x : t -> y : (p s t)", False),
    ],
)
def test_labels_without_the_name_of_their_axis(text: str, right: str, certain: bool) -> None:
    (fault,) = faults(text)
    assert fault.code == "MC101"
    assert "the name of its axis" in fault.message
    assert fault.span is not None
    assert fault.span.text.startswith("[")
    assert fixed(text, fault) == right
    assert fault.fixes[0].certain == certain
    parse(right)


def test_both_at_once_and_other_faults_behind_them() -> None:
    text = "A -> B{\n  [q,k].w : d -> y : (t d)\n  e => f\n}\nx\n"
    assert [(d.span.line, d.message.split()[0]) for d in faults(text) if d.span] == [
        (1, "the"),
        (2, "[q,k]"),
        (3, "unexpected"),
        (5, "the"),
    ]


@pytest.mark.parametrize("text", ["keep a{b -> c", "a.{q,k -> b", "keep {i", "[q,k", "A -> B {\n c{ -> d\n"])
def test_what_no_space_mends_has_no_such_fix(text: str) -> None:
    assert not any(fault.fixes for fault in faults(text))


def test_a_line_that_ends_before_a_closing_brace_is_told_where_it_ends() -> None:
    (fault,) = faults("A -> B {\n    drop x  # why\n\n}\n")
    assert fault.message == "the line ends in the middle of a statement"
    assert fault.span is not None
    assert (fault.span.line, fault.span.column) == (2, 11)


def test_twenty_faults_behind_many_statements() -> None:
    """Nothing that was read to its end is read again: see ``go_on``. Each fault has its own line."""
    good = "".join(f"a.{n} -> b.{n}\n" for n in range(300))
    text = "P -> Q {\n" + good + "".join(f"x{n} => y\n{good}" for n in range(3)) + "}\n" + "u => v\n"
    assert [d.span.line for d in faults(text) if d.span] == [302, 603, 904, 1206]


# --- YAML


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("rules:\n  - keep: {a}\n", "{a}"),
        ('rules:\n  - rename: {from: {q,k}, to: "b.{q,k}"}\n', "{q,k}"),
        ("rules:\n  - drop: {keys: {i:03}, because: x}\n", "{i:03}"),
        ("rules:\n  - keep: [t=q,k]\n", "[t=q,k]"),
        ("rules:\n  - rename:\n      from: {i}\n      to: x.{i}\n", "{i}"),
    ],
)
def test_a_pattern_without_quotes_in_yaml(text: str, pattern: str) -> None:
    (fault,) = faults(text, "m.yaml")
    assert (fault.code, fault.help) == ("MC102", f'quote patterns in YAML: "{pattern}"')
    assert fault.span is not None
    assert fault.span.text == pattern
    again = fixed(text, fault)
    assert f'"{pattern}"' in again
    assert parse(again, "m.yaml").body


@pytest.mark.parametrize("value", ["{a,b}.x", "[e].w", "*", "**.w"])
def test_what_yaml_cannot_read_is_told_to_be_quoted(value: str) -> None:
    (fault,) = faults(f"rules:\n  - keep: {value}\n", "m.yaml")
    assert fault.help.startswith("quote patterns in YAML")


def test_other_faults_of_yaml_do_not_speak_of_quotes() -> None:
    (fault,) = faults("rules:\n\t- keep: a\n", "m.yaml")
    assert fault.help == ""


def test_the_fixed_text_has_no_fault() -> None:
    tensors = {f"A.{k}.w": TensorSpec(f"A.{k}.w", DTYPES["F32"], (2, 3)) for k in "qkv"}
    source = Manifest(tensors, (), "test", None, {})
    text = "A -> B{\n    [q,k,v].w : d c -> y : (t d) c\n}\n"
    for fault in faults(text)[::-1]:
        text = fixed(text, fault)
    assert check(parse(text), source).diagnostics == ()
