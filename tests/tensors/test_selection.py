"""Which dictionary of a checkpoint is meant: nothing is guessed, and all that is there is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

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
