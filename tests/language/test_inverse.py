"""Inverses: they bring every element back, and the inverse of the inverse is the mapping."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given

from mapcc.api import check, invert, parse
from mapcc.errors import MappingError
from mapcc.ir import rules
from mapcc.ir.printer import print_mapping
from mapcc.tensors.spec import Manifest
from tests.language.notation import bound_and_moved
from tests.language.scenarios import Scenario, manifest, scenarios


@pytest.mark.slow
@given(scenarios(lossless=True))
def test_every_element_comes_back(scenario: Scenario) -> None:
    sources = scenario.sources()
    targets = scenario.targets(sources)
    mapping = parse(print_mapping(scenario.mapping()))
    checked = check(mapping, manifest(sources), manifest(targets))
    assume(checked.ok)
    if scenario.is_hidden_backwards:
        with pytest.raises(MappingError, match="MC701"):
            invert(mapping, manifest(sources), manifest(targets))
        return
    inverse = invert(mapping, manifest(sources), manifest(targets))
    assert inverse.proven
    backwards = check(parse(inverse.text), manifest(targets), manifest(sources))
    assert backwards.diagnostics == ()
    assert backwards.bound is not None
    returned = bound_and_moved(backwards.bound, targets)
    assert returned.keys() == sources.keys()
    for name, array in sources.items():
        np.testing.assert_array_equal(returned[name], array, name)


@given(scenarios(lossless=True))
def test_the_inverse_of_the_inverse_is_the_mapping(scenario: Scenario) -> None:
    mapping = parse(print_mapping(scenario.mapping()))
    there = invert(mapping)
    assert parse(there.text) == there.mapping
    assert invert(parse(there.text)).mapping == mapping


# Each is its own inverse's inverse, word for word.
REVERSIBLE = """\
mapping m "M: here -> there"

separator target "/"

let D = 4

a.{i}.{w,v} -> b/{i+1}/{x,y}
up.{4*b + r}.** -> up/{b}/{r}/**   where r in 0..3
last.{n-1-i}.w -> first/{i}/w   where n = 3
[e].[p=w1,w3].weight : o c -> all : e (p o) c
q.* : (h f 2) ... -> q/* : (h 2 f) ...   where f = D // 2
t.weight | transpose -> t/weight
p | permute 2 0 1 -> p
s.[e] | stack -> s
drop x because "no"
external y because "no"

blocks.{i} -> layers/{i} {
    {x:/a|b/}_w.* -> {x}_w/*
    keep norm.*

    inner -> . {
        n | add 1 -> n
    }
}

default {
    ** -> **
}
"""


def test_statements_are_reversed_one_by_one() -> None:
    mapping = parse(REVERSIBLE)
    there = invert(mapping)
    assert there.mapping.name == "m_inverse"
    assert there.mapping.title == "M: there -> here"
    back = invert(parse(there.text))
    assert back.mapping == mapping
    assert back.text == print_mapping(mapping)


def lines_of(mapping: rules.Mapping) -> list[str]:
    """But for the title; the lets of a used file stand first, which means nothing."""
    return sorted(print_mapping(mapping).splitlines()[1:])


def test_a_used_file_is_read_from_right_to_left(tmp_path: Path) -> None:
    (tmp_path / "there.mapcc").write_text(REVERSIBLE, "utf-8")
    (tmp_path / "back.mapcc").write_text('mapping m_inverse\n\nuse inverse "there.mapcc"\n', "utf-8")
    (tmp_path / "again.mapcc").write_text('mapping m\n\nuse inverse "back.mapcc"\n', "utf-8")
    there = invert(tmp_path / "there.mapcc")
    # What is used brings neither its title nor a separator along.
    assert lines_of(invert(tmp_path / "again.mapcc").mapping) == lines_of(there.mapping)
    assert lines_of(invert(tmp_path / "back.mapcc").mapping) == lines_of(parse(REVERSIBLE))


def test_a_used_file_without_an_inverse(tmp_path: Path) -> None:
    (tmp_path / "there.mapcc").write_text("mapping m\n\na | neg_exp -> b\nc -> d\n", "utf-8")
    (tmp_path / "back.mapcc").write_text('mapping m\n\nuse inverse "there.mapcc"\n', "utf-8")
    checked = check(tmp_path / "back.mapcc", made("b d"))
    # No more: what the file would have taken cannot be told.
    assert [(d.code, d.span and d.span.source.name) for d in checked.diagnostics] == [
        ("MC701", str(tmp_path / "there.mapcc"))
    ]


def test_exists_asks_for_what_a_rule_of_its_block_renames() -> None:
    text = """mapping m

a.{i} -> b.{i} {
    gate -> door optional
    w    -> v         where exists(gate)
    w    -> u         where not exists(gate)
}
"""
    there = invert(parse(text)).text
    assert "where exists(door)" in there
    assert "where not exists(door)" in there
    assert invert(parse(there)).mapping.body == parse(text).body


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('a : (q + r) -> b : q, drop : r because "not wanted"', "not wanted"),
        ("a | neg_exp -> b", "neg_exp"),
        ("(g, v) | weight_norm dim=0 -> w", "weight_norm"),
        ("a.{i} -> b.{i}   where exists(c.{i})", "exists"),
        ("a.{n-1-i} -> b.{i}   where n = count(a.{i})", "count"),
    ],
)
def test_what_is_lost_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(MappingError) as caught:
        invert(parse(text))
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.code == "MC701"
    assert reason in diagnostic.message
    assert diagnostic.span is not None


@pytest.mark.parametrize(
    ("text", "source", "target"),
    [
        # What exists and count say of the source is known, and proven.
        ("a.{n-1-i} -> b.{i}   where n = count(a.{i})", "a.0 a.1 a.2", "b.0 b.1 b.2"),
        ("a.{i} -> b.{i}   where exists(c.{i})\na.{i} -> d.{i}   where not exists(c.{i})\nc.{i} -> e.{i}",
         "a.0 a.1 c.0", "b.0 d.1 e.0"),
        ("a | chunk 2 -> x, y", "a", "x:2,6 y:2,6"),
        ("(x, y) | cat dim=1 -> a", "x y", "a:4,12"),
        ("(x, y) | stack -> a", "x y", "a:2,4,6"),
        ("a -> b, c", "a", "b c"),
    ],
)  # fmt: skip
def test_a_bound_inverse_is_proven(text: str, source: str, target: str) -> None:
    here, there = (made(words) for words in (source, target))
    inverse = invert(parse(text), here, there)
    assert inverse.proven
    assert check(parse(inverse.text), there, here).ok


def made(words: str) -> Manifest:
    out: dict[str, np.ndarray] = {}
    for word in words.split():
        name, _, shape = word.partition(":")
        out[name] = np.zeros([int(n) for n in shape.split(",")] if shape else (4, 6))
    return manifest(out)


def test_a_text_that_means_something_else_is_not_printed() -> None:
    """Both names of the right match ``b.*``: written backwards, either rule could take them."""
    text = "a.x -> b.x\na.{k:/[yz]/} -> b.{k}"
    here, there = made("a.x a.y"), made("b.x b.y")
    assert check(parse(text), here, there).ok
    inverse = invert(parse(text), here, there)
    assert check(parse(inverse.text), there, here).ok
    with pytest.raises(MappingError, match="MC701"):
        invert(parse("a.x -> b.x\nc.* -> b.*"), made("a.x c.y"), there)


VARIANTS = """
e.* -> x.*        where exists(h.w)
e.* -> x.*, h.*   where not exists(h.w)
keep h.*, n.*   optional
"""


@pytest.mark.parametrize(
    ("names", "inverse"),
    [
        (("e", "h", "n"), "x.* -> e.*\nkeep h.*, n.*   optional\n"),
        (("e", "n"), 'x.* -> e.*\ndrop h.* same as x.* because "a copy"\nkeep n.*   optional\n'),
        (("e",), 'x.* -> e.*\ndrop h.* same as x.* because "a copy"\n'),
    ],
)
def test_of_two_variants_the_one_of_the_key_sets_is_turned(names: tuple[str, ...], inverse: str) -> None:
    sources = {f"{name}.w": np.arange(6, dtype="f4").reshape(2, 3) for name in names}
    checked = check(parse(VARIANTS), manifest(sources))
    assert checked.bound is not None
    targets = bound_and_moved(checked.bound, sources)
    assert "h.w" in targets
    turned = invert(parse(VARIANTS), manifest(sources), manifest(targets))
    assert (turned.text, turned.proven) == (inverse, True)
    with pytest.raises(MappingError, match="MC701"):
        invert(parse(VARIANTS))
