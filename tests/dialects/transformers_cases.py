"""Checkpoints in the old layouts of models of transformers, and what its own loader makes of them.

``case("mixtral")`` has what mapcc needs (tensors, table, the model's keys), and ``expected`` is what
``convert_and_load_state_dict_in_model`` puts into a module that has parameters of just these names.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np

from mapcc.dialects.made import Made
from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.read import from_objects
from mapcc.ir.axes import Atom, Dim, Literal, Product, Sum
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shapes = Mapping[str, tuple[int, ...]]


@dataclass
class Case:
    """
    Attributes:
        transforms: transformers' own objects.
        source: the checkpoint; every element has another value.
        target: the model's key set, names to shapes.
    """

    transforms: list[Any]
    source: dict[str, np.ndarray]
    target: dict[str, tuple[int, ...]]
    base_model_prefix: str = ""
    config: dict[str, Any] = field(default_factory=dict)

    @property
    def table(self) -> TransformersTable:
        return from_objects(self.transforms).of_model(self.base_model_prefix, self.config)

    @property
    def source_manifest(self) -> Manifest:
        return manifest({name: array.shape for name, array in self.source.items()})

    @property
    def target_manifest(self) -> Manifest:
        return manifest(self.target)

    def expected(self) -> dict[str, np.ndarray]:
        return loaded(self)[0]


def manifest(shapes: Shapes) -> Manifest:
    specs = {name: TensorSpec(name, DTYPES["I32"], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(specs, (), "test", None, {})


def tensors(shapes: Shapes) -> dict[str, np.ndarray]:
    """Every element of all of them has a number of its own."""
    out, begin = {}, 1
    for name, shape in shapes.items():
        count = int(np.prod(shape, dtype=np.int64))
        out[name] = np.arange(begin, begin + count, dtype=np.int32).reshape(shape)
        begin += count
    return out


# --- transformers' own loader


def loaded(case: Case) -> tuple[dict[str, np.ndarray], Any]:
    """The parameters that the loader sets, and its report."""
    import torch
    from transformers.core_model_loading import convert_and_load_state_dict_in_model

    model = skeleton(case.target, case.base_model_prefix, case.config)
    plan = SimpleNamespace(
        device_map=None,
        hf_quantizer=None,
        dtype=torch.int32,
        disk_offload_folder=None,
        offload_buffers=False,
        dtype_plan=None,
        weight_mapping=copy.deepcopy(case.transforms),
    )
    state = {name: torch.from_numpy(array.copy()) for name, array in case.source.items()}
    report, _ = convert_and_load_state_dict_in_model(model, state, plan)
    unset = report.missing_keys | {name for name, *_ in report.mismatched_keys}
    found = {name: value.numpy() for name, value in model.state_dict().items() if name not in unset}
    return found, report


def skeleton(target: Shapes, base_model_prefix: str, config: Mapping[str, Any]) -> Any:
    """A module with parameters of these names, and nothing else of a model."""
    import torch

    root = torch.nn.Module()
    for name, shape in target.items():
        *path, last = name.split(".")
        module = root
        for segment in path:
            if segment not in module._modules:
                module.add_module(segment, torch.nn.Module())
            module = module._modules[segment]
        empty = torch.zeros(tuple(shape), dtype=torch.int32)
        module.register_parameter(last, torch.nn.Parameter(empty, requires_grad=False))
    root.base_model_prefix = base_model_prefix
    root.config = config_of(config)
    return root


def config_of(values: Mapping[str, Any]) -> Any:
    made = SimpleNamespace(
        **{key: config_of(value) if isinstance(value, dict) else value for key, value in values.items()}
    )
    made.get_text_config = lambda: getattr(made, "text_config", made)
    return made


# --- what equations say, by numpy alone


def evaluated(mades: Iterable[Made], source: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    for made in mades:
        if made.left[0].shape is None:
            out[made.right[0].names[0]] = source[made.left[0].names[0]]
            continue
        sizes, blocks = dict(made.sizes), {}
        held = []
        for operand in made.left:
            array = np.stack([source[name] for name in operand.names])
            dims: tuple[Dim, ...] = (Atom(operand.axis) if operand.axis else Literal(1), *operand.shape)
            for dim, size in zip(dims, array.shape, strict=True):
                if isinstance(dim, Atom):
                    assert sizes.setdefault(dim.name, size) == size
            held.append((array, dims))
        for array, dims in held:
            blocks.update(_taken(array, dims, sizes))
        for operand in made.right:
            if operand.axis:
                sizes[operand.axis] = len(operand.names)
                arrays = _given((Atom(operand.axis), *operand.shape), blocks)
                out.update(zip(operand.names, arrays, strict=True))
            else:
                (name,) = operand.names
                out[name] = _given(operand.shape, blocks)
    return out


def _size(dim: Dim, sizes: Mapping[str, int]) -> int:
    match dim:
        case Atom(name):
            return sizes[name]
        case Literal(size):
            return size
        case Product(factors):
            return int(np.prod([_size(factor, sizes) for factor in factors]))
        case Sum(pieces):
            return sum(_size(piece, sizes) for piece in pieces)
    raise AssertionError(dim)


def _taken(array: np.ndarray, dims: Sequence[Dim], sizes: Mapping[str, int]) -> dict[frozenset[str], Any]:
    """The blocks of a tensor, by their atoms: arrays with the order of their axes."""
    for at, dim in enumerate(dims):
        assert array.shape[at] == _size(dim, sizes)
        before, after = tuple(dims[:at]), tuple(dims[at + 1 :])
        match dim:
            case Literal(1):
                return _taken(array.squeeze(at), before + after, sizes)
            case Product(factors):
                shape = (*array.shape[:at], *(_size(f, sizes) for f in factors), *array.shape[at + 1 :])
                return _taken(array.reshape(shape), before + factors + after, sizes)
            case Sum(pieces):
                cuts = np.cumsum([_size(piece, sizes) for piece in pieces])[:-1]
                out: dict[frozenset[str], Any] = {}
                for part, piece in zip(np.split(array, cuts, at), pieces, strict=True):
                    found = _taken(part, (*before, piece, *after), sizes)
                    assert not out.keys() & found.keys()
                    out |= found
                return out
    names = [dim.name for dim in dims]
    assert len(set(names)) == len(names)
    return {frozenset(names): (array, names)}


def _given(dims: Sequence[Dim], blocks: Mapping[frozenset[str], Any]) -> np.ndarray:
    for at, dim in enumerate(dims):
        before, after = tuple(dims[:at]), tuple(dims[at + 1 :])
        match dim:
            case Literal(1):
                return np.expand_dims(_given(before + after, blocks), at)
            case Product(factors):
                array = _given(before + factors + after, blocks)
                merged = int(np.prod(array.shape[at : at + len(factors)]))
                return array.reshape(*array.shape[:at], merged, *array.shape[at + len(factors) :])
            case Sum(pieces):
                return np.concatenate([_given((*before, piece, *after), blocks) for piece in pieces], at)
    array, names = blocks[frozenset(dim.name for dim in dims)]
    return array.transpose([names.index(dim.name) for dim in dims])


# --- names that a table is about


def synthetic(transforms: Iterable[Any]) -> list[str]:
    """Names that the patterns of a table match, and names that are nearly so."""
    out: dict[str, None] = {}
    for one in transforms:
        patterns = (*one._original_source_patterns, *one._original_target_patterns)
        for pattern in patterns:
            for fragment in dict.fromkeys(exemplar(pattern, digits) for digits in ("0", "12")):
                for before, after in AROUND:
                    out[before + fragment + after] = None
    return [name for name in out if name]


AROUND = (
    *(
        ("", ""),
        ("", ".weight"),
        ("model.", ".bias"),
        ("x.layers.3.", "weight"),
        ("model.model.", "0.weight"),
    ),
    *(("x", "_scale"), ("language_model.model.layers.10.", ".a"), ("vision_model.", "s.weight")),
)


def exemplar(pattern: str, digits: str = "0") -> str:
    r"""Text that a pattern matches, as far as it is simple.

    >>> exemplar(r"^a\.(b|c)\.(?!x\.)(\d+)\.w")
    'a.b.0.w'
    """
    pattern = re.sub(r"\(\?(?:!|=|<!|<=)[^()]*\)|\(\?:\)", "", pattern.removeprefix("^"))
    pattern = re.sub(r"\(\?:\)|[$^]", "", pattern).replace("(?:", "(")
    pattern = (
        pattern.replace(r"\d+", digits).replace(r"\d", digits[0]).replace(".+", "y.z").replace(".*", "y")
    )
    pattern = pattern.replace("*", digits).replace(r"\.", ".").replace(r"\1", digits)
    while pattern != (pattern := re.sub(r"\(([^()|]*)(?:\|[^()]*)?\)", r"\1", pattern)):
        pass
    return pattern


# --- the cases


def transforms_of(model_type: str) -> list[Any]:
    from transformers.conversion_mapping import get_checkpoint_conversion_mapping

    return [*get_checkpoint_conversion_mapping(model_type), *get_checkpoint_conversion_mapping("legacy")]


def case(name: str) -> Case:
    model_type, source, target, *more = CASES[name]()
    config = more[0] if more else {}
    base = more[1] if len(more) > 1 else "model"
    return Case(transforms_of(model_type), tensors(source), target, base, config)


def _experts(prefix: str, names: Sequence[str], count: int = 3) -> dict[str, tuple[int, ...]]:
    gate, up, down = names
    return {
        f"{prefix}.{k}.{name}.weight": (4, 6) if name == down else (6, 4)
        for name in (gate, up, down)
        for k in range(count)
    }


def _mixtral() -> tuple[Any, ...]:
    source, target = {"lm_head.weight": (5, 4), "model.norm.weight": (4,)}, {}
    target |= source
    for layer in range(2):
        at = f"model.layers.{layer}"
        source |= _experts(f"{at}.block_sparse_moe.experts", ("w1", "w3", "w2"))
        source[f"{at}.block_sparse_moe.gate.weight"] = target[f"{at}.mlp.gate.weight"] = (3, 4)
        target[f"{at}.mlp.experts.gate_up_proj"] = (3, 12, 4)
        target[f"{at}.mlp.experts.down_proj"] = (3, 4, 6)
    return "mixtral", source, target


def _qwen2_moe() -> tuple[Any, ...]:
    # A bare model's checkpoint into a model with a head, and more than ten experts: 10 comes after 9.
    source, target = {"norm.weight": (4,)}, {"model.norm.weight": (4,)}
    source |= _experts("layers.0.mlp.experts", ("gate_proj", "up_proj", "down_proj"), 12)
    target["model.layers.0.mlp.experts.gate_up_proj"] = (12, 12, 4)
    target["model.layers.0.mlp.experts.down_proj"] = (12, 4, 6)
    return "qwen2_moe", source, target


def _rope(
    prefix: str, parts: str, shape: tuple[int, ...], kind: str = "weight"
) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.{part}_proj.{kind}": shape for part in parts}


def _radio() -> tuple[Any, ...]:
    source, target = {}, {}
    for block in range(2):
        old, new = f"radio_model.model.blocks.{block}.attn", f"encoder.layer.{block}.attention"
        source |= {f"{old}.qkv.weight": (12, 4), f"{old}.qkv.bias": (12,), f"{old}.proj.weight": (4, 4)}
        target |= (
            _rope(new, "qkv", (4, 4)) | _rope(new, "qkv", (4,), "bias") | {f"{new}.o_proj.weight": (4, 4)}
        )
    source["radio_model.input_conditioner.norm_mean"] = target["input_conditioner.norm_mean"] = (3, 1, 1)
    return "radio", source, target, {}, "radio"


def _phonon() -> tuple[Any, ...]:
    # The codec's fused projection is taken by the converter too, and is unexpected.
    source = {"flow_lm.transformer.layers.0.self_attn.in_proj.weight": (48, 4), "flow_lm.bos_emb": (4,)}
    target = {"model.bos_latent": (4,)} | _rope("model.layers.0.self_attn", "qkv", (16, 4))
    return "gradium_phonon_tts", source, target, {"num_attention_heads": 2}


def _step_vision() -> tuple[Any, ...]:
    source = {"transformer.resblocks.0.attn.in_proj_weight": (48, 4)}
    source["transformer.resblocks.0.attn.in_proj_bias"] = (48,)
    new = "layers.0.self_attn"
    target = _rope(new, "qkv", (16, 4)) | _rope(new, "qkv", (16,), "bias")
    return "step3p5_vision", source, target, {"vision_config": {"num_attention_heads": 4}}, ""


def _mistral() -> tuple[Any, ...]:
    old, new = (
        "vision_encoder.transformer.layers.0.attention",
        "model.vision_tower.transformer.layers.0.attention",
    )
    source = {f"{old}.w{part}.weight": (16, 4) for part in "qkvo"}
    target = _rope(new, "qkvo", (16, 4))
    for number, part in enumerate(("gate", "down", "up"), 1):
        source[f"layers.0.feed_forward.w{number}.weight"] = (3, 4)
        target[f"model.language_model.layers.0.feed_forward.{part}_proj.weight"] = (3, 4)
    return "mistral_large4", source, target, {"vision_config": {"num_attention_heads": 4}}


def _kimi(old: bool) -> tuple[Any, ...]:
    names = ("norm0", "norm1", "mlp.fc0", "mlp.fc1") if old else ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
    new = ("norm1", "norm2", "mlp.fc1", "mlp.fc2")
    source, target = {"vision_tower.encoder.blocks.0.wqkv.weight": (48, 4)}, {}
    target |= _rope("model.vision_tower.layers.0.attn", "qkv", (16, 4))
    for block in (0, 1, 10):
        source |= {f"vision_tower.encoder.blocks.{block}.{name}.weight": (4,) for name in names}
        target |= {f"model.vision_tower.layers.{block}.{name}.weight": (4,) for name in new}
    return "kimi_k25", source, target, {"vision_config": {"num_attention_heads": 2}}


def _vit() -> tuple[Any, ...]:
    source, target = {}, {}
    for layer in (0, 1, 11):
        old, new = f"vit.encoder.layer.{layer}", f"vit.layers.{layer}"
        for kind, shape in (("weight", (4, 4)), ("bias", (4,))):
            for part in ("query", "key", "value"):
                source[f"{old}.attention.attention.{part}.{kind}"] = shape
                target[f"{new}.attention.{part[0]}_proj.{kind}"] = shape
            for before, after in (
                ("attention.output.dense", "attention.o_proj"),
                ("intermediate.dense", "mlp.fc1"),
                ("output.dense", "mlp.fc2"),
                ("layernorm_before", "layernorm_before"),
            ):
                source[f"{old}.{before}.{kind}"] = target[f"{new}.{after}.{kind}"] = shape
    source["classifier.weight"] = target["classifier.weight"] = (3, 4)
    return "ViTModel", source, target, {}, "vit"


def _molmo() -> tuple[Any, ...]:
    old = new = "model.blocks.0"
    source = {f"{old}.self_attn.att_proj.weight": (16, 4), f"{old}.self_attn.att_proj.bias": (16,)}
    source |= {f"{old}.mlp.ff_proj.weight": (12, 4), f"{old}.attn_norm.weight": (4,)}
    source |= {"model.wte.embedding": (7, 4), "model.wte.new_embedding": (2, 4)}
    target: dict[str, tuple[int, ...]] = {
        f"{new}.input_layernorm.weight": (4,),
        "model.embed_tokens.weight": (9, 4),
    }
    for part, size in (("q", 8), ("k", 4), ("v", 4)):
        target |= _rope(f"{new}.self_attn", part, (size, 4)) | _rope(
            f"{new}.self_attn", part, (size,), "bias"
        )
    target |= {f"{new}.mlp.{part}_proj.weight": (6, 4) for part in ("gate", "up")}
    return "Molmo2TextModel", source, target


def _qwen_vl(turned: bool) -> tuple[Any, ...]:
    at = "model.language_model.layers.0.mlp.experts"
    target = {f"{at}.gate_up_proj": (3, 12, 4), f"{at}.down_proj": (3, 4, 6)}
    source = {name: (e, i, o) if turned else (e, o, i) for name, (e, o, i) in target.items()}
    return "qwen3_vl_moe", source, target


def _inkling() -> tuple[Any, ...]:
    old, new = "model.llm.layers.0", "model.language_model.layers.0"
    source = {f"{old}.mlp.experts.w13_weight": (3, 12, 4), f"{old}.mlp.experts.w2_weight": (3, 4, 6)}
    target: dict[str, tuple[int, ...]] = {f"{new}.mlp.experts.gate_up_proj": (3, 12, 4)}
    target[f"{new}.mlp.experts.down_proj"] = (3, 4, 6)
    source |= {f"{old}.mlp.shared_w13_weight": (2, 12, 4), f"{old}.attn_norm.weight": (4,)}
    target |= {f"{new}.mlp.gate_proj": (2, 6, 4), f"{new}.mlp.up_proj": (2, 6, 4)}
    target |= {f"{new}.input_layernorm.weight": (4,)}
    source["model.llm.layers.1.mlp.w13_dn.weight"] = (10, 4)
    target |= {f"model.language_model.layers.1.mlp.{part}_proj.weight": (5, 4) for part in ("gate", "up")}
    return "inkling_mm_model", source, target


def _inkling_text() -> tuple[Any, ...]:
    source = {"model.llm.attn_res.output_query": (4,)}
    target = {"model.final_input.query": (4,)}
    for k in range(3):
        source[f"model.llm.attn_res.mlp_queries.{k}"] = target[f"model.layers.{k}.mlp_input.query"] = (4,)
        source[f"model.llm.attn_res.attn_queries.{k}"] = (4,)
        target[f"model.layers.{k + 1}.attention_input.query"] = (4,)
    return "inkling2_text", source, target


def _ernie() -> tuple[Any, ...]:
    old, new = "model.layers.1.mlp", "model.language_model.layers.1.mlp"
    source = {f"{old}.gate.weight": (4, 2), f"{old}.gate.weight_1": (4, 2)}
    source[f"{old}.moe_statics.e_score_correction_bias"] = (2, 2)
    target: dict[str, tuple[int, ...]] = {}
    for number, (part, width) in enumerate((("text", 6), ("vision", 2))):
        for expert in (2 * number, 2 * number + 1):  # the experts for vision are smaller
            source |= {f"{old}.experts.{expert}.{name}_proj.weight": (width, 4) for name in ("gate", "up")}
            source[f"{old}.experts.{expert}.down_proj.weight"] = (4, width)
        target[f"{new}.{part}_moe.gate.weight"] = (2, 4)
        target[f"{new}.{part}_moe.gate.moe_statics.e_score_correction_bias"] = (1, 2)
        target[f"{new}.{part}_moe.experts.gate_up_proj"] = (2, 2 * width, 4)
        target[f"{new}.{part}_moe.experts.down_proj"] = (2, 4, width)
    return "ernie4_5_vl_moe", source, target


def _shards() -> tuple[Any, ...]:
    source = {f"model.language_model.ngram_embedding.shard_{k}.weight": (k % 3 + 1, 4) for k in range(12)}
    return "qwen4_exp_text", source, {"model.ngram_embedding.weight": (24, 4)}


def _kimi_linear() -> tuple[Any, ...]:
    at = "model.layers.0"
    source = {f"{at}.self_attn.{part}_conv1d.weight": (4, 1, 3) for part in "qkv"}
    source |= _experts(f"{at}.block_sparse_moe.experts", ("w1", "w3", "w2"), 2)
    target = {f"{at}.self_attn.conv1d.weight": (12, 1, 3), f"{at}.mlp.experts.gate_up_proj": (2, 12, 4)}
    target[f"{at}.mlp.experts.down_proj"] = (2, 4, 6)
    return "kimi_linear", source, target


CASES: dict[str, Callable[[], tuple[Any, ...]]] = {
    "mixtral": _mixtral,
    "qwen2_moe": _qwen2_moe,
    "radio": _radio,
    "gradium_phonon_tts": _phonon,
    "step3p5_vision": _step_vision,
    "mistral_large4": _mistral,
    "kimi_k25": lambda: _kimi(True),
    "kimi_k25, converted": lambda: _kimi(False),
    "vit": _vit,
    "molmo2_text": _molmo,
    "qwen3_vl_moe": lambda: _qwen_vl(True),
    "qwen3_vl_moe, converted": lambda: _qwen_vl(False),
    "inkling_mm_model": _inkling,
    "inkling2_text": _inkling_text,
    "ernie4_5_vl_moe": _ernie,
    "qwen4_exp_text": _shards,
    "kimi_linear": _kimi_linear,
}
