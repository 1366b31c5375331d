"""Names as they are: empty segments in quotes, groups over several lines, commas at their ends."""

from __future__ import annotations

import pytest

from mapcc.api import check, format_mapping, parse
from mapcc.ir.notation import print_name
from mapcc.ir.patterns import Pattern, exact_name
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec


def key_set(*names: str) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], (4,)) for name in names}
    return Manifest(tensors, (), "test", None, {})


def renamed(text: str, *names: str) -> dict[str, str]:
    checked = check(parse(text), key_set(*names))
    assert checked.diagnostics == ()
    assert checked.bound is not None
    return {instance.sources[0][0]: instance.targets[0] for instance in checked.bound.instances}


EMPTY = ["a..b", ".a", "a.", ".", "..", "a...b", "", ".a..b.", "_orig..b"]


@pytest.mark.parametrize("name", EMPTY)
def test_a_name_with_empty_segments_is_said_in_quotes(name: str) -> None:
    assert renamed(f'"{name}" -> x', name) == {name: "x"}
    assert renamed(f'x -> "{name}"', "x") == {"x": name}
    assert renamed(f'keep "{name}"', name) == {name: name}
    dropped = check(parse(f'keep x\ndrop "{name}" because "y"'), key_set("x", name))
    assert dropped.diagnostics == ()


@pytest.mark.parametrize("name", [*EMPTY, "a b", "drop", "{i}", "a.b", "_orig_mod.x", "a->b", "\n", "é"])
def test_the_name_of_a_tensor_prints_as_it_has_to_be_written(name: str) -> None:
    rule = parse(f"keep {print_name(exact_name(name))}")
    assert format_mapping(rule) == f"keep {print_name(exact_name(name))}\n"
    if name != "\n":
        assert renamed(format_mapping(rule), name) == {name: name}


def test_no_quotes_where_none_are_needed() -> None:
    assert print_name(exact_name("_orig_mod.a-b.0.w")) == "_orig_mod.a-b.0.w"


def test_beside_other_parts_too() -> None:
    assert renamed('a."".{i}".." -> b.{i}', "a..3..") == {"a..3..": "b.3"}
    assert renamed('blocks.{i} -> b.{i} {\n    ".x" -> x\n}', "blocks.0..x") == {"blocks.0..x": "b.0.x"}
    assert renamed('separator source "/"\n"a//b" -> x', "a//b") == {"a//b": "x"}
    assert renamed('separator source "_"\n"a__b" -> x', "a__b") == {"a__b": "x"}


@pytest.mark.parametrize(
    "text", ["a..b -> x", ".a -> x", "a. -> x", ". -> x", "x -> a..b", "p -> q {\n.a -> b\n}"]
)
def test_without_quotes_it_is_a_slip(text: str) -> None:
    found = check(parse(text), key_set("x", "a..b")).diagnostics
    assert "MC209" in [d.code for d in found]
    assert not check(parse(format_mapping(parse(text))), key_set("x", "a..b")).ok


def test_quotes_stay() -> None:
    for text in ('"a..b" -> ".x"\n', 'keep "a."{i}\n', '"." -> ""\n'):
        assert format_mapping(parse(text)) == text


# --- groups over lines

MEMBERS = ["x", "y.{i}", "", "{p,q}"]


@pytest.mark.parametrize(
    "text",
    [
        "a.{x,y\n} -> b.{z,w}",
        "a.{\n    x,\n    y,\n} -> b.{\n    z,\n    w,\n}",
        "a.{x,  # one\n  y,  # two\n  # three\n\n} -> b.{z,w,\r\n}",
        "a.{x\n,y\n\n} -> b.{z\n,\nw}",
    ],
)
def test_a_group_may_stand_on_lines_with_a_comma_at_each_end(text: str) -> None:
    assert parse(text) == parse("a.{x,y} -> b.{z,w}")


def test_a_comma_before_the_brace_on_its_line_is_a_member_of_nothing() -> None:
    assert renamed("a{_2,} -> b{2,}", "a_2", "a") == {"a_2": "b2", "a": "b"}
    assert format_mapping(parse("a{_2,} -> b{2,}")) == "a{_2,} -> b{2,}\n"
    (first, *_) = check(parse("keep x.{a,b,}"), key_set("x.a", "x.b")).diagnostics
    assert first.code == "MC209"
    assert "comma" in first.help


def test_a_group_within_a_group_and_a_block() -> None:
    left = "\n    {\n        {p,q\n        }.w,\n        r,\n    }"
    inner = f"{left} -> {{\n        {{p,q,\n        }}.v,\n        s,\n    }}\n"
    assert parse(f"A -> B {{{inner}}}\nkeep z") == parse("A -> B {\n{{p,q}.w,r} -> {{p,q}.v,s}\n}\nkeep z")


def test_fmt_prints_them_on_one_line() -> None:
    assert format_mapping(parse("keep {\n  a,  # one\n  b,\n}")) == "keep {a,b}  # one\n"


def test_the_empty_pattern_is_no_name() -> None:
    assert print_name(Pattern(())) == '""'
    assert check(parse("keep {a,}"), key_set("a")).diagnostics[0].code == "MC209"
