"""Compact key sets: what is folded is read back as it was, and what is wrong is said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapcc
from mapcc.errors import MappingError
from mapcc.tensors.compacting import compact_text
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

texts = st.sampled_from(["a", "b.c", "blocks", "w1", "x/y", "qué", 'a"b', "01"])
names = st.lists(st.one_of(texts, st.integers(0, 5).map(str)), min_size=1, max_size=5).map(".".join)
layouts = st.tuples(
    st.sampled_from([None, *map(DTYPES.get, ("F32", "BF16"))]),
    st.lists(st.sampled_from([1, 8, 16, 1536]), max_size=3).map(tuple),
)


def manifest(layouts: dict[str, Any]) -> Manifest:
    return Manifest({name: TensorSpec(name, *layout) for name, layout in layouts.items()}, (), "", None, {})


key_sets = st.dictionaries(names, layouts, min_size=1, max_size=12).map(manifest)


@given(st.dictionaries(st.sampled_from(["s", "m_2", "l-3.b"]), key_sets, min_size=1, max_size=3))
def test_what_is_folded_comes_back(tmp_path_factory: Any, sizes: dict[str, Manifest]) -> None:
    path = tmp_path_factory.getbasetemp() / "folded.json"
    path.write_text(compact_text(sizes), "utf-8")
    for size, wanted in sizes.items():
        assert mapcc.keys(path, select=size).tensors == wanted.tensors
        assert mapcc.keys(f"{path}#{size}").tensors == wanted.tensors


def test_layers_and_experts_are_one_line() -> None:
    layer = [f"{i}.experts.{e}.w" for i in range(1, 60) for e in range(256)]
    wide = manifest(dict.fromkeys(layer, (DTYPES["BF16"], (7168, 2048))))
    tall = manifest(dict.fromkeys(layer[: 256 * 20], (DTYPES["BF16"], (1024, 512))))
    text = compact_text({"large": wide, "small": tall})
    assert '"{1..n1}.experts.{0..255}.w": "BF16 [n2, n3]"' in text
    assert text.count("experts") == 1


GOOD: dict[str, Any] = {
    "sizes": ["s", "m"],
    "numbers": {"n1": [1, 2], "n2": [4, None]},
    "groups": [{"sizes": ["s", "m"], "keys": {"b.{0..n1}.w": "F32 [n1, 2]"}}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sizes": []}, "'sizes' is a list"),
        ({"sizes": ["s", "s"]}, "stands twice"),
        ({"sizes": ["s", "a b"]}, "no name of a size"),
        ({"numbers": {"n1": [1]}}, "one value, or null, for each size"),
        ({"groups": [{"keys": {}}]}, "a group has 'sizes' and 'keys'"),
        ({"groups": [{"sizes": ["l"], "keys": {}}]}, "no size 'l' is listed"),
        ({"groups": [{"sizes": ["m"], "keys": {"a": "F32 [n2]"}}]}, "no number is called 'n2'"),
        ({"groups": [{"sizes": ["m"], "keys": {"a": "F33 [2]"}}]}, "no dtype `F33`"),
        ({"groups": [{"sizes": ["m"], "keys": {"a": [2]}}]}, "an entry is"),
        ({"groups": [{"sizes": ["m"], "keys": {"a.{3..1}": "[2]"}}]}, "no range of indices"),
        ({"groups": [{"sizes": ["m"], "keys": {"a.{0,0}": "[2]"}}]}, "stands twice"),
        ({"groups": [{"sizes": ["m"], "keys": {"a.{0": "[2]"}}]}, "braces hold indices"),
        ({"groups": [{"sizes": ["m"], "keys": {"{0..99999}.{0..99999}": "[2]"}}]}, "at most 300,000"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "k.json"
    path.write_text(json.dumps(GOOD | change), "utf-8")
    with pytest.raises(MappingError, match="MC003") as raised:
        mapcc.keys(path, select="m")
    assert said in str(raised.value)


def test_a_size_is_named(tmp_path: Path, mapcc: Any) -> None:
    path = tmp_path / "k.json"
    path.write_text(json.dumps(GOOD), "utf-8")
    assert mapcc("keys", path, "--select", "s").out.count("F32") == 2
    assert mapcc("keys", f"{path}#m").out.count("F32") == 3
    several, unknown = mapcc("keys", path), mapcc("keys", path, "--select", "mm")
    assert several.code == unknown.code == 2
    assert "several sizes: s, m" in several.err
    assert "it has s, m" in unknown.err


def test_on_the_command_line(tmp_path: Path, mapcc: Any) -> None:
    for size, layers in (("small", 2), ("large", 4)):
        plain = {f"b.{i}.w": [layers, 8] for i in range(layers)}
        (tmp_path / f"{size}.json").write_text(json.dumps(plain), "utf-8")
    arguments = [f"{size}={tmp_path}/{size}.json" for size in ("small", "large")]
    out = tmp_path / "keys.json"
    assert mapcc("keys", *arguments, "--compact", "-o", out).code == 0
    assert '"b.{0..n1}.w": "[n2, 8]"' in out.read_text("utf-8")
    assert mapcc("keys", *arguments).code == 2
    assert mapcc("keys", f"a b={tmp_path}/small.json", "--compact").code == 2


def test_braces_cannot_be_folded() -> None:
    with pytest.raises(MappingError, match="braces"):
        compact_text({"s": manifest({"a{0}": (None, (2,))})})
