"""What is converted: a Llama of 16 layers, whole or fused or stacked, and many small tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

from benchmarks.model import Layout, Scale, Shapes

LAYERS, HEADS, KV_HEADS = 16, 32, 8
# At the size that the targets are for, a layer is that of Llama 3.2 1B.
FULL, FULL_HEAD, FULL_VOCABULARY = 2.2e9, 64, 32_000
# Each of the pieces to be stacked there has 64 KiB.
PIECE = 65_536


@dataclass(frozen=True, slots=True)
class Llama:
    """The sizes of a model whose weights have about so many bytes."""

    head: int
    vocabulary: int

    @property
    def hidden(self) -> int:
        return HEADS * self.head

    @property
    def kv(self) -> int:
        return KV_HEADS * self.head

    @property
    def width(self) -> int:
        return 4 * self.hidden

    def config(self) -> dict[str, object]:
        """Its config.json, for those who need one."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.width,
            "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS,
            "num_key_value_heads": KV_HEADS,
            "head_dim": self.head,
            "vocab_size": self.vocabulary,
            "max_position_embeddings": 2048,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
        }


def llama_of(nbytes: float) -> Llama:
    """The model of about that size in BF16; rotary embeddings want heads of even size."""
    shrunk = sqrt(nbytes / FULL)
    head, vocabulary = 2 * round(shrunk * FULL_HEAD / 2), 64 * round(shrunk * FULL_VOCABULARY / 64)
    return Llama(max(2, head), max(64, vocabulary))


def _parts(m: Llama) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "input_layernorm", (m.hidden,)
    for name, rows in (("q", m.hidden), ("k", m.kv), ("v", m.kv), ("o", m.hidden)):
        yield f"self_attn.{name}_proj", (rows, m.hidden)
    yield "post_attention_layernorm", (m.hidden,)
    for name in ("gate", "up"):
        yield f"mlp.{name}_proj", (m.width, m.hidden)
    yield "mlp.down_proj", (m.hidden, m.width)


def _fused_parts(m: Llama) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield "input_layernorm", (m.hidden,)
    yield "self_attn.qkv_proj", (m.hidden + 2 * m.kv, m.hidden)
    yield "self_attn.o_proj", (m.hidden, m.hidden)
    yield "post_attention_layernorm", (m.hidden,)
    yield "mlp.gate_up_proj", (2 * m.width, m.hidden)
    yield "mlp.down_proj", (m.hidden, m.width)


def _around(m: Llama, layers: Shapes) -> Shapes:
    vocabulary = (m.vocabulary, m.hidden)
    first = {"model.embed_tokens.weight": vocabulary}
    return first | dict(layers) | {"model.norm.weight": (m.hidden,), "lm_head.weight": vocabulary}


def _split(scale: Scale) -> Shapes:
    m = llama_of(scale.nbytes)
    named = {f"model.layers.{i}.{n}.weight": shape for i in range(LAYERS) for n, shape in _parts(m)}
    return _around(m, named)


def _fused(scale: Scale) -> Shapes:
    m = llama_of(scale.nbytes)
    named = {f"model.layers.{i}.{n}.weight": shape for i in range(LAYERS) for n, shape in _fused_parts(m)}
    return _around(m, named)


def _stacked(scale: Scale) -> Shapes:
    m = llama_of(scale.nbytes)
    return _around(m, {f"model.layers.{n}.weight": (LAYERS, *shape) for n, shape in _parts(m)})


def _wide(scale: Scale) -> Shapes:
    """The same bytes in F32: half as many elements."""
    return _split(Scale(scale.nbytes // 2))


def _small(scale: Scale) -> Shapes:
    """Ten tensors a block, of 64 columns; 100 kB each at full size."""
    rows = max(1, scale.nbytes // scale.tensors // 128)
    return {f"model.blocks.{i // 10}.w{i % 10}": (rows, 64) for i in range(scale.tensors)}


def _pieces(scale: Scale) -> Shapes:
    rows = max(1, round(scale.nbytes / FULL * PIECE / 128 * 20_000 / scale.tensors))
    return {f"experts.{i}.weight": (rows, 64) for i in range(scale.tensors)}


def _one(scale: Scale) -> Shapes:
    side = int(sqrt(scale.nbytes / 2))
    return {"model.weight": (side, scale.nbytes // 2 // side)}


SPLIT = Layout("llama", "BF16", _split)
FUSED = Layout("llama-fused", "BF16", _fused)
STACKED = Layout("llama-stacked", "BF16", _stacked)
WIDE = Layout("llama-f32", "F32", _wide)
SMALL = Layout("small", "BF16", _small, files=1)
PIECES = Layout("pieces", "BF16", _pieces, files=1)
ONE = Layout("one", "BF16", _one, files=1)
