"""Numbers with zeros in front: ``{i:03}`` is the text that ``format(i, "03")`` gives, on either side."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from mapcc.api import check, convert, emit_config, emit_script, format_mapping, invert, parse
from mapcc.errors import MappingError
from mapcc.ir.patterns import MAX_WIDTH
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec


def key_set(*names: str, shape: tuple[int, ...] = (4,)) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], shape) for name in names}
    return Manifest(tensors, (), "test", None, {})


def renamed(text: str, *names: str, target: Manifest | None = None) -> dict[str, str]:
    """Target names by source names; every tensor is taken."""
    checked = check(parse(text), key_set(*names), target)
    assert checked.ok, checked.diagnostics
    assert checked.bound is not None
    return {
        instance.sources[move.source][0]: instance.targets[move.target]
        for instance in checked.bound.instances
        for move in instance.layout.moves
    }


indices = st.integers(0, 10**18 - 1) | st.integers(0, 2000)


@given(st.integers(2, MAX_WIDTH), st.integers(2, MAX_WIDTH), st.sets(indices, min_size=1, max_size=5))
def test_it_is_the_text_of_format(here: int, there: int, numbers: set[int]) -> None:
    mapping = f"a.{{i:0{here}}}.w -> b_{{i:0{there}}}"
    found = renamed(mapping, *(f"a.{i:0{here}}.w" for i in numbers))
    assert found == {f"a.{i:0{here}}.w": f"b_{i:0{there}}" for i in numbers}


@given(st.integers(2, 6), st.text("0123456789", min_size=1, max_size=7))
def test_no_other_text_is_taken(width: int, text: str) -> None:
    is_taken = text == format(int(text), f"0{width}")
    checked = check(parse(f"x.{{i:0{width}}} -> y.{{i}} optional\nkeep a"), key_set("a", f"x.{text}"))
    assert checked.ok == is_taken


@pytest.mark.parametrize(
    ("mapping", "pairs"),
    [
        # T5 of mesh-TF: more than 999 of them have their four digits.
        ("block_{i:03}.layer_000.q -> block.{i}.q", {"block_003.layer_000.q": "block.3.q"}),
        ("block_{i:03}.q -> block.{i}.q", {"block_1000.q": "block.1000.q", "block_999.q": "block.999.q"}),
        # GPT-NeoX: layers begin at 2, ranks have two digits.
        ("layer_{i+2:02}-model_00.w -> layers.{i}.w", {"layer_02-model_00.w": "layers.0.w"}),
        ("a.{4*b + r:03} -> b.{b:02}.{r:02} where r in 0..3", {"a.006": "b.01.02", "a.100": "b.25.00"}),
        ("a.{b:02}.{r} -> c.{4*b + r:03} where r in 0..3", {"a.01.2": "c.006", "a.100.3": "c.403"}),
        ("up.{n-1-i:02} -> down.{i} where n = 12", {"up.11": "down.0", "up.00": "down.11"}),
        ("a.{i:02}b{j:03}.w -> c.{j}.{i}", {"a.01b002.w": "c.2.1", "a.001.w": ""}),
        ("{enc_{i:03},dec}.w -> {e.{i},d}.w", {"enc_007.w": "e.7.w", "dec.w": "d.w"}),
        ("a_{i:03}.** -> b.{i:02}.**", {"a_010.x.y": "b.10.x.y"}),
        ("a_{i:02}.* -> b.{i}.*   where i < 2", {"a_01.x": "b.1.x"}),
    ],
)
def test_both_sides_are_sums_too(mapping: str, pairs: dict[str, str]) -> None:
    taken = {source: target for source, target in pairs.items() if target}
    assert renamed(mapping, *taken) == taken


def test_an_axis_has_numbers_with_zeros_too() -> None:
    names = [f"e.{k:03}.w" for k in range(12)]
    checked = check(parse("e.[e:03].w : o -> all : e o"), key_set(*names))
    assert checked.ok
    assert checked.bound is not None
    (instance,) = checked.bound.instances
    assert [operand[0] for operand in instance.sources] == names
    assert instance.layout.target_shapes == ((12, 4),)
    back = check(parse("all : e o -> e.[e:03].w : o"), key_set("all", shape=(12, 4)), key_set(*names))
    assert back.ok


def test_exists_and_count_ask_for_them() -> None:
    text = "a_{i:02}.w -> b.{n-1-i}.w where n = count(a_{i:02}), exists(a_{i:02}.w)"
    assert renamed(text, "a_00.w", "a_01.w") == {"a_00.w": "b.1.w", "a_01.w": "b.0.w"}


def test_the_inverse_is_proven_and_printed() -> None:
    text = "mapping m\n\na_{i:03}.q -> b.{i}.q_{i:02}\n"
    source, target = key_set("a_007.q", "a_100.q"), key_set("b.7.q_07", "b.100.q_100")
    inverse = invert(parse(text), source, target)
    assert inverse.proven
    assert "b.{i}.q_{i:02} -> a_{i:03}.q" in inverse.text
    assert invert(parse(inverse.text), target, source).text == text


def test_it_is_created_and_external() -> None:
    text = 'keep a\ncreate b_{i:02} = 0\nexternal c_{i:03} because "y"'.replace("}} =", "}} : 4 =")
    text = text.replace("b_{i:02} =", "b_{i:02} : 4 =")
    assert check(parse(text), key_set("a"), key_set("a", "b_00", "b_01", "c_010")).diagnostics == ()


def test_yaml_has_it_in_quotes() -> None:
    text = 'rules:\n  - rename: {from: "a.{i:03}", to: "b.[e:02].{i}"}\n'
    mapping = parse(text, "m.yaml")
    assert format_mapping(mapping, "yaml") == text
    assert format_mapping(mapping) == "a.{i:03} -> b.[e:02].{i}\n"


@pytest.mark.parametrize("width", ["0", "00", "01", "019", "0999999999999"])
def test_a_width_has_bounds(width: str) -> None:
    with pytest.raises(MappingError, match="2 to 18 digits"):
        parse(f"a.{{i:{width}}} -> b")


def test_a_text_has_no_width() -> None:
    found = check(parse("a.{x:/r+/} -> b.{x:03}"), key_set("a.r")).diagnostics
    assert [d.code for d in found] == ["MC205"]


@pytest.mark.parametrize("dialect", ["fastvideo", "transformers", "vllm", "torchtitan"])
def test_a_config_says_each_name_or_refuses(dialect: str) -> None:
    """No template writes zeros, so each name is written out; what is emitted was replayed."""
    source = key_set(*(f"a_{i:03}.w" for i in (*range(12), 1000)))
    try:
        text = emit_config(parse("a_{i:03}.w -> b.{i}.w"), source, format=dialect)
    except MappingError as error:
        text = " ".join(d.code for d in error.diagnostics)
    assert "a_1000" in text or set(text.split()) == {"MC601"}


def test_a_script_writes_what_the_conversion_writes(tmp_path: Path) -> None:
    names = [f"a_{i:03}.w" for i in (*range(12), 1000)]
    save_file(
        {name: np.full(4, number, np.float32) for number, name in enumerate(names)},
        tmp_path / "a.safetensors",
    )
    mapping = parse("a_{i:03}.w -> b.{i:02}.w")
    source = str(tmp_path / "a.safetensors")
    convert(mapping, source, tmp_path / "out")
    script = tmp_path / "convert.py"
    script.write_text(emit_script(mapping, source), encoding="utf-8")
    subprocess.run([sys.executable, str(script), source, str(tmp_path / "again")], check=True)
    (made,), (again,) = ((tmp_path / out).glob("*.safetensors") for out in ("out", "again"))
    assert made.read_bytes() == again.read_bytes()
    values = {f"b.{int(name[2:-2]):02}.w": number for number, name in enumerate(names)}
    assert {name: int(array[0]) for name, array in load_file(made).items()} == values
