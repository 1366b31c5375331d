"""Numbers of an adapter in its four types, against torch: they are rounded once, and no code is a number."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import mapcc
from mapcc.errors import MappingError
from mapcc.lora import values
from mapcc.lora.experts import fused
from mapcc.lora.model import Factors, balanced

KINDS = {"F16": torch.float16, "BF16": torch.bfloat16, "F32": torch.float32, "F64": torch.float64}
NAMES = {kind: name for name, kind in KINDS.items()}
Tensors = dict[str, torch.Tensor]


def array(tensor: torch.Tensor) -> Any:
    raw = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
    return raw.view(values.TYPES[NAMES[tensor.dtype]]).reshape(tensor.shape)


def tensor(numbers: Any) -> torch.Tensor:
    raw = torch.from_numpy(values.codes_of(numbers).view("u1").copy())
    return raw.view(KINDS[values.type_of(numbers)]).reshape(numbers.shape)


def random(kind: str, *shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=torch.float64).to(KINDS[kind])


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.dtype == other.dtype and torch.equal(one, other)


@pytest.mark.parametrize(("source", "target"), list(product(KINDS, KINDS)))
def test_casts(source: str, target: str) -> None:
    given = random(source, 40, 30).T  # not as it lies in memory
    assert same(tensor(values.cast(array(given), target)), given.to(KINDS[target]))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_computed(kind: str) -> None:
    given = random(kind, 50, 20)
    wide = torch.float64 if kind == "F64" else torch.float32
    factor = torch.tensor(0.3, dtype=wide)
    assert same(tensor(values.scaled(array(given), 0.3)), (given.to(wide) * factor).to(given.dtype))
    total = (given.double() + random("F16", 50, 20, seed=1).double()).float()
    assert same(tensor(values.added(array(given), array(random("F16", 50, 20, seed=1)))), total)
    assert same(tensor(values.identity(3, kind)), torch.eye(3, dtype=given.dtype))
    assert same(tensor(values.scalar(0.3, kind)), torch.tensor(0.3, dtype=torch.float64).to(given.dtype))
    assert values.number(values.scalar(0.3, kind)) == float(
        torch.tensor(0.3, dtype=torch.float64).to(given.dtype)
    )
    assert values.is_finite(array(given))
    assert not values.is_finite(array(torch.tensor([1.0, float("inf")], dtype=given.dtype)))
    assert values.is_zero(array(torch.tensor([0.0, -0.0], dtype=given.dtype)))
    assert not values.is_zero(array(torch.tensor([0.0, 1e-7], dtype=given.dtype)))


def test_codes_of_bf16_are_no_numbers() -> None:
    codes = array(random("BF16", 3, 3))
    for compute in (lambda: codes * 2, lambda: codes.astype("<f4"), lambda: float(codes[0, 0]), codes.sum):
        with pytest.raises((TypeError, ValueError)):
            compute()


def test_a_kernel_is_multiplied_in_order() -> None:
    mid, down = random("BF16", 3, 4, 2, 2), random("F16", 4, 5)
    wanted = torch.zeros(3, 5, 2, 2, dtype=torch.float64)
    for at in range(4):
        wanted += mid[:, at, None].double() * down[at].double().reshape(1, 5, 1, 1)
    assert same(tensor(values.contracted(array(mid), array(down))), wanted.float())
    exact = torch.einsum("ns...,si->ni...", mid.double(), down.double())
    torch.testing.assert_close(wanted, exact)


def test_experts_of_two_types_are_one_of_floats() -> None:
    kinds = ("BF16", "F16")
    blocks = [
        Factors(array(random(kind, 2, 3, seed=at)), array(random(kind, 4, 2, seed=at)), first=4 * at)
        for at, kind in enumerate(kinds)
    ]
    down, up = (tensor(each) for each in fused(blocks, 2, inputs_first=False))
    assert same(down, torch.cat([random(kind, 2, 3, seed=at).float() for at, kind in enumerate(kinds)]))
    ups = [random(kind, 4, 2, seed=at).float() for at, kind in enumerate(kinds)]
    assert same(up, torch.stack(ups, -1).reshape(4, 4))


def test_a_scale_that_halves_cannot_hold() -> None:
    factors = Factors(array(random("F16", 2, 3) * 100), array(random("F16", 4, 2) * 100), 1e6)
    out = balanced(factors)
    assert {values.type_of(out.down), values.type_of(out.up)} == {"F32"}


# --- whole adapters

TEXT = "[t=q,k].* : d ... -> qk.* : (t d) ...\no.* | scale 0.3 -> out.*\nc.* -> c.*\n"
MODEL = {"q.weight": [4, 3], "q.bias": [4], "k.weight": [4, 3], "k.bias": [4],
         "o.weight": [4, 3], "o.bias": [4], "c.weight": [4, 3]}  # fmt: skip


def carried(folder: Path, tensors: Tensors, **options: Any) -> Tensors:
    (folder / "m.mapcc").write_text(TEXT, "utf-8")
    (folder / "keys.json").write_text(json.dumps(MODEL), "utf-8")
    save_file(tensors, folder / "in.safetensors")
    paths = [folder / name for name in ("m.mapcc", "in.safetensors", "out.safetensors", "keys.json")]
    return load_file(mapcc.convert_lora(*paths, **options).path)


def pair(module: str, kind: str, seed: int = 0) -> Tensors:
    return {
        f"{module}.lora_down.weight": random(kind, 2, 3, seed=seed),
        f"{module}.lora_up.weight": random(kind, 4, 2, seed=seed + 1),
    }


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
def test_a_scale_goes_into_factors(kind: str, tmp_path: Path) -> None:
    given = pair("c", kind) | {"c.alpha": torch.tensor(0.6, dtype=KINDS[kind])}
    out = carried(tmp_path, given)
    scale = float(given["c.alpha"]) / 2
    down, up = scale, 1.0
    while down * 2 < up:
        down, up = down * 2, up / 2
    assert same(out["c.lora_A.weight"], (given["c.lora_down.weight"].float() * down).to(KINDS[kind]))
    assert same(out["c.lora_B.weight"], (given["c.lora_up.weight"].float() * up).to(KINDS[kind]))


@pytest.mark.parametrize("kind", ["F16", "BF16", "F32"])
def test_differences_and_alphas(kind: str, tmp_path: Path) -> None:
    given = pair("o", kind) | {
        "o.alpha": torch.tensor(0.6, dtype=KINDS[kind]),
        "o.diff_b": random(kind, 4),
        "c.diff": random(kind, 4, 3),
    }
    out = carried(tmp_path, given, to="kohya")
    factor = torch.tensor(0.3, dtype=torch.float32)
    assert same(out["lora_unet_out.diff_b"], (given["o.diff_b"].float() * factor).to(KINDS[kind]))
    assert same(out["lora_unet_c.diff"], given["c.diff"])
    assert float(out["lora_unet_out.alpha"]) == pytest.approx(0.3 * float(given["o.alpha"]), rel=1e-6)
    out = carried(tmp_path, given)
    product = out["c.lora_B.weight"].float() @ out["c.lora_A.weight"].float()
    assert out["c.lora_A.weight"].dtype == KINDS[kind]
    assert torch.equal(product, given["c.diff"].float())


def test_magnitudes_and_biases_of_two_types(tmp_path: Path) -> None:
    given = pair("q", "BF16") | pair("k", "F32", 2)
    given |= {"q.dora_scale": random("BF16", 4, 1), "k.dora_scale": random("F32", 4, 1, seed=5)}
    given |= {"q.diff_b": random("BF16", 4, seed=6), "k.diff_b": random("F16", 4, seed=7)}
    out = carried(tmp_path, given, to="kohya")
    wanted = torch.cat([given["q.dora_scale"].float(), given["k.dora_scale"]])
    assert same(out["lora_unet_qk.dora_scale"], wanted)
    assert same(out["lora_unet_qk.diff_b"], torch.cat([given[f"{n}.diff_b"].float() for n in "qk"]))
    assert out["lora_unet_qk.lora_down.weight"].dtype == torch.float32


def test_the_same_bytes_each_time(tmp_path: Path) -> None:
    given = pair("c", "BF16") | pair("o", "F32")
    carried(tmp_path, given)
    first = (tmp_path / "out.safetensors").read_bytes()
    carried(tmp_path, dict(reversed(given.items())))
    assert (tmp_path / "out.safetensors").read_bytes() == first
    assert np.frombuffer(first[:8], "<u8")[0] % 8 == 0


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "out.safetensors").mkdir()
    with pytest.raises(MappingError) as caught:
        carried(tmp_path, pair("c", "BF16"))
    assert [each.code for each in caught.value.diagnostics] == ["MC005"]
    assert not list(tmp_path.glob("*.part"))
