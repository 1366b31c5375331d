"""Lists for transformers 5, run by transformers' own loader: byte for byte what the mapping's moves give."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mapcc.api import bound_mapping, check, parse
from mapcc.emit.emitted import Emitted
from mapcc.emit.transformers import emit_transformers
from mapcc.ir.bound import BoundMapping
from mapcc.ir.notation import quote
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shapes = Mapping[str, tuple[int, ...]]
Arrays = dict[str, np.ndarray]

LAYERS = range(3)


def keys(shapes: Shapes, config: Mapping[str, object] | None = None) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", config, {})


def bind(text: str, shapes: Shapes, target: Shapes | None = None) -> BoundMapping:
    checked = check(parse(text, "test.mapcc"), keys(shapes), None if target is None else keys(target))
    return bound_mapping(checked)


def layers(**shapes: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """``layers(q_weight=(2,))``: a tensor of each layer; ``__`` is a dot."""
    return {f"l.{i}.{name.replace('__', '.')}": shape for i in LAYERS for name, shape in shapes.items()}


# --- the two engines


def numbered(shapes: Shapes) -> Arrays:
    """Tensors of which no two elements are the same, exact in float32."""
    start, out = 0, {}
    for name, shape in shapes.items():
        count = int(np.prod(shape))
        out[name] = np.arange(start, start + count, dtype=np.float32).reshape(shape)
        start += count
    assert start < 1 << 24
    return out


def by_moves(bound: BoundMapping, tensors: Arrays) -> Arrays:
    """The target as the moves make it."""
    out: Arrays = {}
    for instance in bound.instances:
        targets = [np.full(int(np.prod(shape)), -1, np.float32) for shape in instance.layout.target_shapes]
        for move in instance.layout.moves:
            source, target = np.array(move.source_offset), np.array(move.target_offset)
            for size, source_stride, target_stride in move.dims:
                source = source[..., None] + np.arange(size) * source_stride
                target = target[..., None] + np.arange(size) * target_stride
            targets[move.target][target] = tensors[instance.sources[move.source][0]].reshape(-1)[source]
        for name, flat, shape in zip(instance.targets, targets, instance.layout.target_shapes, strict=True):
            out[name] = flat.reshape(shape)
    return out


def executed(emitted: Emitted) -> list[object]:
    scope: dict[str, object] = {}
    exec(compile(emitted.text, "emitted", "exec"), scope)
    listed = scope["weight_mapping"]
    assert isinstance(listed, list)
    return listed


def model_of(shapes: Shapes, config: Mapping[str, object]):
    """A module with these parameters; a name's segments are its modules."""
    from torch import nn, zeros

    class Toy(nn.Module):
        base_model_prefix = "no_such_prefix"

    model = Toy()
    for name, shape in shapes.items():
        *path, leaf = name.split(".")
        module: nn.Module = model
        for segment in path:
            if segment not in module._modules:
                module._modules[segment] = nn.Module()
            module = module._modules[segment]
        module._parameters[leaf] = nn.Parameter(zeros(shape))
    model.config = SimpleNamespace(**config)
    return model


def loaded(listed: list[object], tensors: Arrays, wanted: Arrays, heads: int, unexpected: set[str]) -> Arrays:
    """transformers' loader over the tensors, into a model that has the names of ``wanted``."""
    import torch
    from transformers.core_model_loading import convert_and_load_state_dict_in_model

    model = model_of({name: tensor.shape for name, tensor in wanted.items()}, {"num_attention_heads": heads})
    config = SimpleNamespace(
        device_map=None,
        hf_quantizer=None,
        dtype=torch.float32,
        disk_offload_folder=None,
        offload_buffers=False,
        dtype_plan=None,
        weight_mapping=listed,
    )
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    info, _ = convert_and_load_state_dict_in_model(model, state, config)
    assert not info.conversion_errors, info.conversion_errors
    assert not info.mismatched_keys
    assert not info.missing_keys
    assert info.unexpected_keys == unexpected
    return {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}


def assert_loads(text: str, shapes: Shapes, heads: int = 1, bound: BoundMapping | None = None) -> Emitted:
    """What is emitted loads what the mapping's moves give; the table is what the text says."""
    bound = bound or bind(text, shapes)
    emitted = emit_transformers(bound)
    assert emitted.ok, emitted.diagnostics
    tensors = numbered(shapes)
    wanted = by_moves(bound, tensors)
    listed = executed(emitted)
    assert [said(entry) for entry in listed] == [
        (entry.kind, list(entry.sources), [one.name for one in entry.operations]) for entry in emitted.table
    ]
    given_ = loaded(listed, tensors, wanted, heads, set(bound.dropped))
    assert given_.keys() == wanted.keys()
    for name, tensor in wanted.items():
        np.testing.assert_array_equal(given_[name], tensor, err_msg=name)
    return emitted


def said(entry) -> tuple[str, list[str], list[str]]:
    operations = [type(one).__name__ for one in getattr(entry, "operations", [])]
    return type(entry).__name__, entry._original_source_patterns, operations


def converters(emitted: Emitted) -> list[tuple[str, ...]]:
    assert emitted.table is not None
    return [tuple(one.name for one in entry.operations) for entry in emitted.table if entry.operations]


# --- what can be said

LLAMA = """
tok_embeddings.weight -> model.embed_tokens.weight
layers.{i} -> model.layers.{i} {
    attention.w{q,k}.weight : (h f 2) c -> self_attn.{q,k}_proj.weight : (h 2 f) c where h = 2
    attention.w{v,o}.* -> self_attn.{v,o}_proj.*
    feed_forward.w{1,2,3}.* -> mlp.{gate,down,up}_proj.*
}
drop rope.freqs because "the model computes them"
"""


def llama() -> dict[str, tuple[int, ...]]:
    names = {f"attention.w{x}.weight": (8, 4) for x in "qkvo"}
    names |= {f"feed_forward.w{x}.weight": (6, 4) for x in "123"}
    shapes = {f"layers.{i}.{name}": shape for i in range(11) for name, shape in names.items()}
    return {"tok_embeddings.weight": (5, 4), "rope.freqs": (2,), **shapes}


@pytest.mark.oracle
def test_llama_with_rope() -> None:
    emitted = assert_loads(LLAMA, llama(), heads=2)
    assert converters(emitted) == [("PermuteForRope",)] * 2
    assert "num_attention_heads = 2" in emitted.text
    assert "'rope.freqs'" in emitted.text


@pytest.mark.oracle
@pytest.mark.slow
def test_from_pretrained_as_the_header_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from safetensors.torch import save_file
    from transformers import LlamaConfig, LlamaForCausalLM, conversion_mapping

    sizes = {"hidden_size": 8, "intermediate_size": 6, "num_attention_heads": 2, "num_key_value_heads": 2}
    config = LlamaConfig(vocab_size=5, num_hidden_layers=2, **sizes)
    model = LlamaForCausalLM(config)
    target = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    text = (
        LLAMA
        + """
    layers.{i}.{attention,ffn}_norm.* -> model.layers.{i}.{input,post_attention}_layernorm.*
    norm.* -> model.norm.*
    output.* -> lm_head.*
    """
    )
    names = {f"attention.w{x}.weight": (8, 8) for x in "qkvo"}
    names |= {"feed_forward.w1.weight": (6, 8), "feed_forward.w2.weight": (8, 6)}
    names |= {"feed_forward.w3.weight": (6, 8), "attention_norm.weight": (8,), "ffn_norm.weight": (8,)}
    shapes = {f"layers.{i}.{name}": shape for i in range(2) for name, shape in names.items()}
    shapes |= {"tok_embeddings.weight": (5, 8), "rope.freqs": (2,), "norm.weight": (8,)}
    shapes["output.weight"] = (5, 8)
    bound = bind(text, shapes, target)
    emitted = emit_transformers(bound)
    tensors = numbered(shapes)
    model.config.save_pretrained(tmp_path)
    state = {name: torch.from_numpy(tensor) for name, tensor in tensors.items()}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    conversion_mapping.get_checkpoint_conversion_mapping("llama")
    known = conversion_mapping._checkpoint_conversion_mapping_cache
    monkeypatch.setattr(conversion_mapping, "_checkpoint_conversion_mapping_cache", dict(known))
    monkeypatch.setattr(conversion_mapping, "USER_REGISTERED_MAPPINGS", set())
    conversion_mapping.register_checkpoint_conversion_mapping("llama", executed(emitted), overwrite=True)
    read = LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).state_dict()
    for name, tensor in by_moves(bound, tensors).items():
        np.testing.assert_array_equal(read[name].numpy(), tensor, err_msg=name)


@pytest.mark.oracle
def test_the_way_back_of_rope() -> None:
    text = "l.{i}.q.weight : (h 2 f) c -> l.{i}.wq.weight : (h f 2) c where h = 4"
    emitted = assert_loads(text, layers(q__weight=(24, 3)), heads=4)
    assert "PermuteForRope(inverse=True)" in emitted.text


CASES: dict[str, tuple[str, Shapes, list[tuple[str, ...]]]] = {
    "experts, stacked and fused": (
        """
        m.{i}.experts.[e].[p=w1,w3].weight : o c -> model.layers.{i}.mlp.experts.gate_up_proj : e (p o) c
        m.{i}.experts.[e].w2.weight : o c -> model.layers.{i}.mlp.experts.down_proj : e o c
        """,
        {
            **{
                f"m.{i}.experts.{e}.{p}.weight": (4, 6)
                for i in LAYERS
                for e in range(12)
                for p in ("w1", "w3")
            },
            **{f"m.{i}.experts.{e}.w2.weight": (6, 4) for i in LAYERS for e in range(12)},
        },
        [("MergeModulelist", "Concatenate"), ("MergeModulelist",)],
    ),
    "experts, stacked and transposed": (
        "l.{i}.e.[e].w : o c -> l.{i}.all : e c o",
        layers(**{f"e__{k}__w": (4, 6) for k in range(11)}),
        [("MergeModulelist", "Transpose")],
    ),
    "experts, one after the other": (
        "l.{i}.e[e].* : o ... -> l.{i}.all.* : (e o) ...",
        layers(**{f"e{k}__w": (4, 6) for k in range(11)}, **{f"e{k}__b": (4,) for k in range(11)}),
        [("Concatenate",)],
    ),
    "experts in another order": (
        "l.{i}.[e=e2,e0,e1].w : o c -> l.{i}.all : e o c",
        layers(e0__w=(2, 3), e1__w=(2, 3), e2__w=(2, 3)),
        [("MergeModulelist", "Concatenate")],
    ),
    "qkv, cut in three": (
        "h.{i}.qkv.* : (t d) ... -> l.{i}.attn.[t=q,k,v].* : d ...",
        {f"h.{i}.qkv.{p}": s for i in LAYERS for p, s in (("weight", (6, 4)), ("bias", (6,)))},
        [("Chunk",)],
    ),
    "pieces of unequal size": (
        "l.{i}.kv : (k + v) c -> l.{i}.k : k c, l.{i}.v : v c where k = 2",
        layers(kv=(5, 3)),
        [("Split",)],
    ),
    "concatenated along dimension 1": (
        "l.{i}.[p=b,a].w : o c -> l.{i}.ab.w : o (p c)",
        layers(a__w=(3, 2), b__w=(3, 2)),
        [("Concatenate",)],
    ),
    "unequal parts, in another order": (
        "l.{i}.a : a c, l.{i}.b : b c, l.{i}.c : x c -> l.{i}.all : (b + x + a) c",
        layers(a=(1, 2), b=(2, 2), c=(4, 2)),
        [("Concatenate",)],
    ),
    "transposed": ("l.{i}.w : a b -> l.{i}.w : b a", layers(w=(3, 4)), [("Transpose",)]),
    "four dimensions": (
        "l.{i}.w : a b c d -> x.{i}.w : c a d b",
        layers(w=(2, 3, 4, 5)),
        [("Transpose", "Transpose", "Transpose")],
    ),
    "transposed and cut": (
        "l.{i}.w : c (t o) -> l.{i}.[t=q,k,v].weight : o c",
        layers(w=(4, 6)),
        [("Transpose", "Chunk")],
    ),
    "joined and transposed": (
        "l.{i}.[t=q,k,v].w : o c -> l.{i}.qkv.w : c (t o)",
        layers(q__w=(2, 3), k__w=(2, 3), v__w=(2, 3)),
        [("Concatenate", "Transpose")],
    ),
    "unstacked": (
        "l.{i}.all : e o -> l.{i}.[e=a,b,c].w : o",
        layers(all=(3, 2)),
        [("Chunk", "SplitModulelist")],
    ),
    "a dimension more": ("l.{i}.w : c -> l.{i}.w : 1 c", layers(w=(3,)), [("MergeModulelist",)]),
    "a dimension less": ("l.{i}.w : c 1 k -> l.{i}.w : c k", layers(w=(3, 1, 4)), [("SplitModulelist",)]),
    "pairs to halves": ("l.{i}.w : a (f 2) -> l.{i}.w : a (2 f)", layers(w=(3, 8)), [("Interleave",)]),
    "halves to pairs": ("l.{i}.w : a (2 f) -> l.{i}.w : a (f 2)", layers(w=(3, 8)), [("Interleave",)]),
    "a kernel, flat": (
        "l.{i}.p : o a t h w -> l.{i}.q : o (a t h w)",
        layers(p=(4, 3, 2, 5, 5)),
        [("Conv3dToLinear",)],
    ),
    "a kernel, again": (
        "l.{i}.p : o (a t h w) -> l.{i}.q : o a t h w where a = 3, t = 2, h = 5",
        layers(p=(4, 150)),
        [("LinearToConv3d",)],
    ),
    "a swap": ("a <-> b\nb <-> a\n", {"a": (2,), "b": (2,)}, []),
    "a circle of layers": (
        "l.{n-1-i}.w -> l.{i}.w where n = count(l.{j}.w)",
        {f"l.{i}.w": (1,) for i in range(5)},
        [],
    ),
    "layers shifted by one": ("l.{i}.w -> l.{i+1}.w", layers(w=(2,)), []),
    "two indices": (
        "x.{i}.y.{j}.z -> new.{i}.other.{j}.last",
        {f"x.{i}.y.{j}.z": (2,) for i in range(3) for j in range(12)},
        [],
    ),
    "indices in another order": (
        "x.{i}.y.{j}.z -> new.{j}.y.{i}.z",
        {f"x.{i}.y.{j}.z": (2,) for i in range(3) for j in range(3)},
        [],
    ),
    "two names for one index": (
        "x.{i}.y.{i}.z -> new.{i}.z",
        {f"x.{i}.y.{i}.z": (2,) for i in range(3)},
        [],
    ),
    "rules before defaults": (
        "default {\n    ** -> rest.**\n}\nl.{i}.w -> l.{i}.x",
        {**layers(w=(2,), v=(1,)), "other": (3,)},
        [],
    ),
    "parts that stand in other names": (
        """
        l.{i}.a.w : (x + y) -> l.{i}.p.x : x, l.{i}.p.y : y where x = y
        l.{i}.b.a.w -> l.{i}.b.a.w
        a.w -> a.w
        """,
        {**layers(a__w=(4,), b__a__w=(4,)), "a.w": (2,)},
        [("Chunk",)],
    ),
    "a target that is in its own prefix": (
        "q.{i}.qk : (a + b) -> q.{i}.q : a, q.{i}.k : b where a = b",
        {f"q.{i}.qk": (4,) for i in LAYERS},
        [("Chunk",)],
    ),
    "nothing to say": ("keep a, b.**", {"a": (1,), "b.c": (2,)}, []),
}


@pytest.mark.oracle
@pytest.mark.parametrize("case", CASES)
def test_is_loaded_as_the_mapping_says(case: str) -> None:
    text, shapes, operations = CASES[case]
    found = converters(assert_loads(text, shapes))
    assert list(dict.fromkeys(found)) == operations


# Of transformers' own words, of regular expressions, of Python; none of them is a separator.
ROOTS = ["x$", "q'", 'd"', "^", "^a", "a*", "{i}", "[t]", "a|b", "1", "\u00e9", "mapcc", "mapcc_step"]
ROOTS += [
    "mapccx_waiting",
    "a b",
    r"\w+",
    "#",
    "$",
    "*x",
    "a(b",
    "c)",
    "(a)",
    r"b\g<1>",
    r"\1",
    r"a\1b",
    "\\",
]

NAMES = """
    {root}.{{i}}.y.{{j}}.w -> new.{root}.{{i}}.{root}.{{j}}.z
    old.{{i}}.{root}.* -> other.{{i}}.old.*
    same.{root} -> another.{root}
"""


@pytest.mark.oracle
@pytest.mark.parametrize("root", ROOTS)
def test_names_may_hold_anything_that_transformers_loads(root: str) -> None:
    """It makes patterns of the names themselves: of some it cannot, and then says so with an exception."""
    shapes: dict[str, tuple[int, ...]] = {f"same.{root}": (1,)}
    for i in range(2):
        shapes |= {f"{root}.{i}.y.{j}.w": (2,) for j in range(2)}
        shapes |= {f"old.{i}.{root}.{name}": (2,) for name in ("weight", "bias")}
    text = NAMES.format(root=quote(root))
    bound = bind(text, shapes)
    emitted = emit_transformers(bound)
    if emitted.ok:
        assert_loads(text, shapes)
        return
    assert {found.code for found in emitted.diagnostics} == {"MC601"}
    # Each refusal is right: a list that renames it otherwise is not loaded.
    wanted = by_moves(bound, numbered(shapes))
    spans = {found.span for found in emitted.diagnostics}
    for instance in bound.instances:
        [[name]], [target] = instance.sources, instance.targets
        assert loads(name, target, wanted[target]) is (instance.equation.span not in spans)


def loads(name: str, target: str, tensor: np.ndarray) -> bool:
    """Whether transformers loads one tensor, with a renaming that cannot be read in two ways."""
    from transformers.core_model_loading import WeightRenaming

    class Exactly(WeightRenaming):
        def rename_source_key(self, key: str) -> tuple[str, None]:
            return target, None

    try:
        loaded([Exactly("a", "b")], {name: tensor}, {target: tensor}, 1, set())
    except (ValueError, re.error, AssertionError, AttributeError, KeyError):
        return False
    return True


@pytest.mark.oracle
@pytest.mark.parametrize("root", ROOTS)
def test_converters_take_names_with_anything(root: str) -> None:
    text = f"{quote(root)}.{{i}}.qkv : (t d) -> new.{quote(root)}.{{i}}.[t=q,k,v] : d"
    shapes = {f"{root}.{i}.qkv": (6,) for i in range(3)}
    emitted = emit_transformers(bind(text, shapes))
    assert emitted.ok is (root not in ("(a)", "a*", r"\1", r"a\1b", "\\"))
    if emitted.ok:
        assert_loads(text, shapes)


# --- what cannot be said

REFUSED: dict[str, tuple[str, Shapes, str]] = {
    "half swap": (
        "a : (x + y) c -> a : (y + x) c where x = y",
        {"a": (4, 2)},
        "reorder elements like this",
    ),
    "group-wise heads": (
        "a : (g (q + k)) c -> b : (g q) c, c : (g k) c where g = 3, k = 4",
        {"a": (36, 5)},
        "cut a tensor like this",
    ),
    "interleaved": ("[t=a,b] : h -> c : (h t)", {"a": (3,), "b": (3,)}, "put tensors together like this"),
    "copy": ("a -> b, c", {"a": (2,)}, "give one tensor to two targets"),
    "repeat": ("a : d -> b : (r d) where r = 2", {"a": (2,)}, "repeat elements of a tensor"),
    "create": ("a -> a\ncreate b : d = 0 where d = 3", {"a": (2,)}, "create a tensor"),
    "part created": (
        "a : x, create : y = 0 -> b : (x + y) where y = 2",
        {"a": (2,)},
        "fill in elements that have no source",
    ),
    "part dropped": (
        'a : (x + y) -> b : x, drop : y because "no" where y = 2',
        {"a": (4,)},
        "leave out a part of a tensor",
    ),
    "cast": ("a | cast bf16 -> b", {"a": (2,)}, "cast to a type that a mapping names"),
    "value": ("a | scale 0.5 -> b", {"a": (2,)}, "compute values (scale)"),
    "two from two": (
        "[t=a,b].w : (x o) -> [x=c,d].w : (t o)",
        {"a.w": (4,), "b.w": (4,)},
        "give several tensors from several in one step",
    ),
    "unfused and unstacked": (
        "all : e (p o) -> e.[e].[p=a,b] : o where e = 2",
        {"all": (2, 4)},
        "cut a tensor like this",
    ),
    "reshape": ("a : (x y) -> b : x y where x = 2", {"a": (4,)}, "reorder elements like this"),
    "a target like a pattern": (
        'a.qkv : (t d) -> a.[t=q,k,v]."(w)" : d',
        {"a.qkv": (6,)},
        "make a tensor with the name 'a.q.(w)'",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_said_is_refused_with_its_reason(case: str) -> None:
    text, shapes, reason = REFUSED[case]
    emitted = emit_transformers(bind(text, shapes))
    assert not emitted.ok
    assert emitted.text == ""
    assert emitted.table is None
    [refusal] = emitted.diagnostics
    assert refusal.code == "MC601"
    assert refusal.message.startswith("transformers' weight mappings cannot ")
    assert reason in refusal.message
    assert refusal.span is not None
    assert "mapcc convert" in refusal.help
    assert "emit-script" in refusal.help
    assert refusal.names


def test_every_rule_is_refused_once() -> None:
    shapes = layers(a=(2,), b=(2,))
    emitted = emit_transformers(bind("l.{i}.a | scale 2 -> l.{i}.x\nl.{i}.b | add 1 -> l.{i}.y", shapes))
    assert [found.names for found in emitted.diagnostics] == [("l.{0..2}.a",), ("l.{0..2}.b",)]


def test_a_dropped_tensor_with_a_name_of_the_model_is_refused() -> None:
    text = 'drop a because "no"\nb -> b\nexternal a because "made elsewhere"'
    emitted = emit_transformers(bind(text, {"a": (1,), "b": (1,)}, {"a": (1,), "b": (1,)}))
    assert [found.code for found in emitted.diagnostics] == ["MC601"]


def test_the_heads_are_those_of_the_config() -> None:
    text = "q : (h f 2) c -> q : (h 2 f) c where h = 2"
    for heads, is_said in ((2, True), (4, False), (None, True)):
        bound = bind(text, {"q": (8, 3)})
        config = {} if heads is None else {"num_attention_heads": heads}
        bound.source = replace(bound.source, config=config)
        emitted = emit_transformers(bound)
        assert emitted.ok is is_said
        assert ("taken for granted" in emitted.text) is (heads is None)


def test_all_heads_are_the_same() -> None:
    """Fewer key than query heads: the config tells of one number, so one of the two is refused."""
    text = "q : (h f 2) -> q : (h 2 f) where h = 4\nk : (h f 2) -> k : (h 2 f) where h = 2"
    emitted = emit_transformers(bind(text, {"q": (16,), "k": (8,)}))
    assert len(emitted.diagnostics) == 1


# --- random mappings


@st.composite
def mappings(draw) -> tuple[str, Shapes]:
    """A rule or two for each of some roots, and the tensors that they take."""
    lines: list[str] = []
    shapes: dict[str, tuple[int, ...]] = {}
    roots = draw(
        st.lists(st.sampled_from(["a", "b", "a.b", "x$", "q'", "b.1", "[t]"]), max_size=4, unique=True)
    )
    for root in roots:
        rules, tensors = draw(st.sampled_from(KINDS))(root, draw)
        news = draw(st.sampled_from(["new.{root}", "{root}", "m.{root}.n", "{root}.1"]))
        own, new = quote_path(root), news.format(root=quote_path(root))
        lines += [rule.replace("OLD", own).replace("NEW", new) for rule in rules]
        for i in range(draw(st.integers(1, 3) | st.just(11))):
            shapes |= {f"{root}.{i}.{tail}": shape for tail, shape in tensors.items()}
    if draw(st.booleans()):
        lines = ["default {", "    ** -> rest.**", "}", *lines]
        shapes["other.weight"] = (2,)
    return "\n".join(lines) + "\n", shapes


def quote_path(root: str) -> str:
    return ".".join(quote(segment) for segment in root.split("."))


def dimensions(draw, count: int) -> tuple[int, ...]:
    return tuple(draw(st.lists(st.integers(1, 4), min_size=count, max_size=count)))


def renamed(root, draw):
    rule = draw(
        st.sampled_from(
            ["OLD.{i}.** -> NEW.{i}.x.**", "OLD.{i}.a.* -> NEW.{i}.*.b", "OLD.{i}.*.* -> NEW.{i}.*.*"]
        )
    )
    return [rule], {"a.w": dimensions(draw, 2), "a.1": (2,)}


def shifted(root, draw):
    rule = draw(
        st.sampled_from(
            ["OLD.{i}.** -> OLD.{i+1}.**", "OLD.{n-1-i}.** -> OLD.{i}.** where n = count(OLD.{j})"]
        )
    )
    return [rule], {"a.w": dimensions(draw, 1), "v": (1,)}


def swapped(root, draw):
    return ["OLD.{i}.a.* -> OLD.{i}.b.*", "OLD.{i}.b.* -> OLD.{i}.a.*"], {
        "a.w": (1,),
        "b.w": (2,),
        "b.v": (1,),
    }


def crossed(root, draw):
    """Renamed to what another rule takes."""
    return ["OLD.{i}.a -> OLD.{i}.b", "OLD.{i}.b -> OLD.{i}.c", "OLD.{i}.c -> OLD.{i}.d"], {
        "a": (1,),
        "b": (2,),
        "c": (1,),
    }


def cut(root, draw):
    parts = draw(st.permutations("qkv"))
    extent, *rest = dimensions(draw, draw(st.integers(1, 3)))
    at = draw(st.integers(0, len(rest)))
    shape = (*rest[:at], 3 * extent, *rest[at:])
    axes = [f"a{n}" for n in range(len(rest))]
    whole = " ".join([*axes[:at], "(t d)", *axes[at:]])
    piece = " ".join([*axes[:at], "d", *axes[at:]])
    return [f"OLD.{{i}}.qkv.w : {whole} -> NEW.{{i}}.[t={','.join(parts)}].w : {piece}"], {"qkv.w": shape}


def unequal(root, draw):
    return ["OLD.{i}.kv.* : (k + v) ... -> NEW.{i}.k.* : k ..., NEW.{i}.v.* : v ... where k = 3"], {
        "kv.w": (5, 2),
        "kv.b": (5,),
    }


def joined(root, draw):
    sizes = dimensions(draw, 3)
    return ["OLD.{i}.q : a q, OLD.{i}.k : a k, OLD.{i}.v : a v -> NEW.{i}.qkv : a (v + q + k)"], {
        name: (2, size) for name, size in zip("qkv", sizes, strict=True)
    }


def experts(root, draw):
    count = draw(st.integers(1, 11))
    shape = dimensions(draw, 2)
    order = draw(st.sampled_from(["e o c", "o e c", "e c o", "(e o) c", "o (e c)", "c o e"]))
    return [f"OLD.{{i}}.e.[e].w : o c -> NEW.{{i}}.all : {order}"], {f"e.{k}.w": shape for k in range(count)}


def fused(root, draw):
    count = draw(st.integers(2, 11))
    shape = dimensions(draw, 2)
    order = draw(st.sampled_from(["e (p o) c", "e o (p c)", "(p e) o c", "e c (p o)"]))
    return [f"OLD.{{i}}.e.[e].[p=w1,w3] : o c -> NEW.{{i}}.all : {order}"], {
        f"e.{k}.{p}": shape for k in range(count) for p in ("w1", "w3")
    }


def reordered(root, draw):
    order = " ".join(draw(st.permutations("abc")))
    return [f"OLD.{{i}}.w : a b c -> NEW.{{i}}.w : {order}"], {"w": dimensions(draw, 3)}


def halves(root, draw):
    left, right = draw(st.permutations(["(f 2)", "(2 f)"]))
    return [f"OLD.{{i}}.w : a {left} -> NEW.{{i}}.w : a {right}"], {"w": (2, 2 * dimensions(draw, 1)[0])}


def rope(root, draw):
    left, right = draw(st.permutations(["(h f 2)", "(h 2 f)"]))
    return [f"OLD.{{i}}.w : {left} ... -> NEW.{{i}}.w : {right} ... where h = 3"], {"w": (30, 2)}


def unstacked(root, draw):
    return ["OLD.{i}.w : e o -> NEW.{i}.[e=a,b,c] : o"], {"w": (3, *dimensions(draw, 1))}


KINDS = [renamed, shifted, swapped, crossed, cut, unequal, joined, experts, fused, reordered, halves, rope]
KINDS += [unstacked]


def is_module_and_tensor(names: Collection[str]) -> bool:
    """Whether a name is the beginning of another: no model has such names."""
    return any(path in names for name in names for path in paths_of(name))


def paths_of(name: str) -> list[str]:
    segments = name.split(".")
    return [".".join(segments[:count]) for count in range(1, len(segments))]


@pytest.mark.oracle
@given(mappings())
def test_the_list_loads_what_the_mapping_moves(case) -> None:
    text, shapes = case
    checked = check(parse(text, "test.mapcc"), keys(shapes, {"num_attention_heads": 3}))
    assume(checked.ok and checked.bound is not None)  # names that collide
    assert checked.bound is not None
    assume(not is_module_and_tensor(checked.bound.given))
    assert_loads(text, shapes, heads=3, bound=checked.bound)
