"""JSON in which nothing can be meant in two ways."""

from __future__ import annotations

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.tensors.strict_json import JsonFault, Numbers, collector_off, find_key, loads

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
NATURALS = st.recursive(
    st.none() | st.integers(0, 2**70) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
)


@given(NATURALS, st.booleans())
def test_naturals_are_read_as_they_are(value: object, ascii_only: bool) -> None:
    assert loads(json.dumps(value, ensure_ascii=ascii_only)) == value


@given(ANYTHING)
def test_other_numbers_only_where_they_are_wanted(value: object) -> None:
    text = json.dumps(value)
    assert loads(text, "floats") == value
    try:
        found = loads(text)
    except JsonFault:
        return
    assert repr(found) == repr(value)  # neither True for 1 nor 0 for -0.0
    assert not _holds(found, (bool, float))


def _holds(value: object, kinds: tuple[type, ...]) -> bool:
    if isinstance(value, dict | list):
        return any(_holds(one, kinds) for one in (value.values() if isinstance(value, dict) else value))
    return isinstance(value, kinds)


@pytest.mark.parametrize(
    ("text", "numbers", "rule"),
    [
        ('{"a":1,"a":1}', "floats", "stands twice"),
        ('{"a":{"b":[{"c":1,"c":2}]}}', "floats", "stands twice"),
        ("[NaN]", "numbers", "not JSON"),
        ("[-1]", "naturals", "natural"),
        ("[1, -0]", "naturals", "natural"),
        ("[[true]]", "naturals", "natural"),
        ('["\\ud83d"]', "floats", "surrogate"),
        ('["\\ude00\\ud83d"]', "floats", "surrogate"),
        ('{"\\udc00":1}', "floats", "surrogate"),
        ("[" * 100_000, "floats", "deeply"),
        (f"[{'1' * 5000}]", "numbers", "digits"),
        ("", "floats", "JSON"),
        ("[1] 2", "floats", "JSON"),
        ("['a']", "floats", "JSON"),
        ("\ufeff{}", "floats", "JSON"),
    ],
)
def test_refused(text: str, numbers: Numbers, rule: str) -> None:
    with pytest.raises(JsonFault, match=rule):
        loads(text, numbers)


@pytest.mark.parametrize(
    ("text", "numbers", "value"),
    [
        ('["a,-1", "[true", ": false", "1.5"]', "naturals", ["a,-1", "[true", ": false", "1.5"]),
        ('["\\ud83d\\ude00", "\\\\ud800"]', "naturals", ["😀", "\\ud800"]),
        ("[-1, 2.5, true]", "numbers", [-1, 2.5, True]),
        ("[Infinity]", "floats", [float("inf")]),
        (" [ ] ", "naturals", []),
    ],
)
def test_read(text: str, numbers: Numbers, value: object) -> None:
    assert loads(text, numbers) == value


def test_find_key_is_not_fooled_by_values() -> None:
    text = '{"b": "a", "x": "\\"a\\":", "a" : 1}'
    start, end = find_key(text, "a") or (0, 0)
    assert text[start:] == '"a" : 1}'
    assert end == start + 3
    assert find_key('{"\\u00e9": 1}', "é") == (1, 9)
    assert find_key("{}", "a") is None


def test_the_collector_is_as_before() -> None:
    assert gc.isenabled()
    with pytest.raises(JsonFault), collector_off():
        loads("[")
    assert gc.isenabled()
    gc.disable()
    try:
        loads("[]")
        assert not gc.isenabled()
    finally:
        gc.enable()
