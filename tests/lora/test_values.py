"""Differences through operations on values; sizes; tensors that do not fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from mapcc.errors import MappingError
from tests.lora.made import MODEL, PEFT, TEXT, factors, lora, numbers, product, written


@pytest.mark.parametrize(
    ("steps", "factor"), [("scale 4", 4), ("add 1", 1), ("cast f32 | scale -2 | add 3", -2)]
)
def test_a_difference_through_what_is_linear(steps: str, factor: int, tmp_path: Path) -> None:
    tensors = factors("a", (4, 3)) | {"a.diff_b": numbers(4)}
    model = {"a.weight": {"dtype": "F16", "shape": [4, 3]}, "a.bias": {"dtype": "F16", "shape": [4]}}
    text = f"a.* | {steps} -> b.*\n"
    out = lora(tmp_path, tensors, text=text, model=model)
    wanted = factor * product(tensors, "a", "lora_down", "lora_up")
    np.testing.assert_array_equal(product(out, "b"), wanted)
    np.testing.assert_array_equal(out["b.lora_B.bias"], factor * tensors["a.diff_b"])


@pytest.mark.parametrize("reading", [True, False])
def test_an_adapter_that_is_too_large(reading: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is read; and as it grows."""
    tensors = factors("conv", (4, 3, 3, 3))
    size = sum(array.nbytes for array in tensors.values())
    monkeypatch.setattr("mapcc.api.lora_files.MAX_BYTES", size - 1 if reading else size)
    text = "conv.* -> a.*, b.*\n"
    keys = {"conv.weight": [4, 3, 3, 3]}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, text=text, model=keys)
    assert caught.value.diagnostics[0].code == "MC903"


def test_peft_is_a_folder(tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text("keep **\n", "utf-8")
    ran = mapcc(
        "lora", tmp_path / "m.mapcc", "--source", "x", "--to", "peft", "--out", tmp_path / "o.safetensors"
    )
    assert ran.code == 2
    assert f"--out {tmp_path / 'o'}" in ran.err


def test_a_folder_with_other_weights_beside_the_adapter(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    save_file({"blocks.0.out.weight": numbers(4, 4)}, tmp_path / "in" / "base.safetensors")
    tensors = {f"{PEFT}head.lora_A.weight": numbers(2, 4), f"{PEFT}head.lora_B.weight": numbers(2, 2)}
    assert written(tmp_path, tensors, {"r": 2, "lora_alpha": 2}).taken == 1


@pytest.mark.parametrize(
    ("tensors", "words"),
    [
        (
            {"head.lora_down.weight": (2, 4), "head.lora_A.weight": (2, 4), "head.lora_up.weight": (2, 2)},
            "two tensors",
        ),
        ({"wte.lora_embedding_A": (2, 10), "wte.lora_down.weight": (2, 4)}, "two kinds"),
        ({"head.lora_down.weight": (2, 4), "head.lokr_w1": (2, 4)}, "two kinds"),
        ({"wte.lora_embedding_A": (2, 10), "wte.lora_embedding_B": ()}, "has shape []"),
        (
            {"conv.lora_mid.weight": (2,), "conv.lora_down.weight": (2, 3), "conv.lora_up.weight": (4, 2)},
            "has shape [2]",
        ),
        (
            {"head.lora_down.weight": (2, 4), "head.lora_up.weight": (2, 2), "head.dora_scale": (3, 1)},
            "[3, 1]",
        ),
        ({"experts.lora_A.weight": (5, 4), "experts.lora_B.weight": (6, 5)}, "fit no parameter"),
        ({"experts.lora_A.weight": (4, 4)}, "lora_B of experts is missing"),
    ],
)
def test_tensors_that_do_not_fit(tensors: dict[str, tuple[int, ...]], words: str, tmp_path: Path) -> None:
    model = MODEL | {"experts.up": [2, 6, 4]}
    with pytest.raises(MappingError) as caught:
        written(
            tmp_path,
            {n: np.ones(s, "f4") for n, s in tensors.items()},
            text=TEXT + "keep experts.up\n",
            model=model,
        )
    assert {d.code for d in caught.value.diagnostics} == {"MC901"}
    assert words in " ".join(d.message for d in caught.value.diagnostics)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
def test_alphas_that_are_no_numbers(value: float, tmp_path: Path) -> None:
    tensors = factors("head", (2, 4)) | {"head.alpha": np.array(value, "f4")}
    with pytest.raises(MappingError) as caught:
        written(tmp_path, tensors, to="peft")
    assert [d.code for d in caught.value.diagnostics] == ["MC901"]
