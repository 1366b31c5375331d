"""Every mapping to FastVideo against FastVideo's own loader, on all names of the published models."""

from __future__ import annotations

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
    "hunyuan_video/gamecraft_official_to_fastvideo": "hunyuangamecraft",
    "hyworld/official_to_fastvideo": "hyworld",
}
# Tables that their conversion script applies until nothing changes; one pass leaves names half changed.
REPEATED = {"hunyuan_video/gamecraft_official_to_fastvideo"}
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
    expected, _ = loader.hf_to_custom_state_dict(source, repeated(theirs) if name in REPEATED else theirs)
    assert expected.keys() == shapes(pair.target).keys()
    out = mapcc.convert(name, saved(source, tmp_path / "source"), tmp_path / "out")
    assert differences(expected, loaded(out), 0) == []


def repeated(once: Any) -> Any:
    def until_nothing_changes(name: str) -> Any:
        while (found := once(name))[0] != name:
            name = found[0]
        return found

    return until_nothing_changes
