"""A mapping in two: every mapping of the library, and byte for byte what the whole gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from mapcc.api import check, convert, diff, keys, split_config
from mapcc.dialects.regexes import load, mapper
from mapcc.emit.pysource import read_dict
from mapcc.errors import MappingError
from mapcc.library.catalog import catalog

CASES = {entry.name: entry.pairs[0] for entry in catalog() if entry.family != "moe"}  # those take long


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_library(tmp_path: Path, case: str) -> None:
    """The two halves are bound anew from their texts, and are the whole."""
    source = keys(CASES[case].source)
    split = split_config(case, source)
    assert split.config
    if not split.conversion:
        return
    (tmp_path / "conversion.mapcc").write_text(split.conversion, "utf-8")
    (tmp_path / "rest.mapcc").write_text(split.rest, "utf-8")
    found = diff(case, [tmp_path / "conversion.mapcc", tmp_path / "rest.mapcc"], source)
    assert found.equal
    assert found.same == len(check(case, source).bound.given)


def test_converted_and_renamed(tmp_path: Path) -> None:
    """The conversion is carried out, the config is run as FastVideo runs it: the bytes are the whole's."""
    mapping = tmp_path / "m.mapcc"
    mapping.write_text(
        "blocks.{i} -> layers.{i} {\n"
        "    qkv.* : (t d) ... -> attn.[t=q,k,v].* : d ...\n"
        "    {fc1,fc2}.* -> mlp.{up,down}.*\n"
        "    w.weight : o i -> wt.weight : i o\n"
        "}\n"
        'drop rope.** because "recomputed"\n'
        "norm.* -> final.*\n",
        "utf-8",
    )
    random = np.random.default_rng(0)
    shapes = {"norm.weight": (3,), "rope.inv": (2,)}
    for i in range(2):
        shapes |= {f"blocks.{i}.qkv.weight": (6, 2), f"blocks.{i}.w.weight": (2, 3)}
        shapes |= {f"blocks.{i}.fc{k}.bias": (4,) for k in (1, 2)}
    save_file(
        {n: torch.from_numpy(random.random(s, np.float32)) for n, s in shapes.items()},
        tmp_path / "s.safetensors",
    )
    split = split_config(mapping, tmp_path / "s.safetensors")
    (tmp_path / "c.mapcc").write_text(split.conversion, "utf-8")
    between = load_file(
        next(convert(tmp_path / "c.mapcc", tmp_path / "s.safetensors", tmp_path / "c").glob("*.safetensors"))
    )
    whole = load_file(
        next(convert(mapping, tmp_path / "s.safetensors", tmp_path / "w").glob("*.safetensors"))
    )
    table = dict(read_dict(split.config, "param_names_mapping"))
    named = load(between, mapper(table))
    assert not named.faults
    result = {target: torch.cat([between[s] for s in sources]) for target, sources in named.tensors.items()}
    assert result.keys() == whole.keys()
    assert all(torch.equal(result[name], whole[name]) for name in whole)


def text_case(tmp_path: Path, text: str, shapes: dict) -> tuple[Path, Path]:
    (tmp_path / "m.mapcc").write_text(text, "utf-8")
    (tmp_path / "k.json").write_text(json.dumps(shapes), "utf-8")
    return tmp_path / "m.mapcc", tmp_path / "k.json"


def plain(text: str) -> str:
    return text.replace(" ", "")


def test_all_of_it_can_be_said(tmp_path: Path) -> None:
    split = split_config(*text_case(tmp_path, "a.* -> b.*\n", {"a.w": [2]}))
    assert (split.conversion, split.tensors) == ("", 0)


def test_nothing_of_it_can_be_said(tmp_path: Path) -> None:
    with pytest.raises(MappingError) as error:
        split_config(*text_case(tmp_path, "a : x y -> b : y x\n", {"a": [2, 3]}))
    assert [d.code for d in error.value.diagnostics] == ["MC601"]
    assert "nothing left" in error.value.diagnostics[0].message


def test_names_that_would_collide_go_along(tmp_path: Path) -> None:
    """``b`` is a name on both sides: renamed later, it would meet the one that is made first."""
    text = "a : x y -> b : y x\nb -> c\nd -> e\n"
    split = split_config(*text_case(tmp_path, text, {"a": [2, 3], "b": [2], "d": [2]}))
    assert "b->c" in plain(split.conversion)
    assert "b->c" not in plain(split.rest)
    assert "d->e" in plain(split.rest)


def test_a_condition_that_asks_the_source_goes_along(tmp_path: Path) -> None:
    text = "a : x y -> b : y x\nn -> m1  where exists(a)\nn -> m2  where not exists(a)\nd -> e\n"
    split = split_config(*text_case(tmp_path, text, {"a": [2, 3], "n": [2], "d": [2]}))
    assert "n->m1" in plain(split.conversion)
    assert "d->e" in plain(split.rest)


def test_parts_that_are_not_the_whole(tmp_path: Path, mapcc) -> None:
    mapping, source = text_case(tmp_path, "a : x y -> b : y x\nd -> e\n", {"a": [2, 3], "d": [2]})
    folder = tmp_path / "parts"
    assert mapcc("emit-config", mapping, "-s", source, "--residual", folder).code == 0
    parts = ("--parts", folder / "conversion.mapcc", "--parts", folder / "rest.mapcc")
    assert mapcc("check", mapping, "-s", source, *parts).code == 0
    (folder / "rest.mapcc").write_text("b -> b\nd -> x\n", "utf-8")
    ran = mapcc("check", mapping, "-s", source, *parts)
    assert (ran.code, "MC603" in ran.out) == (1, True)
