"""A condition means the same on every statement that takes one."""

from __future__ import annotations

import pytest

from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostic
from tests.passes.test_lint import Shapes, bind, manifest

BLOCKS: Shapes = {"norm.w": [4], **{f"blocks.{i}.w": [4] for i in range(3)}}

# Each statement, with a place for its condition: what it takes or gives is blocks.{i}.w.
STATEMENTS = {
    "rule": "{keep}blocks.{i}.w -> blocks.{i}.w where WHERE",
    "keep": "{keep}keep blocks.{i}.w where WHERE",
    "drop": '{keep}drop blocks.{i}.** because "x" where WHERE',
    "drop before its reason": '{keep}drop blocks.{i}.** where WHERE because "x"',
    "drop in default": '{keep}default { drop blocks.{i}.** because "x" where WHERE }',
    "external": '{keep}drop blocks.{i}.w because "x"\nexternal blocks.{i}.w because "x" where WHERE',
    "create": '{keep}drop blocks.{i}.w because "x"\ncreate blocks.{i}.w : 4 = 0 where WHERE',
    "block of a rule": "{keep}blocks.{i} -> blocks.{i} where WHERE { keep w }",
    "block of a drop": '{keep}blocks.{i} -> . where WHERE { drop w because "x" }',
    "block of an external": '{keep}drop blocks.{i}.w because "x"\n'
    '. -> blocks.{i} where WHERE { external w because "x" }',
    "block of blocks of a drop": '{keep}. -> . where WHERE { blocks.{i} -> . { drop w because "x" } }',
}


def found(text: str, target: Shapes | None = BLOCKS) -> list[Diagnostic]:
    checked = check(parse(text), manifest(BLOCKS), None if target is None else manifest(target))
    return list(checked.diagnostics)


def text_of(statement: str, where: str) -> str:
    return STATEMENTS[statement].replace("{keep}", "keep norm.w\n").replace("WHERE", where)


@pytest.mark.parametrize("statement", STATEMENTS)
@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("i = 2", "'=' gives a size, but no axis of this rule stands in it"),
        ("i = n - 1, n = count(blocks.{j})", "'=' gives a size, but no axis of this rule stands in it"),
        ("j == 2", "'j' is not known in this rule"),
        ("i < n - 1", "'n' is not known in this rule"),
        ("i in 0..n", "'n' is not known in this rule"),
        ("i < 2 * count(x) + last", "'last' is not known in this rule"),
        ("j in 0..2", "'j' is not known in this rule"),
    ],
)
def test_what_says_nothing_is_told(statement: str, where: str, message: str) -> None:
    diagnostics = found(text_of(statement, where), None if "drop" in statement else BLOCKS)
    assert [(d.code, d.message) for d in diagnostics] == [("MC104", message)]


@pytest.mark.parametrize("statement", ["rule", "drop", "external", "create", "keep"])
def test_words_that_only_define_each_other_are_told(statement: str) -> None:
    target = None if statement == "drop" else BLOCKS
    diagnostics = found(text_of(statement, "a = b, b = 2 * a, i < 3"), target)
    assert {d.code for d in diagnostics} == {"MC104"}
    assert {d.message.split("'")[1] for d in diagnostics} == {"a", "b"}


@pytest.mark.parametrize("where", ["nonsense = 2, q = 7", "nonsense = 2", "q = 2, i < 2"])
def test_a_size_that_nothing_has_is_told(where: str) -> None:
    diagnostics = found(f'keep norm.w\ndrop blocks.{{i}}.** because "x" where {where}', None)
    assert {d.code for d in diagnostics} == {"MC104"}


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("i == 2", {0, 1}),
        ("i != 2", {2}),
        ("i < n - 1, n = count(blocks.{j})", {2}),
        ("i == n - 1, n = m, m = count(blocks.{j})", {0, 1}),
        ("i in 1..2", {0}),
        ("i % 2 == 0", {1}),
        ("exists(norm)", set[int]()),
        ("not exists(norm)", {0, 1, 2}),
        ("exists(blocks.{i+1})", {2}),
        ("i < two", {2}),
    ],
)
def test_filters_choose_what_is_dropped_and_what_is_external(where: str, left: set[int]) -> None:
    text = f'let two = 2\nkeep norm.w\ndrop blocks.{{i}}.w because "x" where {where}'
    names = [name for d in found(text, None) if d.code == "MC402" for name in d.names]
    kept = {i for i in range(3) if any(_stands_for(name, i) for name in names)}
    assert kept == left
    text = 'let two = 2\nkeep norm.w\ndrop blocks.{i}.w because "x"\nexternal blocks.{i}.w because "x" '
    names = [name for d in found(f"{text} where {where}") if d.code == "MC401" for name in d.names]
    assert {i for i in range(3) if any(_stands_for(name, i) for name in names)} == left


def _stands_for(template: str, i: int) -> bool:
    numbers = template.removeprefix("blocks.").removesuffix(".w").strip("{}")
    pieces = [piece.split("..") for piece in numbers.split(",")]
    return any(int(piece[0]) <= i <= int(piece[-1]) for piece in pieces)


def test_a_number_that_is_computed_is_matched() -> None:
    text = "keep norm.w\nkeep blocks.{i}.w where i < n - 1, n = count(blocks.{j})\n"
    assert found(text + 'drop blocks.{n-1}.w because "x" where n = count(blocks.{j})', None) == []
    (fault,) = found(text + 'drop blocks.{4*b + r}.w because "x"', None)
    assert fault.code == "MC205"


def test_a_size_of_a_block_is_no_fault_of_its_drop() -> None:
    text = "keep norm.w\nblocks.{i} -> layers.{i} where h = 2, i < 3 {\n"
    text += '    w : (h d) -> w : (d h) where i > 0\n    drop w because "x" where i == 0\n}'
    assert found(text, None) == []


def test_a_drop_whose_condition_is_off_is_not_idle() -> None:
    text = 'keep **\ndrop blocks.{i}.w because "tied" where '
    assert [d.code for d in found(text + "not exists(norm)", None)] == []
    (idle,) = found(text + "i > 5", None)
    assert (idle.code, idle.notes) == ("MC410", ("3 names match the pattern, but not 'where'",))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("exists(blocks.{i+1})", {0, 1}),
        ("exists(blocks.{i-1}.w)", {1, 2}),
        ("exists(blocks.{n-1-i}.b), n = count(blocks.{j})", {2}),
        ("exists(blocks.{2*i}.w)", {0, 1}),
        ("exists(blocks.{2*j + 1}.b)", set[int]()),
        ("exists(blocks.{2*j}.b)", {0, 1, 2}),
        ("count(blocks.{i+1}) == 2", {0, 1, 2}),  # in count, i is counted
        ("exists(blocks.{i}.of.{i})", {1}),
    ],
)
def test_an_expression_in_a_name_that_is_asked_for(where: str, kept: set[int]) -> None:
    source = {**BLOCKS, "blocks.0.b": [1], "blocks.1.of.1.x": [1], "blocks.2.of.0.x": [1]}
    text = f'keep blocks.{{i}}.w where {where}\ndefault {{ drop ** because "x" }}'
    bound = bind(text, source)
    assert {int(name.split(".")[1]) for name in bound.given} == kept


def test_a_block_whose_prefix_has_an_expression_asks_for_its_own_module() -> None:
    source: Shapes = {"layers.1.w": [1], "layers.1.gate.w": [1], "layers.2.w": [1], "layers.2.gate.w": [1]}
    source = {**source, "layers.3.w": [1]}
    text = "layers.{i+1} -> blocks.{i} { w -> w where exists(gate)\n gate.w -> gate.w }"
    text += '\ndefault { drop ** because "x" }'
    assert sorted(bind(text, source).given) == [
        "blocks.0.gate.w",
        "blocks.0.w",
        "blocks.1.gate.w",
        "blocks.1.w",
    ]
