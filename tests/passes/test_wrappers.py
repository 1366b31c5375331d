"""Segments that training left in names are told for what they are, and what is printed takes them off."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from typing import Any

import pytest

import mapcc
from mapcc.api import bound_mapping
from mapcc.passes.wrappers import WRAPPERS, bare, statements
from mapcc.resources import mappings
from mapcc.tensors.spec import Manifest, TensorSpec

NESTED = [  # as DDP, torch.compile, FSDP and checkpointing leave them together
    *(
        f"module._orig_mod._fsdp_wrapped_module.blocks.{i}._fsdp_wrapped_module._checkpoint_wrapped_module.{x}.weight"
        for i in (0, 1)
        for x in ("attn.qkv", "mlp.fc1")
    ),
    "module._orig_mod._fsdp_wrapped_module.final.weight",
    "module._orig_mod._fsdp_wrapped_module.patch_embed.weight",
]
UNEVEN = [  # not in every layer, and at several depths
    *(
        f"module._orig_mod.layers.{i}._checkpoint_wrapped_module.attn.qkv.{x}"
        for i in (0, 2)
        for x in ("w", "b")
    ),
    *(f"module._orig_mod.layers.{i}.attn.qkv.{x}" for i in (1, 3) for x in ("w", "b")),
    *(f"module._orig_mod.layers.{i}.mlp._fsdp_wrapped_module.fc{k}.w" for i in (1, 3) for k in (1, 2)),
    *(
        f"module._orig_mod.layers.{i}._checkpoint_wrapped_module.mlp._fsdp_wrapped_module.fc{k}.w"
        for i in (0, 2)
        for k in (1, 2)
    ),
    "module._orig_mod.norm.w",
    "tok_emb.w",
]
MODELS = ("llama/keys/hf.json#2_7b", "flux/keys/official.json#schnell", "moe/keys/qwen_v4.json#olmoe_7b")
TAKES = ("llama/hf_to_litgpt", "flux/official_to_diffusers", "moe/qwen_v4_to_v5")


def manifest(names: dict[str, tuple[int, ...]]) -> Manifest:
    return Manifest({name: TensorSpec(name, None, shape) for name, shape in names.items()}, (), "s", None, {})


def taken_off(names: Sequence[str]) -> list[str]:
    """What the printed statements make of names."""
    text = "".join(f"{line}\n" for line in statements(names))
    checked = mapcc.check(mapcc.parse(text), manifest(dict.fromkeys(names, (2,))))
    assert checked.diagnostics == (), text
    return sorted(bound_mapping(checked).given)


@pytest.mark.parametrize("names", [NESTED, UNEVEN], ids=["nested", "uneven"])
def test_statements_take_them_off(names: list[str]) -> None:
    assert taken_off(names) == sorted(map(bare, names))


def wrapped(names: Sequence[str], seed: int) -> list[str]:
    """Wrappers in front of some modules, as a run of training may have put them."""
    chance = random.Random(seed)
    front = chance.choice(("", "module.", "_orig_mod.", "module._orig_mod."))
    modules = sorted(
        {".".join(name.split(".")[:at]) for name in names for at in range(1, name.count(".") + 1)}
    )
    chosen = {
        module: chance.choice(list(WRAPPERS)[2:]) for module in chance.sample(modules, min(9, len(modules)))
    }
    out = []
    for name in names:
        segments = name.split(".")
        parts = []
        for at, segment in enumerate(segments):
            parts.append(segment)
            wrapper = chosen.get(".".join(segments[: at + 1]))
            parts += [wrapper] if wrapper and at + 1 < len(segments) else []
        out.append(front + ".".join(parts))
    return out


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("keys", "mapping"), list(zip(MODELS, TAKES, strict=True)), ids=TAKES)
def test_wherever_they_stand(keys: str, mapping: str, seed: int) -> None:
    """One finding, of all that is wrapped; and the statements give the model's own names back."""
    tensors = mapcc.keys(f"{mappings()}/{keys}").tensors
    names = wrapped(list(tensors), seed)
    shapes = {name: tensors[bare(name)].shape for name in names}
    found = mapcc.check(mapping, manifest(shapes)).diagnostics
    assert {d.code for d in found} == {"MC009"}
    assert len(found) == 1
    assert taken_off(names) == sorted(tensors)


def test_in_front_of_all_it_is_a_prefix(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    source = manifest({f"module._orig_mod.{name}": (2,) for name in ("a.w", "b.w")})
    mapping = mapcc.parse("a.* -> x.*\nb.* -> y.*")
    (found,) = mapcc.check(mapping, source, manifest({"x.w": (2,), "y.w": (2,)})).diagnostics
    assert (found.code, found.names) == ("MC009", ("module._orig_mod.a.w", "module._orig_mod.b.w"))
    assert "`module` (DistributedDataParallel), `_orig_mod` (torch.compile)" in found.message
    typed = re.search(r"`--under ([^`]+)`", found.help)
    assert typed is not None
    assert (
        mapcc.check(mapping, source, manifest({"x.w": (2,), "y.w": (2,)}), under=typed[1]).diagnostics == ()
    )


def test_a_module_of_that_name_is_none(tmp_path: Any) -> None:
    """Where no rule takes the name without it, or the source has both, it is only unexpected."""
    mapping = mapcc.parse("a.* -> x.*")
    assert [
        d.code for d in mapcc.check(mapping, manifest({"a.w": (1,), "module.b.w": (1,)})).diagnostics
    ] == ["MC402"]
    assert [
        d.code for d in mapcc.check(mapping, manifest({"a.w": (1,), "module.a.w": (1,)})).diagnostics
    ] == ["MC402"]
    assert mapcc.check(mapcc.parse("module.* -> x.*"), manifest({"module.w": (1,)})).diagnostics == ()


def test_a_group_that_is_wrapped_in_part() -> None:
    mapping = mapcc.parse("e.[e].w : ... -> w : e ...")
    source = manifest({"e.0._orig_mod.w": (2,), "e.1.w": (2,)})
    assert [d.code for d in mapcc.check(mapping, source, manifest({"w": (2, 2)})).diagnostics] == ["MC009"]


def test_what_is_wrong_besides_is_told() -> None:
    mapping = mapcc.parse('a.* -> x.*\nc.* -> z.*\ndrop d.* because "?"')
    source = manifest({"module.a.w": (1,), "module.d.w": (1,), "f.w": (1,)})
    assert sorted(d.code for d in mapcc.check(mapping, source).diagnostics) == [
        "MC009",
        "MC402",
        "MC405",
    ]
