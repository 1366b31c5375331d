"""Every mapping to FastVideo against FastVideo's own loader, on all names of the published models."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import mapcc
from mapcc.dialects.fastvideo_read import read_param_names
from mapcc.library.catalog import catalog
from mapcc.tensors.keysets import open_keyset
from tests.library.test_oracles import differences, loaded, saved

# The mapping, and the config whose table FastVideo has for the same names.
TABLES = {
    "wan/diffusers_to_fastvideo": "wanvideo",
    "dreamx/diffusers_to_fastvideo": "wanvideo",  # its config inherits the table
    "dreamx/ar_official_to_fastvideo": "dreamx_world",
    "matrix_game/v2_diffusers_to_fastvideo": "matrixgame2",
    "matrix_game/v3_official_to_fastvideo": "matrixgame3",
    "lingbot/world_official_to_fastvideo": "lingbotworld",
    "lingbot/video_official_to_fastvideo": "lingbot_video",
    "cosmos/diffusers_to_fastvideo": "cosmos",
    "cosmos/v2_5_official_to_fastvideo": "cosmos2_5",
    "cosmos/gen3c_official_to_fastvideo": "gen3c",
    "ltx/ltx2_official_to_fastvideo": "ltx2",
    "flux/flux2_diffusers_to_fastvideo": "flux_2",
    "glm_image/diffusers_to_fastvideo": "glm_image",
    "kandinsky/v5_diffusers_to_fastvideo": "kandinsky5",
    "minimax_h3/diffusers_to_fastvideo": "minimax_h3",
    "stable_audio/official_to_fastvideo": "stable_audio",
    "mmaudio/official_to_fastvideo": "mmaudio",
    "hunyuan_video/diffusers_to_fastvideo": "hunyuanvideo",
    "hunyuan_video/v1_5_diffusers_to_fastvideo": "hunyuanvideo15",
    "hyworld/official_to_fastvideo": "hyworld",
}
# FastVideo has no table for these: their names are the published ones.
WITHOUT = {"zimage", "magi_human"}
ENTRIES = {entry.name: entry for entry in catalog()}
MODELS = [
    pytest.param(name, pair, id=f"{name}-{pair.size}") for name in TABLES for pair in ENTRIES[name].pairs
]


def shapes(keys: str) -> dict[str, tuple[int, ...]]:
    return {name: spec.shape for name, spec in open_keyset(keys).tensors.items()}


def test_every_model_has_a_mapping(native_keys: Any) -> None:
    reached = [
        shapes(pair.target) for entry in ENTRIES.values() for pair in entry.pairs if "fastvideo" in entry.name
    ]
    assert {model for model, keys in native_keys.items() if keys not in reached} == WITHOUT


@pytest.mark.oracle
@pytest.mark.network
@pytest.mark.converts
@pytest.mark.parametrize(("name", "pair"), MODELS)
def test_loads_what_the_loader_loads(
    name: str, pair: Any, loader: Any, config_source: Any, tmp_path: Path
) -> None:
    """All names at full size; the tensors have two rows each, so that the bytes show the order of parts."""
    import torch

    table = dict(read_param_names(config_source(f"dits/{TABLES[name]}"), "fastvideo").table)
    theirs = loader.get_param_names_mapping(table)
    random = torch.Generator().manual_seed(0)
    source = {
        key: torch.randn([2] * len(shape), generator=random) for key, shape in shapes(pair.source).items()
    }
    expected, _ = loader.hf_to_custom_state_dict(source, theirs)
    assert expected.keys() == shapes(pair.target).keys()
    out = mapcc.convert(name, saved(source, tmp_path / "source"), tmp_path / "out")
    assert differences(expected, loaded(out), 0) == []


GAMECRAFT = "hunyuan_video/gamecraft_official_to_fastvideo"


@pytest.mark.oracle
@pytest.mark.network
def test_gamecraft_is_as_near_as_their_table_comes(loader: Any, config_source: Any) -> None:
    """Applied until nothing changes, as their script does; what it leaves is not in the model."""
    table = dict(read_param_names(config_source("dits/hunyuangamecraft"), "fastvideo").table)
    once = loader.get_param_names_mapping(table)
    [pair] = ENTRIES[GAMECRAFT].pairs
    bound = mapcc.check(GAMECRAFT, pair.source, pair.target).bound
    assert bound is not None
    ours = {instance.sources[0][0]: instance.targets[0] for instance in bound.instances}
    left = set()
    for name, target in ours.items():
        found = name
        while once(found)[0] != found:
            found = once(found)[0]
        if found != target:
            assert found not in shapes(pair.target)
            left.add(re.sub("[0-9]+", "0", name.rpartition(".")[0]))
    assert left == {
        "txt_in.t_embedder.mlp.0",
        "txt_in.c_embedder.linear_0",
        "txt_in.individual_token_refiner.blocks.0.adaLN_modulation.0",
    }
