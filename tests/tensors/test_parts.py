"""A part of a set of files is not taken for the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import mapcc
from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.parts import complete_set, part_of_set, ranks_among

W = ("F32", (2,))
Weights = Callable[..., Path]
Faults = Callable[..., tuple[Diagnostic, ...]]
KEEP = mapcc.parse("keep **")


def checked(source: Path) -> tuple[Diagnostic, ...]:
    return mapcc.check(KEEP, source).diagnostics


def refused(source: Path) -> Diagnostic:
    (diagnostic,) = checked(source)
    assert diagnostic.code == "MC418"
    assert diagnostic.exit_code == 1
    return diagnostic


HALVES = (
    "model-00001-of-00002.safetensors",
    "diffusion_pytorch_model-00001-of-00002.safetensors",
    "model.safetensors-00001-of-00002.safetensors",
    "model-00001-of-00002.fp16.safetensors",
    "model-1-of-2.safetensors",
    "model_00001_of_00002.safetensors",
    "model-00000-of-00002.safetensors",
)


@pytest.mark.parametrize("name", HALVES)
def test_one_of_two_shards(name: str, weights: Weights, tmp_path: Path) -> None:
    path = weights(name, {"a": W})
    last = name.replace("00001", "00002").replace("-1-", "-2-").replace("00000", "00001")
    for source in (path, tmp_path):  # the folder holds this file alone
        assert last in refused(source).notes[0]
    weights(last, {"b": W})
    assert checked(tmp_path) == ()
    both = refused(path)
    assert str(tmp_path) in both.help
    assert "beside it" in both.notes[0]


def test_every_file_that_is_not_there_is_told(weights: Weights, tmp_path: Path) -> None:
    weights("model-00002-of-00004.safetensors", {"a": W})
    weights("model-00003-of-00004.safetensors", {"b": W})
    (note,) = refused(tmp_path).notes
    assert "model-00001-of-00004.safetensors" in note
    assert "model-00004-of-00004.safetensors" in note


def test_index_of_half_a_model(weights: Weights, index: Callable[..., Path], tmp_path: Path) -> None:
    weights("model-00001-of-00002.safetensors", {"a": W})
    index({"a": "model-00001-of-00002.safetensors"})
    assert "model-00002-of-00002.safetensors" in refused(tmp_path).notes[0]


def test_archives_whose_names_say_that_they_are_all_are_one_model(tmp_path: Path) -> None:
    np.savez(tmp_path / "model-00001-of-00002.npz", a=np.zeros(2))
    assert "model-00002-of-00002.npz" in refused(tmp_path).notes[0]
    np.savez(tmp_path / "model-00002-of-00002.npz", b=np.zeros(2))
    np.savez(tmp_path / "training_args.npz", c=np.zeros(2))
    assert list(open_keyset(tmp_path).names) == ["a", "b"]
    np.savez(tmp_path / "other-00001-of-00003.npz", d=np.zeros(2))
    np.savez(tmp_path / "other-00002-of-00003.npz", e=np.zeros(2))
    assert list(open_keyset(tmp_path).names) == ["a", "b"]
    (tmp_path / "model-00002-of-00002.npz").unlink()
    refused(tmp_path)


RANKS = (
    ("consolidated.00.safetensors", "consolidated.01.safetensors"),
    ("mp_rank_00/model.safetensors", "mp_rank_01/model.safetensors"),
    ("mp_rank_00_000/model.safetensors", "mp_rank_00_001/model.safetensors"),
    ("tp_rank_00_pp_rank_000/model.safetensors", "tp_rank_01_pp_rank_000/model.safetensors"),
    ("model_world_size_2_rank_0.safetensors", "model_world_size_2_rank_1.safetensors"),
    ("rank0.safetensors", "rank1.safetensors"),
    ("model-rank-0-part-0.safetensors", "model-rank-1-part-0.safetensors"),
    ("model-tp0.safetensors", "model-tp1.safetensors"),
    ("model_tp_00.safetensors", "model_tp_01.safetensors"),
    ("model0-mp2.safetensors", "model1-mp2.safetensors"),
)


def test_the_only_rank_is_the_whole(weights: Weights) -> None:
    """DeepSeek's own code names the ranks and how many there are."""
    assert open_keyset(weights("model0-mp1.safetensors", {"a": W})).names
    refused(weights("model0-mp8.safetensors", {"a": W}))


@pytest.mark.parametrize(("first", "second"), RANKS)
def test_one_rank(first: str, second: str, weights: Weights, tmp_path: Path) -> None:
    path = weights(first, {"a": W})
    other = weights(second, {"a": W})
    for source in (path, other):
        assert "one of 2 ranks" in refused(source).message
    together = refused(tmp_path)
    assert "2 ranks" in together.message


@pytest.mark.parametrize(
    "name", ["consolidated.01.safetensors", "mp_rank_03/m.safetensors", "a_tp_rank_1.safetensors"]
)
def test_a_later_rank_alone(name: str, weights: Weights) -> None:
    assert "one rank of several" in refused(weights(name, {"a": W})).message


def test_world_size_says_how_many_there_are(weights: Weights) -> None:
    assert "one of 8 ranks" in refused(weights("model_world_size_8_rank_0.safetensors", {"a": W})).message


WHOLE: tuple[tuple[str, ...], ...] = (
    ("model-00001-of-00001.safetensors",),
    ("consolidated.00.safetensors",),
    ("mp_rank_00/model.safetensors",),
    ("model_world_size_1_rank_0.safetensors",),
    ("lora_rank_32.safetensors", "lora_rank_64.safetensors", "lora_rank128_bf16.safetensors"),
    ("llama-8b-tp8.safetensors",),
    ("model_ep0.safetensors", "model_ep1.safetensors"),
    ("step-1000.safetensors", "step-2000.safetensors"),
    ("text_encoder_2.safetensors", "text_encoder.safetensors"),
    ("frankrank0x.safetensors", "frankrank1x.safetensors"),
    ("5-of-3.safetensors",),
)


@pytest.mark.parametrize("names", WHOLE)
def test_files_that_are_whole(names: tuple[str, ...], weights: Weights) -> None:
    for path in [weights(name, {"a": W}) for name in names]:
        assert checked(path) == ()


def test_a_gap_between_numbers(weights: Weights, tmp_path: Path) -> None:
    weights("model-1.safetensors", {"a": W})
    weights("model-3.safetensors", {"c": W})
    assert "no number 2" in refused(tmp_path).message
    weights("model-2.safetensors", {"b": W})
    assert checked(tmp_path) == ()


def test_ranks_of_different_layers_are_read_together(weights: Weights, tmp_path: Path) -> None:
    weights("model-pp0.safetensors", {"layers.0.w": W})
    weights("model-pp1.safetensors", {"layers.1.w": W})
    assert checked(tmp_path) == ()


def test_a_target_that_is_a_part(weights: Weights, tmp_path: Path) -> None:
    whole = weights("whole.safetensors", {"a": W, "b": W})
    half = weights("model-00001-of-00002.safetensors", {"a": W})
    (diagnostic,) = mapcc.check(KEEP, whole, half).diagnostics
    assert diagnostic.code == "MC418"


def test_names_alone_are_still_read(weights: Weights) -> None:
    """A look at a part is no harm."""
    manifest = open_keyset(weights("model-00001-of-00002.safetensors", {"a": W}))
    assert list(manifest.names) == ["a"]
    assert part_of_set(manifest) is not None


def test_convert_writes_nothing_of_a_part(weights: Weights, tmp_path: Path) -> None:
    path = weights("model-00001-of-00002.safetensors", {"a": W})
    with pytest.raises(mapcc.MappingError) as caught:
        mapcc.convert(KEEP, path, tmp_path / "out")
    assert [d.code for d in caught.value.diagnostics] == ["MC418"]
    assert not (tmp_path / "out").exists()


def test_sets_and_ranks_by_name() -> None:
    assert complete_set(["a-1-of-2.bin", "a-2-of-2.bin", "b-1-of-1.bin"]) == []  # two sets: which?
    assert ranks_among(["layer_00-model_00-model_states.pt", "layer_01-model_00-model_states.pt"]) != []
    assert ranks_among(["rank1.pt", "rank2.pt"]) == []


def test_checkpoints_that_only_their_trainer_joins(tmp_path: Path, faults: Faults) -> None:
    folder = tmp_path / "step 1"
    folder.mkdir()
    for name in (".metadata", "__0_0.distcp", "__1_0.distcp"):
        (folder / name).write_bytes(b"PK\x03\x04")
    for source in (folder, folder / "__0_0.distcp"):
        (diagnostic,) = faults(open_keyset, source)
        assert diagnostic.code == "MC418"
        command = f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch '{folder}' '{folder}.pt'"
        assert command in diagnostic.help
    step = tmp_path / "global_step10"
    step.mkdir()
    names = [f"bf16_zero_pp_rank_{rank}_mp_rank_00_optim_states.pt" for rank in (0, 1)]
    for name in (*names, "mp_rank_00_model_states.pt"):
        np.savez(step / f"{name}.npz", a=np.zeros(2))
        (step / f"{name}.npz").rename(step / name)
    for source in (step, step / names[0]):
        (diagnostic,) = faults(open_keyset, source)
        assert diagnostic.code == "MC418"
        assert f"python -m deepspeed.utils.zero_to_fp32 {tmp_path} {tmp_path / 'weights'}" in diagnostic.help
