"""``allow``: which warnings are switched off, where, and why."""

from __future__ import annotations

import pytest

from mapcc.api import check, format_mapping, parse
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.bound import BoundMapping
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec


def bound(text: str, *names: str, name: str = "m.mapcc") -> BoundMapping:
    tensors = {key: TensorSpec(key, DTYPES["F32"], (4,)) for key in names}
    checked = check(parse(text, name), Manifest(tensors, (), "test", None, {}))
    assert checked.bound is not None
    return checked.bound


def codes(allows: tuple[rules.Allow, ...]) -> list[tuple[str, ...]]:
    return [allow.codes for allow in allows]


@pytest.mark.parametrize(
    "text",
    [
        'a -> b   allow MC812 because "x"',
        'a -> b allow MC812 because "x"',
        'a -> b\n    allow MC812 because "x"',
        'a -> b\n    allow MC812\n    because "x"',
        'a -> b\n# why\nallow MC812 because "x"',
    ],
)
def test_it_stands_behind_a_rule(text: str) -> None:
    (rule,) = parse(text).body
    assert isinstance(rule, rules.Rule)
    assert rule.modifiers.allow == (rules.Allow(("MC812",), "x"),)
    (allow,) = rule.modifiers.allow
    assert allow.span is not None
    assert allow.span.text.startswith("allow MC812")


@pytest.mark.parametrize(
    "statement",
    [
        "a -> b",
        "a : d -> b : d",
        "a -> b optional",
        "a.{i} -> b.{i} where i < 2",
        "keep a",
        'drop a because "y"',
        'external a because "y"',
        "create a : 3 = 0",
        'use "x.mapcc"',
        'a : (d + e) -> b : d, drop : e because "y"',
    ],
)
def test_every_statement_with_names_takes_it(statement: str) -> None:
    text = f'{statement} allow MC812, MC811 because "x" allow MC410 because "z"'
    mapping = parse(text)
    (first,) = mapping.body
    modifiers = first.modifiers  # type: ignore[union-attr]
    assert codes(modifiers.allow) == [("MC812", "MC811"), ("MC410",)]
    assert parse(format_mapping(mapping)) == mapping
    assert parse(format_mapping(mapping, "yaml"), "m.yaml") == mapping


def test_that_of_a_block_holds_for_its_rules() -> None:
    text = """
    a -> b allow MC811 because "outer" {
        x -> y allow MC812 because "inner"
        keep z
        drop w because "w"
    }
    """
    program = bound(text, "a.x", "a.z", "a.w").program
    assert [codes(e.allow) for e in program.equations] == [[("MC811",), ("MC812",)], [("MC811",)]]
    assert [codes(listed.allow) for listed in program.drops] == [[("MC811",)]]


def test_create_and_external_know_theirs() -> None:
    text = """
    keep a
    create b : 3 = 0 allow MC811 because "x"
    external c because "c" allow MC812 because "x"
    """
    program = bound(text, "a").program
    assert codes(program.creates[0].allow) == [("MC811",)]
    assert codes(program.externals[0].allow) == [("MC812",)]


@pytest.mark.parametrize(
    ("clause", "code", "said"),
    [
        ('allow MC899 because "x"', "MC501", "no such code: MC899"),
        ('allow shapes because "x"', "MC501", "no such code: shapes"),
        ('allow MC401 because "x"', "MC501", "MC401 is an error"),
        ('allow MC812 because " "', "MC101", "the reason is empty"),
        ("allow MC812", "MC101", "in the middle of a statement"),
    ],
)
def test_what_is_wrong_with_it(clause: str, code: str, said: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse(f"keep z\na -> b {clause}")
    (found,) = caught.value.diagnostics
    assert found.code == code
    assert said in found.message
    assert found.span is not None
    assert found.span.line == 2
    assert found.help


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("{codes: [MC899], because: x}", "MC501"),
        ("{codes: [MC401], because: x}", "MC501"),
        ('{codes: [MC812], because: " "}', "MC101"),
        ("{codes: [MC812]}", "MC102"),
        ("{codes: [], because: x}", "MC102"),
        ("MC812", "MC102"),
        ("{codes: MC812, because: x, why: y}", "MC102"),
    ],
)
def test_what_is_wrong_with_it_in_yaml(value: str, code: str) -> None:
    with pytest.raises(MappingError) as caught:
        parse(f"rules:\n  - rename: {{from: a, to: b, allow: {value}}}\n", "m.yaml")
    assert {d.code for d in caught.value.diagnostics} == {code}
    assert all(d.span is not None and d.span.line == 2 for d in caught.value.diagnostics)


def test_yaml_takes_one_or_a_list() -> None:
    one = "rules:\n  - keep: {keys: a, allow: {codes: MC812, because: x}}\n"
    several = "rules:\n  - keep: {keys: a, allow: [{codes: [MC812], because: x}]}\n"
    assert parse(one, "m.yaml") == parse(several, "m.yaml") == parse('keep a allow MC812 because "x"')


def test_where_in_yaml_holds_no_allow() -> None:
    text = 'rules:\n  - keep: {keys: "a.{i}", where: \'i < 2 allow MC812 because "x"\'}\n'
    with pytest.raises(MappingError, match="a key of its own"):
        parse(text, "m.yaml")


def test_a_tensor_may_have_the_name() -> None:
    (first, second) = parse("keep allow.weight\nallow -> b").body
    assert isinstance(first, rules.Keep)
    assert isinstance(second, rules.Rule)
    assert parse(format_mapping(parse("keep allow"))) == parse("keep allow")


def test_long_reasons_stand_below_their_rule() -> None:
    reason = "w" * 70
    text = f'aaa -> bbb allow MC811 because "{reason}" allow MC812 because "{reason}" optional'
    printed = format_mapping(parse(text))
    assert printed.splitlines() == [
        "aaa -> bbb",
        "    optional",
        f'    allow MC811 because "{reason}"',
        f'    allow MC812 because "{reason}"',
    ]
    assert parse(printed) == parse(text)
    assert format_mapping(parse(printed)) == printed
