"""The JSON document, and the reader that its page gives: the bytes that ``mapcc convert`` writes."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mapcc import api
from mapcc.emit.bound_json import emit_json
from tests.faults import nasty
from tests.faults.counts import randomness

from .test_properties import mappings

Tensors = dict[str, np.ndarray]

# Rules that take tensors apart, turn them, fill them and cast them, and the shapes that they take.
RULES: list[tuple[str, dict[str, tuple[int, ...]]]] = [
    ("t.w | transpose -> t.v", {"t.w": (3, 5)}),
    ("p.w : a b c -> p.v : c (b a)", {"p.w": (2, 3, 4)}),
    ("s.w : (x + y) c -> s.x : x c, s.y : c y where x = 2", {"s.w": (5, 3)}),
    ("u.w : (h 2 d) c -> u.v : (2 h d) c where h = 2", {"u.w": (8, 3)}),
    ("g.[t=a,b,c].w : o ... -> g.w : (o t) ...", {f"g.{t}.w": (2, 3) for t in "abc"}),
    ("e.{i}.[e].w -> e.{i}.w : e ...", {f"e.{i}.{k}.w": (2, 2) for i in range(2) for k in range(11)}),
    ("r.w : k c -> r.v : (k r) c where r = 3", {"r.w": (2, 2)}),
    ("c.w | cast bf16 -> c.v", {"c.w": (7,)}),
    ("d.w | cast f16 | cast f32 -> d.v", {"d.w": (7,)}),
    ("f.w | transpose | cast f16 -> f.v", {"f.w": (2, 3)}),
    ("create n.w : 4 2 = 1.5 | cast bf16", {}),
    (
        "b.w : x c, create : r = 2, b.v : y c -> b.u : (x c + r + y c) where r = 3",
        {"b.w": (2, 3), "b.v": (1, 3)},
    ),
    ('i.w : (x + y) c -> i.x : x c, drop : y c because "half" where x = 2', {"i.w": (5, 3)}),
    ('drop q.** because "unused"', {"q.w": (3,)}),
    ("z.w -> z.v", {"z.w": (0, 3)}),
    ("y.w -> y.v", {"y.w": ()}),
    ("keep k.**", {"k.w": (2, 2), "k.x.y": (3,)}),
]


@pytest.fixture(scope="module")
def reader(root: Path) -> Callable[[dict, Tensors], Tensors]:
    """The first function of the page."""
    page = (root / "docs" / "dialects" / "json.md").read_text("utf-8")
    [code] = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    namespace: dict = {}
    exec(code, namespace)
    return namespace["converted"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json")


def same(text: str, tensors: Tensors, folder: Path, reader) -> dict:
    """Converts twice: with mapcc, and with the reader; both give the same bytes."""
    number = sum(1 for _ in folder.iterdir())
    source, out = folder / f"{number}.safetensors", folder / f"{number + 1}.out"
    save_file(tensors, source)
    mapping = api.parse(text)
    emitted = emit_json(api.bound_mapping(api.check(mapping, source)))
    assert emitted.ok
    document = json.loads(emitted.text)
    assert document == emitted.table
    assert emitted.text.isascii()
    ours = reader(document, tensors)
    api.convert(mapping, source, out)
    written: Tensors = {}
    for path in out.glob("*.safetensors"):
        written |= load_file(path)
    assert ours.keys() == written.keys()
    for name, tensor in ours.items():
        assert tensor.dtype == written[name].dtype
        assert tensor.shape == written[name].shape
        assert tensor.tobytes() == written[name].tobytes()
    return document


def filled(shapes: dict[str, tuple[int, ...]]) -> Tensors:
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


@pytest.mark.converts
@given(st.lists(st.sampled_from(RULES), min_size=1, unique_by=lambda rule: rule[0]))
def test_random_rules(folder: Path, reader, rules) -> None:
    shapes = {name: shape for _, own in rules for name, shape in own.items()}
    shapes = shapes or {"k.w": (2, 2)}
    text = "\n".join(rule for rule, _ in rules)
    text += "" if any(rule == "keep k.**" for rule, _ in rules) else "\nkeep k.** optional"
    same(text, filled(shapes), folder, reader)


@pytest.mark.slow
@pytest.mark.converts
@given(mappings())
def test_random_renames_and_concatenations(folder: Path, reader, case) -> None:
    text, shapes = case
    same(text, filled(shapes), folder, reader)


def test_the_page(root: Path, bind) -> None:
    """The example is what is emitted."""
    page = (root / "docs" / "dialects" / "json.md").read_text("utf-8")
    [example] = re.findall(r"```json\n(.*?)```", page, re.DOTALL)
    text = """\
mapping example "fused"

layers.{i}.q.weight : q c, layers.{i}.k.weight : k c -> blocks.{i}.qk.weight : c (q + k) | cast bf16
drop inv_freq because "the model computes it"
"""
    shapes = {"layers.0.q.weight": (4, 2), "layers.0.k.weight": (2, 2), "inv_freq": (8,)}
    assert emit_json(bind(text, shapes)).table == json.loads(example)


def test_values(bind) -> None:
    text = "(a, b) | weight_norm dim=1 | scale 2 -> c\nd | cast bf16 | add 1 -> e\nkeep f"
    table = emit_json(bind(text, {"a": (1, 3), "b": (2, 3), "d": (4,), "f": (2,)})).table
    assert table is not None
    whole = {"from": 0, "to": 0}
    fused = [{"op": "weight_norm", "dim": 1}, {"op": "scale", "factor": 2}]
    added = [{"op": "cast", "dtype": "BF16"}, {"op": "add", "number": 1}, {"op": "cast", "dtype": "BF16"}]
    assert {name: tensor["moves"] for name, tensor in table["target"].items()} == {
        "c": [{"sources": ["a", "b"], "steps": fused, **whole, "dims": [[6, 1, 1]]}],
        "e": [{"sources": ["d"], "steps": added, **whole, "dims": [[4, 1, 1]]}],
        "f": [{"sources": ["f"], "steps": [], **whole, "dims": [[2, 1, 1]]}],
    }


def test_what_is_left_out(bind) -> None:
    text = """\
a : (x + y) c -> b : x c, drop : y c because "half of it" where x = 1
drop d.** because "unused"
external e.w because "of another file"
"""
    table = emit_json(bind(text, {"a": (3, 2), "d.w": (2,)})).table
    assert table is not None
    assert table["dropped"] == {"d.w": "unused"}
    assert table["dropped_parts"] == [{"sources": ["a"], "because": "half of it"}]
    assert table["source"] == {
        name: {"dtype": "F32", "shape": s} for name, s in (("a", [3, 2]), ("d.w", [2]))
    }


def test_nasty_names(bind) -> None:
    draw = randomness()
    names = sorted({f"{at}{nasty.name(draw, nasty.PRINTED)}" for at in range(300)})
    rules = [f"{json.dumps(name)} -> {json.dumps('new' + name)}" for name in names]
    text = "\n".join(['separator source "§"', 'separator target "§"', *rules])
    emitted = emit_json(bind(text, dict.fromkeys(names, (2,))))
    assert emitted.text.isascii()
    target = json.loads(emitted.text)["target"]
    assert {new: tensor["moves"][0]["sources"] for new, tensor in target.items()} == {
        f"new{name}": [name] for name in names
    }
