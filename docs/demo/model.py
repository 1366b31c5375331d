"""The two networks of the demo: one architecture, two ways of naming and packing its weights.

``BertEncoder`` names its parameters as Hugging Face's ``BertModel`` does, and computes in plain
torch, so that the demo needs no ``transformers``. ``TorchMiniLM`` is the port: torch's own
``nn.TransformerEncoder``, whose attention keeps query, key and value in one fused matrix.
Both are built with the sizes of all-MiniLM-L6-v2.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

VOCABULARY = 30522
POSITIONS = 512
SEGMENTS = 2
WIDTH = 384
HEADS = 12
INNER = 1536
LAYERS = 6
EPSILON = 1e-12


class TorchMiniLM(nn.Module):
    """The target of the conversion."""

    def __init__(self) -> None:
        super().__init__()
        self.tok = nn.Embedding(VOCABULARY, WIDTH)
        self.pos = nn.Embedding(POSITIONS, WIDTH)
        self.seg = nn.Embedding(SEGMENTS, WIDTH)
        self.norm = nn.LayerNorm(WIDTH, eps=EPSILON)
        layer = nn.TransformerEncoderLayer(
            d_model=WIDTH,
            nhead=HEADS,
            dim_feedforward=INNER,
            dropout=0.0,
            activation="gelu",
            layer_norm_eps=EPSILON,
            batch_first=True,
        )
        self.encoder = nn.TransformerEncoder(layer, LAYERS, enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """Hidden states of ``ids``; ``mask`` is true where there is a token and false in the padding."""
        positions = torch.arange(ids.shape[1], device=ids.device)
        x = self.norm(self.tok(ids) + self.pos(positions) + self.seg.weight[0])
        return self.encoder(x, src_key_padding_mask=~mask)


class BertEmbeddings(nn.Module):
    position_ids: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.word_embeddings = nn.Embedding(VOCABULARY, WIDTH)
        self.position_embeddings = nn.Embedding(POSITIONS, WIDTH)
        self.token_type_embeddings = nn.Embedding(SEGMENTS, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=EPSILON)
        self.register_buffer("position_ids", torch.arange(POSITIONS)[None])

    def forward(self, ids: Tensor) -> Tensor:
        words = self.word_embeddings(ids)
        positions = self.position_embeddings(self.position_ids[:, : ids.shape[1]])
        segments = self.token_type_embeddings(torch.zeros_like(ids))
        return self.LayerNorm(words + segments + positions)


class BertSelfAttention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Linear(WIDTH, WIDTH)
        self.key = nn.Linear(WIDTH, WIDTH)
        self.value = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        q, k, v = (
            project(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(WIDTH // HEADS)
        scores = scores.masked_fill(~mask[:, None, None, :], -math.inf)
        return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class BertResidual(nn.Module):
    """What ends each half of a layer: a projection, then the norm of its sum with the input."""

    def __init__(self, inner: int) -> None:
        super().__init__()
        self.dense = nn.Linear(inner, WIDTH)
        self.LayerNorm = nn.LayerNorm(WIDTH, eps=EPSILON)

    def forward(self, inner: Tensor, x: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(inner) + x)


class BertLayer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": BertSelfAttention(), "output": BertResidual(WIDTH)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(WIDTH, INNER)})
        self.output = BertResidual(INNER)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.attention["output"](self.attention["self"](x, mask), x)
        return self.output(nn.functional.gelu(self.intermediate["dense"](x)), x)


class BertEncoder(nn.Module):
    """The source: it takes every tensor of the published file, also those that it does not compute with."""

    def __init__(self) -> None:
        super().__init__()
        self.embeddings = BertEmbeddings()
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(BertLayer() for _ in range(LAYERS))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(WIDTH, WIDTH)})

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.embeddings(ids)
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return x
