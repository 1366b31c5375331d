"""``--under``: a mapping for what lies beneath a prefix; and ``use`` of mappings of the library."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc import api
from mapcc.diagnostics.model import Diagnostics
from mapcc.passes.under import read_under
from mapcc.resources import mappings
from mapcc.runtime.record import RECORD

Mapcc = Callable[..., Any]

FLUX = f"{mappings()}/flux/keys/official.json#schnell"
DIFFUSERS = f"{mappings()}/flux/keys/diffusers.json#schnell"
MAPPING = "layers.{i}.w : a b -> blocks.{i}.w : b a\nkeep norm\n"


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """``m.mapcc``, and a model beneath ``net.model`` beside another: ``source.safetensors``."""
    monkeypatch.chdir(tmp_path)
    Path("m.mapcc").write_text(MAPPING)
    rng = np.random.default_rng(0)
    names = ("layers.0.w", "layers.1.w", "norm")
    tensors = {f"net.model.{name}": rng.standard_normal((3, 2), dtype="f4") for name in names}
    tensors |= {
        name: rng.standard_normal(4, dtype="f4") for name in ("net.ema.norm", "vae.norm", "net", "step")
    }
    save_file(tensors, "source.safetensors")
    return tensors


def checked(
    text: str, source: dict[str, Any], target: dict[str, Any] | None = None, **options: Any
) -> api.Checked:
    Path("s.json").write_text(json.dumps(source))
    if target is not None:
        Path("t.json").write_text(json.dumps(target))
    return mapcc.check(mapcc.parse(text), "s.json", None if target is None else "t.json", **options)


@pytest.mark.parametrize("under", ["net.model", "net.model.", "net.model -> ."])
def test_a_conversion_takes_what_lies_beneath(
    bundle: dict[str, np.ndarray], mapcc: Mapcc, under: str
) -> None:
    ran = mapcc("convert", "m.mapcc", "-s", "source.safetensors", "-o", "out", "--under", under)
    assert (ran.code, "left out: 4 source tensors outside of the prefix" in ran.err) == (0, True)
    got = load_file("out/model.safetensors")
    assert sorted(got) == ["blocks.0.w", "blocks.1.w", "norm"]
    assert np.array_equal(got["blocks.1.w"], bundle["net.model.layers.1.w"].T)
    assert np.array_equal(got["norm"], bundle["net.model.norm"])
    record = json.loads(Path("out", RECORD).read_text())
    assert (record["options"]["under"], record["source"]["left_out"]) == (under, 4)
    assert mapcc("verify", "out", "--source", "source.safetensors", "--quiet").code == 0


def test_the_other_side_has_a_prefix_too(bundle: dict[str, np.ndarray], mapcc: Mapcc) -> None:
    wanted = {
        "transformer.norm": [3, 2],
        **{f"transformer.blocks.{i}.w": [2, 3] for i in (0, 1)},
        "vae.x": [9],
    }
    Path("t.json").write_text(json.dumps(wanted))
    options = ("-s", "source.safetensors", "-t", "t.json", "--under", "net.model -> transformer")
    ran = mapcc("check", "m.mapcc", *options)
    assert (ran.code, "4 dropped, 1 external" in ran.out) == (0, True)
    shown = mapcc("show", "m.mapcc", *options, "--filter", "vae")
    assert "external: not under transformer" in shown.out
    plan = mapcc("plan", "m.mapcc", *options)
    assert "left out: 4 source tensors outside of the prefix" in plan.out
    mapcc("convert", "m.mapcc", *options, "-o", "out", "--quiet")
    assert sorted(load_file("out/model.safetensors")) == sorted(set(wanted) - {"vae.x"})


def test_a_script_and_an_inverse_are_of_the_same_names(bundle: dict[str, np.ndarray], mapcc: Mapcc) -> None:
    script = mapcc("emit-script", "m.mapcc", "-s", "source.safetensors", "--under", "net.model").out
    names: dict[str, Any] = {"__name__": "script"}
    exec(compile(script, "convert.py", "exec"), names)
    assert "net.model.norm" in script
    Path("t.json").write_text(json.dumps({"norm": [3, 2], **{f"blocks.{i}.w": [2, 3] for i in (0, 1)}}))
    options = ("-s", "source.safetensors", "-t", "t.json", "--under", "net.model")
    back = mapcc("invert", "m.mapcc", *options)
    assert (back.code, ". -> net.model {" in back.out) == (0, True)
    Path("back.mapcc").write_text(back.out)
    assert mapcc("check", "back.mapcc", "-s", "t.json", "-t", "source.safetensors").code == 0


@pytest.mark.parametrize("format", ["sglang", "vllm", "transformers"])
def test_a_config_has_the_prefix_in_its_table(
    bundle: dict[str, np.ndarray], mapcc: Mapcc, format: str
) -> None:
    """What such a table does is replayed over all names of the source; those that lie elsewhere too."""
    Path("renames.mapcc").write_text("layers.{i}.w -> blocks.{i}.weight\nkeep norm\n")
    options = ("-s", "source.safetensors", "--under", "net.model", "--format", format)
    ran = mapcc("emit-config", "renames.mapcc", *options)
    assert (ran.code, r"^net\.model\.layers" in ran.out, "4 names" not in ran.out) == (0, True, True)


def test_a_prefix_that_is_not_there(bundle: dict[str, np.ndarray], mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", "-s", "source.safetensors", "--under", "net.modell")
    assert (ran.code, "error[MC008]" in ran.out, "did you mean net.model" in ran.out) == (1, True, True)
    ran = mapcc("check", "m.mapcc", "-s", "source.safetensors", "--under", "nothing -> at -> all")
    assert (ran.code, "error[MC007]" in ran.out) == (2, True)


def test_what_is_unexpected_beneath_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = checked("a -> b", {"x.a": [1], "x.c": [1], "y.a": [1]}, under="x").diagnostics
    assert [(d.code, d.names) for d in found] == [("MC402", ("x.c",))]


def test_what_stands_at_the_top_of_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = 'let n = 2\ndtype bf16 {\n    keep f32 : b.norm\n}\nseparator source "/"\n'
    text += "a/qkv : (t d) c -> b.[t=q,k] : d c   where t = n\na/norm -> b.norm\n"
    text += 'default {\n    drop ** because "?"\n}\n'
    kinds = {"dtype": "F32", "shape": [4, 3]}
    found = checked(text, {"x/a/qkv": kinds, "x/a/norm": kinds, "x/c": kinds, "y": kinds}, under="x -> z.y")
    assert found.ok
    assert found.bound is not None
    given = {name: instance.dtypes[k] for name, (instance, k) in found.bound.given.items()}
    assert {name: dtype.name for name, dtype in given.items() if dtype} == {
        "z.y.b.q": "BF16",
        "z.y.b.k": "BF16",
        "z.y.b.norm": "F32",
    }
    assert sorted(listed.because for listed in found.bound.dropped.values()) == ["?", "not under x"]


def test_questions_are_asked_beneath_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "a.{i} -> b.{n-1-i}   where n = count(a.{i})\nc -> d   where exists(a.1)\n"
    source = {"x.a.0": [1], "x.a.1": [2], "x.c": [1], **{f"a.{i}": [1] for i in range(5)}}
    found = checked(text, source, {"b.0": [2], "b.1": [1], "d": [1]}, under="x")
    assert found.diagnostics == ()


def test_a_mapping_that_carries_the_prefix_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a component of a single file: it is kept from the rest. One that is there twice is put before."""
    monkeypatch.chdir(tmp_path)
    text = "vae.a -> a\nvae.{b,c} -> {b,c}\n"
    once = {f"vae.{x}": [1] for x in "abc"}
    assert checked(text, {**once, "unet.a": [1]}, under="vae").ok
    assert checked(text, {**{f"vae.{name}": [1] for name in once}, "unet.a": [1]}, under="vae").ok
    assert not checked("a -> a\nvae.b -> b", {"vae.vae.b": [1], "vae.b": [1]}, under="vae").ok


@pytest.mark.parametrize("text", ["", " -> a", "a -> ", "a -> b -> c"])
def test_no_prefix(text: str) -> None:
    found = Diagnostics()
    assert read_under(text, found) is None
    assert [d.code for d in found] == ["MC007"]


def test_a_table_has_no_prefix(bundle: dict[str, np.ndarray], mapcc: Mapcc) -> None:
    ran = mapcc("check", "m.mapcc", "--from", "fastvideo", "-s", "source.safetensors", "--under", "net")
    assert (ran.code, "error[MC007]" in ran.err) == (2, True)


# --- names of the library


@pytest.fixture
def flux(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    keys = {
        f"model.diffusion_model.{name}": {"dtype": "BF16", "shape": list(spec.shape)}
        for name, spec in mapcc.keys(FLUX).tensors.items()
    }
    Path("prefixed.json").write_text(json.dumps(keys))
    return tmp_path


def test_a_mapping_of_the_library_is_used_by_name(flux: Path) -> None:
    """As it is by ``--under``; nested; and from right to left."""
    Path("m.mapcc").write_text('use "flux/official_to_diffusers" under model.diffusion_model -> .\n')
    assert mapcc.check("m.mapcc", "prefixed.json", DIFFUSERS).diagnostics == ()
    by_option = {"under": "model.diffusion_model"}
    assert (
        mapcc.check("flux/official_to_diffusers", "prefixed.json", DIFFUSERS, **by_option).diagnostics == ()
    )
    Path("n.mapcc").write_text('use "m.mapcc"\n')
    assert mapcc.check("n.mapcc", "prefixed.json", DIFFUSERS).diagnostics == ()
    Path("b.mapcc").write_text('use inverse "flux/diffusers_to_official" under model.diffusion_model -> .\n')
    assert mapcc.check("b.mapcc", "prefixed.json", DIFFUSERS).diagnostics == ()
    assert mapcc.diff("m.mapcc", "b.mapcc", "prefixed.json").equal


def test_a_file_that_is_there_goes_before_the_library(flux: Path) -> None:
    Path("flux").mkdir()
    Path("flux/official_to_diffusers").write_text("** -> own.**\n")
    Path("m.mapcc").write_text('use "flux/official_to_diffusers"\n')
    checked = mapcc.check("m.mapcc", "prefixed.json")
    assert checked.bound is not None
    assert all(name.startswith("own.") for name in checked.bound.given)


@pytest.mark.parametrize(
    ("named", "meant"),
    [
        ("flux/offical_to_diffusers", "flux/official_to_diffusers"),
        ("wan/animate", "wan/animate_to_diffusers"),
        ("llama/hf_to_litgpt.mapcc", "llama/hf_to_litgpt"),
        ("wan/nothing_like_it", "wan/"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest(flux: Path, mapcc: Mapcc, named: str, meant: str) -> None:
    Path("m.mapcc").write_text(f'use "{named}"\n')
    for mapping in ("m.mapcc", named):
        ran = mapcc("check", mapping, "-s", "prefixed.json")
        assert (ran.code, f"did you mean {meant}" in ran.out, "of the library" in ran.out) == (2, True, True)


def test_a_name_with_an_ending_has_a_fix(flux: Path) -> None:
    text = 'use "flux/official_to_diffusers.mapcc" under model.diffusion_model -> .\n'
    Path("m.mapcc").write_text(text)
    (found,) = mapcc.check("m.mapcc", "prefixed.json").diagnostics
    ((edit,),) = (fix.edits for fix in found.fixes if fix.certain)
    Path("m.mapcc").write_text(text[: edit.span.start] + edit.replacement + text[edit.span.end :])
    assert mapcc.check("m.mapcc", "prefixed.json").diagnostics == ()


def test_the_record_has_the_library_s_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By names that tell nothing of the machine; and it is believed, not the library as it is later."""
    monkeypatch.chdir(tmp_path)
    names = mapcc.keys(FLUX).tensors
    tiny = {f"net.{name}": np.ones([1] * len(spec.shape), "f4") for name, spec in names.items()}
    for name in tiny:
        if name.endswith(("linear1.weight", "linear1.bias")):
            tiny[name] = np.arange(7, dtype="f4").reshape(-1, *[1] * (tiny[name].ndim - 1))
        elif "qkv" in name or "mod" in name or "adaLN" in name:
            tiny[name] = np.arange(6, dtype="f4").reshape(-1, *[1] * (tiny[name].ndim - 1))
        elif name.endswith("linear2.weight"):
            tiny[name] = np.ones((1, 5), "f4")
    save_file(tiny, "s.safetensors")
    Path("m.mapcc").write_text('use "flux/official_to_diffusers" under net -> .\n')
    mapcc.convert("m.mapcc", "s.safetensors", "out")
    record = json.loads(Path("out", RECORD).read_text())
    assert [text["name"] for text in record["mapping"]] == [
        "m.mapcc",
        "library:flux/official_to_diffusers.mapcc",
        "library:flux/parts/blocks_to_diffusers.mapcc",
    ]
    monkeypatch.setattr("mapcc.resources.mappings", lambda: tmp_path / "nowhere")
    Path("m.mapcc").unlink()
    assert mapcc.verify_output("out", "s.safetensors") == ()


def test_an_inverse_has_the_lets_of_what_it_uses_at_its_top(flux: Path, mapcc: Mapcc) -> None:
    ran = mapcc("invert", "flux/diffusers_to_official", "--under", "transformer")
    Path("back.mapcc").write_text(ran.out)
    assert "let mlp_ratio = 4" in ran.out
    assert mapcc("fmt", "--check", "back.mapcc").code == 0
    assert mapcc("check", "back.mapcc", "-s", FLUX).code == 0


@pytest.mark.parametrize("rules", ["", "keep head.*   optional\n"])
def test_what_is_optional_need_not_carry_the_prefix(
    rules: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is needed lies under `m`: the mapping is not for what lies under `m.m`."""
    text = "m.a.* -> x.*   where exists(head.w)\nm.a.* -> x.*, head.*   where not exists(head.w)\n" + rules
    monkeypatch.chdir(tmp_path)
    result = checked(text, {"m.a.w": [2], "step": []}, under="m")
    assert result.ok, result.diagnostics
    assert result.bound is not None
    assert set(result.bound.given) == {"x.w", "head.w"}
