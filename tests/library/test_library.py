"""The library as a whole: its headers, its list, and which model a checkpoint is."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

import mapcc
from mapcc.errors import MappingError
from mapcc.library.catalog import catalog, entry
from mapcc.library.identify import identify
from mapcc.library.known import Known, count_tensors, known_models
from mapcc.tensors.spec import Manifest
from tests.corpus.conftest import PAIRS
from tests.library.test_fastvideo import TABLES
from tests.library.test_litgpt import MAPPINGS as LITGPT_MAPPINGS
from tests.library.test_oracles import INVERSES, ORACLES

ENTRIES = catalog()
MODELS = list(known_models(ENTRIES))
MAPPINGS = Path(__file__).resolve().parents[2] / "mappings"
TOPICS = {"source", "target", "proof", "keys", "peer"}


def manifest(tensors: Any) -> Manifest:
    return Manifest(dict(tensors), (), "test", None, {})


def part(known: Known, seed: int, prefix: str = "") -> Manifest:
    """Four fifths of a model."""
    names = sorted(known.tensors)
    kept = random.Random(seed).sample(names, round(len(names) * 0.8))
    return manifest((prefix + name, known.tensors[name]._replace(name=prefix + name)) for name in kept)


@pytest.mark.parametrize("each", ENTRIES, ids=lambda each: each.name)
def test_a_header_says_where_it_comes_from(each: Any) -> None:
    said = [about.topic for about in each.mapping.body if type(about).__name__ == "About"]
    assert set(said) <= TOPICS
    assert {"source", "target", "proof", "keys"} <= set(said)
    assert each.mapping.title
    assert each.pairs


@pytest.mark.parametrize(
    "known", MODELS, ids=lambda known: f"{Path(known.keys).parts[-3]}-{Path(known.keys).name}"
)
def test_a_fifth_is_missing(known: Known) -> None:
    """Right, or, where what tells two models apart is what is missing, both are said to fit."""
    for seed in range(3):
        checkpoint = part(known, seed)
        matches = identify(checkpoint, MODELS)
        fitting = [match.known for match in matches if match.is_this and match.same == matches[0].same == 1]
        assert known in fitting
        assert matches[0].known is known or fits(checkpoint, matches[0].known)


def fits(checkpoint: Manifest, other: Known) -> bool:
    """Nothing that is left tells it from the other model."""
    return all(
        name in other.tensors and other.tensors[name].shape == spec.shape
        for name, spec in checkpoint.tensors.items()
    )


def test_most_are_told_apart() -> None:
    """That two models fit is the exception."""
    right = sum(identify(part(known, 7), MODELS)[0].known.tensors == known.tensors for known in MODELS)
    assert right >= 0.9 * len(MODELS)


def test_a_prefix_is_seen() -> None:
    for known in MODELS[:6]:
        best = identify(part(known, 1, "model.diffusion_model."), MODELS)[0]
        assert best.is_this
        assert best.prefix == "model.diffusion_model."


UNKNOWN = {
    "another language model": [f"transformer.h.{i}.mix.{x}.w" for i in range(9) for x in "rkvwg"],
    "a few names of a known one": ["lm_head.weight", *(f"model.layers.{i}.rwkv.{i}" for i in range(20))],
    "one tensor": ["weight"],
}


@pytest.mark.parametrize("names", UNKNOWN.values(), ids=UNKNOWN.keys())
def test_what_is_not_there_is_unknown(names: list[str], tmp_path: Path, mapcc: Any) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({name: [7, 7] for name in names}), "utf-8")
    ran = mapcc("identify", path)
    assert ran.code == 1
    assert ran.out.startswith("unknown: ")


def test_names_of_a_known_model_with_other_shapes(tmp_path: Path, mapcc: Any) -> None:
    known = next(known for known in MODELS if "whisper/openai_to_hf" in known.takes)
    path = tmp_path / "keys.json"
    path.write_text(
        json.dumps({name: [n * 3 for n in t.shape] for name, t in known.tensors.items()}), "utf-8"
    )
    ran = mapcc("identify", path)
    assert ran.code == 1
    assert "nearest: whisper: " in ran.out


def test_a_near_miss_is_told(mapcc: Any) -> None:
    ran = mapcc("identify", mapping_keys("hunyuan_video/keys/official.json#t2v"))
    assert ran.code == 0
    assert "mapcc check hunyuan_video/official_to_diffusers" in ran.out
    assert "near: hunyuan_video: " in ran.out
    assert "t2v_distilled, but guidance_in.mlp.{0,2}.{weight,bias} is absent" in ran.out


def mapping_keys(path: str) -> Path:
    return Path(__file__).resolve().parents[2] / "mappings" / path


def test_the_list(mapcc: Any) -> None:
    ran = mapcc("list")
    assert ran.code == 0
    assert all(each.name in ran.out for each in ENTRIES)
    rows = json.loads(mapcc("list", "wan", "--format", "json").out)
    assert {row["name"].partition("/")[0] for row in rows} == {"wan"}
    sizes = {row["name"]: row["sizes"] for row in rows}
    assert sizes["wan/official_to_diffusers"]["t2v_14b"] == 1095


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["clip"], ["stable_diffusion/openclip_to_hf"]),
        (["OpenCLIP"], ["stable_diffusion/openclip_to_hf"]),
        (["chroma", "silero"], ["flux/chroma_to_diffusers", "vocoder/silero_jit_to_safetensors"]),
        (["qwen3_30b"], ["moe/qwen_v4_to_v5"]),
        (["wan/animate"], ["wan/animate_to_diffusers"]),
    ],
)
def test_the_list_is_searched(mapcc: Any, words: list[str], names: list[str]) -> None:
    ran = mapcc("list", *words, "--format", "json")
    assert (ran.code, [row["name"] for row in json.loads(ran.out)]) == (0, names)


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("wna", "wan"),
        ("chrome", "chroma"),
        ("hunyuanvido", "hunyuan_video"),
        ("wan/animat_to_diff", "wan/animate"),
    ],
)
def test_a_word_that_nothing_has(mapcc: Any, word: str, meant: str) -> None:
    ran = mapcc("list", word)
    assert (ran.code, ran.out) == (1, "")
    assert f"no mapping for '{word}': did you mean {meant}" in ran.err
    assert mapcc("list", "zzzzzz").err == "no mapping for 'zzzzzz'\n"


def test_the_list_counts_without_writing_names_out() -> None:
    for known in MODELS:
        assert count_tensors(known.keys) == len(known.tensors)


def test_a_name_stands_for_the_file(tmp_path: Path, mapcc: Any) -> None:
    keys = mapping_keys("wan/keys/official.json#t2v_1_3b")
    assert mapcc("check", "wan/official_to_diffusers", "-s", keys).code == 0
    assert (
        mapcc(
            "show", "wan/official_to_diffusers", "-s", keys, "-f", "head.head.weight", "--side", "source"
        ).code
        == 0
    )
    assert mapcc("emit-config", "wan/official_to_diffusers", "-s", keys).code == 0


def test_a_mapping_alone(tmp_path: Path, mapcc: Any) -> None:
    ran = mapcc("check", "flux/official_to_diffusers")
    assert (ran.code, ran.out.count(": clean: ")) == (0, 4)
    alone = tmp_path / "m.mapcc"
    alone.write_text("a -> b\n", "utf-8")
    ran = mapcc("check", alone)
    assert ran.code == 2
    assert "names no key sets of its own" in ran.err + ran.out


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ("a.json", "names no two key sets"),
        ("a.json -> b.json", "no size in common"),
        ("a.json -> c.json", "c.json"),
    ],
)
def test_what_a_header_says_wrongly(tmp_path: Path, said: str, fault: str) -> None:
    form = {"numbers": {}, "groups": []}
    (tmp_path / "a.json").write_text(json.dumps({"sizes": ["s"], **form}), "utf-8")
    (tmp_path / "b.json").write_text(json.dumps({"sizes": ["t"], **form}), "utf-8")
    path = tmp_path / "m.mapcc"
    path.write_text(f'about keys "{said}"\na -> b\n', "utf-8")
    with pytest.raises(MappingError, match=fault):
        entry(path)
    with pytest.raises(MappingError, match=fault):
        list(mapcc.api.check_models(path))


def test_what_calls_itself_proven_has_an_oracle() -> None:
    """Live code of a peer, or a tiny pair that it made; a mapping and its inverse are proven together."""
    shown = {oracle.mapping for oracle in ORACLES} | TABLES.keys() | LITGPT_MAPPINGS | set(PAIRS.values())
    shown |= {back for name in shown for back in INVERSES.get(name, ())}
    claims = {each.name for each in ENTRIES if each.said("proof").startswith("proven")}
    assert claims - shown == set()


@pytest.mark.parametrize("form", sorted(MAPPINGS.glob("*/yaml/*.yaml")), ids=lambda form: form.stem)
def test_the_yaml_form_is_the_same_mapping(form: Path) -> None:
    text = form.parents[1] / f"{form.stem}.mapcc"
    assert mapcc.load_mapping(form).body == mapcc.load_mapping(text).body
    entry = next(each for each in ENTRIES if each.path == text)
    for pair in entry.pairs:
        source, target = mapcc.keys(pair.source), mapcc.keys(pair.target)
        assert mapcc.diff(form, text, source).equal
        assert mapcc.check(form, source, target).ok
