"""Random tables: the engines and what is imported from them, against the frameworks' own functions."""

from __future__ import annotations

from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.dialects.fastvideo_read import of_mapping, read_param_names
from mapcc.errors import MappingError
from mapcc.lift.lift import lift
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Source

NAMES = st.lists(
    st.builds(
        lambda *parts: ".".join(parts),
        st.sampled_from(["blocks", "b", "head"]),
        st.sampled_from(["0", "1", "10", "x"]),
        st.sampled_from(["attn", "q", "k", "norm1"]),
        st.sampled_from(["weight", "bias", "w"]),
    ),
    min_size=1,
    max_size=12,
    unique=True,
)
PATTERNS = st.sampled_from(
    [
        r"^blocks\.(\d+)\.q\.(.*)$",
        r"^blocks\.(\d+)\.(q|k)\.(.*)$",
        r"^blocks\.(\d+)\.attn\.",
        r"^b\.",
        r"b\.",
        r"^(.*)\.weight$",
        r"^head\.(.*)$",
        r"^blocks\.0\.(.*)$",
        r"^new\.(.*)$",
        r"^blocks\.(\d+)",
    ]
)
TEMPLATES = st.sampled_from(["new.x", r"new.\g<0>", "blocks.0.q.", "b.", "head.w", "", r"\g<0>.x", "z"])
TABLES = st.dictionaries(
    PATTERNS, TEMPLATES | st.tuples(TEMPLATES, st.integers(0, 1), st.just(2)), max_size=5
)


def manifest(names: list[str]) -> Manifest:
    return Manifest({n: TensorSpec(n, DTYPES["F32"], (2, 3)) for n in names}, (), "test", None, {})


def given_by(outcome) -> dict[str, list[str]]:
    return {made.right[0].names[0]: [o.names[0] for o in made.left] for made in outcome.made}


@pytest.mark.oracle
@pytest.mark.network
@given(table=TABLES, names=NAMES)
def test_fastvideo_loads_what_is_imported(loader, table, names) -> None:
    theirs = loader.get_param_names_mapping(table)
    ours = of_mapping(table, "fastvideo")
    assert [ours.trace(name).target for name in names] == [theirs(name)[0] for name in names]
    outcome = ours.run(manifest(names), None)
    try:
        state = loaded(theirs, names)
    except KeyError:  # wrong numbers: the loader ends there, and we say so
        assert any(fault.code == "MC806" for fault in outcome.faults)
        return
    assert given_by(outcome) == state
    if not any("" in name.split(".") for name in state):
        lifted = lift(ours, manifest(names))
        bound = {t: [n for o in i.sources for n in o] for t, (i, _) in lifted.bound.given.items()}
        assert bound == state
    else:
        with pytest.raises(MappingError, match="a name that a tensor can have"):
            lift(ours, manifest(names))


def loaded(map_name, names) -> dict[str, list[str]]:
    """``hf_to_custom_state_dict`` on names: their own is held against ours in tests/emit."""
    state: dict[str, list[str]] = {}
    waiting: dict[str, dict[int, str]] = defaultdict(dict)
    for name in names:
        target, place, of = map_name(name)
        parts = [name]
        if place is not None:
            waiting[target][place] = name
            if len(waiting[target]) < of:
                continue
            parts = [waiting[target][k] for k in range(of)]
            del waiting[target]
        state[target] = parts
    return state


# --- sglang


@pytest.mark.oracle
@pytest.mark.network
@given(table=TABLES, names=NAMES, known=st.sets(st.sampled_from(["new.x", "b.", "z", "head.w"])))
def test_sglang_goes_on(sglang_names, table, names, known) -> None:
    plain, asked = sglang_names(table), sglang_names(table, known)
    ours = of_mapping(table, "sglang")
    target = manifest([name for name in known if name != "b."] + (["b."] if "b." in known else []))
    free, held = ours.engine(), ours.engine(target)
    for name in names:
        assert tuple(free(name).mapped) == plain(name)
        assert tuple(held(name).mapped) == (asked(name) if known else plain(name))


# --- reading


def test_a_config_class_is_read_and_not_run() -> None:
    text = """
from dataclasses import dataclass, field
raise SystemExit("run")
PREFIX = r"^blocks\\.(\\d+)"
@dataclass
class A:
    param_names_mapping: dict = field(default_factory=lambda: {
        PREFIX + r"\\.a$": r"x.\\1", "^b$": ("c", 0, 2)})
class B:
    param_names_mapping = {}
"""
    table = read_param_names(Source("c.py", text), "fastvideo", "A.param_names_mapping")
    assert dict(table.table) == {r"^blocks\.(\d+)\.a$": r"x.\1", "^b$": ("c", 0, 2)}
    assert [entry.span.line for entry in table.entries if entry.span] == [8, 8]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("x = 1", "assigns nothing to `param_names_mapping`"),
        ("param_names_mapping = make()", "is not a dict"),
        ("param_names_mapping = {**other}", "would have to be run"),
        ("param_names_mapping = {'(': 'x'}", "missing )"),
        ("param_names_mapping = {'a': r'\\1'}", "invalid group reference"),
        ("param_names_mapping = {'a': ['x', 0, 1]}", "a list is no replacement"),
        ("param_names_mapping = {'a': 3}", "3 is no replacement"),
        ("param_names_mapping = {1: 'a'}", "a pattern is text"),
        ("def f(:", "is not Python"),
        ("class A:\n  param_names_mapping = {}\nclass B:\n  param_names_mapping = {}", "has several"),
    ],
)
def test_what_is_no_table(text: str, found: str) -> None:
    with pytest.raises(MappingError) as error:
        read_param_names(Source("c.py", text), "fastvideo")
    (diagnostic,) = error.value.diagnostics
    assert (diagnostic.code, found in diagnostic.message) == ("MC003", True), diagnostic.message


def test_json() -> None:
    table = read_param_names(Source("t.json", '{"^a$": "b", "^q$": ["qk", 0, 2]}'), "fastvideo")
    assert dict(table.table) == {"^a$": "b", "^q$": ("qk", 0, 2)}


def test_a_pattern_that_stands_twice() -> None:
    text = "param_names_mapping = {'^a$': 'b', '^x$': 'y', '^a$': 'c'}"
    table = read_param_names(Source("c.py", text), "fastvideo")
    assert list(table.table.items()) == [("^a$", "c"), ("^x$", "y")]
    faults = table.run(manifest(["a"]), None).faults
    assert [fault.code for fault in faults] == ["MC802"]
