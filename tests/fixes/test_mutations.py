"""Every fix of mappings that were made wrong, applied to its own input: thousands of them."""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

import mapcc
from mapcc.resources import mappings
from mapcc.tensors.spec import Manifest
from tests.fixes.mutations import Shapes, mutated_yaml, mutations
from tests.fixes.promise import Case, broken_promises, key_set

LINEAR = (("weight", (4, 4)), ("bias", (4,)))

BLOCK = (
    "layers.{i} -> blocks.{i} {\n"
    "    attn.{q,k,v}.* -> self_attn.{to_q,to_k,to_v}.*\n"
    "    mlp.{up,down}.weight -> ffn.{fc_in,fc_out}.weight\n"
    "    keep norm.*\n"
    "}\n"
    'drop rope.freqs because "recomputed"\n'
    'external head.weight because "tied"\n'
)
SPLIT = (
    "let heads = 2\n"
    "h.{i}.qkv.* : (t d) ... -> l.{i}.[t=q,k,v].* : d ...\n"
    "h.{i}.proj.weight : (h d) c -> l.{i}.out.weight : (d h) c   where h = heads\n"
    "h.{i}.fc.weight | transpose -> l.{i}.fc.weight\n"
    "wte.weight -> embed.weight, lm_head.weight\n"
)
EXPERTS = (
    "model.layers.{i}.experts.[e].[p=w1,w3].weight : o c -> layers.{i}.moe.gate_up : e (p o) c\n"
    "model.layers.{i}.experts.[e].w2.weight : o c -> layers.{i}.moe.down : e o c\n"
    "model.layers.{i}.router.* -> layers.{i}.moe.router.*\n"
    "model.conv.* -> conv.*\n"
    "model.final.** -> final.**\n"
)


def block(prefix: str, heads: tuple[str, ...], mlp: tuple[str, str]) -> Shapes:
    out: Shapes = {f"{prefix}.{i}.{h}.{p}": shape for i in range(3) for h in heads for p, shape in LINEAR}
    out |= {f"{prefix}.{i}.{mlp[0]}.weight": (8, 4) for i in range(3)}
    out |= {f"{prefix}.{i}.{mlp[1]}.weight": (4, 8) for i in range(3)}
    return out | {f"{prefix}.{i}.norm.weight": (4,) for i in range(3)}


def fused() -> Shapes:
    out: Shapes = {"wte.weight": (9, 4)}
    for i in range(2):
        out |= {f"h.{i}.qkv.weight": (12, 4), f"h.{i}.qkv.bias": (12,)}
        out |= {f"h.{i}.proj.weight": (4, 4), f"h.{i}.fc.weight": (4, 8)}
    return out


def apart() -> Shapes:
    out: Shapes = {"embed.weight": (9, 4), "lm_head.weight": (9, 4)}
    for i in range(2):
        out |= {f"l.{i}.{n}.{p}": shape for n in "qkv" for p, shape in LINEAR}
        out |= {f"l.{i}.out.weight": (4, 4), f"l.{i}.fc.weight": (8, 4)}
    return out


def experts() -> Shapes:
    out: Shapes = {"model.conv.weight": (4, 4, 1, 1), "model.conv.bias": (4,), "model.final.a.b.weight": (4,)}
    for i in range(2):
        out |= {f"model.layers.{i}.router.weight": (3, 4)}
        for e in range(3):
            head = f"model.layers.{i}.experts.{e}"
            out |= {f"{head}.w1.weight": (6, 4), f"{head}.w2.weight": (4, 6), f"{head}.w3.weight": (6, 4)}
    return out


def stacked() -> Shapes:
    out: Shapes = {"conv.weight": (4, 4, 1, 1), "conv.bias": (4,), "final.a.b.weight": (4,)}
    for i in range(2):
        moe = f"layers.{i}.moe"
        out |= {f"{moe}.gate_up": (3, 12, 4), f"{moe}.down": (3, 4, 6), f"{moe}.router.weight": (3, 4)}
    return out


TOYS: dict[str, tuple[str, Shapes, Shapes]] = {
    "block": (
        BLOCK,
        {**block("layers", ("attn.q", "attn.k", "attn.v"), ("mlp.up", "mlp.down")), "rope.freqs": (2,)},
        {
            **block("blocks", tuple(f"self_attn.to_{n}" for n in "qkv"), ("ffn.fc_in", "ffn.fc_out")),
            "head.weight": (4, 4),
        },
    ),
    "split": (SPLIT, fused(), apart()),
    "experts": (EXPERTS, experts(), stacked()),
}


def shapes_of(keys: Manifest) -> Shapes:
    return {name: spec.shape for name, spec in keys.tensors.items()}


def small(keys: Shapes) -> Shapes:
    """The first layers are enough of a large model."""
    if len(keys) <= 300:
        return keys
    return {name: shape for name, shape in keys.items() if not any(int(n) > 1 for n in _numbers(name))}


def _numbers(name: str) -> list[str]:
    return [part for part in name.replace("_", ".").split(".") if part.isdigit() and len(part) < 6]


def library() -> list[Path]:
    """Mappings that come along, stand alone, and are for models of known names."""
    files = sorted(mappings().glob("*/*.mapcc"))
    return [
        path for path in files if not re.search(r"\buse\b|config|count\(|numbers", path.read_text("utf-8"))
    ]


def smallest(path: Path) -> tuple[str, Shapes, Shapes]:
    """A mapping of the library as a text of its own, with the first layers of one of its models."""
    pair, _ = next(iter(mapcc.check_models(path)))
    source, target = (small(shapes_of(mapcc.keys(keys))) for keys in (pair.source, pair.target))
    lines = path.read_text("utf-8").splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("about keys")), source, target


def run(folder: Path, name: str, text: str, source: Shapes, target: Shapes, count: int) -> tuple[int, int]:
    """How many mutations had findings, and how many fixes were applied."""
    faulty = applied = 0
    wrong: list[str] = []
    for mutant, ours, theirs in mutations(text, source, target, count, name):
        case = Case(folder / "m.mapcc", mutant, key_set(ours), key_set(theirs))
        checked = case.found()
        faulty += bool(checked.diagnostics)
        applied += sum(len(found.fixes) for found in checked.diagnostics)
        wrong += broken_promises(case, checked)
    assert not wrong, "\n\n".join(wrong[:5])
    return faulty, applied


@pytest.mark.parametrize("name", TOYS)
def test_fixes_of_mutated_toys(name: str, tmp_path: Path) -> None:
    faulty, applied = run(tmp_path, name, *TOYS[name], 72)
    assert faulty > 30
    assert applied > 50


@pytest.mark.parametrize(("name", "count"), [(name, 24) for name in TOYS])
def test_fixes_of_mutated_yaml(name: str, count: int, tmp_path: Path) -> None:
    text, source, target = TOYS[name]
    text = mapcc.format_mapping(mapcc.parse(text), "yaml")
    chance = random.Random(name)
    applied = 0
    wrong: list[str] = []
    for _ in range(count):
        case = Case(tmp_path / "m.yaml", mutated_yaml(chance, text), key_set(source), key_set(target))
        checked = case.found()
        applied += sum(len(found.fixes) for found in checked.diagnostics)
        wrong += broken_promises(case, checked)
    assert not wrong, "\n\n".join(wrong[:5])
    assert applied > count // 3


@pytest.mark.slow
@pytest.mark.parametrize("name", TOYS)
def test_fixes_of_many_mutated_toys(name: str, tmp_path: Path) -> None:
    faulty, applied = run(tmp_path, f"{name}, again", *TOYS[name], 360)
    assert faulty > 150
    assert applied > 250


@pytest.mark.slow
@pytest.mark.parametrize("path", library(), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_fixes_of_mutated_mappings_of_the_library(path: Path, tmp_path: Path) -> None:
    text, source, target = smallest(path)
    checked = Case(tmp_path / "m.mapcc", text, key_set(source), key_set(target)).found()
    if not checked.ok or len(source) > 250:
        pytest.skip("not for a model of fewer layers")
    run(tmp_path, path.stem, text, source, target, 4)
