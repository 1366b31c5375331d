"""vLLM's own class and our engine: the same names and shards, for every mapper of its models."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from mapcc.dialects.vllm.read import from_object, read_vllm
from mapcc.library.catalog import catalog
from mapcc.library.known import known_models
from mapcc.text import Source

from .vllm_wheel import (
    SHA256,
    UTILS,
    VERSION,
    evaluated,
    literals,
    members,
    synthetic,
    texts,
    theirs,
    weights_mapper,
)

pytestmark = [pytest.mark.oracle, pytest.mark.network]


@pytest.fixture(scope="module")
def modules(wheel) -> dict[str, str]:
    return texts(wheel("vllm", VERSION, SHA256, keep=members()))


@pytest.fixture(scope="module")
def cls(modules: dict[str, str]) -> type:
    return weights_mapper(modules[UTILS])


@pytest.fixture(scope="module")
def mappers(modules: dict[str, str]) -> list[str]:
    return list(dict.fromkeys(text for module in modules.values() for text in literals(module)))


@pytest.fixture(scope="module")
def names(root: Path) -> list[str]:
    """Those of all key sets of the library, of names that differ in numbers the first."""
    found: dict[str, str] = {}
    for known in known_models(catalog(root / "mappings")):
        for name in known.tensors:
            found.setdefault(re.sub(r"\d+", "0", name), name)
    return list(found.values())


def test_every_mapper(cls, mappers: list[str], names: list[str]) -> None:
    assert len(mappers) > 150
    acted = 0
    for text in mappers:
        real, table = evaluated(cls, text), read_vllm(Source("m.py", f"m = {text}"), "m")
        assert table.rules == tuple(
            rule.__class__(*_without_span(ours), ours.span)
            for rule, ours in zip(from_object(real).rules, table.rules, strict=True)
        )
        way = table.engine()
        for name in [*names, *synthetic(table)]:
            ours = way(name)
            assert (ours.target, ours.shards) == theirs(real, name), (text, name)
            acted += bool(ours.fired)
    assert acted > 10_000


def _without_span(rule) -> tuple[object, ...]:
    return rule.kind, rule.old, rule.new, rule.shards


def test_two_mappers_as_one(cls, mappers: list[str]) -> None:
    for first, second in pairwise(mappers):
        text = f"({first}) | (\n{second})"
        real, table = evaluated(cls, text), read_vllm(Source("m.py", f"m = {text}"), "m")
        way = table.engine()
        for name in synthetic(table)[:60]:
            assert way(name)[:2] == theirs(real, name), (text, name)


# --- random mappers

PIECES = st.sampled_from(["a", "b", ".", "ab", ".a", "b.", "..", "aa", "x", "é", "$", "\\", "'"])
TEXTS = st.lists(PIECES, max_size=3).map("".join)
NAMES = st.lists(PIECES, min_size=1, max_size=6).map("".join)
NEW = TEXTS | st.none()
SHARDS = st.sampled_from(["q", "k", "v", 0, 1, (0, 1), ["k", "v"], [0, 2]])
PATTERNS = st.sampled_from(
    ["^a", "a", "a$", r"^(.+)\.b$", r"(a)(b)?", r"\.", "(?i)AB", "^(?!a)", "b*", r"^([^.]+)\.(.*)$", "x|a"]
)
TEMPLATES = st.sampled_from(["", "b", r"\g<0>a", "é", r"\\", ".."]) | st.none()


@given(
    st.dictionaries(PATTERNS, TEMPLATES, max_size=3),
    st.dictionaries(TEXTS, NEW, max_size=3),
    st.dictionaries(TEXTS, st.tuples(TEXTS, SHARDS), max_size=3),
    st.dictionaries(TEXTS, NEW, max_size=3),
    st.dictionaries(TEXTS.filter(bool), NEW, max_size=3),
    st.lists(NAMES, max_size=8),
)
def test_random_mappers(cls, regexes, substrs, stacked, prefixes, suffixes, names) -> None:
    real = cls(
        orig_to_new_regex={regex.compile(key): value for key, value in regexes.items()},
        orig_to_new_substr=substrs,
        orig_to_new_stacked=stacked,
        orig_to_new_prefix=prefixes,
        orig_to_new_suffix=suffixes,
    )
    way = from_object(real).engine()
    for name in names:
        assert way(name)[:2] == theirs(real, name)
