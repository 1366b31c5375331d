"""The conversions that are timed: rows 1 to 8. ``peers/naive.py`` says the same in torch."""

from __future__ import annotations

from benchmarks.layouts import FUSED, PIECES, SMALL, SPLIT, STACKED, WIDE
from benchmarks.model import Case, Limit

BYTES = Limit(0.6, "x cp", 0.45)
JOINED = Limit(0.65, "x cp", 0.5)
MANY = Limit(0.9, "x cp", 0.7)
ROWS = Limit(0.8, "x cp", 0.6)

# What each mapping takes besides its point: the tensors around the layers.
AROUND = "keep model.embed_tokens.*, model.norm.*, lm_head.*\n"

RENAME = """\
model.**   -> language_model.model.**
lm_head.** -> language_model.lm_head.**
"""

RESHAPE = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*
    self_attn.{q,k,v,o}_proj.weight : (h d) c -> self_attn.{q,k,v,o}_proj.weight : h d c   where h = 8
    mlp.{gate,up,down}_proj.weight : (h d) c  -> mlp.{gate,up,down}_proj.weight : h d c   where h = 8
}
"""
)

SPLITTING = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*, self_attn.o_proj.*, mlp.down_proj.*
    self_attn.qkv_proj.weight : (q + k + v) c
        -> self_attn.q_proj.weight : q c, self_attn.k_proj.weight : k c, self_attn.v_proj.weight : v c
        where q = 4 * k, k = v
    mlp.gate_up_proj.weight : (t o) c -> mlp.[t=gate_proj,up_proj].weight : o c
}
"""
)

UNSTACK = (
    AROUND
    + """
model.layers.{input,post_attention}_layernorm.weight : l ...
    -> model.layers.[l].{input,post_attention}_layernorm.weight : ...
model.layers.self_attn.{q,k,v,o}_proj.weight : l ...
    -> model.layers.[l].self_attn.{q,k,v,o}_proj.weight : ...
model.layers.mlp.{gate,up,down}_proj.weight : l ...
    -> model.layers.[l].mlp.{gate,up,down}_proj.weight : ...
"""
)

STACK = (
    AROUND
    + """
model.layers.[l].{input,post_attention}_layernorm.weight : ...
    -> model.layers.{input,post_attention}_layernorm.weight : l ...
model.layers.[l].self_attn.{q,k,v,o}_proj.weight : ...
    -> model.layers.self_attn.{q,k,v,o}_proj.weight : l ...
model.layers.[l].mlp.{gate,up,down}_proj.weight : ...
    -> model.layers.mlp.{gate,up,down}_proj.weight : l ...
"""
)

FUSE = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*, self_attn.o_proj.*, mlp.down_proj.*
    self_attn.q_proj.weight : q c, self_attn.k_proj.weight : k c, self_attn.v_proj.weight : v c
        -> self_attn.qkv_proj.weight : (q + k + v) c
    mlp.[t=gate_proj,up_proj].weight : o c -> mlp.gate_up_proj.weight : (t o) c
}
"""
)

SLICE = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*
    self_attn.{q,k,v,o}_proj.weight : (a + b) c
        -> self_attn.{q,k,v,o}_proj.weight : a c, drop : b c because "pruned"   where a = b
    mlp.{gate,up,down}_proj.weight : (a + b) c
        -> mlp.{gate,up,down}_proj.weight : a c, drop : b c because "pruned"   where a = b
}
"""
)

ROPE = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*, self_attn.{v,o}_proj.*, mlp.{gate,up,down}_proj.*
    self_attn.q_proj.weight : (h two d) ... -> self_attn.q_proj.weight : (h d two) ...   where h = 32, two = 2
    self_attn.k_proj.weight : (h two d) ... -> self_attn.k_proj.weight : (h d two) ...   where h = 8, two = 2
}
"""
)

GQA = (
    AROUND
    + """
model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*, self_attn.o_proj.*, mlp.down_proj.*
    self_attn.q_proj.weight : (g r e) c,
        self_attn.k_proj.weight : (g k e) c,
        self_attn.v_proj.weight : (g v e) c
        -> self_attn.qkv_proj.weight : (g (r + k + v) e) c   where g = 8, r = 4, k = v = 1
    mlp.[p=gate_proj,up_proj].weight : o c -> mlp.gate_up_proj.weight : (o p) c
}
"""
)

TRANSPOSE = """\
keep model.norm.*

model.embed_tokens.weight : o c -> model.embed_tokens.weight : c o
lm_head.weight : o c            -> lm_head.weight : c o

model.layers.{i} -> model.layers.{i} {
    keep {input,post_attention}_layernorm.*
    self_attn.{q,k,v,o}_proj.weight : o c -> self_attn.{q,k,v,o}_proj.weight : c o
    mlp.{gate,up,down}_proj.weight : o c  -> mlp.{gate,up,down}_proj.weight : c o
}
"""

CAST = """\
keep **

dtype bf16
"""

RENAME_SMALL = "model.blocks.{i}.* -> decoder.layers.{i}.*\n"
STACK_PIECES = "experts.[e].weight : o c -> experts.weight : e o c\n"

LLAMA_PEERS = ("mergekit", "transformers")

CASES = (
    Case("1", "rename", "a prefix changes", SPLIT, RENAME, BYTES, peers=LLAMA_PEERS),
    Case("1", "rename_shards", "the same, three files out", SPLIT, RENAME, BYTES, "rename", shards=3),
    Case("1", "reshape", "every matrix to three dimensions", SPLIT, RESHAPE, BYTES),
    Case("1", "split", "qkv to q, k, v; gate_up", FUSED, SPLITTING, BYTES, peers=("transformers-split",)),
    Case("1", "unstack", "16 layers out of each tensor", STACKED, UNSTACK, BYTES),
    Case("2", "fuse", "q, k, v to qkv; gate_up", SPLIT, FUSE, JOINED),
    Case("2", "slice", "half the rows (to cp of the output)", SPLIT, SLICE, JOINED, baseline="output"),
    Case("2", "stack", "16 layers into each tensor", SPLIT, STACK, JOINED),
    Case("3", "small", "many small tensors renamed", SMALL, RENAME_SMALL, MANY),
    Case("3", "pieces", "many small pieces stacked", PIECES, STACK_PIECES, MANY),
    Case("4", "rope", "rotary rows of q and k", SPLIT, ROPE, ROWS),
    Case("4", "gqa", "q, k, v and gate_up interleaved by rows", SPLIT, GQA, ROWS),
    Case("5", "transpose", "every matrix", SPLIT, TRANSPOSE, Limit(1.7, "x cp", 1.3)),
    Case("6", "cast", "f32 -> bf16 (to cp of the source)", WIDE, CAST, Limit(1.0, "x cp", 0.6)),
    Case(
        "7", "fsync", "rename, fsynced", SPLIT, RENAME, Limit(0.9, "x cp+fsync", 0.8), "rename", synced=True
    ),
    Case("7", "cold", "rename, cold source", SPLIT, RENAME, Limit(1.05, "x cp"), "rename", cold=True),
)
