"""What is printed means what was parsed: text, YAML, and one turned into the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings

from mapcc import resources
from mapcc.api import parse
from mapcc.ir import rules
from mapcc.ir.printer import print_mapping
from mapcc.ir.yaml_printer import print_yaml
from tests.language import strategies

CORPUS = sorted(resources.mappings().rglob("*.mapcc"))
IDS = [path.stem for path in CORPUS]


def settings_first(mapping: rules.Mapping) -> rules.Mapping:
    """YAML has ``let``, ``separator`` and ``dtype`` at the top of a file: the first of each kind and name."""
    head: dict[tuple[str, str], rules.Statement] = {}
    rest: list[rules.Statement] = []
    for statement in mapping.body:
        match statement:
            case rules.About(topic):
                key = ("0", topic)
            case rules.Let(name):
                key = ("1", name)
            case rules.Separator(side):
                key = ("2", side)
            case rules.OutputDtype():
                key = ("3", "")
            case _:
                rest.append(statement)
                continue
        if key in head:
            rest.append(statement)
        else:
            head[key] = statement
    first = [head[key] for key in sorted(head, key=lambda key: key[0])]
    return replace(mapping, body=(*first, *rest))


def from_yaml(text: str) -> rules.Mapping:
    return parse(text, "mapping.yaml")


@given(strategies.mappings())
def test_text_says_the_same_again(mapping: rules.Mapping) -> None:
    text = print_mapping(mapping)
    again = parse(text)
    assert again == mapping, text
    assert print_mapping(again) == text


@given(strategies.mappings())
def test_yaml_says_the_same_again(mapping: rules.Mapping) -> None:
    text = print_yaml(mapping)
    again = from_yaml(text)
    assert again == settings_first(mapping), text
    assert print_yaml(again) == text


@given(strategies.mappings())
def test_one_form_turns_into_the_other(mapping: rules.Mapping) -> None:
    text, yaml = print_mapping(mapping), print_yaml(mapping)
    assert print_yaml(parse(text)) == yaml
    assert print_mapping(from_yaml(yaml)) == print_mapping(settings_first(mapping))
    assert print_yaml(from_yaml(yaml)) == yaml


@given(strategies.statements)
def test_a_statement_is_the_same_inside_a_block(statement: rules.Statement) -> None:
    block = rules.Block(strategies.prefix("a"), strategies.prefix("b"), (statement,))
    inside = parse(print_mapping(rules.Mapping(None, None, (block,)))).body[0]
    assert inside == block


@pytest.mark.parametrize("path", CORPUS, ids=IDS)
def test_the_shipped_mappings_are_printed_as_they_are(path) -> None:  # type: ignore[no-untyped-def]
    mapping = parse(path.read_text("utf-8"), str(path))
    text, yaml = print_mapping(mapping), print_yaml(mapping)
    assert parse(text) == mapping
    assert print_mapping(parse(text)) == text
    assert from_yaml(yaml) == settings_first(mapping)
    assert print_yaml(from_yaml(yaml)) == yaml
    assert print_yaml(parse(text)) == yaml


@pytest.mark.slow
@settings(max_examples=500)
@given(strategies.mappings())
def test_both_forms_many_times(mapping: rules.Mapping) -> None:
    assert parse(print_mapping(mapping)) == mapping
    assert from_yaml(print_yaml(mapping)) == settings_first(mapping)
