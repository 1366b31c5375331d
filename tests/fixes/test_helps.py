"""Helps that are typed: what they tell to write is a mapping, names exactly what is meant, and helps."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import mapcc
from mapcc.api import mended
from mapcc.dialects.made import Table
from mapcc.ir import rules
from mapcc.lift.open import open_table
from tests.fixes.mutations import mutations
from tests.fixes.promise import Case, Shape, broken_promises, key_set
from tests.fixes.test_mutations import TOYS

Shapes = dict[str, Shape]

TYPED = re.compile(r"`([^`]+)`")

NASTY = (
    *("*", "**", "<s0>", "a..b", ".", "..", ".a", "a.", "/", "a//b", "drop", "where", "in", "a b", '"', "\\"),
    *("{x}", "{a,b}", "[t]", "x.[t=q,k]", "#", "a#b", "->", "a->b", "a:b", "|", "()", "a,b", "\u5c42.w", "'"),
    *("a.007", "a.\u00a0b", "a\tb", "a\u2028b", "because", "optional", "1", "0", "-", "a-", "$", "^a$"),
    *("a.{0..3}.w", "`", "source.config.x", "count", "exists", "default", "{", "}", "a.{"),
)


def typed(help: str) -> list[str]:
    return TYPED.findall(help)


def is_mapping(text: str) -> bool:
    """Whether a text can be typed: a statement, or a name, or what stands in a rule."""
    forms = (text, f"drop {text} because 'x'".replace("'", '"'), f"x {text} -> y", f"x -> y {text}")
    for form in forms:
        try:
            mapcc.parse(form)
        except mapcc.MappingError:
            continue
        return True
    return False


def check(folder: Path, text: str, source: Shapes, target: Shapes | None) -> tuple[Case, mapcc.Checked]:
    keys = None if target is None else key_set(target)
    case = Case(folder / "m.mapcc", text, key_set(source), keys)
    return case, case.found()


# --- names


@pytest.mark.parametrize("name", NASTY)
def test_a_name_in_a_help_is_that_name(name: str, tmp_path: Path) -> None:
    """Whatever the name is: the statement parses, and takes it, and nothing else."""
    others = {f"{name}x": (1,), f"z{name}": (1,), "plain": (1,), "other.name": (1,)}
    keep = "keep plain\nkeep other.name\n"
    source = {name: (2,), "plain": (1,), "other.name": (1,)}
    case, checked = check(tmp_path, keep, source, {"plain": (1,), "other.name": (1,)})
    (found,) = checked.diagnostics
    assert found.code == "MC402"
    (fix,) = found.fixes
    assert not broken_promises(case, checked)
    (statement,) = mapcc.parse(fix.edits[0].replacement).body
    assert isinstance(statement, rules.Drop)
    again = mapcc.check(mapcc.parse(fix.edits[0].replacement), key_set({name: (2,), **others}))
    left = {one for each in again.diagnostics for one in each.names}
    assert again.bound is not None
    assert list(again.bound.dropped) == [name]
    assert left
    if "`" not in name:
        (said,) = [text for text in typed(found.help) if text.startswith("drop ")]
        assert mapcc.parse(said).body[0] == rules.Drop(statement.names, "...")


@pytest.mark.parametrize("name", NASTY)
def test_a_name_of_the_target_in_a_help_is_that_name(name: str, tmp_path: Path) -> None:
    case, checked = check(tmp_path, "keep plain\n", {"plain": (1,)}, {name: (2,), "plain": (1,)})
    (found,) = checked.diagnostics
    assert (found.code, len(found.fixes)) == ("MC401", 1)
    assert not broken_promises(case, checked)
    bound = mapcc.check(mapcc.parse(found.fixes[0].edits[0].replacement), key_set({}), case.target).bound
    assert bound is not None
    assert list(bound.external) == [name]


def test_numbers_with_gaps_are_named_each(tmp_path: Path) -> None:
    """``w{1,3}`` is not ``w{i}``, which is another rule's too."""
    source = {f"w{n}": (2,) for n in (1, 2, 3)}
    case, checked = check(tmp_path, "keep w2\n", source, {"w2": (2,)})
    (found,) = checked.diagnostics
    assert 'drop w{1,3} because "..."' in found.help
    assert found.fixes
    assert not broken_promises(case, checked)


def test_numbers_that_begin_later_are_bounded(tmp_path: Path) -> None:
    source = {f"l.{i}.w": (2,) for i in range(6)}
    target = {f"l.{i}.w": (2,) for i in range(3)}
    case, checked = check(tmp_path, "keep l.{i}.w where i < 3\n", source, target)
    (found,) = checked.diagnostics
    assert 'drop l.{i}.w because "..." where i in 3..5' in found.help
    assert found.fixes
    assert not broken_promises(case, checked)


@pytest.mark.parametrize("name", TOYS)
def test_what_helps_tell_to_type_can_be_typed(name: str, tmp_path: Path) -> None:
    text, source, target = TOYS[name]
    seen: dict[str, str] = {}
    for mutant, ours, theirs in mutations(text, source, target, 72, f"helps of {name}"):
        case = Case(tmp_path / "m.mapcc", mutant, key_set(ours), key_set(theirs))
        for found in case.found().diagnostics:
            seen.update(dict.fromkeys(typed(found.help), found.code))
    assert len(seen) > 10
    assert [said for said in seen if not is_mapping(said)] == []


# --- shapes


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ((8, 8, 1, 1), (8, 8), "x : o i 1 1 -> y : o i"),
        ((8, 8), (8, 8, 1, 1), "x : o i -> y : o i 1 1"),
        ((4, 16), (16, 4), "x | transpose -> y"),
        ((8, 4, 2, 2), (8, 16), "x : o i h w -> y : o (i h w)"),
        ((8, 16), (8, 4, 2, 2), "x : o (i h w) -> y : o i h w"),
        ((2, 3, 4), (4, 2, 3), "x : o i h -> y : h o i"),
    ],
)
def test_a_help_for_a_shape_is_the_rule(ours: Shape, theirs: Shape, says: str, tmp_path: Path) -> None:
    """What is proposed, typed as it is, gives the target's shape."""
    case, checked = check(tmp_path, "a.w -> b.w\n", {"a.w": ours}, {"b.w": theirs})
    (found,) = checked.diagnostics
    assert found.code == "MC408"
    assert typed(found.help) == [says]
    assert found.fixes or "(i h w)" in says.partition("->")[0]  # one side cannot tell i, h and w
    assert not broken_promises(case, checked)


def test_a_weight_and_its_bias_go_apart(tmp_path: Path) -> None:
    """diffusion/05: a convolution of 1 x 1 becomes a matrix, and the bias stays what it is."""
    source: Shapes = {"proj_in.weight": (8, 8, 1, 1), "proj_in.bias": (8,)}
    target: Shapes = {"proj_in.weight": (8, 8), "proj_in.bias": (8,)}
    _, checked = check(tmp_path, "proj_in.* -> proj_in.*\n", source, target)
    (found,) = checked.diagnostics
    assert "x : o i 1 1 -> y : o i" in found.help
    assert "weight" in found.help
    result = mended(checked)
    assert result.checked.ok
    assert list(result.after.values()) == [
        "proj_in.weight : o i 1 1 -> proj_in.weight : o i\nproj_in.bias -> proj_in.bias\n"
    ]


@pytest.mark.parametrize(
    ("ours", "theirs", "says"),
    [
        ((8, 4), (10, 4), "x : n i, create : pad i = 0 -> y : (n + pad) i where pad = 2"),
        ((10, 4), (8, 4), 'x : (n + rest) i -> y : n i, drop : rest i because "..." where n = 8'),
        ((4, 8), (4, 9), "x : o n, create : o pad = 0 -> y : o (n + pad) where pad = 1"),
    ],
)
def test_rows_too_many_and_too_few(ours: Shape, theirs: Shape, says: str, tmp_path: Path) -> None:
    """llm/32: the rule that is proposed, typed, is clean."""
    _, checked = check(tmp_path, "x -> y\n", {"x": ours}, {"y": theirs})
    (found,) = checked.diagnostics
    assert typed(found.help) == [says]
    assert check(tmp_path, says + "\n", {"x": ours}, {"y": theirs})[1].ok


def test_an_empty_tensor_is_told_for_what_it_is(tmp_path: Path) -> None:
    _, checked = check(tmp_path, "x -> y\n", {"x": (0,)}, {"y": (8, 4)})
    (found,) = checked.diagnostics
    assert "ZeRO-3" in found.help


# --- indices and groups


def test_the_axis_is_the_index_that_is_lost(tmp_path: Path) -> None:
    source: Shapes = {f"l.{i}.experts.{e}.w": (4, 2) for i in range(2) for e in range(3)}
    target: Shapes = {f"l.{i}.experts.w": (3, 4, 2) for i in range(2)}
    case, checked = check(tmp_path, "l.{i}.experts.{e}.w -> l.{i}.experts.w\n", source, target)
    found = next(each for each in checked.diagnostics if each.code == "MC206")
    assert "make it an axis: [e]" in found.help
    (fix,) = found.fixes
    assert not broken_promises(case, checked)
    assert [edit.replacement for edit in fix.edits] == ["[e]", " : o c", " : e o c"]


def test_a_split_wants_an_axis(tmp_path: Path) -> None:
    source: Shapes = {"qkv.weight": (12, 4), "qkv.bias": (12,)}
    target: Shapes = {f"{n}.{p}": s for n in "qkv" for p, s in (("weight", (4, 4)), ("bias", (4,)))}
    for text in ("qkv.* -> {q,k,v}.*\n", "qkv.* : (t d) ... -> {q,k,v}.* : d ...\n"):
        case, checked = check(tmp_path, text, source, target)
        (found,) = checked.diagnostics
        assert found.code == "MC201"
        assert "[t=q,k,v]" in found.help
        assert found.fixes
        assert not broken_promises(case, checked)


def test_a_shifted_index_is_not_a_misspelt_name(tmp_path: Path) -> None:
    source: Shapes = {f"a.{i}.w": (2,) for i in range(3)}
    target: Shapes = {f"b.{i}.w": (2,) for i in range(3)}
    case, checked = check(tmp_path, "a.{i}.w -> b.{i+1}.w\n", source, target)
    found = next(each for each in checked.diagnostics if each.code == "MC407")
    assert "did you mean" not in found.help
    assert "only numbers differ" in found.help
    assert [edit.replacement for fix in found.fixes for edit in fix.edits] == ["{i}"]
    assert not broken_promises(case, checked)


# --- dead rules


@pytest.mark.parametrize(
    ("text", "source", "says"),
    [
        ("up.* -> u.*\n", {"up.conv.bias": (2,)}, "up.**"),
        ("up.conv -> u\n", {"up.conv.bias": (2,)}, "up.conv.*"),
        ("block_{i}.w -> b.{i}.w\n", {f"block_{i:03}.w": (2,) for i in range(3)}, "block_{i:03}.w"),
    ],
)
def test_why_a_rule_is_dead(text: str, source: Shapes, says: str, tmp_path: Path) -> None:
    case, checked = check(tmp_path, text, source, None)
    found = next(each for each in checked.diagnostics if each.code == "MC405")
    assert says in typed(found.help)
    assert found.fixes
    assert not broken_promises(case, checked)


def test_zeros_in_front_are_mended(tmp_path: Path) -> None:
    source: Shapes = {f"block_{i:03}.w": (2,) for i in range(3)}
    _, checked = check(
        tmp_path, "block_{i}.w -> block.{i}.w\n", source, {f"block.{i}.w": (2,) for i in range(3)}
    )
    result = mended(checked)
    assert result.checked.ok
    assert list(result.after.values()) == ["block_{i:03}.w -> block.{i}.w\n"]


def test_zeros_in_front_of_a_block_s_number(tmp_path: Path) -> None:
    """llm/70: the number stands in the block's head, and both rules are mended by one edit."""
    text = "block_{i} -> block.{i} {\n    q : c o -> q.weight : o c\n    scale -> norm.weight\n}\n"
    source: Shapes = {f"block_{i:03}.{n}": s for i in range(12) for n, s in (("q", (2, 4)), ("scale", (4,)))}
    case, checked = check(tmp_path, text, source, None)
    assert not broken_promises(case, checked)
    result = mended(checked)
    assert result.checked.ok
    assert list(result.after.values()) == [text.replace("block_{i}", "block_{i:03}")]


@pytest.mark.parametrize(("slip", "right"), [("layrs.{i}", "blocks.{i}"), ("layers.{i}", "blokcs.{i}")])
def test_a_slip_in_the_head_of_a_block(slip: str, right: str, tmp_path: Path) -> None:
    text = f"{slip} -> {right} {{\n    keep a.*, b.*\n}}\n"
    source: Shapes = {f"layers.{i}.{n}.w": (2,) for i in range(2) for n in "ab"}
    target: Shapes = {f"blocks.{i}.{n}.w": (2,) for i in range(2) for n in "ab"}
    case, checked = check(tmp_path, text, source, target)
    assert not broken_promises(case, checked)
    result = mended(checked)
    assert result.checked.ok
    assert list(result.after.values()) == ["layers.{i} -> blocks.{i} {\n    keep a.*, b.*\n}\n"]


def test_a_count_that_is_zero_is_told(tmp_path: Path) -> None:
    text = "up.{i}.w -> b.{i}.w where i < count(upp.{i})\n"
    _, checked = check(tmp_path, text, {"up.0.w": (2,), "up.1.w": (2,)}, None)
    found = next(each for each in checked.diagnostics if each.code == "MC405")
    assert "count(upp.{i}) is 0" in found.help


def test_a_name_with_more_in_front_is_told(tmp_path: Path) -> None:
    _, checked = check(tmp_path, "a.w -> b.w\n", {"model.a.w": (1,)}, None)
    found = next(each for each in checked.diagnostics if each.code == "MC405")
    assert "model.a.w is there" in found.help
    assert "--under" in found.help


# --- inverses and tables


def test_an_inverse_that_cannot_ask_says_where(tmp_path: Path) -> None:
    """B10: two variants of a source, told apart by what only the source has."""
    text = "a.{i}.w -> x.{i}.w where exists(extra.{i})\nb.{i}.w -> x.{i}.w where not exists(extra.{i})\n"
    (tmp_path / "m.mapcc").write_text(text + 'drop extra.{i} because "y" optional\n')
    source, target = {"a.0.w": (2,), "extra.0": (1,), "b.1.w": (2,)}, {"x.0.w": (2,), "x.1.w": (2,)}
    with pytest.raises(mapcc.MappingError) as raised:
        mapcc.invert(tmp_path / "m.mapcc", key_set(source), key_set(target))
    assert {found.code for found in raised.value.diagnostics} == {"MC701"}
    lines = [found.span.line for found in raised.value.diagnostics if found.span]
    assert lines == [1, 2]
    assert all("exists(extra.{i})" in found.message for found in raised.value.diagnostics)
    assert all("renames" in found.help for found in raised.value.diagnostics)


TABLE = """
class M:
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={{{entries}}}
    )
"""
DEEP = '"model.language_model.": "language_model.model.", '
WIDE = '"model.": "language_model.", '


def opened(path: Path, entries: str) -> Table:
    path.write_text(TABLE.format(entries=entries))
    return open_table(str(path), "vllm")


@pytest.mark.parametrize(
    ("entries", "wanted", "says"),
    [
        (DEEP + WIDE, "language_model.model.w", "remove it: what the entries before it give"),
        (DEEP + WIDE, "language_model.language_model.w", "put it first"),
        (DEEP + WIDE, None, "narrow the entries before it"),
    ],
)
def test_order_is_a_help_only_where_it_helps(
    entries: str, wanted: str | None, says: str, tmp_path: Path
) -> None:
    """llm/66: put first, the entry for the rest would take what the others give rightly."""
    opened(tmp_path / "table.py", entries)
    source = tmp_path / "s.json"
    source.write_text(json.dumps({"model.language_model.w": [2]}))
    target = None if wanted is None else key_set({wanted: (2,)})
    checked = mapcc.check_table(str(tmp_path / "table.py"), "vllm", str(source), target)
    found = next(each for each in checked.diagnostics if each.code == "MC802")
    assert says in found.help
