"""Other pairs of authors: transformers' BERT into torch's own TransformerEncoder, its GPT-2 into a plain GPT.

torch's encoder fuses q, k and v in a parameter of the attention itself, and calls neither that nor the
projection behind it as modules; GPT-2 has its weights as (in, out).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from mapcc.port.assembly import convert_port
from mapcc.port.parity import run_parity
from mapcc.port.read import read_port
from mapcc.port.trace import run_trace
from mapcc.resources import library_mapping
from tests.port.conftest import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.oracle, pytest.mark.converts]

BERT = """
import torch, transformers
from torch import nn

SIZES = dict(
    vocab_size=20, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
    max_position_embeddings=12, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
)

def official():
    return transformers.BertModel(transformers.BertConfig(**SIZES), add_pooling_layer=False)

class Ported(nn.Module):
    def __init__(self):
        super().__init__()
        self.tok, self.pos, self.seg = nn.Embedding(20, 16), nn.Embedding(12, 16), nn.Embedding(2, 16)
        self.norm = nn.LayerNorm(16, eps=1e-12)
        layer = nn.TransformerEncoderLayer(
            16, 2, 32, 0.0, activation="gelu", layer_norm_eps=1e-12, batch_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)

    def forward(self, ids):
        x = self.norm(self.tok(ids) + self.pos(torch.arange(ids.shape[1])) + self.seg.weight[0])
        return self.encoder(x)

def ported():
    return Ported()
"""
GPT = """
import torch, transformers
from torch import nn
from torch.nn import functional as F

SIZES = dict(vocab_size=20, n_positions=12, n_embd=16, n_layer=3, n_head=2)

def official():
    return transformers.GPT2Model(transformers.GPT2Config(**SIZES, resid_pdrop=0, embd_pdrop=0, attn_pdrop=0))

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_attn, self.c_proj = nn.Linear(16, 48), nn.Linear(16, 16)

    def forward(self, x):
        q, k, v = (y.unflatten(-1, (2, 8)).transpose(1, 2) for y in self.c_attn(x).chunk(3, -1))
        return self.c_proj(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))

class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.c_fc, self.gelu, self.c_proj = nn.Linear(16, 64), nn.GELU(approximate="tanh"), nn.Linear(64, 16)

    def forward(self, x):
        return self.c_proj(self.gelu(self.c_fc(x)))

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.ln_1, self.attn, self.ln_2, self.mlp = nn.LayerNorm(16), Attention(), nn.LayerNorm(16), MLP()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))

class Ported(nn.Module):
    def __init__(self):
        super().__init__()
        self.transformer = nn.ModuleDict(dict(
            wte=nn.Embedding(20, 16), wpe=nn.Embedding(12, 16),
            h=nn.ModuleList(Block() for _ in range(3)), ln_f=nn.LayerNorm(16),
        ))
        self.lm_head = nn.Linear(16, 20, bias=False)

    def forward(self, ids):
        x = self.transformer.wte(ids) + self.transformer.wpe(torch.arange(ids.shape[1]))
        for block in self.transformer.h:
            x = block(x)
        return self.transformer.ln_f(x)

def ported():
    return Ported()
"""
CONV = """
import torch
from torch import nn
from torch.nn import functional as F

class OfficialAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.GroupNorm(4, 16)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(16, 16, 1) for _ in range(4))

    def forward(self, x):
        q, k, v = (project(self.norm(x)).flatten(2) for project in (self.q, self.k, self.v))
        weights = torch.softmax(torch.einsum("bci,bcj->bij", q, k) / 4, -1)
        return x + self.proj_out(torch.einsum("bcj,bij->bci", v, weights).view(x.shape))

class Official(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in, self.attn_1 = nn.Conv2d(3, 16, 3, padding=1), OfficialAttention()
        self.norm_out, self.conv_out = nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 3, 2, stride=2)

    def forward(self, x):
        return self.conv_out(F.silu(self.norm_out(self.attn_1(self.conv_in(x)))))

class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.group_norm = nn.GroupNorm(4, 16)
        self.to_q, self.to_k, self.to_v = (nn.Linear(16, 16) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(16, 16)])

    def forward(self, x):
        y = self.group_norm(x).flatten(2).transpose(1, 2)
        q, k, v = (project(y)[:, None] for project in (self.to_q, self.to_k, self.to_v))
        y = self.to_out[0](F.scaled_dot_product_attention(q, k, v)[:, 0])
        return x + y.transpose(1, 2).reshape(x.shape)

class Ported(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv_in, self.attentions = nn.Conv2d(3, 16, 3, padding=1), nn.ModuleList([Attention()])
        self.conv_norm_out, self.conv_out = nn.GroupNorm(4, 16), nn.ConvTranspose2d(16, 3, 2, stride=2)

    def forward(self, x):
        return self.conv_out(F.silu(self.conv_norm_out(self.attentions[0](self.conv_in(x)))))

def official():
    return Official()

def ported():
    return Ported()
"""
CONV_MAPPING = """\
keep conv_in.*, conv_out.*
norm_out.* -> conv_norm_out.*
attn_1 -> attentions.0 {
    norm.* -> group_norm.*
    {q,k,v}.weight : o i () () -> {to_q,to_k,to_v}.weight : o i
    {q,k,v}.bias -> {to_q,to_k,to_v}.bias
    proj_out.weight : o i () () -> to_out.0.weight : o i
    proj_out.bias -> to_out.0.bias
}
"""
PORT = """\
model: m
weights: {path: w}
target: {kind: python}
components:
  transformer:
    source: model.safetensors
    mapping: m.mapcc
    official: {module: "py:models.py:official", output: last_hidden_state}
    ported: {module: "py:models.py:ported", arguments: {ids: input_ids}}
    inputs: {input_ids: {shape: [2, 9], dtype: int, high: 20}}
"""
CONV_PORT = (
    PORT.partition("    official:")[0]
    + """\
    official: {module: "py:models.py:official"}
    ported: {module: "py:models.py:ported"}
    inputs: {x: {shape: [1, 3, 8, 8]}}
"""
)


def of_library(name: str) -> str:
    """A mapping of the library, for models that have nothing to drop."""
    path = library_mapping(name)
    assert path is not None
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.startswith(("about", "drop"))) + "\n"


MODELS = {
    "bert": (BERT, of_library("bert/minilm_to_torch"), PORT),
    "gpt": (GPT, of_library("gpt/gpt2_hf_to_nanogpt"), PORT),
    "conv": (CONV, CONV_MAPPING, CONV_PORT),
}


@dataclass(frozen=True)
class Fault:
    """``mapping`` and ``code``: a text, and what stands for it. ``rule``: how the named one begins."""

    model: str
    module: str
    fault: str
    finding: str
    rule: str = ""
    mapping: tuple[str, str] = ("", "")
    code: tuple[str, str] = ("", "")


DENSE = "attention.output.dense.*                     -> self_attn.out_proj.*"
NORMS = """\
    attention.output.LayerNorm.*                 -> norm1.*
    intermediate.dense.*                         -> linear1.*
    output.dense.*                               -> linear2.*
    output.LayerNorm.*                           -> norm2.*
"""
KEPT = "keep wpe.*, h.{i}.ln_{1,2}.*"
FAULTS = {
    "q and k of a fused parameter": Fault(
        "bert",
        "encoder.layers.0.self_attn",
        "mapping",
        "parts 0 and 1 of 3",
        "attention.self.[t=key",
        ("[t=query,key,value]", "[t=key,query,value]"),
    ),
    "a matrix of a module that is never called": Fault(
        "bert",
        "encoder.layers.0.self_attn.out_proj",
        "mapping",
        "out_proj.weight is transposed",
        "attention.output.dense.weight",
        (
            DENSE,
            "attention.output.dense.weight : a b -> self_attn.out_proj.weight : b a\n"
            "    attention.output.dense.bias -> self_attn.out_proj.bias",
        ),
    ),
    "layers": Fault(
        "bert",
        "encoder.layers.0",
        "mapping",
        "encoder.layers.0 and encoder.layers.2 have each other's weights",
        "encoder.layer.{i} -> encoder.layers.{2 - i}",
        ("encoder.layers.{i}", "encoder.layers.{2 - i}"),
    ),
    "a sign": Fault(
        "bert",
        "pos",
        "mapping",
        "right without `scale",
        "embeddings.position",
        (
            "embeddings.{word,position,token_type}_embeddings.* -> {tok,pos,seg}.*",
            "embeddings.{word,token_type}_embeddings.* -> {tok,seg}.*\n"
            "embeddings.position_embeddings.weight | scale -1 -> pos.weight",
        ),
    ),
    "an epsilon": Fault(
        "bert",
        "encoder.layers.0.norm1",
        "code",
        "eps is 1e-12 in the official module, eps is 0.1",
        code=("layer_norm_eps=1e-12", "layer_norm_eps=0.1"),
    ),
    "an activation within a layer": Fault(
        "bert", "encoder.layers.0", "mapping or code", "", code=('activation="gelu"', 'activation="relu"')
    ),
    "a square matrix not transposed": Fault(
        "gpt",
        "transformer.h.0.attn.c_proj",
        "mapping",
        "c_proj.weight is transposed",
        "h.{i}.attn.c_proj.weight",
        (
            "{attn.c_attn,attn.c_proj,mlp.c_fc,mlp.c_proj}.weight : c o\n"
            "        -> h.{i}.{attn.c_attn,attn.c_proj,mlp.c_fc,mlp.c_proj}.weight : o c",
            "{attn.c_attn,mlp.c_fc,mlp.c_proj}.weight : c o\n"
            "        -> h.{i}.{attn.c_attn,mlp.c_fc,mlp.c_proj}.weight : o c\n"
            "    keep h.{i}.attn.c_proj.weight",
        ),
    ),
    "an activation that is a module": Fault(
        "gpt", "transformer.h.0.mlp.gelu", "code", "", code=('approximate="tanh"', 'approximate="none"')
    ),
    "q and k of convolutions that become linear layers": Fault(
        "conv",
        "attentions.0",
        "mapping",
        "attentions.0.to_q and attentions.0.to_k have each other's weights",
        "",
        ("{q,k,v}.", "{k,q,v}."),
    ),
    "a weight of one module and a bias of another": Fault(
        "conv",
        "attentions.0.to_q",
        "mapping",
        "its bias is of attn_1.q",
        "",
        ("{q,k,v}.weight", "{k,q,v}.weight"),
    ),
    "height and width": Fault(
        "conv",
        "conv_in",
        "mapping",
        "dimensions 2 and 3 are exchanged",
        "conv_in.weight",
        ("keep conv_in.*", "conv_in.weight : o i h w -> conv_in.weight : o i w h\nkeep conv_in.bias"),
    ),
    "two norms of each layer": Fault(
        "gpt",
        "transformer.h.0.ln_1",
        "mapping",
        "ln_2",
        "",
        (KEPT, "keep wpe.*\n    h.{i}.ln_1.* -> h.{i}.ln_2.*\n    h.{i}.ln_2.* -> h.{i}.ln_1.*"),
    ),
    "two norms of each layer that nobody calls": Fault(
        "bert",
        "encoder.layers.0.norm1",
        "mapping",
        "those of `encoder.layer.0.output.LayerNorm`",
        "",
        (NORMS, NORMS.replace("norm1", "norm").replace("norm2", "norm1").replace("norm.", "norm2.")),
    ),
    "two norms of one layer": Fault(
        "gpt",
        "transformer.h.1.ln_1",
        "mapping",
        "ln_2",
        "",
        (
            KEPT,
            "keep wpe.*, h.{0,2}.ln_{1,2}.*\n    h.1.ln_1.* -> h.1.ln_2.*\n    h.1.ln_2.* -> h.1.ln_1.*",
        ),
    ),
    "a mask": Fault(
        "gpt",
        "transformer.h.0.attn",
        "mapping or code",
        "",
        code=("is_causal=True", "is_causal=False"),
    ),
}


def prepare(workspace: Workspace, model: str, mapping: tuple[str, str], code: tuple[str, str]) -> None:
    import torch

    from mapcc.tensors.factory import python_value

    text, rules, port = MODELS[model]
    assert mapping[0] in rules
    assert code[0] in text
    workspace.write("m.mapcc", rules.replace(*mapping) if mapping[0] else rules)
    workspace.write("models.py", text.replace(*code) if code[0] else text)
    workspace.write("port.yaml", port)
    torch.manual_seed(3)
    module = python_value("py:models.py:official")
    state = module.state_dict()  # type: ignore[attr-defined]
    tensors = {k: torch.randn_like(v) * 0.4 if v.is_floating_point() else v for k, v in state.items()}
    workspace.weights("w/model.safetensors", tensors)


@pytest.mark.parametrize("model", MODELS)
def test_the_right_ones(model: str, workspace: Workspace) -> None:
    prepare(workspace, model, ("", ""), ("", ""))
    port = read_port(Path("port.yaml"))
    convert_port(port)
    assert run_parity(port, port.components[0]).passed
    assert run_trace(port, port.components[0]).divergence is None


@pytest.mark.parametrize("name", FAULTS)
def test_faults(name: str, workspace: Workspace) -> None:
    fault = FAULTS[name]
    prepare(workspace, fault.model, fault.mapping, fault.code)
    port = read_port(Path("port.yaml"))
    convert_port(port)
    assert not run_parity(port, port.components[0]).passed
    first = run_trace(port, port.components[0]).divergence
    assert first is not None
    assert (first.module, first.fault) == (fault.module, fault.fault)
    assert fault.finding in first.finding
    if fault.rule:
        [rule] = first.rules
        assert rule.text.startswith(fault.rule)
