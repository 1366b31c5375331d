"""A mapper as a table: read from text and from objects, traced, and run on key sets."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from mapcc.dialects.vllm.engine import VllmTable
from mapcc.dialects.vllm.read import from_object, read_vllm
from mapcc.errors import MappingError
from mapcc.ir.axes import Atom, Product, Rest, Sum
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from mapcc.text import Source


def read(text: str, wanted: str = "") -> VllmTable:
    return read_vllm(Source("model.py", text), wanted)


def keys(shapes: dict[str, tuple[int, ...]]) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], shape) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})


MODEL = """
import regex as re

class A(nn.Module):
    hf_to_vllm_mapper = WeightsMapper(
        orig_to_new_prefix={"model.": "", "x." "y.": None},
        orig_to_new_regex={re.compile(r"a(\\d)"): r"b\\1"},
    )

class B(A):
    hf_to_vllm_mapper = A.hf_to_vllm_mapper | WeightsMapper(
        orig_to_new_prefix=dict.fromkeys(["model.", "z."]),
    )

class C:
    def load_weights(self, weights):
        stacked_params_mapping = [
            ("qkv_proj", "q_proj", "q"),
            ("qkv_proj", "k_proj", "k"),
        ]
        for name, weight in weights:
            mapper = WeightsMapper(orig_to_new_substr={f"{name}": None})
"""


def test_by_name() -> None:
    table = read(MODEL, "A.hf_to_vllm_mapper")
    assert [(rule.kind.word, rule.old, rule.new) for rule in table.rules] == [
        ("regex", r"a(\d)", r"b\1"),
        ("prefix", "model.", ""),
        ("prefix", "x.y.", None),
    ]
    assert [entry.span.line for entry in table.entries if entry.span] == [7, 6, 6]
    assert table.trace("model.a1.a2").target == "b1.b2"
    assert table.trace("model.a1.a2").fired == (0, 1)
    assert table.trace("x.y.w").target is None


def test_two_as_one() -> None:
    table = read(MODEL, "B.hf_to_vllm_mapper")
    assert [(rule.old, rule.new) for rule in table.rules] == [
        (r"a(\d)", r"b\1"),
        ("model.", None),
        ("x.y.", None),
        ("z.", None),
    ]


def test_a_list_is_another_engine() -> None:
    table = read(MODEL, "stacked_params_mapping")
    assert table.trace("q_proj.q_proj.k_proj").target == "qkv_proj.qkv_proj.k_proj"
    assert table.trace("q_proj.k_proj").fired == (0,)


@pytest.mark.parametrize(
    ("text", "wanted", "message"),
    [
        (MODEL, "", "has several: A.hf_to_vllm_mapper, B.hf_to_vllm_mapper"),
        (MODEL, "D.mapper", "assigns nothing to `D.mapper`"),
        (MODEL, "C.load_weights.mapper", "would have to be run"),
        ("m = Other.mapper", "m", "`Other.mapper` is not in this file"),
        ("m = WeightsMapper(orig_to_new_prefix=f())", "m", "is not a dict"),
        ("m = WeightsMapper(orig_to_new_prefix={1: ''})", "m", "1 is no text"),
        ("m = WeightsMapper(orig_to_new_suffix={'': 'x'})", "m", "an empty suffix"),
        ("m = WeightsMapper(orig_to_new_stacked={'a': 'x'})", "m", "is no (name, shard)"),
        ("m = WeightsMapper(orig_to_new_stacked={'a': ('x', 1.5)})", "m", "1.5 is no shard"),
        ("m = WeightsMapper(orig_to_new_regex={re.compile('('): ''})", "m", "`(`: missing )"),
        ("m = WeightsMapper(orig_to_new_regex={re.compile('a'): r'\\1'})", "m", "invalid group"),
        ("m = WeightsMapper(other={})", "m", "WeightsMapper has no `other`"),
        ("m = m", "m", "is not in this file"),
        ("m = (", "m", "is not Python"),
    ],
)
def test_what_cannot_be_read(text: str, wanted: str, message: str) -> None:
    with pytest.raises(MappingError) as caught:
        read(text, wanted)
    [found] = caught.value.diagnostics
    assert found.code == "MC003"
    assert message in found.message


def test_renamings_of_transformers() -> None:
    with pytest.raises(MappingError) as caught:
        read("m = WeightsMapper(orig_to_new_renaming=[WeightRenaming('a', 'b')])", "m")
    assert [found.code for found in caught.value.diagnostics] == ["MC601"]


def test_an_object_is_read_as_its_text() -> None:
    real = SimpleNamespace(
        orig_to_new_renaming=[],
        orig_to_new_regex={re.compile("(?i)A$"): None},
        orig_to_new_substr={"x": "y"},
        orig_to_new_stacked={".q.": (".qkv.", "q"), ".kv.": (".qkv.", ["k", "v"])},
        orig_to_new_prefix={"m.": ""},
        orig_to_new_suffix={".w": ".weight"},
    )
    table = from_object(real)
    assert [rule.kind.word for rule in table.rules] == [
        "regex",
        "substr",
        "stacked",
        "stacked",
        "prefix",
        "suffix",
    ]
    assert table.trace("m.x.q.w").target == "y.qkv.weight"
    assert table.trace("m.x.q.w").fired == (1, 2, 4, 5)
    assert table.trace("m.a").target is None


def stacked(**shards: object) -> VllmTable:
    entries = {f".{name}.": (".w.", shard) for name, shard in shards.items()}
    return from_object(
        SimpleNamespace(orig_to_new_stacked=entries, orig_to_new_prefix={}, orig_to_new_suffix={})
    )


def run(table: VllmTable, names: str, **target: tuple[int, ...]):
    source = keys({f"a.{name}.x": (2, 3) for name in names})
    return table.run(source, keys({"a.w.x": target["rows"]}) if target else None)


def test_shards_in_their_order() -> None:
    outcome = run(stacked(v="v", q="q", k="k"), "kvq")
    [made] = outcome.made
    assert [operand.names for operand in made.left] == [("a.q.x",), ("a.k.x",), ("a.v.x",)]
    assert made.right[0].shape == (Sum((Atom("p0"), Atom("p1"), Atom("p2"))), Rest())
    assert not outcome.faults


def test_one_tensor_for_two_shards() -> None:
    [made] = run(stacked(q="q", k=["k", "v"]), "qk").made
    assert made.right[0].shape == (Sum((Atom("p0"), Product((Atom("r1"), Atom("p1"))))), Rest())
    assert made.sizes == (("r1", 2),)


def test_one_shard_that_spans_three() -> None:
    [made] = run(stacked(q=(0, 1, 2), z=3), "qz").made
    assert made.right[0].shape == (Sum((Atom("p0"), Atom("p1"))), Rest())
    assert not made.sizes


@pytest.mark.parametrize(
    ("table", "names", "code", "message"),
    [
        (stacked(q="q", k="k", v="v"), "qv", "MC806", "shard k of `a.w.x` has no tensor"),
        (stacked(a=0, b=1), "a", "MC806", "shard 1 of `a.w.x` has no tensor"),
        (stacked(a=0, b=2), "ab", "MC806", "shard 1 of `a.w.x` has no tensor"),
        (stacked(a=0, b=0), "ab", "MC807", "two tensors become shard 0"),
        (stacked(a=0, b="k"), "ab", "MC809", "letters and numbers"),
        (stacked(a=[0, 2], b=1), "ab", "MC809", "which do not adjoin"),
        (stacked(a="index_q"), "a", "MC809", "its place is its layer's"),
        (stacked(a=0, b=1), "abw", "MC807", "several tensors become `a.w.x`"),
    ],
)
def test_faults(table: VllmTable, names: str, code: str, message: str) -> None:
    [fault] = run(table, names).faults
    assert fault.code == code
    assert message in fault.message
    assert set(fault.names) == {f"a.{name}.x" for name in names}


def test_rows_that_nothing_fills() -> None:
    [fault] = run(stacked(a=0, b=1), "ab", rows=(5, 3)).faults
    assert fault.message == "`a.w.x` has 5 rows, and its shards have 4"


def test_sketches() -> None:
    table = read(MODEL, "B.hf_to_vllm_mapper")
    rules = [sketch.rule for sketch in table.sketches()]
    assert rules[1:] == [f'drop {name}** because "vLLM leaves it out"' for name in ("model.", "x.y.", "z.")]
    [sketch] = stacked(a=0, b=1).sketches()
    assert sketch.rule == "**.a.** : p0 ..., **.b.** : p1 ... -> **.w.** : (p0 + p1) ..."
