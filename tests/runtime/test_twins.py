"""What is dropped as the same as another is compared: equal, or there is no output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import mapcc
from mapcc.diagnostics.model import Diagnostics
from mapcc.errors import MappingError
from mapcc.ir.printer import print_mapping
from mapcc.ir.yaml_printer import print_yaml
from mapcc.passes.reverse import turned

Arrays = dict[str, np.ndarray]
X = 'because "x"'
TIED = 'keep embed.w\ndrop head.w same as embed.w because "tied"\n'


def embed(size: tuple[int, ...] = (600, 1000)) -> np.ndarray:
    return np.random.default_rng(1).normal(size=size).astype("f4")


def written(tmp_path: Path, arrays: Arrays, text: str = TIED) -> tuple[Path, Path]:
    (tmp_path / "m.mapcc").write_text(text, "utf-8")
    save_file(arrays, tmp_path / "source.safetensors")
    return tmp_path / "m.mapcc", tmp_path / "source.safetensors"


def refused(tmp_path: Path, mapping: Path, source: Path, **options: object) -> mapcc.Diagnostic:
    with pytest.raises(MappingError) as raised:
        mapcc.convert(mapping, source, tmp_path / "out", **options)  # type: ignore[arg-type]
    (found,) = raised.value.diagnostics
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.mapcc", source.name]
    return found


def test_copies_are_dropped(tmp_path: Path) -> None:
    mapping, source = written(tmp_path, {"embed.w": embed(), "head.w": embed()})
    mapcc.convert(mapping, source, tmp_path / "out")
    assert list(mapcc.keys(tmp_path / "out").tensors) == ["embed.w"]
    assert mapcc.verify_output(tmp_path / "out", source) == ()
    assert [name for name, _ in mapcc.load(mapping, source)] == ["embed.w"]


@pytest.mark.parametrize("at", [(0, 0), (0, 1), (299, 143), (599, 999)])
def test_the_first_element_that_differs_is_told(at: tuple[int, int], tmp_path: Path) -> None:
    head = embed()
    head[at] = 7.5
    head[-1, -1] = 7.5
    mapping, source = written(tmp_path, {"embed.w": embed(), "head.w": head})
    found = refused(tmp_path, mapping, source)
    assert (found.code, found.names) == ("MC414", ("head.w",))
    assert found.notes[0].startswith(
        f"head.w[{at[0]}, {at[1]}] is 0x40f00000, embed.w[{at[0]}, {at[1]}] is 0x"
    )
    with pytest.raises(MappingError, match="MC414"):
        list(mapcc.load(mapping, source))


def test_bits_are_compared_and_not_numbers(tmp_path: Path) -> None:
    one = np.array([0.0, np.nan], "f4")
    other = one.copy()
    mapping, source = written(tmp_path, {"embed.w": one, "head.w": other})
    mapcc.convert(mapping, source, tmp_path / "out")
    other[0] = -0.0
    save_file({"embed.w": one, "head.w": other}, source)
    with pytest.raises(MappingError, match="MC414"):
        mapcc.convert(mapping, source, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_plan_in_a_file_compares_too(tmp_path: Path) -> None:
    mapping, source = written(tmp_path, {"embed.w": embed(), "head.w": embed() + 1})
    mapcc.save_plan(mapcc.make_plan(mapping, source), tmp_path / "plan.json")
    plan = mapcc.load_plan(tmp_path / "plan.json")
    assert [twins.name for twins in plan.twins] == ["head.w"]
    with pytest.raises(MappingError, match="MC414"):
        mapcc.carry_out(plan, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_replicas_of_ranks(tmp_path: Path) -> None:
    arrays = {
        f"rank.{r}.{name}": np.full(4, name == "scale", "f4") for r in range(3) for name in ("scale", "norm")
    }
    text = 'rank.0.* -> *\ndrop rank.{r}.* same as rank.0.* because "replicas" where r > 0\n'
    mapping, source = written(tmp_path, arrays, text)
    mapcc.convert(mapping, source, tmp_path / "out")
    arrays["rank.1.scale"] = arrays["rank.1.scale"] * 2
    arrays["rank.2.norm"] = arrays["rank.2.norm"] - 1
    save_file(arrays, source)
    with pytest.raises(MappingError) as raised:
        mapcc.convert(mapping, source, tmp_path / "again")
    (found,) = raised.value.diagnostics
    assert found.names == ("rank.1.scale", "rank.2.norm")
    assert [note.split(" is ")[0] for note in found.notes] == ["rank.1.scale[0]", "rank.2.norm[0]"]


@pytest.mark.parametrize("is_equal", [True, False])
def test_tensors_that_lie_with_strides(is_equal: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    one = torch.arange(12.0).reshape(3, 4)
    other = one.t().contiguous().t() if is_equal else one.t().contiguous().t() + 1
    torch.save({"embed.w": one, "head.w": other}, tmp_path / "source.pt")
    mapping = tmp_path / "m.mapcc"
    mapping.write_text(TIED, "utf-8")
    if is_equal:
        mapcc.convert(mapping, tmp_path / "source.pt", tmp_path / "out")
        assert mapcc.verify_output(tmp_path / "out", tmp_path / "source.pt") == ()
    else:
        assert refused(tmp_path, mapping, tmp_path / "source.pt").notes[0].startswith("head.w[0, 0] is")


def test_one_storage_under_two_names_is_not_read(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    one = torch.arange(12.0)
    torch.save({"embed.w": one, "head.w": one}, tmp_path / "source.pt")
    (tmp_path / "m.mapcc").write_text(TIED, "utf-8")
    assert mapcc.make_plan(tmp_path / "m.mapcc", tmp_path / "source.pt").twins == ()


def test_a_script_does_not_compare(tmp_path: Path) -> None:
    mapping, source = written(tmp_path, {"embed.w": embed(), "head.w": embed()})
    with pytest.raises(MappingError, match="MC601"):
        mapcc.emit_script(mapping, source)


@pytest.mark.parametrize(
    ("text", "keys", "code"),
    [
        ('drop b same as a because "x"', {"a": [2], "b": [3]}, "MC413"),
        ('drop b same as a because "x"', {"a": ["F32", 2], "b": ["F16", 2]}, "MC413"),
        ('drop b same as c because "x"', {"a": [2], "b": [2]}, "MC413"),
        ('drop b same as b because "x"', {"a": [2], "b": [2]}, "MC413"),
        (
            'drop b same as c because "x"\ndrop c same as a because "x"',
            {"a": [2], "b": [2], "c": [2]},
            "MC413",
        ),
        (
            'drop b same as c because "x"\ndrop c same as b because "x"',
            {"a": [2], "b": [2], "c": [2]},
            "MC413",
        ),
        ('drop b.{i} same as a.{j} because "x"', {"a": [2], "b.0": [2]}, "MC204"),
        ('drop b same as a.* because "x"', {"a": [2], "b": [2]}, "MC204"),
        ('drop {b,c} same as {x,y,z} because "x"', {"a": [2], "b": [2], "c": [2]}, "MC201"),
        ('drop b same as [t=a,c] because "x"', {"a": [2], "b": [2]}, "MC413"),
    ],
)
def test_what_cannot_be_a_copy_is_told_before(text: str, keys: dict[str, list[object]], code: str) -> None:
    specs = {}
    for name, (*kind, size) in keys.items():
        dtype = mapcc.tensors.dtypes.DTYPES[str(kind[0]) if kind else "F32"]
        specs[name] = mapcc.tensors.spec.TensorSpec(name, dtype, (int(str(size)),))
    manifest = mapcc.tensors.spec.Manifest(specs, (), "test", None, {})
    found = mapcc.check(mapcc.parse(f"keep a optional\n{text}"), manifest).diagnostics
    assert {d.code for d in found} == {code}


def test_groups_and_blocks(tmp_path: Path) -> None:
    arrays = {f"m.{i}.{name}.w": np.full(2, i, "f4") for i in range(2) for name in ("a", "b", "a2", "b2")}
    text = 'm.{i} -> t.{i} {\n    keep {a,b}.w\n    drop {a2,b2}.w same as {a,b}.w because "tied"\n}\n'
    mapping, source = written(tmp_path, arrays, text)
    assert len(mapcc.make_plan(mapping, source).twins) == 4
    arrays["m.1.b2.w"] = np.zeros(2, "f4")
    save_file(arrays, source)
    assert refused(tmp_path, mapping, source).names == ("m.1.b2.w",)


def test_the_inverse_of_a_copy_compares_and_that_of_the_drop_gives_it_again(tmp_path: Path) -> None:
    forward = mapcc.parse("shared.w -> shared.w, encoder.w")
    back = turned(forward, Diagnostics())
    assert print_mapping(back) == 'shared.w -> shared.w\ndrop encoder.w same as shared.w because "a copy"\n'
    assert print_mapping(turned(back, Diagnostics())) == "shared.w -> shared.w, encoder.w\n"
    text = 'keep a, b\ndrop c same as a because "tied"\nx : p q -> y : q p\ndrop z same as x because "tied"\n'
    again = print_mapping(turned(mapcc.parse(text), Diagnostics()))
    assert again == "keep b\na       -> a, c\ny : q p -> x : p q, z : p q\n"
    mapping, source = written(tmp_path, {"shared.w": embed(), "encoder.w": embed() * 2}, print_mapping(back))
    assert refused(tmp_path, mapping, source).code == "MC414"


def test_an_inverse_is_proven_both_ways(tmp_path: Path) -> None:
    mapping, source = written(tmp_path, {"embed.w": embed(), "head.w": embed()})
    mapcc.convert(mapping, source, tmp_path / "out")
    inverse = mapcc.invert(mapping, source, tmp_path / "out")
    assert inverse.proven
    assert inverse.warnings == ()
    (tmp_path / "back.mapcc").write_text(inverse.text, "utf-8")
    mapcc.convert(tmp_path / "back.mapcc", tmp_path / "out", tmp_path / "again")
    assert sorted(mapcc.keys(tmp_path / "again").tensors) == ["embed.w", "head.w"]


@pytest.mark.parametrize(
    ("names", "text", "back"),
    [
        (["a", "b", "c"], 'keep a\ndrop b, c same as a because "tied"', "a -> a, b, c\n"),
        (["a", "b", "c"], 'keep a\ndrop {b,c} same as a because "tied"', "a -> a, b, c\n"),
        (["a", "b"], 'keep a\ndrop b same as a because "tied" optional', "a -> a, b\n"),
        (["a"], 'keep a\ndrop b same as a because "tied" optional', "keep a\n"),
        (["a", "c"], 'keep a\ndrop b, c same as a because "tied" optional', "a -> a, c\n"),
        (["a", "b"], 'keep a\ndrop b same as a because "tied" allow MC810 because "x"', "a -> a, b\n"),
        (
            ["h.0", "h.1", "e.0", "e.1"],
            'e.{i} -> x.{i}   where i < 2\ndrop h.{i} same as e.{i} because "tied"   where i < 2',
            "x.{i} -> e.{i}, h.{i}   where i < 2\n",
        ),
        (
            ["h.0", "h.1", "e.0", "e.1"],
            'e.{i} -> x.{i} where i < 1\ne.{i} -> y.{i} where i > 0\ndrop h.{i} same as e.{i} because "tied"',
            "x.{i} -> e.{i}, h.{i}   where i < 1\ny.{i} -> e.{i}, h.{i}   where i > 0\n",
        ),
        (
            ["r0.a", "r0.b", "r1.a", "r1.b"],
            'r0.{a,b} -> {a,b}\ndrop r1.{a,b} same as r0.{a,b} because "replicated"',
            "{a,b} -> r0.{a,b}, r1.{a,b}\n",
        ),
    ],
)
def test_copies_come_back(names: list[str], text: str, back: str, tmp_path: Path) -> None:
    arrays = {name: np.full(2, 7, "f4") for name in names}
    mapping, source = written(tmp_path, arrays, text)
    mapcc.convert(mapping, source, tmp_path / "out")
    inverse = mapcc.invert(mapping, source, tmp_path / "out")
    assert (inverse.text, inverse.warnings, inverse.proven) == (back, (), True)
    (tmp_path / "back.mapcc").write_text(inverse.text, "utf-8")
    mapcc.convert(tmp_path / "back.mapcc", tmp_path / "out", tmp_path / "again")
    assert sorted(mapcc.keys(tmp_path / "again").tensors) == sorted(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('keep e.{i}\ndrop h.{i} same as e.{i} because "tied" where i < 1', "in two"),
        ('keep a\ndrop b same as a because "tied" where exists(b)', "in two"),
        ('keep a\ndrop b same as a because "tied" optional', "both key sets"),
    ],
)
def test_copies_that_come_back_for_some_only_are_refused(text: str, words: str) -> None:
    found = Diagnostics()
    turned(mapcc.parse(text), found)
    [fault] = found
    assert (fault.code, fault.span is not None and fault.span.text.startswith("drop")) == ("MC701", True)
    assert words in fault.help


def test_copies_of_what_has_no_rule_of_its_own() -> None:
    mapping = mapcc.parse('m.** -> **\ndrop a, b same as m.e because "tied"')
    inverse = mapcc.invert(mapping)
    assert inverse.text == '** -> m.**\nexternal a, b because "tied"\n'
    [warning] = inverse.warnings
    assert (warning.code, "m.e has no rule of its own" in warning.message) == ("MC702", True)


def test_both_forms_say_it() -> None:
    text = 'drop a.{i}.{x,y} same as b.{i}.{x,y} because "tied"   where i < 2\n'
    mapping = mapcc.parse(text)
    assert print_mapping(mapping) == text
    assert mapcc.parse(print_yaml(mapping), "m.yaml") == mapping
