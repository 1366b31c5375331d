"""``identify`` prints commands: each is run, over every key set of the library as it is met in the wild."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.api import check, identifying
from mapcc.library.catalog import catalog
from mapcc.library.known import Known, known_models
from mapcc.passes.leftover import patterns_of
from mapcc.resources import mappings
from mapcc.tensors.dump import dump_keys
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.faults.counts import IS_NIGHT

Mapcc = Callable[..., Any]
Tensors = dict[str, TensorSpec]

ENTRIES = catalog(headers=True)
MODELS = list(known_models(ENTRIES))
# The first size of each file: what a prefix or one tensor more does is the same for all.
FILES = list({known.keys.partition("#")[0]: known for known in MODELS}.values())
LARGEST = 20_000  # tensors: one model of the library has more, and every command takes a second for it
FLOOR = 40  # commands of each variant


@pytest.fixture(autouse=True)
def known_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The library's names are read once for all tests."""
    monkeypatch.setattr(identifying, "known_models", lambda _: MODELS)
    monkeypatch.setattr(identifying, "catalog", lambda **_: ENTRIES)
    monkeypatch.setattr(identifying, "load_mapping", cache(mapcc.load_mapping))
    monkeypatch.chdir(tmp_path)


def name_of(known: Known) -> str:
    path = Path(known.keys)
    return f"{path.parent.parent.name}-{path.name}"


def under(prefix: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {prefix + name: spec for name, spec in tensors.items()}


def too_many(tensors: Tensors) -> Tensors:
    """A tensor more in one of its modules, and one at the top."""
    first = next(iter(tensors))
    extra = f"{first.rpartition('.')[0]}.to_gate_compress" if "." in first else f"{first}_compress"
    return {**tensors, extra: TensorSpec(extra, None, (3,)), "step": TensorSpec("step", None, ())}


def too_few(tensors: Tensors) -> Tensors:
    names = list(tensors)
    return {name: tensors[name] for name in names if name != names[len(names) // 2]}


def tied(tensors: Tensors) -> Tensors:
    """Without the last matrix that has the shape of another one."""
    shapes = [spec.shape for spec in tensors.values()]
    twins = [name for name, spec in tensors.items() if len(spec.shape) > 1 and shapes.count(spec.shape) > 1]
    return {name: spec for name, spec in tensors.items() if name not in twins[-1:]}


def bundled(tensors: Tensors) -> Tensors:
    """Beside another model, which has a prefix; and under none itself."""
    other = next(known for known in MODELS if known.family == "whisper" and known.takes)
    return {**tensors, **under("speech.encoders.1.")(other.tensors)}


VARIANTS: dict[str, Callable[[Tensors], Tensors]] = {
    "plain": under(""),
    "under model.diffusion_model": under("model.diffusion_model."),
    "under module": under("module."),
    "under _orig_mod": under("_orig_mod."),
    "too many": too_many,
    "too few": too_few,
    "tied": tied,
    "bundled": bundled,
    "wrapped twice": under("module._orig_mod."),
}


def commands(text: str) -> list[list[str]]:
    return [shlex.split(line)[1:] for line in text.splitlines() if line.strip().startswith("mapcc ")]


def ran_all(mapcc: Mapcc, tensors: Tensors) -> tuple[int, str]:
    """How many commands were printed for a key set; each of them ends with 0."""
    renamed = {name: spec._replace(name=name) for name, spec in tensors.items()}
    Path("keys of it.json").write_text(dump_keys(Manifest(renamed, (), "test", None, {})), "utf-8")
    said = mapcc("identify", "keys of it.json")
    found = commands(said.out)
    for command in found:
        ran = mapcc(*command)
        assert (ran.code, command[0]) == (0, "check"), (command, ran.out, ran.err)
    return len(found), said.out


def must_fit(known: Known, variant: str) -> bool:
    """Without a tensor, some rule may have nothing to take. A dot ends no segment of names with slashes."""
    return bool(known.takes) and variant not in ("too few", "tied") and "/" not in next(iter(known.tensors))


@pytest.mark.parametrize("at", range(0, len(FILES), 4), ids=lambda at: name_of(FILES[at]))
def test_commands_of_a_sample(mapcc: Mapcc, at: int) -> None:
    """One variant for each of some files, plain for all that some mapping takes."""
    known = FILES[at]
    if len(known.tensors) > LARGEST:
        pytest.skip("in the slow tier")
    variant = list(VARIANTS)[at // 4 % len(VARIANTS)]
    count, said = ran_all(mapcc, VARIANTS[variant](known.tensors))
    if must_fit(known, variant):
        assert count, said


@pytest.mark.slow
@pytest.mark.parametrize("known", MODELS, ids=name_of)
def test_commands_of_every_size(mapcc: Mapcc, known: Known) -> None:
    """Each mapping that has it among its models is printed, at least."""
    _, said = ran_all(mapcc, known.tensors)
    assert [name for name in known.takes if f" {name} " not in said] == []


def test_they_are_many() -> None:
    assert sum(len(known.takes) for known in MODELS) >= 105


@pytest.mark.slow
@pytest.mark.parametrize("variant", [name for name in VARIANTS if name != "plain"])
def test_commands_of_every_variant(mapcc: Mapcc, variant: str) -> None:
    """Of every third file, each variant of others; of all at night."""
    counts = {}
    first, step = (0, 1) if IS_NIGHT else (list(VARIANTS).index(variant) % 3, 3)
    for known in FILES[first::step]:
        if known.takes and len(known.tensors) <= LARGEST:
            counts[name_of(known)], said = ran_all(mapcc, VARIANTS[variant](known.tensors))
            if must_fit(known, variant):
                assert counts[name_of(known)] >= len(set(known.takes)), (name_of(known), said)
    assert sum(counts.values()) >= FLOOR // step


# --- what is said beside them


def written(tensors: Any) -> Path:
    shapes = {name: list(getattr(spec, "shape", spec)) for name, spec in tensors.items()}
    Path("keys.json").write_text(json.dumps(shapes), "utf-8")
    return Path("keys.json")


def model(keys: str) -> Tensors:
    return dict(mapcc.keys(f"{mappings()}/{keys}").tensors)


def test_what_the_mapping_drops_is_not_unexpected(mapcc: Mapcc) -> None:
    tensors: dict[str, Any] = {**model("llama/keys/hf.json#2_7b")}
    tensors |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": [64] for i in range(32)}
    said = mapcc("identify", written(tensors)).out
    assert "dropped by the mapping: model.layers.{0..31}.self_attn.rotary_emb.inv_freq (computed" in said
    assert "unexpected" not in said
    assert "--drop" not in said


def test_tensors_too_many_are_left_out_by_name(mapcc: Mapcc) -> None:
    """FastWan's gates: two in each block that Wan does not have."""
    tensors: dict[str, Any] = {**model("wan/keys/diffusers.json#t2v_1_3b")}
    tensors |= {f"blocks.{i}.to_gate_compress.{x}": [1536] for i in range(30) for x in ("weight", "bias")}
    said = mapcc("identify", written(tensors)).out
    assert [(command[1], command[-2:]) for command in commands(said)] == [
        ("wan/diffusers_to_fastvideo", ["--drop", "blocks.{i}.to_gate_compress.**"]),
        ("wan/diffusers_to_official", ["--drop", "blocks.{i}.to_gate_compress.**"]),
    ]
    assert "unexpected, and left out by --drop: blocks.{0..29}.to_gate_compress.{weight,bias}" in said


def test_a_tied_head_is_no_command(mapcc: Mapcc) -> None:
    tensors = model("moe/keys/mixtral_v4.json#8x7b")
    del tensors["lm_head.weight"]
    ran = mapcc("identify", written(tensors))
    assert ran.code == 0
    assert commands(ran.out) == []
    assert (
        "absent: lm_head.weight (it has the shape of model.embed_tokens.weight: perhaps they are" in ran.out
    )
    assert "moe/mixtral_v4_to_v5 does not take it: MC405: " in ran.out


@pytest.mark.parametrize("keys", ["llama/keys/hf.json#3_2_1b", "llama/keys/phi_hf.json#phi_4_mini"])
def test_a_tied_head_that_the_mapping_knows(keys: str, mapcc: Mapcc) -> None:
    """It is given from the embedding, as LitGPT does: of a model that is in the library, and of another."""
    path = written(model(keys))
    [command] = commands(mapcc("identify", path).out)
    name = "llama/phi_hf_to_litgpt" if "phi" in keys else "llama/hf_to_litgpt"
    assert command[:2] == ["check", name]
    assert mapcc(*command).code == 0


def test_all_mappings_of_the_family_that_fit(mapcc: Mapcc) -> None:
    """The distilled model is a source of one of them by its header, and of both by its names."""
    keys = f"{mappings()}/hunyuan_video/keys/diffusers.json#t2v_distilled"
    found = {command[1] for command in commands(mapcc("identify", keys).out)}
    assert found == {"hunyuan_video/diffusers_to_official", "hunyuan_video/diffusers_to_fastvideo"}


def test_lets_stand_in_the_command(mapcc: Mapcc) -> None:
    keys = f"{mappings()}/llama/keys/meta.json#2_7b"
    assert "--set head_dim=128" in mapcc("identify", keys).out


def test_lets_of_a_config_that_lies_beside(mapcc: Mapcc) -> None:
    """Another size: no shape tells what a head is, and the config does."""
    tensors = {
        name: [n // 16 for n in spec.shape] for name, spec in model("llama/keys/meta.json#2_7b").items()
    }
    written(tensors)
    said = mapcc("identify", "keys.json").out
    assert said.startswith("another size: ")
    assert "--set head_dim=128" in said
    assert "no shape tells head_dim=128: compare it with the model's config" in said
    Path("keys.config.json").write_text(json.dumps({"num_attention_heads": 16, "hidden_size": 256}))
    said = mapcc("identify", "keys.json").out
    assert "--set head_dim=16" in said
    for command in commands(said):
        assert mapcc(*command).code == 0


def test_another_size_has_a_command(mapcc: Mapcc) -> None:
    tensors = {
        name: [n // 8 or 1 for n in spec.shape]
        for name, spec in model("flux/keys/diffusers.json#dev").items()
    }
    ran = mapcc("identify", written(under("transformer.")(tensors)))
    assert ran.code == 1
    assert "nearest: flux: diffusers" in ran.out
    (command,) = commands(ran.out)
    assert command[1:] == ["flux/diffusers_to_official", "--source", "keys.json", "--under", "transformer"]


def test_another_size_of_a_sibling_with_the_same_widths(mapcc: Mapcc) -> None:
    """Wan 2.2 5B has the widths of Matrix-Game 3, and the names of Wan 2.1: what takes it counts."""
    narrow = {5120: 3072, 13824: 14336}
    tensors = {
        name: [narrow.get(n, n) for n in spec.shape]
        for name, spec in model("wan/keys/official.json#t2v_14b").items()
    }
    ran = mapcc("identify", written(tensors))
    assert "nearest: wan: " in ran.out
    assert "wan/official_to_diffusers" in {command[1] for command in commands(ran.out)}


def test_what_the_model_itself_has_is_never_dropped(mapcc: Mapcc) -> None:
    """A mapping for text alone does not take an image model by leaving its image parts out."""
    said = mapcc("identify", f"{mappings()}/wan/keys/official.json#i2v_14b").out
    assert "wan/official_to_diffusers" in {command[1] for command in commands(said)}
    assert "--drop" not in said


def test_quantised_weights(mapcc: Mapcc) -> None:
    """The model is seen behind its scales, and no command is printed that would convert its codes."""
    tensors: dict[str, Any] = {"scaled_fp8": {"dtype": "F8_E4M3", "shape": [2]}}
    for name, spec in model("flux/keys/official.json#dev").items():
        is_matrix = name.endswith("weight") and len(spec.shape) == 2
        dtype = "F8_E4M3" if is_matrix else "BF16"
        tensors[f"model.diffusion_model.{name}"] = {"dtype": dtype, "shape": list(spec.shape)}
        if is_matrix:
            scale = f"model.diffusion_model.{name.removesuffix('weight')}scale_weight"
            tensors[scale] = {"dtype": "F32", "shape": []}
    Path("keys.json").write_text(json.dumps(tensors))
    ran = mapcc("identify", "keys.json")
    assert ran.code == 0
    assert "dev, its weights quantised" in ran.out
    assert "take the release in BF16 or F16" in ran.out
    assert not commands(ran.out)


def test_components_of_one_file(mapcc: Mapcc) -> None:
    """SDXL's single file: each part with its prefix and its command, and what nobody knows."""
    whole: dict[str, Any] = {**model("stable_diffusion/keys/unet_official.json#sdxl")}
    whole |= model("stable_diffusion/keys/vae_official.json#sdxl") | model(
        "stable_diffusion/keys/openclip.json"
    )
    whole["model_ema.decay"] = []
    ran = mapcc("identify", written(whole))
    assert ran.code == 0
    said = {command[1]: command[command.index("--under") + 1] for command in commands(ran.out)}
    assert said == {
        "stable_diffusion/unet_to_diffusers": "model.diffusion_model",
        "stable_diffusion/vae_to_diffusers": "first_stage_model",
        "stable_diffusion/openclip_to_hf": "conditioner.embedders.1.model",
    }
    assert "of no model that is known: model_ema.decay" in ran.out
    assert f"under first_stage_model., 248 of {len(whole):,} tensors" in ran.out
    for command in commands(ran.out):
        assert mapcc(*command).code == 0


def test_one_model_twice(mapcc: Mapcc) -> None:
    """The weights and their average, side by side."""
    tensors = model("whisper/keys/openai.json#tiny")
    both = under("model.")(tensors) | under("ema.shadow.")(tensors)
    said = mapcc("identify", written(both)).out
    assert {command[command.index("--under") + 1] for command in commands(said)} == {"model", "ema.shadow"}


def test_wrappers_within_the_names(mapcc: Mapcc) -> None:
    """The lines that are printed are a mapping, and what it gives is the model."""
    names = model("llama/keys/hf.json#2_7b")
    wrapped = {
        f"module.{name}".replace(".mlp.", "._fsdp_wrapped_module.mlp."): t.shape for name, t in names.items()
    }
    ran = mapcc("identify", written(wrapped))
    assert (ran.code, commands(ran.out)) == (0, [])
    assert "MistralForCausalLM, 2_7b, beneath the wrappers of training" in ran.out
    lines = [line.strip() for line in ran.out.splitlines() if " -> " in line]
    Path("off.mapcc").write_text("".join(f"{line}\n" for line in lines), "utf-8")
    bound = check("off.mapcc", "keys.json").bound
    assert bound is not None
    assert bound.given.keys() == names.keys()


def test_what_others_give_and_none_takes(mapcc: Mapcc) -> None:
    said = mapcc("identify", f"{mappings()}/whisper/keys/hf.json#tiny").out
    assert "no mapping of the library takes it; it is what whisper/openai_to_hf gives" in said


# --- a checkpoint: its commands convert


@pytest.mark.parametrize("prefix", ["", "module.", "model.diffusion_model.", "_orig_mod.module."])
def test_commands_convert(mapcc: Mapcc, prefix: str) -> None:
    rng = np.random.default_rng(0)
    names = model("llama/keys/hf.json#2_7b")
    tiny = {}
    for name, spec in names.items():
        if ".layers." not in name or ".layers.0." in name:
            shape = [n // 512 for n in spec.shape]
            tiny[name] = rng.standard_normal(shape, dtype="f4")
    save_file({prefix + name: array for name, array in tiny.items()}, "-odd name.safetensors")
    ran = mapcc("identify", "--", "-odd name.safetensors")
    (command,) = commands(ran.out)
    assert command[:2] == ["convert", "llama/hf_to_litgpt"]
    assert mapcc(*command, "--quiet").code == 0
    out = load_file(Path(command[-1]) / "model.safetensors")
    assert np.array_equal(out["transformer.h.0.mlp.proj.weight"], tiny["model.layers.0.mlp.down_proj.weight"])
    (again,) = commands(mapcc("identify", "./-odd name.safetensors").out)
    assert again[-1] != command[-1], "the first output is there already"


def test_more_is_left_out_on_the_command_line(mapcc: Mapcc) -> None:
    Path("m.mapcc").write_text("a -> b\n", "utf-8")
    keys = written({"a": [1], "x.c": [1], "x.d.0": [1], "y": [1]})
    assert mapcc("check", "m.mapcc", "-s", keys).code == 1
    ran = mapcc("check", "m.mapcc", "-s", keys, "--drop", "x.**", "--drop", "y")
    assert (ran.code, "3 dropped" in ran.out) == (0, True)
    shown = mapcc("show", "m.mapcc", "-s", keys, "--drop", "x.**", "--drop", "y", "--side", "source")
    assert "dropped: --drop" in shown.out
    assert mapcc("check", "m.mapcc", "-s", keys, "--drop", "{").code == 1
    assert mapcc("check", "m.mapcc", "--drop", "y").code == 2


@pytest.mark.parametrize(
    ("left", "taken", "patterns"),
    [
        (["a.b", "a.c"], ["b"], ["a.**"]),
        (["a.b", "a.c"], ["a.d"], ["a.b", "a.c"]),
        (["l.0.x", "l.1.x"], ["l.0.y", "l.1.y"], ["l.{i}.x"]),
        (["l.3.x"], ["l.0.x"], ["l.3.**"]),
        (["drop", "a b.c"], [], ['"drop"', '"a b."**']),
        (["a"], ["a.b"], ["a"]),
        (["e.0.f.1.w", "e.1.f.1.w"], ["e.0.f.0.w", "e.1.f.0.w"], ["e.0.f.1.**", "e.1.f.1.**"]),
        (["l.61.q", "l.61.k"], ["l.0.q", "l.0.k"], ["l.61.**"]),
        (["l.1.x.a", "l.2.x.a"], ["l.0.x.b", "l.1.x.b"], ["l.{i}.x.a"]),
    ],
)
def test_patterns_for_the_rest(left: list[str], taken: list[str], patterns: list[str]) -> None:
    assert patterns_of(left, taken) == patterns
    text = "".join(f'drop {pattern} because "?"\n' for pattern in patterns)
    source = Manifest({name: TensorSpec(name, None, ()) for name in [*left, *taken]}, (), "s", None, {})
    bound = mapcc.check(mapcc.parse(text), source).bound
    assert bound is not None
    assert set(bound.dropped) == set(left)
