"""Adapters at random, most of them wrong: a diagnostic, no traceback, and words that leave them out."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random

import numpy as np
import pytest
from safetensors.numpy import save_file

import mapcc
from mapcc.errors import MappingError
from tests.lora.made import MODEL, TEXT, Tensors, skips

EXTRA = """
ex.up : e o i -> ee.up : e i o
ex.down : e o i -> ee.[e].down.weight : o i
neg.weight | neg_exp -> n2.weight
create extra.weight : 3 4 = 0
drop gone.** because "not used"
s.weight -> ss.weight
"""
SHAPES = MODEL | {
    "ex.up": [3, 4, 5],
    "ex.down": [3, 5, 5],
    "neg.weight": [4, 4],
    "gone.weight": [4, 4],
    "s.weight": [],
}
MODULES = [*sorted({name.rpartition(".")[0] for name in SHAPES}), "ex", "ex.base_layer", "nope"]
ROLES = [
    ".lora_A.weight", ".lora_B.weight", ".lora_A.default.weight", ".lora_B.bias", ".lora_embedding_A",
    ".lora_embedding_B", ".lora_magnitude_vector", ".dora_scale", ".lora_down.weight", ".lora_up.weight",
    ".lora_mid.weight", ".alpha", ".diff", ".diff_b", ".diff_m", ".w_norm", ".set_weight", ".lokr_w1",
    ".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".weight", ".bias", ".base_layer.weight",
    ".oft_blocks",
]  # fmt: skip
SETS = [
    [".lora_A.weight", ".lora_B.weight"],
    [".lora_down.weight", ".lora_up.weight", ".alpha"],
    [".lora_down.weight", ".lora_up.weight", ".dora_scale"],
    [".lora_embedding_A", ".lora_embedding_B"],
    [".hada_w1_a", ".hada_w1_b", ".hada_w2_a", ".hada_w2_b", ".alpha"],
]


def shape_of(role: str, module: str, rank: int, random: Random) -> tuple[int, ...]:
    """What fits, most of the time."""
    if random.random() < 0.02:
        return tuple(random.randrange(4) for _ in range(random.randrange(5)))
    own = tuple(SHAPES.get(f"{module}.weight", SHAPES.get(module, [4, 4])))
    rows, columns = (own[0] if own else 1), own[1:]
    ones = (1,) * (len(columns) - 1)
    flat = int(np.prod(columns))
    match role:
        case ".lora_A.weight" | ".lora_down.weight" | ".lora_A.default.weight":
            return (3 * rank, random.choice((4, 5))) if module.startswith("ex") else (rank, *columns)
        case ".lora_B.weight" | ".lora_up.weight":
            return (random.choice((4, 5)), 3 * rank) if module.startswith("ex") else (rows, rank, *ones)
        case ".alpha":
            return ()
        case ".dora_scale":
            return (rows, 1)
        case ".lora_embedding_A":
            return (rank, rows)
        case ".lora_embedding_B":
            return (flat, rank)
        case ".hada_w1_a" | ".hada_w2_a":
            return (rows, rank)
        case ".hada_w1_b" | ".hada_w2_b":
            return (rank, flat)
        case ".diff_b" | ".bias" | ".lora_B.bias" | ".lora_magnitude_vector":
            return (rows,)
    return own


def made(random: Random) -> Tensors:
    out: Tensors = {}
    prefix = random.choice(["", "", "transformer.", "base_model.model.", "lora_unet_"])
    for _ in range(random.randint(1, 3)):
        module = random.choice(MODULES)
        name = prefix + (module.replace(".", "_") if prefix == "lora_unet_" else module)
        rank = random.randint(1, 3)
        roles = random.choice(SETS) + random.sample(ROLES, random.choice([0, 0, 0, 1]))
        for role in roles if random.random() < 0.95 else random.sample(ROLES, 2):
            shape = shape_of(role, module, rank, random)
            values = np.asarray(np.random.default_rng(len(out)).normal(size=shape))
            if random.random() < 0.02:
                values = np.full_like(values, random.choice([np.nan, np.inf, 0.0, -1.0, 1e30]))
            dtype = random.choice(["<f4", "<f4", "<f2", "<f8"]) if random.random() < 0.99 else "<i4"
            with np.errstate(all="ignore"):
                out[name + role] = values.astype(dtype)
    return out


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_adapters_at_random(seed: int, tmp_path: Path) -> None:
    random = Random(seed)
    (tmp_path / "m.mapcc").write_text(TEXT + EXTRA, "utf-8")
    (tmp_path / "keys.json").write_text(json.dumps(SHAPES), "utf-8")
    whole = 0
    for at in range(25):
        folder = tmp_path / str(at)
        folder.mkdir()
        save_file(made(random), folder / "adapter_model.safetensors")
        if random.random() < 0.5:
            alpha, rank = random.choice([1, 2.5, 0, -1, 1e308, 4]), random.randint(1, 3)
            config = {"r": rank, "lora_alpha": alpha, "use_rslora": random.random() < 0.3}
            (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        paths = tmp_path / "m.mapcc", folder, tmp_path / "out", tmp_path / "keys.json"
        to = random.choice(["", "diffusers", "peft", "kohya", "comfy"])
        try:
            mapcc.convert_lora(*paths, to=to, scale=1.0)
            whole += 1
        except MappingError as error:
            found = [pattern for each in error.diagnostics for pattern in skips(each.help)]
            whole += bool(found) and leaves_out(found, paths, to)
    assert whole > 3


def leaves_out(patterns: list[str], paths: tuple[Path, ...], to: str) -> bool:
    """Whether an adapter is left; what is wrong without the patterns' tensors is nothing else."""
    try:
        mapcc.convert_lora(*paths, to=to, scale=1.0, skip=list(dict.fromkeys(patterns)))
    except MappingError as error:
        [only] = error.diagnostics
        if "holds no adapter" not in only.message:
            raise
        return False
    return True
