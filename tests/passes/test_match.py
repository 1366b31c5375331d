"""The trie: names that differ in their numbers alone are walked once, and match as if each had been."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mapcc.ir.expr import Name
from mapcc.ir.patterns import Deep, Index, Part, Pattern, Regex, Star, Text
from mapcc.passes.match import Trie
from mapcc.passes.segments import variants

WORDS = ["a", "net", "norm", "0", "2", "17", "007", "100000000000000000", "1234567890123456789", "x_1", "²"]
HOLES: list[tuple[Part, ...]] = [
    (Index(Name("i")),),
    (Index(Name("j")),),
    (Star(),),
    (Text("norm"), Index(Name("i"))),
    (Text("1"), Index(Name("i"))),
    (Star(), Text("_"), Index(Name("i"))),
    (Text("x_"), Star()),
    (Regex("r", "[0-9]{2}"),),
    (Regex("r", "[a-z]+"),),
    (Deep(),),
]

segments = st.lists(st.sampled_from([*((Text(word),) for word in WORDS), *HOLES]), min_size=1, max_size=4)
names = st.lists(
    st.sampled_from([*WORDS, "norm3", "norm03", "12", "x_", "3_4", "5"]), min_size=1, max_size=5
).map(".".join)


def pattern(parts: list[tuple[Part, ...]]) -> Pattern:
    out: list[Part] = []
    for part in parts:
        out += [*([Text(".")] if out else []), *part]
    return Pattern(tuple(out))


def built(patterns: list[list[tuple[Part, ...]]]) -> Trie:
    trie = Trie(".")
    for number, parts in enumerate(patterns):
        if sum(part == (Deep(),) for part in parts) < 2:  # a name has one at most
            for variant in variants(pattern(parts), "."):
                trie.add(number, variant)
    return trie


def found(matches: list[tuple[object, list[str]]]) -> list[tuple[object, list[str]]]:
    return sorted((leaf.owner, texts) for leaf, texts in matches)  # type: ignore[attr-defined]


@given(st.lists(segments, min_size=1, max_size=6), st.lists(names, max_size=12))
@example([[(Deep(),)], [(Text("net"),), (Deep(),)]], ["net.0.a", "net.1.a", "net.0", "net.17.2.a"])
@example([[(Text("net"),), (Text("0"),)], [(Text("net"),), HOLES[0]]], ["net.0", "net.1", "net.00", "net.2"])
@example([[HOLES[2], (Text("100000000000000000"),)]], ["3.100000000000000000", "4.100000000000000001"])
def test_one_walk_for_names_that_differ_in_numbers(
    patterns: list[list[tuple[Part, ...]]], asked: list[str]
) -> None:
    trie = built(patterns)
    for name in [*asked, *asked]:
        assert found(trie.match(name)) == found(trie._walked(name))


@pytest.mark.parametrize("name", ["layers.0.w", "layers.12.w"])
def test_what_is_learnt_before_a_pattern_is_forgotten(name: str) -> None:
    trie = built([[(Text("layers"),), HOLES[0], (Text("w"),)]])
    assert found(trie.match(name)) == [(0, [name.split(".")[1]])]
    for variant in variants(pattern([(Text("layers"),), (Text("12"),), (Text("w"),)]), "."):
        trie.add(1, variant)
    assert len(trie.match(name)) == (2 if name == "layers.12.w" else 1)
