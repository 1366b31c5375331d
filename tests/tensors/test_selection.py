"""Which dictionary of a checkpoint is meant: nothing is guessed, and all that is there is said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from mapcc import api
from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]

W = torch.ones(2)
TRAINING = {
    "epoch": 3,
    "model": {"ema": {"w": W, "step": 1}, "raw.one": {"w": W, "b": W}},
    "state_dict": {"w": W},
    "optimizer": {"state": {at: {"exp_avg": W} for at in range(40)}, "param_groups": [{"lr": 0.1}]},
    "betas": [W, W],
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[object], Path]:
    def save(value: object) -> Path:
        torch.save(value, tmp_path / "m.pt")
        return tmp_path / "m.pt"

    return save


@pytest.mark.parametrize(
    ("select", "names", "skipped"),
    [
        ("state_dict", ["w"], ()),
        ("model.ema", ["w"], ("step",)),
        ("model.raw.one", ["w", "b"], ()),
    ],
)
def test_a_path(select: str, names: list[str], skipped: tuple[str, ...], saved: Any) -> None:
    manifest = open_keyset(saved(TRAINING), select=select)
    assert list(manifest.names) == names
    assert manifest.skipped == skipped


def test_nothing_is_guessed(saved: Any, faults: Faults) -> None:
    (fault,) = faults(open_keyset, saved(TRAINING))
    assert fault.code == "MC006"
    assert fault.help.endswith("--select state_dict")
    assert fault.notes == (
        "`betas`: 2 tensors in a list",
        "`model.ema`: 1 tensor in it",
        "`model.raw.one`: 2 tensors in it",
        "`optimizer.state.*`: 40 tensors in it",
        "`state_dict`: 1 tensor in it",
    )
    (fault,) = faults(open_keyset, saved({"state_dict": {"w": W}, "epoch": 1}))
    assert fault.help.endswith("--select state_dict")


def test_tensors_at_the_top_beside_others(saved: Any, faults: Faults) -> None:
    path = saved({"w": W, "ema": {"w": W}})
    (fault,) = faults(open_keyset, path)
    assert fault.help.endswith("--select .")
    assert fault.notes == ("at the top: 1 tensor", "`ema`: 1 tensor in it")
    manifest = open_keyset(path, select=".")
    assert (list(manifest.names), manifest.skipped) == (["w"], ("ema",))


@pytest.mark.parametrize("select", ["stat_dict", "epoch", "optimizer", "betas", "state_dict.w", "", ".."])
def test_a_path_to_nowhere(select: str, saved: Any, faults: Faults) -> None:
    (fault,) = faults(open_keyset, saved(TRAINING), select=select)
    assert fault.code == "MC007"
    if select == "stat_dict":
        assert fault.help == "--select state_dict"


def test_a_checkpoint_of_no_dictionary(saved: Any, faults: Faults) -> None:
    loop: list[Any] = []
    loop.append(loop)
    for value in (W, [W], {}, {"a": 1}, 3, {0: W}, loop, {"a": loop}):
        (fault,) = faults(open_keyset, saved(value))
        assert fault.code == "MC006"


def test_a_container_within_itself(saved: Any) -> None:
    own: dict[str, Any] = {"w": W}
    own["self"] = own
    assert list(open_keyset(saved(own)).names) == ["w"]


def test_sources_without_dictionaries(tmp_path: Path, weights: Any, faults: Faults) -> None:
    keys = tmp_path / "keys.json"
    keys.write_text('{"a": [1]}', "utf-8")
    for source in (keys, weights("m.safetensors", {"a": ("F32", (2,))})):
        (fault,) = faults(open_keyset, source, select="state_dict")
        assert fault.code == "MC007"


NESTED = {
    "image_proj": {"proj.weight": W, "norm": {"weight": W}},
    "ip_adapter": {"1.to_k_ip.weight": W, "3.to_k_ip.weight": W},
}


def test_dictionaries_as_one(saved: Any, faults: Faults) -> None:
    """A dictionary without tensors of its own stands for those inside of it; several keep their paths."""
    path = saved({"a": {"x": {"w": W}, "y": {"z": {"w": W, "b": W}}}, "n": 1, "empty": {}})
    assert list(open_keyset(path, select="a").names) == ["x.w", "y.z.w", "y.z.b"]
    assert list(open_keyset(path, select="a.y").names) == ["z.w", "z.b"]
    manifest = open_keyset(path, select=".")
    assert list(manifest.names) == ["a.x.w", "a.y.z.w", "a.y.z.b"]
    assert manifest.skipped == ("n", "empty")
    assert list(open_keyset(path, select=["a.y.z", "a.x"]).names) == ["a.y.z.w", "a.y.z.b", "a.x.w"]
    path = saved({"image_proj": {"proj.weight": W}, "ip_adapter": {"1.to_k_ip.weight": W}})
    (fault,) = faults(open_keyset, path)
    assert "--select image_proj --select ip_adapter" in fault.help
    assert fault.help.endswith("or all of them: --select .")
    both = open_keyset(path, select=["image_proj", "ip_adapter"])
    assert list(both.names) == ["image_proj.proj.weight", "ip_adapter.1.to_k_ip.weight"]
    assert list(open_keyset(path, select=".").names) == list(both.names)


def test_several_and_wrong(saved: Any, faults: Faults) -> None:
    path = saved(TRAINING)
    names = list(open_keyset(path, select=["model.ema", "state_dict", "model.ema"]).names)
    assert names == ["model.ema.w", "state_dict.w"]
    found = faults(open_keyset, path, select=["state_dict", "stat", "emma"])
    assert [fault.code for fault in found] == ["MC007", "MC007"]


def test_the_rest_of_a_path_is_how_names_begin(saved: Any, faults: Faults) -> None:
    flat = {"model.diffusion_model.a.w": W, "model.diffusion_model.b": W, "first_stage_model.w": W}
    path = saved({"state_dict": flat})
    assert list(open_keyset(path, select="state_dict.model.diffusion_model").names) == ["a.w", "b"]
    assert list(open_keyset(path, select="state_dict.first_stage_model").names) == ["w"]
    (fault,) = faults(open_keyset, path, select="state_dict.model.diffusion")
    assert fault.code == "MC007"


def test_optimizers_are_never_offered(saved: Any, faults: Faults) -> None:
    step = torch.ones(())
    moments = {"exp_avg": {"w": W}, "step": step}
    for value, best in (
        ({"step": step, "net": {"w": W, "b": W}, "optimizer": moments}, "net"),
        ({"a": W, "b": W, "c": W, "optimizer": moments, "weights": {"w": W}}, "weights"),
        ({"a": W, "lr_scheduler": {"base": {"w": W}}}, "."),
        ({"opt_state": {"w": W}, "encoder one": {"w": W}}, "'encoder one'"),
        ({"model_ema": {"w": W}, "optim_states": {"w": W, "b": W}}, "model_ema"),
    ):
        (fault,) = faults(open_keyset, saved(value))
        assert fault.help.endswith(f"--select {best}"), fault.help


def test_dictionaries_that_hold_each_other(saved: Any, faults: Faults) -> None:
    one: dict[str, Any] = {}
    one["a"] = {"b": one, "c": {"w": W}}
    (fault,) = faults(open_keyset, saved(one), select=".")
    assert fault.code == "MC002"
    assert "is inside of itself" in fault.message
    deep: dict[str, Any] = {"w": W}
    for _ in range(40):
        deep = {"a": deep, "b": deep}
    (fault,) = faults(open_keyset, saved(deep), select=".")
    assert fault.code == "MC002"


@pytest.mark.parametrize("kind", ["safetensors", "npz", "json", "index"])
def test_prefixes_of_names(kind: str, tmp_path: Path, weights: Any, faults: Faults) -> None:
    names = ["model.unet.a.w", "model.unet.b", "model.unetx.c", "vae.d", "vae.e"]
    if kind == "npz":
        np.savez(tmp_path / "m.npz", **{name: np.ones(2, "f4") for name in names})
    elif kind == "json":
        (tmp_path / "m.json").write_text(json.dumps({name: [2] for name in names}), "utf-8")
    elif kind == "safetensors":
        weights("m.safetensors", dict.fromkeys(names, ("F32", (2,))))
    else:
        shards = {"m-1-of-2.safetensors": names[:3], "m-2-of-2.safetensors": names[3:]}
        for shard, some in shards.items():
            weights(shard, dict.fromkeys(some, ("F32", (2,))))
        listed = {name: shard for shard, some in shards.items() for name in some}
        (tmp_path / "m.safetensors.index.json").write_text(json.dumps({"weight_map": listed}), "utf-8")
    source = tmp_path / f"m.{'safetensors.index.json' if kind == 'index' else kind}"
    manifest = open_keyset(source, select="model.unet")
    assert list(manifest.names) == ["a.w", "b"]
    assert [spec.name for spec in manifest.tensors.values()] == ["a.w", "b"]
    assert list(open_keyset(source, select=["vae", "model.unet"]).names) == [*names[3:], *names[:2]]
    assert list(open_keyset(source, select=".").names) == names
    (fault,) = faults(open_keyset, source, select="model.unte")
    assert (fault.code, fault.help) == ("MC007", "--select model.unet")
    assert fault.notes == ("names begin with: model, vae",)


def test_a_part_of_a_file_is_converted_and_verified(saved: Any, tmp_path: Path) -> None:
    path = saved({"image_proj": {"w": W}, "ip_adapter": {"b": 2 * W}, "epoch": 1})
    (tmp_path / "m.mapcc").write_text("{image_proj,ip_adapter}.* -> {image,ip}.*", "utf-8")
    chosen = ["image_proj", "ip_adapter"]
    api.convert(tmp_path / "m.mapcc", path, tmp_path / "out", select=chosen)
    assert not api.verify_output(tmp_path / "out", path)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert {name: tensor.tolist() for name, tensor in found.items()} == {"image.w": [1, 1], "ip.b": [2, 2]}
