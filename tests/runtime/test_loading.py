"""Loading at once gives what converting and reading back gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mapcc

torch = pytest.importorskip("torch")

Lab = Any
Random = Callable[..., Any]

RULES = """mapping m "a test"

t.{i} : a b -> u.{i} : b a
q.{i} : q c, k.{i} : k c -> qk.{i} : (q + k) c
plain.* -> same.*
(g, v) | weight_norm dim=0 -> w
f | cast bf16 | scale 0.5 -> h
create zeros : 3 = 0 | cast f16
"""
SHAPES = {
    **{f"t.{i}": ("BF16", (96, 70)) for i in range(3)},
    **{f"{n}.{i}": ("F32", (5, 7)) for n in "qk" for i in range(2)},
    **{f"plain.{n}": (n, (4, 6)) for n in ("U8", "F8_E4M3", "I64", "BOOL", "C64", "U16", "F4")},
    "plain.scalar": ("F64", ()),
    "plain.empty": ("F32", (0, 3)),
    "g": ("F32", (4, 1)),
    "v": ("F32", (4, 9)),
    "f": ("F32", (300,)),
}


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    path = tmp_path / "m.mapcc"
    path.write_text(RULES)
    return path


def test_what_is_loaded_is_what_is_converted(lab: Lab, random_tensors: Random, mapping: Path) -> None:
    lab.write(random_tensors(SHAPES))
    mapcc.convert(mapping, lab.source, lab.out, running=mapcc.Options(sync=False))
    written = lab.read(lab.out / "model.safetensors")
    loaded = dict(mapcc.load(mapping, lab.source))
    assert list(loaded) == list(written)
    for name, (dtype, shape, data) in written.items():
        tensor = loaded[name]
        assert tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes() == data, name
        assert dtype == "F4" or tuple(tensor.shape) == shape


def test_a_module_on_the_meta_device_is_filled(lab: Lab, random_tensors: Random) -> None:
    tensors = random_tensors({"a.w": ("F32", (4, 3)), "a.b": ("F32", (4,)), "n": ("F32", (4,))})
    lab.write(tensors)
    with torch.device("meta"):
        module = torch.nn.ModuleDict({"first": torch.nn.Linear(3, 4)})
        module.register_buffer("mean", torch.empty(4))
    rules = mapcc.parse("a.{w,b} -> first.{weight,bias}\nn -> mean")
    names = [name for name, _ in mapcc.load(rules, lab.source, into=module)]
    assert sorted(names) == sorted(module.state_dict())
    assert not any(tensor.is_meta for tensor in module.state_dict().values())
    assert isinstance(module["first"].weight, torch.nn.Parameter)
    weights = tensors["a.w"][2]
    assert module["first"].weight.detach().numpy().tobytes() == weights


def test_what_does_not_fit_a_module_is_told_at_once(lab: Lab, random_tensors: Random) -> None:
    lab.write(random_tensors({"w": ("F32", (4, 3)), "x": ("BF16", (4,)), "y": ("F32", (2,))}))
    with torch.device("meta"):
        module = torch.nn.Linear(4, 3)
    with pytest.raises(mapcc.MappingError) as error:
        mapcc.load(
            mapcc.parse('w -> weight\nx -> other\ndrop y because "not wanted"'), lab.source, into=module
        )
    assert [d.code for d in error.value.diagnostics] == ["MC401", "MC407", "MC408"]


def test_a_type_that_torch_has_not(lab: Lab, random_tensors: Random) -> None:
    lab.write(random_tensors({"w": ("F6_E2M3", (4,))}))
    with pytest.raises(mapcc.MappingError, match="F6_E2M3"):
        mapcc.load(mapcc.parse("** -> **"), lab.source)


def test_pairs_of_f4_that_cross_rows(lab: Lab, random_tensors: Random) -> None:
    """Six elements in two rows of three: files can have it, torch cannot."""
    lab.write(random_tensors({"a": ("F4", (2, 3)), "b": ("F4", (3, 2)), "c": ("F4", (4,))}))
    with pytest.raises(mapcc.MappingError, match=r"MC502.*pairs of F4"):
        mapcc.load(mapcc.parse("keep **"), lab.source)
    loaded = dict(mapcc.load(mapcc.parse('keep b, c\ndrop a because "odd"'), lab.source))
    assert {name: tuple(x.shape) for name, x in loaded.items()} == {"b": (3, 1), "c": (2,)}
