"""transformers 5.23's own loading: tiny models, saved in the hub's layout and loaded again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from tempfile import TemporaryDirectory

from tests.library.oracle import Oracle, Pair

SMALL = {
    "vocab_size": 32,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "tie_word_embeddings": False,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 8}


def loaded(model: str, config: Mapping[str, object]) -> Pair:
    """A checkpoint of transformers 4's layout, which 5 writes too, and what 5 makes of it."""
    from pathlib import Path

    import torch
    import transformers
    from safetensors.torch import load_file

    kind = getattr(transformers, model)
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        kind(kind.config_class(**config)).save_pretrained(folder)
        source = {n: t for file in Path(folder).glob("*.safetensors") for n, t in load_file(file).items()}
        state = kind.from_pretrained(folder).state_dict()
    return Pair(source, {name: tensor.clone() for name, tensor in state.items()})


def oracle(mapping: str, variant: str, model: str, config: Mapping[str, object]) -> Oracle:
    make: Callable[[], Pair] = partial(loaded, model, config)
    return Oracle(mapping, variant, f"transformers {model}.from_pretrained", make)


ORACLES = [
    oracle("moe/mixtral_v4_to_v5", "mixtral", "MixtralForCausalLM", SMALL | {"num_local_experts": 4}),
    oracle("moe/qwen_v4_to_v5", "qwen3", "Qwen3MoeForCausalLM", SMALL | EXPERTS | {"head_dim": 8}),
    oracle(
        "moe/qwen_v4_to_v5",
        "qwen2",
        "Qwen2MoeForCausalLM",
        SMALL | EXPERTS | {"shared_expert_intermediate_size": 12},
    ),
    oracle("moe/qwen_v4_to_v5", "olmoe", "OlmoeForCausalLM", SMALL | {"num_experts": 4}),
]
