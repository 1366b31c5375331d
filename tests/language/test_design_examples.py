"""The examples of the language's design, each bound to small tensors and moved: they mean what it says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from mapcc.api import Checked, check, convert, load_mapping, parse
from mapcc.diagnostics.codes import CODES
from mapcc.errors import MappingError
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Arrays = dict[str, np.ndarray]
Keys = Mapping[str, Sequence[int]]


def arrays(keys: Keys) -> Arrays:
    """Tensors of which no two elements are the same."""
    out: Arrays = {}
    start = 1
    for name, shape in keys.items():
        out[name] = np.arange(start, start + prod(shape)).reshape(tuple(shape))
        start += prod(shape)
    return out


def key_set(keys: Keys, dtypes: Mapping[str, str] | None = None, **config: object) -> Manifest:
    dtypes = dtypes or {}
    specs = {
        name: TensorSpec(name, DTYPES[dtypes.get(name, "F32")], tuple(shape)) for name, shape in keys.items()
    }
    return Manifest(specs, (), "made up", config, {})


def found(rules: str, source: Keys, target: Keys | None = None) -> set[str]:
    """The codes of what is wrong, from parsing on."""
    try:
        checked = check(parse(rules), key_set(source), None if target is None else key_set(target))
    except MappingError as error:
        return {d.code for d in error.diagnostics}
    return {d.code for d in checked.diagnostics}


def clean(checked: Checked) -> Checked:
    assert not checked.diagnostics, [(d.code, d.message, d.notes, d.names) for d in checked.diagnostics]
    return checked


def moved(rules: str, source: Arrays, **config: object) -> Arrays:
    """What the rules give: bound without the target's keys, then held against what came out."""
    mapping = parse(rules)
    sources = key_set({name: array.shape for name, array in source.items()}, **config)
    out = run(clean(check(mapping, sources)), source)
    targets = key_set({name: array.shape for name, array in out.items()})
    again = run(clean(check(mapping, sources, targets)), source)
    assert out.keys() == again.keys()
    assert all((out[name] == again[name]).all() for name in out)
    return out


def run(checked: Checked, source: Arrays) -> Arrays:
    assert checked.bound is not None
    out: Arrays = {}
    for instance in checked.bound.instances:
        layout = instance.layout
        flat = [source[names[0]].reshape(-1) if names else None for names in instance.sources]
        given = [np.full(prod(shape), -1) for shape in layout.target_shapes]
        for move in layout.moves:
            for at in product(*(range(extent) for extent, _, _ in move.dims)):
                read = move.source_offset + sum(i * s for i, (_, s, _) in zip(at, move.dims, strict=True))
                write = move.target_offset + sum(i * t for i, (_, _, t) in zip(at, move.dims, strict=True))
                assert given[move.target][write] == -1
                data = flat[move.source]
                given[move.target][write] = 0 if data is None else data[read]
        for name, data, shape in zip(instance.targets, given, layout.target_shapes, strict=True):
            assert name not in out
            assert (data != -1).all()
            out[name] = data.reshape(shape)
    return out


def same(given: Arrays, expected: Mapping[str, np.ndarray]) -> None:
    assert sorted(given) == sorted(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(given[name], array, name)


def renames(rules: str, pairs: Mapping[str, str], **config: object) -> None:
    """The rules take these names to those, and nothing else changes."""
    source = arrays(dict.fromkeys(pairs, (2,)))
    same(moved(rules, source, **config), {new: source[old] for old, new in pairs.items()})


# --- a whole file: blocks, groups, stars, name axes, half swaps

VIDEO = """
mapping video "Video: official -> Diffusers"

let D = source.config.hidden_size

img_in.proj.*              -> x_embedder.proj.*
time_in.mlp.{0,2}.*        -> time_text_embed.timestep_embedder.linear_{1,2}.*
guidance_in.mlp.{0,2}.*    -> time_text_embed.guidance_embedder.linear_{1,2}.*   optional

double_blocks.{i} -> transformer_blocks.{i} {
    img_attn_qkv.* : (t d) ... -> attn.[t=to_q,to_k,to_v].* : d ...
    img_attn_{q,k}_norm.*      -> attn.norm_{q,k}.*
    {img,txt}_attn_proj.*      -> attn.{to_out.0,to_add_out}.*
    {img,txt}_mlp.fc1.*        -> {ff,ff_context}.net.0.proj.*
}

single_blocks.{i} -> single_transformer_blocks.{i} {
    linear1.* : (q + k + v + m) ...
        -> attn.to_q.* : q ..., attn.to_k.* : k ..., attn.to_v.* : v ..., proj_mlp.* : m ...
        where q = k = v = D
}

final_layer.adaLN_modulation.1.* : (shift + scale) ...
    -> norm_out.linear.* : (scale + shift) ...   where shift = scale
"""


def test_a_video_transformer() -> None:
    keys: dict[str, tuple[int, ...]] = {"img_in.proj.weight": (4, 3), "img_in.proj.bias": (4,)}
    plain = {"img_in.proj": "x_embedder.proj"}
    for old, new in (("0", "1"), ("2", "2")):
        keys[f"time_in.mlp.{old}.weight"] = (4, 4)
        plain[f"time_in.mlp.{old}"] = f"time_text_embed.timestep_embedder.linear_{new}"
    for i in (0, 1):
        block, new = f"double_blocks.{i}", f"transformer_blocks.{i}"
        keys |= {f"{block}.img_attn_qkv.weight": (12, 4), f"{block}.img_attn_qkv.bias": (12,)}
        for old, name in (
            ("img_attn_q_norm", "attn.norm_q"),
            ("img_attn_k_norm", "attn.norm_k"),
            ("img_attn_proj", "attn.to_out.0"),
            ("txt_attn_proj", "attn.to_add_out"),
            ("img_mlp.fc1", "ff.net.0.proj"),
            ("txt_mlp.fc1", "ff_context.net.0.proj"),
        ):
            keys[f"{block}.{old}.weight"] = (4, 4)
            plain[f"{block}.{old}"] = f"{new}.{name}"
    keys |= {"single_blocks.0.linear1.weight": (28, 4), "single_blocks.0.linear1.bias": (28,)}
    keys |= {"final_layer.adaLN_modulation.1.weight": (8, 4), "final_layer.adaLN_modulation.1.bias": (8,)}
    source = arrays(keys)
    expected: Arrays = {}
    for name, array in source.items():
        module, _, leaf = name.rpartition(".")
        if module in plain:
            expected[f"{plain[module]}.{leaf}"] = array
        elif module.endswith("qkv"):
            to = module.replace("double_blocks", "transformer_blocks").replace("img_attn_qkv", "attn.to_")
            expected |= {f"{to}{t}.{leaf}": part for t, part in zip("qkv", np.split(array, 3), strict=True)}
        elif module.endswith("linear1"):
            names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
            parts = zip(names, np.split(array, (4, 8, 12)), strict=True)
            expected |= {f"single_transformer_blocks.0.{to}.{leaf}": part for to, part in parts}
        else:
            shift, scale = np.split(array, 2)
            expected[f"norm_out.linear.{leaf}"] = np.concatenate([scale, shift])
    same(moved(VIDEO, source, hidden_size=4), expected)


# --- axes

AXES = {
    "rotary pairs to halves": (
        """
        let head_dim = 4
        layers.{i}.attention.w{q,k}.weight : (h f 2) c
            -> model.layers.{i}.self_attn.{q,k}_proj.weight : (h 2 f) c
            where f = head_dim // 2
        """,
        {f"layers.{i}.attention.w{w}.weight": (n, 3) for i in (0, 1) for w, n in (("q", 8), ("k", 4))},
        lambda s: {
            f"model.layers.{i}.self_attn.{w}_proj.weight": (
                (a := s[f"layers.{i}.attention.w{w}.weight"])
                .reshape(-1, 2, 2, 3)
                .swapaxes(1, 2)
                .reshape(a.shape)
            )
            for i in (0, 1)
            for w in "qk"
        },
    ),
    "qkv by head": (
        "att.query_key_value.* : (h t d) ... -> attn.[t=q,k,v].* : (h d) ...   where h = 2",
        {"att.query_key_value.weight": (12, 3), "att.query_key_value.bias": (12,)},
        lambda s: {
            f"attn.{t}.{leaf}": np.concatenate(
                [head[k] for head in s[f"att.query_key_value.{leaf}"].reshape(2, 3, 2, *rest)]
            )
            for leaf, rest in (("weight", (3,)), ("bias", ()))
            for k, t in enumerate("qkv")
        },
    ),
    "grouped queries": (
        """
        linear_qkv.weight : (g (r + k + v) d) c
            -> q_proj.weight : (g r d) c, k_proj.weight : (g k d) c, v_proj.weight : (g v d) c
            where k = v = 1, g = 2, d = 2
        """,
        {"linear_qkv.weight": (20, 2)},
        lambda s: {
            f"{t}_proj.weight": s["linear_qkv.weight"].reshape(2, 5, 4)[:, rows].reshape(-1, 2)
            for t, rows in (("q", [0, 1, 2]), ("k", [3]), ("v", [4]))
        },
    ),
    "experts stacked and fused": (
        "moe.{i}.experts.[e].[p=w1,w3].weight : o c -> moe.{i}.gate_up : e (p o) c",
        {
            f"moe.{i}.experts.{e}.{p}.weight": (2, 3)
            for i, count in ((0, 3), (1, 11))
            for e in range(count)
            for p in ("w3", "w1")
        },
        lambda s: {
            f"moe.{i}.gate_up": np.stack(
                [
                    np.concatenate([s[f"moe.{i}.experts.{e}.{p}.weight"] for p in ("w1", "w3")])
                    for e in range(count)
                ]
            )
            for i, count in ((0, 3), (1, 11))
        },
    ),
    "conv1d": (
        "h.{i}.attn.c_attn.weight : c (t o) -> layers.{i}.attn.[t=q,k,v].weight : o c",
        {"h.0.attn.c_attn.weight": (2, 9)},
        lambda s: {
            f"layers.0.attn.{t}.weight": part.T
            for t, part in zip("qkv", np.split(s["h.0.attn.c_attn.weight"], 3, axis=1), strict=True)
        },
    ),
    "chunks dealt to two": (
        "adaLN.{i}.1.* : (half n d) ... -> b.{i}.[n=norm1,norm2].linear.* : (half d) ...   where half = 2",
        {"adaLN.3.1.weight": (12, 2), "adaLN.3.1.bias": (12,)},
        lambda s: {
            f"b.3.norm{n + 1}.linear.{leaf}": np.concatenate(
                [np.split(s[f"adaLN.3.1.{leaf}"], 4)[k] for k in (n, n + 2)]
            )
            for leaf in ("weight", "bias")
            for n in (0, 1)
        },
    ),
    "what is not wanted": (
        'kv.weight : (q + rest) c -> to_q.weight : q c, drop : rest c because "not used"   where q = 1',
        {"kv.weight": (4, 2)},
        lambda s: {"to_q.weight": s["kv.weight"][:1]},
    ),
    "what is not there": (
        "q.b : q, create : k = 0, v.b : v -> qkv.b : (q + k + v)   where k = q",
        {"q.b": (2,), "v.b": (3,)},
        lambda s: {"qkv.b": np.concatenate([s["q.b"], [0, 0], s["v.b"]])},
    ),
    "tied weights": (
        "wte.weight -> embed.weight, lm_head.weight",
        {"wte.weight": (3, 2)},
        lambda s: dict.fromkeys(("embed.weight", "lm_head.weight"), s["wte.weight"]),
    ),
    "a repeat": (
        "a : d -> b : (r d), c : (d s)   where r = 2, s = 3",
        {"a": (2,)},
        lambda s: {"b": np.tile(s["a"], 2), "c": np.repeat(s["a"], 3)},
    ),
    "ones come and go": (
        "conv.weight : o c 1 1 -> linear.weight : 1 o c",
        {"conv.weight": (3, 2, 1, 1)},
        lambda s: {"linear.weight": s["conv.weight"].reshape(1, 3, 2)},
    ),
    "named operations": (
        "a | transpose -> a\n(b, c) | cat dim=1 -> bc\nd.[e] | stack -> d\ne | split [1, 2] -> f, g",
        {"a": (2, 3), "b": (2, 1), "c": (2, 2), "d.0": (2,), "d.1": (2,), "e": (3, 2)},
        lambda s: {
            "a": s["a"].T,
            "bc": np.concatenate([s["b"], s["c"]], axis=1),
            "d": np.stack([s["d.0"], s["d.1"]]),
            "f": s["e"][:1],
            "g": s["e"][1:],
        },
    ),
}


@pytest.mark.parametrize("name", AXES)
def test_axes(name: str) -> None:
    rules, keys, expected = AXES[name]
    source = arrays(keys)
    same(moved(rules, source), expected(source))


# --- names

NAMES = {
    "flat numbers to nested ones": (
        "ups.{4*b + r}.** -> up_blocks.{b}.resnets.{r}.**   where r in 0..2",
        {f"ups.{4 * b + r}.conv.w": f"up_blocks.{b}.resnets.{r}.conv.w" for b in range(3) for r in range(3)},
    ),
    "and back": (
        "up_blocks.{b}.resnets.{r}.** -> ups.{4*b + r}.**",
        {f"up_blocks.{b}.resnets.{r}.w": f"ups.{4 * b + r}.w" for b in range(3) for r in range(4)},
    ),
    "the last one first": (
        "decoder.up.{n-1-i}.** -> decoder.up_blocks.{i}.**   where n = count(decoder.up.{i})",
        {f"decoder.up.{k}.block.w": f"decoder.up_blocks.{11 - k}.block.w" for k in range(12)},
    ),
    "shifted": ("a.{i} -> b.{i+1}", {f"a.{i}": f"b.{i + 1}" for i in (0, 1, 9, 10)}),
    "filters on indices": (
        """
        a.{i} -> every_fourth.{i}   where i % 4 == 3
        a.{i} -> others.{i}         where i % 4 != 3
        b.{i} -> but_last.{i}       where i < n - 1, n = count(b.{i})
        b.{i} -> last               where i == n - 1, n = count(b.{i})
        """,
        {f"a.{i}": f"every_fourth.{i}" if i in (3, 7) else f"others.{i}" for i in range(9)}
        | {"b.0": "but_last.0", "b.1": "but_last.1", "b.2": "last"},
    ),
    "several segments": (
        "model.** -> m.**",
        {"model.a": "m.a", "model.a.b.c": "m.a.b.c", "model.model.0": "m.model.0"},
    ),
    "several segments within": (
        "enc.**.weight -> e.**.w",
        {"enc.a.weight": "e.a.w", "enc.a.b.weight": "e.a.b.w", "enc.a.weight.weight": "e.a.weight.w"},
    ),
    "a member that is nothing": (
        "norm{,_x}.* -> ln{,_cross}.*",
        {"norm.w": "ln.w", "norm_x.w": "ln_cross.w", "norm.b": "ln.b"},
    ),
    "members with patterns": (
        "{enc.{i},dec}.n.* -> {encoder.layers.{i},decoder}.norm.*",
        {
            "enc.0.n.w": "encoder.layers.0.norm.w",
            "enc.1.n.w": "encoder.layers.1.norm.w",
            "dec.n.w": "decoder.norm.w",
        },
    ),
    "parts of a segment": ("w{i}_*.k -> k.*.{i}", {"w0_a.k": "k.a.0", "w12_b_c.k": "k.b_c.12"}),
    "a regular expression": (
        "{x:/[ab]+/}.w -> m.{x}\nc.w -> other",
        {"ab.w": "m.ab", "b.w": "m.b", "c.w": "other"},
    ),
    "any text": (
        '"odd name: {1}" -> "x -> y"\n"drop" -> a."b c".d',
        {"odd name: {1}": "x -> y", "drop": "a.b c.d"},
    ),
    "a separator": (
        'separator source "/"\nbert/layer_{i}/**/kernel -> layers.{i}.**.weight',
        {
            "bert/layer_0/attention/output/kernel": "layers.0.attention.output.weight",
            "bert/layer_1/x.y/kernel": "layers.1.x.y.weight",
        },
    ),
    "keep": ("keep a.*, b.{i}.w", {"a.x": "a.x", "a.y": "a.y", "b.0.w": "b.0.w"}),
    "blocks in blocks": (
        "a.{i} -> b.{i} {\n  . -> inner {\n    keep n.*\n    x -> y\n  }\n  s -> . { w -> v }\n}",
        {"a.0.n.w": "b.0.inner.n.w", "a.0.x": "b.0.inner.y", "a.0.s.w": "b.0.v", "a.1.x": "b.1.inner.y"}
        | {"a.1.n.w": "b.1.inner.n.w", "a.1.s.w": "b.1.v"},
    ),
    "the rest": (
        "default { ** -> old.** }\nhead.* -> classifier.*",
        {"head.w": "classifier.w", "a.b.c": "old.a.b.c", "d": "old.d"},
    ),
    "nothing to match": ("a -> b\nc.* -> d.* optional", {"a": "b"}),
    "presence": (
        """
        a.{i}.w -> with_bias.{i}.w      where exists(a.{i}.b)
        a.{i}.w -> without.{i}.w        where not exists(a.{i}.b)
        keep a.{i}.b
        """,
        {"a.0.w": "with_bias.0.w", "a.0.b": "a.0.b", "a.1.w": "without.1.w"},
    ),
    "presence under a block": (
        "m -> n {\n  w -> one  where exists(v)\n  w -> two  where not exists(v)\n"
        "  v -> v optional\n}\nkeep v",
        {"m.w": "n.two", "v": "v"},
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names(name: str) -> None:
    renames(*NAMES[name])


def test_the_order_of_rules_means_nothing() -> None:
    for rules, pairs in NAMES.values():
        lines = rules.strip().splitlines()
        if len(lines) > 1 and not any(word in rules for word in ("{\n", "separator")):
            renames("\n".join(reversed(lines)), pairs)


def test_another_file_under_prefixes(tmp_path: Path) -> None:
    (tmp_path / "vae.mapcc").write_text(
        "let half = 2\nconv_in.* -> first.*\nx : (a b) -> x : (b a)  where a = half\n"
    )
    main = tmp_path / "main.mapcc"
    main.write_text('use "vae.mapcc" under first_stage_model -> vae\nkeep unet.**\n')
    source = arrays({"first_stage_model.conv_in.w": (2,), "first_stage_model.x": (6,), "unet.a.w": (1,)})
    checked = clean(check(load_mapping(main), key_set({n: a.shape for n, a in source.items()})))
    expected = {
        "vae.first.w": source["first_stage_model.conv_in.w"],
        "vae.x": source["first_stage_model.x"].reshape(2, 3).T.reshape(6),
        "unet.a.w": source["unet.a.w"],
    }
    same(run(checked, source), expected)


# --- values and types


def test_values(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    g, v = (generator.standard_normal(shape).astype("f") for shape in ((3, 1, 1), (3, 2, 4)))
    norm = np.array([0.5, -1, 3], np.float16)
    save_file({"norm.weight": norm, "conv.weight_g": g, "conv.weight_v": v}, tmp_path / "a.safetensors")
    rules = parse(
        "norm.weight | add 1 | cast f32 -> n.weight\n"
        "(conv.weight_g, conv.weight_v) | weight_norm dim=0 -> conv.weight"
    )
    convert(rules, tmp_path / "a.safetensors", tmp_path / "out")
    (file,) = (tmp_path / "out").glob("*.safetensors")
    given = load_file(file)
    assert given["n.weight"].dtype == np.float32
    np.testing.assert_array_equal(given["n.weight"], norm.astype("f") + 1)
    expected = g * v / np.sqrt((v**2).sum(axis=(1, 2), keepdims=True))
    np.testing.assert_allclose(given["conv.weight"], expected, rtol=1e-6)


def test_types_with_a_keep_list() -> None:
    rules = parse("keep **\ndtype bf16 { keep f32 : **.norm*.weight\n keep **.scale }")
    keys = {"a.norm1.weight": (2,), "a.q.weight": (2,), "a.scale": (1,), "a.ids": (2,)}
    types = {"a.norm1.weight": "F16", "a.q.weight": "F32", "a.scale": "F16", "a.ids": "I64"}
    checked = clean(check(rules, key_set(keys, types)))
    assert checked.bound is not None
    given = {i.targets[0]: d.name for i in checked.bound.instances for d in i.dtypes if d}
    assert given == {"a.norm1.weight": "F32", "a.q.weight": "BF16", "a.scale": "F16", "a.ids": "I64"}


# --- statements about one side


def test_left_out_made_and_supplied() -> None:
    rules = """
        a -> b
        drop rope.** because "recomputed"
        create zeros : 2 3 = 0
        external vae.** because "another file"
    """
    source, target = {"a": (2,), "rope.x": (1,)}, {"b": (2,), "zeros": (2, 3), "vae.w": (4,)}
    checked = clean(check(parse(rules), key_set(source), key_set(target)))
    out = run(checked, arrays(source))
    assert out.keys() == {"b", "zeros"}
    assert (out["zeros"] == np.zeros((2, 3))).all()


# --- what is wrong, and said

ERRORS = [
    ("a group on the left only", "MC201", "x.{a,b} -> y", {"x.a": (1,), "x.b": (1,)}),
    ("a group on the right only", "MC201", "a -> {x,y}", {"a": (1,)}),
    ("a group of another size", "MC201", "x.{a,b} -> y.{a,b,c}", {"x.a": (1,), "x.b": (1,)}),
    ("a star on the left only", "MC202", "x.* -> y", {"x.a": (1,)}),
    ("more stars on the right", "MC202", "x.* -> y.*.*", {"x.a": (1,)}),
    ("a swap of names", "MC203", "{q,k}.w -> {k,q}.w", {"q.w": (1,), "k.w": (1,)}),
    ("a swap of labels", "MC203", "[t=q,k].w : d -> x.[t=k,q].w : d", {"q.w": (1,), "k.w": (1,)}),
    ("pieces with one name", "MC304", "a : (d + d) -> b : (d + d)", {"a": (4,)}),
    ("an axis on the left only", "MC301", "a : h d -> b : d", {"a": (2, 3)}),
    ("a piece on the left only", "MC301", "a : (q + k) -> b : q", {"a": (4,)}),
    ("a repeat of no size", "MC302", "a : d -> b : r d", {"a": (3,)}),
    ("halves of no size", "MC307", "a : (x + y) -> b : (y + x)", {"a": (4,)}),
    ("an uneven split", "MC306", "a : (t d) -> b.[t=q,k,v] : d", {"a": (4,)}),
    ("an unknown index", "MC204", "a.{i} -> b.{j}", {"a.0": (1,)}),
    ("a prefix", "MC402", "keep b\nlayers.0 -> l", {"b": (1,), "layers.0.w": (1,)}),
    ("a part of a segment", "MC402", "keep b\nnorm -> n", {"b": (1,), "norm_out": (1,)}),
    ("one star, two segments", "MC402", "keep b\nx.* -> y.*", {"b": (1,), "x.a.b": (1,)}),
    ("leading zeros", "MC402", "keep b\nx.{i} -> y.{i}", {"b": (1,), "x.01": (1,)}),
    ("layers that end in one", "MC206", "a.{i} -> b", {"a.0": (1,), "a.1": (1,)}),
    ("nothing matches", "MC405", "a -> b\nc -> d", {"a": (1,)}),
    ("nothing matches one copy", "MC405", "x.{a,b} -> y.{a,b}", {"x.a": (1,)}),
    ("two rules take it", "MC403", "a.* -> b.*\na.x -> c", {"a.x": (1,), "a.y": (1,)}),
    ("two rules give it", "MC404", "a -> c\nb -> c", {"a": (1,), "b": (1,)}),
    ("not a bijection", "MC411", "a <-> b, c", {"a": (1,)}),
    ("a drop of nothing", "MC410", 'a -> b\ndrop c.** because "no"', {"a": (1,)}),
    ("an operation without a name", "MC501", "a | no_such_thing -> b", {"a": (1,)}),
    ("a drop without a reason", "MC101", "a -> b\ndrop c", {"a": (1,), "c": (1,)}),
]


@pytest.mark.parametrize(("code", "rules", "source"), [e[1:] for e in ERRORS], ids=[e[0] for e in ERRORS])
def test_errors(code: str, rules: str, source: Keys) -> None:
    assert code in found(rules, source)


def test_a_drop_that_matches_nothing_is_a_warning() -> None:
    checked = check(parse('a -> b\ndrop c.** because "no"'), key_set({"a": (1,)}))
    assert [d.code for d in checked.diagnostics] == ["MC410"]
    assert CODES["MC410"].warning
    assert checked.ok


def test_a_gap_names_what_is_absent() -> None:
    keys = {f"l.{i}.e.{e}.w": (2,) for i in (0, 1) for e in range(4) if (i, e) != (1, 2)}
    checked = check(parse("l.{i}.e.[e].w : d -> l.{i}.w : e d"), key_set(keys))
    (diagnostic,) = [d for d in checked.diagnostics if d.code == "MC406"]
    shown = " ".join((diagnostic.message, *diagnostic.notes, *diagnostic.names, diagnostic.help))
    assert "l.1.e.2.w" in shown
    assert "l.0" not in shown


def test_what_the_target_lacks_and_misses() -> None:
    assert found("a -> b", {"a": (1,)}, {"c": (1,)}) == {"MC401", "MC407"}
    assert found("a -> b", {"a": (2,)}, {"b": (3,)}) == {"MC408"}
    assert found("a -> b", {"a": (2, 3)}, {"b": (3, 2)}) == {"MC408"}
    # The end of [e] is the target's to check.
    experts = {f"e.{k}.w": (2,) for k in range(3)}
    assert found("e.[e].w : d -> w : e d", experts, {"w": (4, 2)}) & {"MC408", "MC306"}


def test_every_finding_at_once() -> None:
    rules = "a : (t d) -> b.[t=q,k,v] : d\nc.{x,y} -> d.{x,y}\ne -> f"
    assert found(rules, {"a": (4,), "c.x": (1,), "g": (1,)}) >= {"MC306", "MC402", "MC405"}
