"""The twelve defects that porters make, each as a small mapping with its key sets.

None of the peers' tools catches more than four of them before it reads weights. ``check`` catches
every one, or does right what they get wrong; :func:`no_tensor_is_read` proves that it had no bytes.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import mapcc
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shapes = dict[str, tuple[int, ...]]

# Two layers of an attention with 8 query heads and 2 key and value heads of 16.
Q, KV, D = 128, 32, 128
LAYERS = range(2)


def key_set(shapes: Shapes) -> Manifest:
    """Names and shapes; there are no bytes behind them."""
    f32 = DTYPES["F32"]
    tensors = {name: TensorSpec(name, f32, shape) for name, shape in shapes.items()}
    return Manifest(tensors, (), "key set", None, {})


def separate(prefix: str = "layers", names: str = "qkv", o: str = "o") -> Shapes:
    sizes = dict(zip(names, (Q, KV, KV), strict=True))
    out: Shapes = {f"{prefix}.{i}.attn.{n}.weight": (sizes[n], D) for i in LAYERS for n in names}
    return out | {f"{prefix}.{i}.attn.{o}.weight": (D, Q) for i in LAYERS}


def fused(prefix: str = "blocks") -> Shapes:
    out: Shapes = {f"{prefix}.{i}.attn.qkv.weight": (Q + 2 * KV, D) for i in LAYERS}
    return out | {f"{prefix}.{i}.attn.proj.weight": (D, Q) for i in LAYERS}


@pytest.fixture(autouse=True)
def no_tensor_is_read(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    if "converts" not in request.keywords:

        def refuse(*arguments: object) -> bytes:
            raise AssertionError(f"read a file: {arguments}")

        monkeypatch.setattr(os, "pread", refuse)


def found(mapping: str, source: Shapes, target: Shapes) -> list[tuple[str, int, tuple[str, ...]]]:
    """Code, line and folded tensors of everything that check finds."""
    checked = mapcc.check(mapcc.parse(mapping), key_set(source), key_set(target))
    assert checked.exit_code == (1 if checked.diagnostics else 0)
    return [(d.code, d.span.line if d.span else 0, d.names) for d in checked.diagnostics]


FUSE = """\
layers.{i}.attn.q.weight : q c, layers.{i}.attn.k.weight : k c, layers.{i}.attn.v.weight : v c
    -> blocks.{i}.attn.qkv.weight : (q + k + v) c
layers.{i}.attn.o.weight -> blocks.{i}.attn.proj.weight
"""


def test_the_sound_mapping_is_clean() -> None:
    assert found(FUSE, separate(), fused()) == []


def test_d01_two_sources_for_one_target() -> None:
    mapping = "layers.{i}.attn.{q,k,v}.weight -> blocks.{i}.attn.{q,k,k}.weight\n"
    mapping += "layers.{i}.attn.o.weight -> blocks.{i}.attn.o.weight\n"
    target = separate("blocks")
    assert ("MC206", 1, ("blocks.{0,1}.attn.k.weight",)) in found(mapping, separate(), target)
    mapping = "layers.{i}.attn.*.weight -> blocks.{i}.attn.*.weight\n"
    mapping += "extra.attn.*.weight -> blocks.0.attn.*.weight\n"
    source = separate() | {"extra.attn.q.weight": (Q, D)}
    assert ("MC404", 1, ("blocks.0.attn.q.weight",)) in found(mapping, source, target)


def test_d02_two_rules_for_one_source() -> None:
    mapping = "layers.{i}.attn.{q,k,v,o}.weight -> blocks.{i}.attn.{q,k,v,o}.weight\n"
    mapping += "layers.{i}.attn.o.* -> blocks.{i}.attn.proj.*\n"
    target = separate("blocks") | {f"blocks.{i}.attn.proj.weight": (D, Q) for i in LAYERS}
    assert ("MC403", 1, ("layers.{0,1}.attn.o.weight",)) in found(mapping, separate(), target)


def test_d03_a_dead_rule() -> None:
    mapping = FUSE + "layers.{i}.attn.q_norm.weight -> blocks.{i}.attn.norm_q.weight\n"
    assert [(code, line) for code, line, _ in found(mapping, separate(), fused())] == [("MC405", 4)]


def test_d04_an_unmapped_source() -> None:
    source = separate() | {f"layers.{i}.attn.q_norm.weight": (16,) for i in LAYERS}
    assert found(FUSE, source, fused()) == [("MC402", 0, ("layers.{0,1}.attn.q_norm.weight",))]


def test_d05_a_target_that_nothing_gives() -> None:
    target = fused() | {f"blocks.{i}.attn.norm_q.weight": (16,) for i in LAYERS}
    assert found(FUSE, separate(), target) == [("MC401", 0, ("blocks.{0,1}.attn.norm_q.weight",))]


def test_d06_a_wrong_shape() -> None:
    target = fused() | {f"blocks.{i}.attn.proj.weight": (Q, D + 1) for i in LAYERS}
    assert found(FUSE, separate(), target) == [("MC408", 3, ("blocks.{0,1}.attn.proj.weight",))]


def test_d06_a_transposed_matrix() -> None:
    target = fused() | {f"blocks.{i}.mlp.weight": (64, D) for i in LAYERS}
    source = separate() | {f"layers.{i}.mlp.weight": (D, 64) for i in LAYERS}
    mapping = FUSE + "layers.{i}.mlp.weight -> blocks.{i}.mlp.weight\n"
    checked = mapcc.check(mapcc.parse(mapping), key_set(source), key_set(target))
    (diagnostic,) = checked.diagnostics
    assert diagnostic.code == "MC408"
    assert "transpose" in diagnostic.help


def test_d07_a_member_of_a_group_is_missing() -> None:
    source = separate()
    del source["layers.1.attn.k.weight"]
    assert found(FUSE, source, fused()) == [("MC406", 1, ("layers.1.attn.k.weight",))]


def test_d07_a_gap_among_experts() -> None:
    source: Shapes = {f"experts.{e}.w.weight": (4, 8) for e in (0, 1, 3)}
    mapping = "experts.[e].w.weight : o c -> experts.w : e o c"
    assert found(mapping, source, {"experts.w": (4, 4, 8)}) == [("MC406", 1, ("experts.2.w.weight",))]


SPLIT = "blocks.{i}.attn.qkv.weight : %s c -> %s\nblocks.{i}.attn.proj.weight -> layers.{i}.attn.o.weight\n"
PARTS = ", ".join(f"layers.{{i}}.attn.{n}.weight : {n} c" for n in "qkv")


def test_d08_an_uneven_split_is_right() -> None:
    assert found(SPLIT % ("(q + k + v)", PARTS), fused(), separate()) == []


def test_d08_equal_thirds_are_refused() -> None:
    thirds = SPLIT % ("(t d)", "layers.{i}.attn.[t=q,k,v].weight : d c")
    # 192 rows are 3 * 64: it divides, and only the target's shapes tell.
    findings = found(thirds, fused(), separate())
    assert {code for code, _, _ in findings} == {"MC408"}
    assert {n for _, _, names in findings for n in names} == {
        f"layers.{{0,1}}.attn.{n}.weight" for n in "qkv"
    }
    odd: Shapes = {f"blocks.{i}.attn.qkv.weight": (Q + 2 * KV + 1, D) for i in LAYERS}
    assert found(thirds, fused() | odd, separate())[0][:2] == ("MC306", 1)


@pytest.mark.converts
def test_d09_a_swap(tmp_path: Path) -> None:
    mapping = mapcc.parse("a.weight -> b.weight\nb.weight -> a.weight")
    tensors = {"a.weight": np.float32([1, 2]), "b.weight": np.float32([3, 4])}
    converted = run(mapping, tensors, tmp_path)
    assert converted["a.weight"].tolist() == [3, 4]
    assert converted["b.weight"].tolist() == [1, 2]


def test_d09_a_swap_by_mistake_is_refused() -> None:
    source = {"a.q.weight": (4, 4), "a.k.weight": (4, 4)}
    checked = mapcc.check(
        mapcc.parse("a.{q,k}.weight -> b.{k,q}.weight"),
        key_set(source),  # type: ignore[arg-type]
        key_set({"b.q.weight": (4, 4), "b.k.weight": (4, 4)}),
    )
    assert [d.code for d in checked.diagnostics] == ["MC203"]


def test_d10_a_name_is_matched_whole() -> None:
    source = separate() | {f"layers.{i}.attn.q.weight_scale": (1,) for i in LAYERS}
    source |= {f"layers.{i}.attn.o_norm.weight": (4,) for i in LAYERS}
    assert {n for _, _, names in found(FUSE, source, fused()) for n in names} == {
        "layers.{0,1}.attn.q.weight_scale",
        "layers.{0,1}.attn.o_norm.weight",
    }


@pytest.mark.converts
def test_d11_one_tensor_for_two_targets(tmp_path: Path) -> None:
    mapping = mapcc.parse("wte.weight -> embed.weight, lm_head.weight")
    converted = run(mapping, {"wte.weight": np.arange(6, dtype=np.float32).reshape(2, 3)}, tmp_path)
    assert sorted(converted) == ["embed.weight", "lm_head.weight"]
    assert (converted["embed.weight"] == converted["lm_head.weight"]).all()


@pytest.mark.converts
def test_d12_an_uneven_fuse_comes_back(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {name: rng.random(shape, np.float32) for name, shape in separate().items()}
    forward = mapcc.parse(FUSE)
    converted = run(forward, tensors, tmp_path / "there")
    inverse = mapcc.invert(forward, key_set(separate()), key_set(fused()))
    assert inverse.proven
    back = run(inverse.mapping, converted, tmp_path / "back", target=key_set(separate()))
    assert back.keys() == tensors.keys()
    assert all((back[name] == tensors[name]).all() for name in tensors)


def run(
    mapping: object, tensors: dict[str, np.ndarray], folder: Path, target: Manifest | None = None
) -> dict[str, np.ndarray]:
    """Convert for real."""
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "source.safetensors")
    out = mapcc.convert(mapping, folder / "source.safetensors", folder / "out", target)  # type: ignore[arg-type]
    return dict(load_file(out / "model.safetensors"))
