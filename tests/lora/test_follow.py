"""Factors through random rules: what they multiply to is the difference, moved as the weight is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc

Shapes = dict[str, tuple[int, ...]]
QKV = dict.fromkeys("qkv", (4, 5))
QUARTERS = {"p": (2, 3), "q": (2, 4), "r": (4, 3), "s": (4, 4)}
PIECES = "p.weight : a c, q.weight : a e, r.weight : b c, s.weight : b e"
# A rule, the weights of its source, and those of its target.
RULES: dict[str, tuple[str, Shapes, Shapes]] = {
    "rename": ("a.* -> b.*", {"a": (6, 4)}, {"b": (6, 4)}),
    "split the outputs": ("qkv.* : (t d) ... -> [t=q,k,v].* : d ...", {"qkv": (12, 5)}, QKV),
    "uneven": (
        "x.* : (a + b) ... -> u.* : a ..., v.* : b ... where a = 2",
        {"x": (7, 3)},
        {"u": (2, 3), "v": (5, 3)},
    ),
    "split the inputs": (
        "x.weight : o (i + j) -> u.weight : o i, v.weight : o j where i = 2",
        {"x": (3, 7)},
        {"u": (3, 2), "v": (3, 5)},
    ),
    "fuse": ("[t=q,k,v].* : d ... -> qkv.* : (t d) ...", QKV, {"qkv": (12, 5)}),
    "fuse the inputs": (
        "u.weight : o i, v.weight : o j -> x.weight : o (i + j)",
        {"u": (3, 2), "v": (3, 5)},
        {"x": (3, 7)},
    ),
    "interleave": ("[t=q,k,v].* : d ... -> x.* : (d t) ...", QKV, {"x": (12, 5)}),
    "swap halves": ("x.* : (a + b) ... -> y.* : (b + a) ... where a = b", {"x": (6, 3)}, {"y": (6, 3)}),
    "rope": (
        "x.weight : (h r two) c -> y.weight : (h two r) c where h = 3, two = 2",
        {"x": (12, 5)},
        {"y": (12, 5)},
    ),
    "columns": ("x.weight : o (a b) -> y.weight : o (b a) where a = 2", {"x": (3, 6)}, {"y": (3, 6)}),
    "rows and columns": (
        "x.weight : (a b) (c e) -> y.weight : (b a) (e c) where a = 2, c = 3",
        {"x": (6, 6)},
        {"y": (6, 6)},
    ),
    "transpose": ("x.weight : o i -> y.weight : i o", {"x": (3, 5)}, {"y": (5, 3)}),
    "transpose and split": ("x.weight : i (t o) -> [t=q,k,v].weight : o i", {"x": (5, 12)}, QKV),
    "quarters": (f"x.weight : (a + b) (c + e) -> {PIECES} where a = 2, c = 3", {"x": (6, 7)}, QUARTERS),
    "fuse quarters": (f"{PIECES} -> x.weight : (a + b) (c + e)", QUARTERS, {"x": (6, 7)}),
    "a convolution": ("x.* -> y.*", {"x": (4, 3, 2, 2)}, {"y": (4, 3, 2, 2)}),
    "patches": (
        "x.weight : o (c p q) -> y.weight : o c p q where p = q, q = 2",
        {"x": (4, 12)},
        {"y": (4, 3, 2, 2)},
    ),
}


def adapter(shapes: Shapes, seed: int = 0, alphas: bool = False, rank: int = 2) -> dict[str, np.ndarray]:
    """Whole numbers, so that products are exact."""
    random = np.random.default_rng(seed)
    out = {}
    for at, (name, (rows, *columns)) in enumerate(shapes.items()):
        own = rank + at % 2
        ones = (1,) * (len(columns) - 1)
        out[f"{name}.lora_A.weight"] = random.integers(-8, 8, (own, *columns)).astype("f4")
        out[f"{name}.lora_B.weight"] = random.integers(-8, 8, (rows, own, *ones)).astype("f4")
        if alphas:
            out[f"{name}.alpha"] = np.array(own * 2.0**at, "f4")
    return out


def differences(tensors: dict[str, np.ndarray], shapes: Shapes) -> dict[str, np.ndarray]:
    """What an adapter adds to each weight."""
    out = {}
    for name, shape in shapes.items():
        if f"{name}.lora_A.weight" not in tensors:
            out[f"{name}.weight"] = np.zeros(shape, "f4")
            continue
        down, up = (tensors[f"{name}.lora_{factor}.weight"] for factor in "AB")
        rank = len(down)
        scale = tensors.get(f"{name}.alpha", np.float32(rank)) / rank
        product = up.reshape(shape[0], rank) @ down.reshape(rank, -1) * scale
        out[f"{name}.weight"] = product.reshape(shape).astype("f4")
    return out


def through(folder: Path, text: str, tensors: dict[str, np.ndarray], shapes: Shapes) -> dict[str, np.ndarray]:
    (folder / "m.mapcc").write_text(text + "\n", "utf-8")
    (folder / "keys.json").write_text(json.dumps({f"{n}.weight": s for n, s in shapes.items()}), "utf-8")
    save_file(tensors, folder / "lora.safetensors")
    done = mapcc.convert_lora(
        folder / "m.mapcc", folder / "lora.safetensors", folder / "out", folder / "keys.json"
    )
    return load_file(done.path)


def converted(folder: Path, text: str, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    save_file({n: np.ascontiguousarray(a) for n, a in weights.items()}, folder / "weights.safetensors")
    out = mapcc.convert(mapcc.parse(text), folder / "weights.safetensors", folder / "whole")
    return load_file(next(out.glob("*.safetensors")))


@pytest.mark.converts
@pytest.mark.parametrize("alphas", [False, True], ids=["plain", "alphas"])
@pytest.mark.parametrize("case", RULES)
def test_the_product_moves_as_the_weight_does(case: str, alphas: bool, tmp_path: Path) -> None:
    text, shapes, targets = RULES[case]
    tensors = adapter(shapes, alphas=alphas)
    out = through(tmp_path, text, tensors, shapes)
    wanted = converted(tmp_path, text, differences(tensors, shapes))
    found = differences(out, targets)
    assert found.keys() == wanted.keys()
    for name, difference in wanted.items():
        np.testing.assert_array_equal(found[name], difference, name)


@pytest.mark.converts
@pytest.mark.parametrize("case", ["fuse", "fuse the inputs", "interleave", "fuse quarters"])
def test_a_partial_group(case: str, tmp_path: Path) -> None:
    """What has no adapter stays as it is."""
    text, shapes, targets = RULES[case]
    first = next(iter(shapes))
    partial = {name: shape for name, shape in shapes.items() if name != first}
    tensors = adapter(partial, alphas=True)
    out = through(tmp_path, text, tensors, shapes)
    wanted = converted(tmp_path, text, differences(tensors, shapes))
    for name, difference in differences(out, targets).items():
        np.testing.assert_array_equal(difference, wanted[name], name)


def test_what_splits_shares_a_factor(tmp_path: Path) -> None:
    """An output-side split leaves lora_A alone, an input-side one lora_B; the rank stays."""
    text, shapes, _ = RULES["split the outputs"]
    tensors = adapter(shapes)
    out = through(tmp_path, text, tensors, shapes)
    for at, name in enumerate("qkv"):
        np.testing.assert_array_equal(out[f"{name}.lora_A.weight"], tensors["qkv.lora_A.weight"])
        rows = slice(4 * at, 4 * at + 4)
        np.testing.assert_array_equal(out[f"{name}.lora_B.weight"], tensors["qkv.lora_B.weight"][rows])
    text, shapes, _ = RULES["split the inputs"]
    tensors = adapter(shapes)
    out = through(tmp_path, text, tensors, shapes)
    np.testing.assert_array_equal(out["u.lora_A.weight"], tensors["x.lora_A.weight"][:, :2])
    np.testing.assert_array_equal(out["v.lora_B.weight"], tensors["x.lora_B.weight"])


def test_a_swap_acts_on_one_side(tmp_path: Path) -> None:
    """Diffusers' converter of HunyuanVideo swaps the halves of lora_A too, where they are ranks."""
    text, shapes, _ = RULES["swap halves"]
    tensors = adapter(shapes)
    out = through(tmp_path, text, tensors, shapes)
    np.testing.assert_array_equal(out["y.lora_A.weight"], tensors["x.lora_A.weight"])
    np.testing.assert_array_equal(out["y.lora_B.weight"], np.roll(tensors["x.lora_B.weight"], 3, axis=0))


@pytest.mark.parametrize(
    ("down", "up", "alpha", "module"),
    [
        (".lora_A.weight", ".lora_B.weight", ".alpha", "transformer.layers.0.up_proj"),
        (".lora_A.default.weight", ".lora_B.default.weight", ".alpha", "base_model.model.layers.0.up_proj"),
        (".lora_down.weight", ".lora_up.weight", ".alpha", "lora_unet_layers_0_up_proj"),
        (".lora.down.weight", ".lora.up.weight", ".alpha", "unet.layers.0.up_proj"),
    ],
)
def test_ways_to_write_names(down: str, up: str, alpha: str, module: str, tmp_path: Path) -> None:
    (tmp_path / "m.mapcc").write_text("layers.{i}.up_proj.* -> blocks.{i}.up.*\n", "utf-8")
    (tmp_path / "keys.json").write_text('{"layers.0.up_proj.weight": [4, 3]}', "utf-8")
    tensors = {f"{module}{down}": np.ones((2, 3), "f2"), f"{module}{up}": np.ones((4, 2), "f2")}
    tensors[f"{module}{alpha}"] = np.array(4, "f2")
    save_file(tensors, tmp_path / "lora.safetensors", {"ss_network_dim": "2"})
    paths = [tmp_path / name for name in ("m.mapcc", "lora.safetensors", "out.safetensors", "keys.json")]
    done = mapcc.convert_lora(*paths, prefix="transformer.")
    assert (done.path, done.taken, done.given) == (tmp_path / "out.safetensors", 1, 1)
    out = load_file(done.path)
    assert {name: (a.shape, a.dtype.name) for name, a in out.items()} == {
        "transformer.blocks.0.up.lora_A.weight": ((2, 3), "float16"),
        "transformer.blocks.0.up.lora_B.weight": ((4, 2), "float16"),
    }
    assert (
        out["transformer.blocks.0.up.lora_B.weight"] @ out["transformer.blocks.0.up.lora_A.weight"] == 4
    ).all()
    assert mapcc.keys(done.path).metadata["ss_network_dim"] == "2"


@pytest.mark.converts
def test_whole_differences_and_biases(tmp_path: Path) -> None:
    text, shapes = (
        "[t=q,k].* : d ... -> qk.* : (t d) ...\nnorm.* -> n.*",
        {"q": (2, 3), "k": (2, 3), "norm": (4,)},
    )
    (tmp_path / "m.mapcc").write_text(text + "\n", "utf-8")
    model = {f"{n}.weight": s for n, s in shapes.items()} | {"q.bias": (2,), "k.bias": (2,)}
    (tmp_path / "keys.json").write_text(json.dumps(model), "utf-8")
    tensors = adapter({"q": (2, 3), "k": (2, 3)})
    tensors |= {"k.diff_b": np.array([1, 2], "f4"), "norm.diff": np.arange(4, dtype="f4")}
    tensors |= {f"{n}.lora_B.bias": np.full(2, at, "f4") for at, n in enumerate("qk")}
    save_file(tensors, tmp_path / "lora.safetensors")
    out = load_file(
        mapcc.convert_lora(
            tmp_path / "m.mapcc", tmp_path / "lora.safetensors", tmp_path, tmp_path / "keys.json"
        ).path
    )
    assert out["n.diff"].tolist() == [0, 1, 2, 3]
    assert out["qk.lora_B.bias"].tolist() == [0, 0, 2, 3]


FAULTS: dict[str, tuple[dict[str, tuple[int, ...]], str, str]] = {
    "no partner": ({"a.lora_A.weight": (2, 4)}, "MC901", "lora_B of a.weight is missing"),
    "foreign": ({"z.lora_A.weight": (2, 4)}, "MC901", "belong to no module"),
    "no adapter": ({"a.weight": (6, 4)}, "MC901", "holds no adapter"),
    "inputs": ({"a.lora_A.weight": (2, 5), "a.lora_B.weight": (6, 2)}, "MC901", "has shape [2, 5]"),
    "outputs": ({"a.lora_A.weight": (2, 4), "a.lora_B.weight": (5, 2)}, "MC901", "has shape [5, 2]"),
    "a scalar": ({"a.lora_A.weight": (), "a.lora_B.weight": (6, 2)}, "MC901", "has shape []"),
    "no rank": ({"a.lora_A.weight": (0, 4), "a.lora_B.weight": (6, 0)}, "MC901", "has shape [0, 4]"),
    "many alphas": (
        {"a.lora_A.weight": (2, 4), "a.lora_B.weight": (6, 2), "a.alpha": (3,)},
        "MC901",
        "a.alpha is not one number",
    ),
    "a vector": ({"n.lora_A.weight": (2, 1), "n.lora_B.weight": (4, 2)}, "MC902", "no matrix"),
    "computed": ({"e.lora_A.weight": (2, 4), "e.lora_B.weight": (4, 2)}, "MC902", "neg_exp"),
    "mixed": ({"m.lora_A.weight": (2, 4), "m.lora_B.weight": (4, 2)}, "MC902", "mixes rows with columns"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_what_cannot_be(case: str, tmp_path: Path, mapcc: Any) -> None:
    shapes, code, words = FAULTS[case]
    (tmp_path / "m.mapcc").write_text(
        "a.* -> b.*\nn.* -> nn.*\ne.weight | neg_exp -> f.weight\n"
        "m.weight : (a b) c -> l.weight : (a c) b where a = 2\n",
        "utf-8",
    )
    (tmp_path / "keys.json").write_text(
        '{"a.weight": [6, 4], "n.weight": [4], "e.weight": [4, 4], "m.weight": [4, 4]}', "utf-8"
    )
    save_file({n: np.ones(s, "f4") for n, s in shapes.items()}, tmp_path / "lora.safetensors")
    out = tmp_path / "out.safetensors"
    ran = mapcc("lora", tmp_path / "m.mapcc", "--source", tmp_path / "lora.safetensors",
                "--model", tmp_path / "keys.json", "--out", out)  # fmt: skip
    assert ran.code == 1
    assert f"error[{code}]" in ran.err
    assert words in ran.err
    assert not out.exists()


def test_what_is_dropped_is_told(tmp_path: Path, mapcc: Any) -> None:
    (tmp_path / "m.mapcc").write_text('a.* -> b.*\ndrop c.** because "not used"\n', "utf-8")
    (tmp_path / "keys.json").write_text('{"a.weight": [6, 4], "c.weight": [6, 4]}', "utf-8")
    save_file(adapter({"a": (6, 4), "c": (6, 4)}), tmp_path / "lora.safetensors")
    ran = mapcc("lora", tmp_path / "m.mapcc", "--source", tmp_path / "lora.safetensors",
                "--model", tmp_path / "keys.json", "--out", tmp_path)  # fmt: skip
    assert ran.code == 0
    assert "dropped, as its weight is: c.weight" in ran.out
    assert (tmp_path / "pytorch_lora_weights.safetensors").exists()


def test_halves_of_two_kinds_are_joined_as_floats(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    (tmp_path / "m.mapcc").write_text("[t=q,k].* : d ... -> qk.* : (t d) ...\n", "utf-8")
    (tmp_path / "keys.json").write_text('{"q.weight": [2, 3], "k.weight": [2, 3]}', "utf-8")
    kinds = {"q": torch.bfloat16, "k": torch.float16}
    save(
        {
            f"{n}.lora_{f}.weight": torch.ones(s, dtype=t)
            for n, t in kinds.items()
            for f, s in (("A", (1, 3)), ("B", (2, 1)))
        },
        tmp_path / "lora.safetensors",
    )
    paths = [tmp_path / name for name in ("m.mapcc", "lora.safetensors", "out.safetensors", "keys.json")]
    out = load(mapcc.convert_lora(*paths).path)
    assert {tensor.dtype for tensor in out.values()} == {torch.float32}
    assert out["qk.lora_B.weight"].tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
