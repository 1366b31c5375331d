"""Adapters as their readers take them: what was written changes weights by as much.

What is right is computed here, from the factors of the source: ``alpha / rank * up @ down``, moved as a
checkpoint is. For kohya's trainers and ComfyUI, of which there is no package, the formula stands here again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

import mapcc

pytestmark = [pytest.mark.oracle, pytest.mark.slow, pytest.mark.converts]

Tensors = dict[str, Any]


def wan() -> Any:
    from diffusers import WanTransformer3DModel

    return WanTransformer3DModel(
        patch_size=(1, 2, 2), num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=4,
        text_dim=6, freq_dim=16, ffn_dim=32, num_layers=2, cross_attn_norm=True,
        qk_norm="rms_norm_across_heads", rope_max_seq_len=32,
    )  # fmt: skip


def flux() -> Any:
    from diffusers import FluxTransformer2DModel

    return FluxTransformer2DModel(
        patch_size=1, in_channels=4, num_layers=2, num_single_layers=2, attention_head_dim=8,
        num_attention_heads=2, joint_attention_dim=6, pooled_projection_dim=5, guidance_embeds=True,
        axes_dims_rope=(4, 2, 2),
    )  # fmt: skip


def sdxl() -> Any:
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=2, norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=(2, 2, 2), use_linear_projection=True,
        addition_embed_type="text_time", addition_time_embed_dim=4,
        transformer_layers_per_block=(1, 1, 2),
        projection_class_embeddings_input_dim=32, cross_attention_dim=12,
    )  # fmt: skip


def loader(name: str) -> Any:
    from diffusers.loaders import lora_pipeline

    return getattr(lora_pipeline, name)


MODELS: dict[str, tuple[str, Callable[[], Any], str, str]] = {
    "wan": ("wan/official_to_diffusers", wan, "WanLoraLoaderMixin", "diffusion_model."),
    "flux": ("flux/official_to_diffusers", flux, "FluxLoraLoaderMixin", "lora_unet_"),
    "sdxl": ("stable_diffusion/unet_to_diffusers", sdxl, "StableDiffusionXLLoraLoaderMixin", "lora_unet_"),
}


def official_shapes(mapping: str, model: Any) -> dict[str, tuple[int, ...]]:
    """The official names of a model of Diffusers: the mapping, backwards."""
    from tests.library.diffusers_models import source_shapes

    return source_shapes(mapping, {name: tuple(t.shape) for name, t in model.state_dict().items()}, {})


def made(shapes: Mapping[str, tuple[int, ...]], style: str) -> tuple[Tensors, Tensors]:
    """Factors for every matrix and convolution, with ranks and alphas that differ; and what they add."""
    import torch

    random = torch.Generator().manual_seed(0)
    adapter: Tensors = {}
    added: Tensors = {}
    for at, (name, shape) in enumerate(shapes.items()):
        added[name] = torch.zeros(shape)
        if not name.endswith(".weight") or len(shape) < 2:
            continue
        module = name.removesuffix(".weight").removeprefix("model.diffusion_model.")
        module = style + (module.replace(".", "_") if style == "lora_unet_" else module)
        rank, alpha = 1 + at % 4, None if at % 3 == 0 else 0.5 + at % 5
        down = torch.randn((rank, *shape[1:]), generator=random)
        up = torch.randn((shape[0], rank, *(1,) * (len(shape) - 2)), generator=random)
        adapter |= {f"{module}.lora_down.weight": down, f"{module}.lora_up.weight": up}
        if alpha is not None:
            adapter[f"{module}.alpha"] = torch.tensor(alpha)
        scale = 1 if alpha is None else alpha / rank
        added[name] = (up.flatten(1) @ down.flatten(1) * scale).reshape(shape)
    return adapter, added


def converted(mapping: str, tensors: Tensors, folder: Path) -> Tensors:
    from safetensors.torch import load_file, save_file

    save_file(tensors, folder / "added.safetensors")
    out = mapcc.convert(mapping, folder / "added.safetensors", folder / "wanted")
    return load_file(next(out.glob("*.safetensors")))


def through(
    mapping: str, adapter: Tensors, shapes: Mapping[str, tuple[int, ...]], folder: Path, to: str
) -> Path:
    from safetensors.torch import save_file

    (folder / "keys.json").write_text(json.dumps(shapes), "utf-8")
    save_file(adapter, folder / "lora.safetensors")
    return mapcc.convert_lora(
        mapping, folder / "lora.safetensors", folder / to, folder / "keys.json", to=to
    ).path


def fused(model: Any, mixin: Any, file: Path, low_memory: bool) -> Tensors:
    """By how much Diffusers changes each weight."""
    from safetensors.torch import load_file

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    alphas = [None]
    state = mixin.lora_state_dict(load_file(file))
    if isinstance(state, tuple):
        state, *alphas = state
    load = getattr(mixin, "load_lora_into_transformer", None) or mixin.load_lora_into_unet
    options = {"adapter_name": "a", "low_cpu_mem_usage": low_memory}
    if load.__name__ == "load_lora_into_unet":
        load(state, alphas[0], model, **options)
    elif "network_alphas" in load.__code__.co_varnames:
        load(state, None, model, **options)
    else:
        load(state, model, **options)
    model.fuse_lora()
    model.unload_lora()
    return {name: tensor - before[name] for name, tensor in model.state_dict().items()}


def assert_same(found: Tensors, wanted: Tensors) -> None:
    import torch

    assert found.keys() == wanted.keys()
    for name, tensor in wanted.items():
        torch.testing.assert_close(
            found[name], tensor.reshape(found[name].shape), rtol=1e-4, atol=1e-5, msg=name
        )


@pytest.mark.parametrize("case", MODELS)
def test_diffusers_changes_weights_by_as_much(case: str, tmp_path: Path) -> None:
    mapping, make, mixin, style = MODELS[case]
    model = make()
    shapes = official_shapes(mapping, model)
    adapter, added = made(shapes, style)
    wanted = converted(mapping, added, tmp_path)
    assert sum(bool(tensor.any()) for tensor in wanted.values()) > 20
    file = through(mapping, adapter, shapes, tmp_path, "diffusers")
    assert_same(fused(model, loader(mixin), file, low_memory=False), wanted)


@pytest.mark.parametrize("low_memory", [False, True])
def test_diffusers_takes_differences_of_biases_and_weights(low_memory: bool, tmp_path: Path) -> None:
    """Modules with a bias alone, and whole differences of a convolution in three dimensions."""
    import torch

    mapping, make, mixin, style = MODELS["wan"]
    model = make()
    shapes = official_shapes(mapping, model)
    every, added = made(shapes, style)
    adapter = {name: tensor for name, tensor in every.items() if ".self_attn." in name}
    kept = {f"{name[len(style) :].rpartition('.lora_')[0]}.weight" for name in adapter}
    added = {name: tensor if name in kept else torch.zeros(shapes[name]) for name, tensor in added.items()}
    random = torch.Generator().manual_seed(1)
    for name, suffix in (
        ("patch_embedding.weight", ".diff"),
        ("patch_embedding.bias", ".diff_b"),
        ("blocks.0.self_attn.q.bias", ".diff_b"),
        ("blocks.1.ffn.2.bias", ".diff_b"),
        ("head.head.weight", ".diff"),
    ):
        added[name] = torch.randn(shapes[name], generator=random)
        adapter[style + name.rpartition(".")[0] + suffix] = added[name]
    adapter[f"{style}blocks.0.norm3.diff"] = torch.zeros(shapes["blocks.0.norm3.weight"])
    file = through(mapping, adapter, shapes, tmp_path, "diffusers")
    assert_same(fused(model, loader(mixin), file, low_memory), converted(mapping, added, tmp_path))


def applied(
    file: Path, shapes: Mapping[str, tuple[int, ...]], of: Callable[[str], tuple[str, str, str]]
) -> Tensors:
    """As kohya's trainers and ComfyUI do: alpha / rank, 1 without an alpha; kernels in the first factor."""
    import torch
    from safetensors.torch import load_file

    left = load_file(file)
    out: Tensors = {}
    for name, shape in shapes.items():
        module, down, up = of(name)
        out[name] = torch.zeros(shape)
        if f"{module}{down}" not in left or not name.endswith(".weight"):
            continue
        a, b = left.pop(f"{module}{down}"), left.pop(f"{module}{up}")
        alpha = left.pop(f"{module}.alpha", None)
        scale = 1.0 if alpha is None else alpha.item() / a.shape[0]
        out[name] = torch.mm(b.flatten(1), a.flatten(1)).reshape(shape) * scale
    assert not left
    return out


def of_kohya(name: str) -> tuple[str, str, str]:
    module = "lora_unet_" + name.removesuffix(".weight").replace(".", "_")
    return module, ".lora_down.weight", ".lora_up.weight"


def of_comfy(name: str) -> tuple[str, str, str]:
    return f"diffusion_model.{name.removesuffix('.weight')}", ".lora_A.weight", ".lora_B.weight"


@pytest.mark.parametrize(("case", "to", "of"), [("sdxl", "kohya", of_kohya), ("flux", "comfy", of_comfy)])
def test_kohya_and_comfy_change_weights_by_as_much(case: str, to: str, of: Any, tmp_path: Path) -> None:
    mapping, make, _, style = MODELS[case]
    model = make()
    shapes = official_shapes(mapping, model)
    adapter, added = made(shapes, style)
    wanted = converted(mapping, added, tmp_path)
    file = through(mapping, adapter, shapes, tmp_path, to)
    assert_same(applied(file, {name: tuple(t.shape) for name, t in wanted.items()}, of), wanted)


def test_text_encoders_beside_the_network(tmp_path: Path) -> None:
    """kohya's file of three components becomes one that Diffusers loads into all three, or kohya's again."""
    import torch
    from safetensors.torch import load_file, save_file
    from transformers import CLIPTextConfig, CLIPTextModel

    mapping, make, mixin, style = MODELS["sdxl"]
    model = make()
    shapes = official_shapes(mapping, model)
    adapter, added = made(shapes, style)
    size = {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2, "num_hidden_layers": 2}
    encoder = CLIPTextModel(CLIPTextConfig(vocab_size=10, max_position_embeddings=6, **size))
    # As published; transformers 5 leaves the prefix out.
    own = {f"text_model.{name}": tuple(tensor.shape) for name, tensor in encoder.state_dict().items()}
    linear = {name: shape for name, shape in own.items() if "_proj" in name or ".fc" in name}
    theirs, wanted = made(linear, "lora_unet_")
    texts = {name.replace("lora_unet_", "lora_te1_"): tensor for name, tensor in theirs.items()}
    texts |= {name.replace("lora_te1_", "lora_te2_"): tensor.clone() for name, tensor in texts.items()}
    for name, keys in (("keys", shapes), ("encoder", own)):
        (tmp_path / f"{name}.json").write_text(json.dumps(keys), "utf-8")
    save_file(adapter | texts, tmp_path / "lora.safetensors")
    beside = {"lora_te1_": tmp_path / "encoder.json", "lora_te2_": tmp_path / "encoder.json"}
    paths = (tmp_path / "lora.safetensors", tmp_path / "out.safetensors", tmp_path / "keys.json")
    done = mapcc.convert_lora(mapping, *paths, to="diffusers", beside=beside)
    state = load_file(done.path)
    assert_same(fused(model, loader(mixin), done.path, False), converted(mapping, added, tmp_path))
    for place in ("text_encoder", "text_encoder_2"):
        before = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
        loader(mixin).load_lora_into_text_encoder(state, None, encoder, prefix=place, adapter_name=place)
        changed = merged(encoder)
        for name, tensor in wanted.items():
            short = name.removeprefix("text_model.")
            found = changed[short] - before[short]
            torch.testing.assert_close(found, tensor, rtol=1e-4, atol=1e-5, msg=f"{place} {name}")
        encoder = CLIPTextModel(encoder.config)
        encoder.load_state_dict(before)
    again = load_file(mapcc.convert_lora(mapping, *paths, to="kohya", beside=beside).path)
    for name, tensor in texts.items():
        assert torch.equal(again[name], tensor), name


def merged(model: Any) -> Tensors:
    """The weights of a model whose layers PEFT has wrapped, with what the adapters add."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    return {
        name.replace(".base_layer", ""): tensor
        for name, tensor in model.state_dict().items()
        if "lora_" not in name
    }


# --- PEFT


def llama(inputs_first: bool = False, marked: bool = False) -> Any:
    """A Llama's attention beside fused experts, in the layout that is asked for.

    Args:
        marked: the class says ``is_transposed``, as GPT-OSS's does and Llama 4's does not.
    """
    import torch
    from torch import nn

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            up, down = ((3, 8, 20), (3, 10, 8)) if inputs_first else ((3, 20, 8), (3, 8, 10))
            self.gate_up_proj = nn.Parameter(torch.randn(up))
            self.down_proj = nn.Parameter(torch.randn(down))
            if marked:
                self.is_transposed = True
                self.gate_up_proj_bias = nn.Parameter(torch.zeros(3, 20))
                self.down_proj_bias = nn.Parameter(torch.zeros(3, 8))

    class Layer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q_proj, self.k_proj = nn.Linear(8, 8, bias=False), nn.Linear(8, 4, bias=False)
            self.experts = Experts()

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed_tokens = nn.Embedding(12, 8)
            self.layers = nn.ModuleList(Layer() for _ in range(2))

    return Model()


LAYOUTS = {"outputs first": (False, False), "Llama 4": (True, False), "GPT-OSS": (True, True)}


def trained(model: Any, folder: Path, **options: Any) -> Tensors:
    """An adapter of random factors, saved by PEFT; and what PEFT adds to each tensor."""
    import torch
    from peft import LoraConfig, get_peft_model

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    config = LoraConfig(
        r=2, lora_alpha=6, target_modules=["q_proj", "k_proj"],
        target_parameters=["experts.gate_up_proj", "experts.down_proj"],
        rank_pattern={"layers.1.q_proj": 3}, alpha_pattern={"k_proj": 5, "experts.down_proj": 7}, **options,
    )  # fmt: skip
    adapted = get_peft_model(model, config)
    random = torch.Generator().manual_seed(0)
    for name, tensor in adapted.named_parameters():
        if "lora_" in name:
            tensor.data = torch.randn(tensor.shape, generator=random)
    adapted.save_pretrained(str(folder))
    return difference(adapted.merge_and_unload(), before)


def difference(model: Any, before: Tensors) -> Tensors:
    return {name: tensor - before[name] for name, tensor in model.state_dict().items()}


def loaded(model: Any, folder: Path) -> Tensors:
    """What PEFT adds to a model's tensors, from a folder."""
    from peft import PeftModel

    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    return difference(PeftModel.from_pretrained(model, str(folder)).merge_and_unload(), before)


@pytest.mark.parametrize("target", LAYOUTS)
@pytest.mark.parametrize("source", LAYOUTS)
def test_peft_changes_fused_experts_by_as_much(source: str, target: str, tmp_path: Path) -> None:
    """From each layout to each: what PEFT adds to one model is what it adds to the other, moved."""
    import torch
    from safetensors.torch import save_file

    torch.manual_seed(0)
    theirs, ours = llama(*LAYOUTS[source]), llama(*LAYOUTS[target])
    shapes = {name: list(tensor.shape) for name, tensor in theirs.state_dict().items()}
    (tmp_path / "keys.json").write_text(json.dumps(shapes), "utf-8")
    turned = LAYOUTS[source][0] != LAYOUTS[target][0]
    lines = ["layers.{i} -> layers.{i} {", "    keep {q,k}_proj.*"]
    lines += [
        f"    experts.{n} : e a b -> experts.{n} : e {'b a' if turned else 'a b'}"
        for n in ("gate_up_proj", "down_proj")
    ]
    lines += ["}", "keep embed_tokens.weight"]
    if LAYOUTS[source][1]:
        dropped = 'drop **.{gate_up_proj,down_proj}_bias because "none"'
        lines += ["keep **.{gate_up_proj,down_proj}_bias" if LAYOUTS[target][1] else dropped]
    elif LAYOUTS[target][1]:
        lines += ["create layers.{i}.experts.gate_up_proj_bias : 60 = 0   where i in 0..1"]
        lines += ["create layers.{i}.experts.down_proj_bias : 24 = 0   where i in 0..1"]
    (tmp_path / "m.mapcc").write_text("\n".join(lines) + "\n", "utf-8")
    added = trained(theirs, tmp_path / "in", use_rslora=source == "Llama 4")
    save_file({name: tensor.contiguous() for name, tensor in added.items()}, tmp_path / "added.safetensors")
    mapcc.convert_lora(
        tmp_path / "m.mapcc", tmp_path / "in", tmp_path / "out", tmp_path / "keys.json", to="peft"
    )
    found = loaded(ours, tmp_path / "out")
    for name, tensor in added.items():
        if name in found and not name.endswith("_bias"):
            wanted = tensor.transpose(1, 2) if turned and ".experts." in name else tensor
            torch.testing.assert_close(found[name], wanted, rtol=1e-4, atol=1e-4, msg=name)
    assert sum(bool(tensor.any()) for tensor in found.values()) == 8


def test_peft_takes_experts_apart_and_joins_them(tmp_path: Path) -> None:
    """Fused experts become a layer for each, and these are fused again."""
    import torch

    torch.manual_seed(0)
    model = llama()
    shapes = {name: list(tensor.shape) for name, tensor in model.state_dict().items()}
    (tmp_path / "keys.json").write_text(json.dumps(shapes), "utf-8")
    there = (
        "layers.{i} -> layers.{i} {\n    keep {q,k}_proj.*\n"
        "    experts.gate_up_proj : e (p f) c -> experts.[e].[p=w1,w3].weight : f c\n"
        "    experts.down_proj : e o c -> experts.[e].w2.weight : o c\n}\nkeep embed_tokens.weight\n"
    )
    back = (
        "layers.{i} -> layers.{i} {\n    keep {q,k}_proj.*\n"
        "    experts.[e].[p=w1,w3].weight : f c -> experts.gate_up_proj : e (p f) c\n"
        "    experts.[e].w2.weight : o c -> experts.down_proj : e o c\n}\nkeep embed_tokens.weight\n"
    )
    (tmp_path / "there.mapcc").write_text(there, "utf-8")
    (tmp_path / "back.mapcc").write_text(back, "utf-8")
    added = trained(model, tmp_path / "in")
    apart = {
        shown.name: list(shown.shape)
        for shown in mapcc.show(tmp_path / "there.mapcc", tmp_path / "keys.json")
    }
    (tmp_path / "apart.json").write_text(json.dumps(apart), "utf-8")
    done = mapcc.convert_lora(
        tmp_path / "there.mapcc", tmp_path / "in", tmp_path / "apart", tmp_path / "keys.json", to="peft"
    )
    assert (done.taken, done.given) == (8, 4 + 2 * 9)
    ranks = json.loads((tmp_path / "apart" / "adapter_config.json").read_text("utf-8"))
    assert (ranks["r"], ranks["target_parameters"]) == (2, None)
    mapcc.convert_lora(
        tmp_path / "back.mapcc", tmp_path / "apart", tmp_path / "back", tmp_path / "apart.json", to="peft"
    )
    found = loaded(llama(), tmp_path / "back")
    for name, tensor in added.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-4, msg=name)


def test_peft_fuses_linear_layers_with_their_scales(tmp_path: Path) -> None:
    """Three alphas and ranks in one fused module, beside DoRA's magnitudes and a Conv1D's orientation."""
    import torch
    from peft import LoraConfig, get_peft_model
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    torch.manual_seed(0)

    class Apart(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.q, self.k, self.up = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 12)

    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qk, self.c_fc = nn.Linear(8, 16), Conv1D(12, 8)

    apart, joined = Apart(), Joined()
    joined.qk.weight.data = torch.cat([apart.q.weight.data, apart.k.weight.data])
    joined.c_fc.weight.data = apart.up.weight.data.T.contiguous()
    shapes = {name: list(tensor.shape) for name, tensor in apart.state_dict().items()}
    (tmp_path / "keys.json").write_text(json.dumps(shapes), "utf-8")
    rules = (
        "[t=q,k].* : d ... -> qk.* : (t d) ...\nup.weight : o i -> c_fc.weight : i o\nup.bias -> c_fc.bias\n"
    )
    (tmp_path / "m.mapcc").write_text(rules, "utf-8")
    before = {name: tensor.clone() for name, tensor in apart.state_dict().items()}
    config = LoraConfig(
        r=2, lora_alpha=4, target_modules=["q", "k", "up"], rank_pattern={"k": 3},
        alpha_pattern={"k": 5, "up": 1}, use_dora=True,
    )  # fmt: skip
    adapted = get_peft_model(apart, config)
    for name, tensor in adapted.named_parameters():
        if "lora_" in name:
            tensor.data = torch.rand(tensor.shape)
    adapted.save_pretrained(str(tmp_path / "in"))
    added = difference(adapted.merge_and_unload(), before)
    mapcc.convert_lora(
        tmp_path / "m.mapcc", tmp_path / "in", tmp_path / "out", tmp_path / "keys.json", to="peft"
    )
    found = loaded(joined, tmp_path / "out")
    wanted = torch.cat([added["q.weight"], added["k.weight"]])
    torch.testing.assert_close(found["qk.weight"], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["c_fc.weight"], added["up.weight"].T, rtol=1e-4, atol=1e-5)
