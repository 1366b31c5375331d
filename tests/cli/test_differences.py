"""What ``diff`` prints: folded for people, whole for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping

from mapcc.api import bound_mapping, check, parse
from mapcc.cli.differences import difference_lines, differences_json
from mapcc.passes.compose import composed
from mapcc.passes.difference import Differences, differences
from mapcc.passes.origins import result_of
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

SHAPES: dict[str, tuple[int, ...]] = {
    f"blocks.{i}.{name}": (6, 2) for i in range(3) for name in ("qkv.weight", "g", "v")
} | {"last": (4,)}


def manifest(shapes: Mapping[str, tuple[int, ...]]) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], shape) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})


def compare(a: str, b: str) -> Differences:
    one, other = (bound_mapping(check(parse(text), manifest(SHAPES))) for text in (a, b))
    return differences(one, other)


REST = "keep blocks.{i}.{g,v}, last\n"


def test_equal() -> None:
    assert difference_lines(compare("keep **", "** -> **")) == [
        "equal: 10 target tensors, to the last element"
    ]


def test_swapped_tensors_are_folded() -> None:
    rule = "blocks.{{i}}.qkv.* : (t d) ... -> blocks.{{i}}.[t={}].* : d ..."
    found = compare(rule.format("q,k,v_") + "\n" + REST, rule.format("k,q,v_") + "\n" + REST)
    assert difference_lines(found, "old", "new") == [
        "different: 6 differ; 10 target tensors the same",
        "blocks.{0..2}.q.weight",
        "    4 of 4 elements differ",
        "    at [0, 0] of blocks.0.q.weight: "
        "old takes blocks.0.qkv.weight [0, 0], new takes blocks.0.qkv.weight [2, 0]",
        "blocks.{0..2}.k.weight",
        "    4 of 4 elements differ",
        "    at [0, 0] of blocks.0.k.weight: "
        "old takes blocks.0.qkv.weight [2, 0], new takes blocks.0.qkv.weight [0, 0]",
    ]


def test_all_kinds_of_differences() -> None:
    one = """
    blocks.{i}.qkv.weight -> qkv.{i}
    blocks.{i}.g | add 1 | scale 0.5 -> g.{i}
    blocks.{i}.v | cast bf16 -> v.{i}
    last -> tail
    create made : 2 = 0
    """
    other = """
    blocks.{i}.qkv.weight | transpose -> qkv.{i}
    blocks.{i}.g -> g.{i}
    blocks.{i}.v -> v.{i}
    drop last because "unused"
    create made : 2 = 1
    """
    found = compare(one, other)
    assert difference_lines(found) == [
        "different: 10 differ, 1 on one side only; 0 target tensors the same",
        "only A gives:",
        "    tail",
        "qkv.{0..2}",
        "    shape: A [6, 2], B [2, 6]",
        "g.{0..2}",
        "    12 of 12 elements differ",
        "    at [0, 0] of g.0: A takes blocks.0.g [0, 0] | add 1 | scale 0.5, B takes blocks.0.g [0, 0]",
        "v.{0..2}",
        "    type: A BF16, B F32",
        "made",
        "    2 of 2 elements differ",
        "    at [0]: A takes the number 0, B takes the number 1",
        "only A takes:",
        "    last",
    ]
    document = json.loads(json.dumps(differences_json(found)))
    assert document["equal"] is False
    assert document["only_a"] == ["tail"]
    assert document["taken_a"] == ["last"]
    assert [one["name"] for one in document["differing"]] == [
        *(f"{name}.{i}" for name in ("qkv", "g", "v") for i in range(3)),
        "made",
    ]
    by_name = {one["name"]: one for one in document["differing"]}
    assert by_name["qkv.1"]["shapes"] == [[6, 2], [2, 6]]
    assert by_name["v.1"]["dtypes"] == ["BF16", "F32"]
    assert by_name["g.1"]["elements"]["a"] == {
        "names": ["blocks.1.g"],
        "index": [0, 0],
        "constant": None,
        "steps": ["add 1", "scale 0.5"],
    }
    assert by_name["made"]["elements"]["b"]["constant"] == 1


def test_what_cannot_be_compared_is_said() -> None:
    shapes = {"g": (4, 1), "v": (4, 3)}
    first = bound_mapping(
        check(parse("g -> g\nv : (a + b) c -> v : (b + a) c where a = b"), manifest(shapes))
    )
    second = bound_mapping(check(parse("(g, v) | weight_norm -> w"), result_of(first).keys()))
    one = bound_mapping(check(parse("(g, v) | weight_norm -> w"), manifest(shapes)))
    found = differences(composed(first, second), one)
    assert difference_lines(found)[:3] == [
        "different: 1 cannot be compared; 0 target tensors the same",
        "w",
        "    cannot be compared: weight_norm of tensors that the first step moves or computes",
    ]
    assert differences_json(found)["differing"] == [
        {
            "name": "w",
            "shapes": None,
            "dtypes": None,
            "elements": None,
            "problem": "weight_norm of tensors that the first step moves or computes",
        }
    ]
