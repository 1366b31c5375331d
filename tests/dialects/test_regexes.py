"""The engine on names, against the plain loop that it stands for."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.dialects.regexes import literal_prefix, load, mapper

PIECES = [
    "a",
    "b",
    r"\.",
    ".",
    "(a|b)",
    "(a)",
    "(.+)",
    "[ab]",
    "[^.]",
    "a?",
    "b*",
    "(?:a|b)",
    "|",
    r"\d",
    "$",
    "^",
]
PATTERN = st.lists(st.sampled_from(PIECES), min_size=1, max_size=5).map("".join)
ANCHORED = PATTERN.map(lambda pattern: f"^{pattern}$")
TEMPLATE = st.sampled_from(["x", "x.y", r"\g<0>", r"a\\b"])
ENTRY = TEMPLATE | st.tuples(TEMPLATE, st.integers(0, 2), st.integers(1, 3))
NAME = st.text("ab.1", min_size=1, max_size=6)


def compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except re.error:
        return False
    return True


def plain(table, name):
    """``get_param_names_mapping``, as it is written there."""
    for pattern, replacement in table.items():
        if re.match(pattern, name):
            place = of = None
            if isinstance(replacement, tuple):
                replacement, place, of = replacement
            return re.sub(pattern, replacement, name), place, of
    return name, None, None


@given(st.dictionaries((PATTERN | ANCHORED).filter(compiles), ENTRY, max_size=6), st.lists(NAME, max_size=8))
def test_first_match_in_order(table, names) -> None:
    map_name = mapper(table)
    for name in names:
        assert map_name(name) == plain(table, name)


@given(PATTERN.map("^".__add__).filter(compiles), NAME)
def test_every_match_begins_with_the_prefix(pattern, name) -> None:
    if re.match(pattern, name):
        assert name.startswith(literal_prefix(pattern))


def test_what_is_concatenated() -> None:
    table = {"^q$": ("w", 0, 2), "^k$": ("w", 1, 2), "^a$": "b"}
    loaded = load(["k", "a", "q", "other"], mapper(table))
    assert loaded.tensors == {"b": ("a",), "w": ("q", "k"), "other": ("other",)}
    assert not loaded.faults


@pytest.mark.parametrize(
    ("table", "names"),
    [
        ({"^q$": ("w", 0, 2)}, ["q"]),  # never completed
        ({"^q$": ("w", 0, 2), "^k$": ("w", 0, 2)}, ["q", "k"]),  # one place twice
        ({"^q$": ("w", 1, 2), "^k$": ("w", 2, 2)}, ["q", "k"]),  # places beyond the end
        ({"^q$": ("w", 0, 1), "^k$": ("w", 1, 2)}, ["q", "k"]),  # two opinions of how many
        ({"^q$": "w", "^k$": "w"}, ["q", "k"]),  # the last one would win
        ({"^q$": "k"}, ["q", "k"]),  # and so it would over a name that stays
        ({"^q": ("w", 0, 1)}, ["q", "q2", "w2"]),
    ],
)
def test_what_the_loader_would_lose(table, names) -> None:
    assert load(names, mapper(table)).faults
