"""Two authors' implementations of one small network: the official and the ported module of tests.

What is planted in the code is set by ``twin.json`` beside this file: an epsilon, an activation.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

WIDTH, HEADS, LAYERS, WORDS, INNER = 16, 2, 3, 24, 20
_FILE = Path(__file__).parent / "twin.json"
PLANTED = json.loads(_FILE.read_text("utf-8")) if _FILE.exists() else {}


class OfficialNorm(nn.Module):
    """Scales by ``1 + weight``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(dim))
        self.eps = 1e-6

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * (1 + self.weight)


class OfficialAttention(nn.Module):
    """Rotates neighbours, as Meta's Llama does."""

    def __init__(self) -> None:
        super().__init__()
        self.wq = nn.Linear(WIDTH, WIDTH, bias=False)
        self.wk = nn.Linear(WIDTH, WIDTH, bias=False)
        self.wv = nn.Linear(WIDTH, WIDTH)
        self.wo = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, length, _ = x.shape
        layers = (self.wq, self.wk, self.wv)
        q, k, v = (each(x).view(batch, length, HEADS, -1).transpose(1, 2) for each in layers)
        turns = _turns(length, q.shape[-1])
        q, k = (torch.view_as_real(_complex(each) * turns).flatten(-2) for each in (q, k))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.wo(mixed.transpose(1, 2).reshape(batch, length, WIDTH))


def _complex(x: torch.Tensor) -> torch.Tensor:
    return torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))


def _turns(length: int, size: int) -> torch.Tensor:
    angles = torch.outer(torch.arange(length), 100.0 ** -(torch.arange(0, size, 2) / size))
    return torch.polar(torch.ones_like(angles), angles)


class OfficialFeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w13 = nn.Linear(WIDTH, 2 * INNER, bias=False)
        self.w2 = nn.Linear(INNER, WIDTH, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        gate, up = self.w13(x).chunk(2, -1)
        return self.w2(F.silu(gate) * up)


class OfficialBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.attn = OfficialNorm(WIDTH), OfficialAttention()
        self.norm2, self.ffn = OfficialNorm(WIDTH), OfficialFeedForward()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.ffn(self.norm2(x))


class OfficialFinal(nn.Module):
    """``shift``, then ``scale``, as in the DiT papers."""

    def __init__(self) -> None:
        super().__init__()
        self.adaLN_modulation = nn.Sequential(nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH))
        self.norm_final = nn.LayerNorm(WIDTH, elementwise_affine=False)
        self.linear = nn.Linear(WIDTH, WORDS)

    def forward(self, x: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        shift, scale = self.adaLN_modulation(c)[:, None].chunk(2, -1)
        return self.linear(self.norm_final(x) * (1 + scale) + shift)


class Official(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tok = nn.Embedding(WORDS, WIDTH)
        self.cond = nn.Linear(WIDTH, WIDTH)
        self.blocks = nn.ModuleList(OfficialBlock() for _ in range(LAYERS))
        self.final = OfficialFinal()

    def forward(self, ids: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
        x = self.tok(ids)
        for block in self.blocks:
            x = block(x)
        return self.final(x, self.cond(c))


# --- the port, in the manner of Diffusers


class Norm(nn.Module):
    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.variance_epsilon = eps

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        variance = hidden_states.pow(2).mean(-1, keepdim=True)
        return self.weight * (hidden_states * torch.rsqrt(variance + self.variance_epsilon))


class Attention(nn.Module):
    """Rotates halves, as transformers does."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = HEADS
        self.to_q = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_k = nn.Linear(WIDTH, WIDTH, bias=False)
        self.to_v = nn.Linear(WIDTH, WIDTH)
        out = nn.Linear(WIDTH, WIDTH, bias=PLANTED.get("out_bias", True))
        self.to_out = nn.ModuleList([out, nn.Dropout(0.0)])

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        q, k, v = (
            each(hidden_states).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for each in (self.to_q, self.to_k, self.to_v)
        )
        length, size = q.shape[-2:]
        angles = torch.outer(torch.arange(length), 100.0 ** -(torch.arange(0, size, 2) / size)).repeat(1, 2)
        q, k = (x * angles.cos() + _rotated(x) * angles.sin() for x in (q, k))
        scale = PLANTED.get("scale")
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2).flatten(2)
        for layer in self.to_out:
            out = layer(out)
        return out


def _rotated(x: torch.Tensor) -> torch.Tensor:
    one, two = x.chunk(2, -1)
    return torch.cat((-two, one), -1)


class FeedForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(WIDTH, INNER, bias=False)
        self.up_proj = nn.Linear(WIDTH, INNER, bias=False)
        self.down_proj = nn.Linear(INNER, WIDTH, bias=False)
        self.act = nn.GELU() if PLANTED.get("act") == "gelu" else nn.SiLU()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.down_proj(self.act(self.gate_proj(hidden_states)) * self.up_proj(hidden_states))


class Layer(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        eps = PLANTED.get("eps", {}).get(str(number), 1e-6)
        self.norm1, self.attn1 = Norm(WIDTH, eps), Attention()
        self.norm2, self.ff = Norm(WIDTH), FeedForward()

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        hidden_states = hidden_states + self.attn1(self.norm1(hidden_states))
        if PLANTED.get("no_residual") and self.training is False:
            return self.ff(self.norm2(hidden_states))
        return hidden_states + self.ff(self.norm2(hidden_states))


class NormOut(nn.Module):
    """``scale``, then ``shift``, as Diffusers' AdaLayerNormContinuous."""

    def __init__(self) -> None:
        super().__init__()
        self.silu, self.linear = nn.SiLU(), nn.Linear(WIDTH, 2 * WIDTH)
        self.norm = nn.LayerNorm(WIDTH, elementwise_affine=False)

    def forward(self, hidden_states: torch.Tensor, temb: torch.Tensor) -> torch.Tensor:
        scale, shift = self.linear(self.silu(temb)).chunk(2, -1)
        return self.norm(hidden_states) * (1 + scale)[:, None] + shift[:, None]


class Ported(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(WORDS, WIDTH)
        self.condition = nn.Linear(WIDTH, WIDTH)
        self.layers = nn.ModuleList(Layer(number) for number in range(LAYERS))
        self.norm_out, self.proj_out = NormOut(), nn.Linear(WIDTH, WORDS)

    def forward(self, input_ids: torch.Tensor, condition: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden_states = self.embed(input_ids)
        for layer in self.layers:
            hidden_states = layer(hidden_states)
        return {"sample": self.proj_out(self.norm_out(hidden_states, self.condition(condition)))}


def official() -> nn.Module:
    return Official()


def ported() -> nn.Module:
    return Ported()
