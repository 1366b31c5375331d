"""What FastVideo's dict can say, and what is refused, in small mappings."""

from __future__ import annotations

import re

import pytest

from mapcc.emit import fastvideo
from mapcc.emit.pysource import read_dict
from mapcc.ir.notation import quote

W, B = (6, 4), (6,)

REFUSED = {
    "split": (
        "qkv.* : (t d) ... -> [t=q,k,v].* : d ...",
        {"qkv.w": W, "qkv.b": B},
        "split a tensor into parts",
    ),
    "transpose": ("a.* | transpose -> b.*", {"a.w": W}, "reorder the elements"),
    "permute": ("a : x y z -> b : x z y", {"a": (2, 3, 4)}, "reorder the elements"),
    "swap": ("a : (s + t) c -> b : (t + s) c where s = t", {"a": W}, "reorder the elements"),
    "reshape": ("a : (h d) c -> b : h d c where d = 2", {"a": W}, "give a tensor another shape"),
    "drop": ('keep a\ndrop b because "unused"', {"a": W, "b": W}, "leave a tensor out"),
    "drop of a part": (
        'a : (x + y) c -> b : x c, drop : y c because "unused" where x = y',
        {"a": W},
        "leave out a part of a tensor",
    ),
    "copy": ("a -> b, c", {"a": W}, "give one tensor to two targets"),
    "copy to many": ("a -> b.{i} where i in 0..2", {"a": W}, "give one tensor to two targets"),
    "repeat": ("a : c -> b : r c where r = 2", {"a": B}, "repeat elements"),
    "create": ("keep a\ncreate b : 3 = 0", {"a": W}, "create a tensor"),
    "fill": (
        "q : q, create : k = 0, v : v -> qkv : (q + k + v) where k = 2",
        {"q": B, "v": B},
        "fill in elements",
    ),
    "cast": ("a | cast bf16 -> b", {"a": W}, "cast to another type"),
    "cast of the target": ("a -> b | cast bf16", {"a": W}, "cast to another type"),
    "dtype": ("dtype bf16\na -> b", {"a": W}, "cast to another type"),
    "value": ("a | scale 0.5 -> b", {"a": W}, "compute values (scale)"),
    "values of two": (
        "(g, v) | weight_norm dim=0 -> w",
        {"g": (6, 1), "v": W},
        "compute values (weight_norm)",
    ),
    "stack": ("x.[e].w : o c -> y : e o c", {"x.0.w": W, "x.1.w": W}, "stack tensors on a new axis"),
    "cat on dimension 1": ("q : o a, k : o b -> qk : o (a + b)", {"q": W, "k": W}, "along dimension 1"),
    "interleaved": ("[p=w1,w3] : o c -> w13 : (o p) c", {"w1": W, "w3": W}, "interleave tensors"),
    "no dimensions": ("x.[t=a,b] : () -> c : t", {"x.a": (), "x.b": ()}, "without dimensions"),
    "cat and reshape": (
        "x.[e] : (h d) c -> y : (e h) (d c) where d = 2",
        {"x.0": W, "x.1": W},
        "concatenate and give another shape",
    ),
    "no elements": ("[t=q,k] : d ... -> qk : (t d) ...", {"q": (0, 4), "k": (0, 4)}, "of no elements"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case, emit) -> None:
    text, shapes, reason = REFUSED[case]
    emitted = emit(text, shapes)
    assert (emitted.text, emitted.table, emitted.ok) == ("", None, False)
    (found,) = emitted.diagnostics
    assert found.code == "MC601"
    assert reason in found.message
    assert "mapcc convert" in found.help
    assert found.span is not None
    assert found.names


def test_every_rule_is_refused_for_itself(emit) -> None:
    text = "a.{i}.* -> z.{i}.*\nqkv.{i} : (t d) c -> [t=q,k,v].{i} : d c\nw.{i} | transpose -> u.{i}\n"
    shapes = {f"{name}.{i}": W for name in ("qkv", "w") for i in range(3)} | {"a.0.x": W}
    found = emit(text, shapes).diagnostics
    assert [(d.code, d.span.line, d.names) for d in found] == [
        ("MC601", 2, ("qkv.{0..2}",)),
        ("MC601", 3, ("w.{0..2}",)),
    ]


def test_a_copy_of_a_rule_is_enough_to_refuse_it(emit) -> None:
    (found,) = emit("{a,b}.* | transpose -> {c,d}.*", {"a.w": W, "b.w": W}).diagnostics
    assert found.names == ("a.w", "b.w")


# --- concatenation, however it is written

PARTS = {"q.w": (4, 3), "q.b": (4,), "k.w": (4, 3), "k.b": (4,)}


@pytest.mark.parametrize(
    "rule",
    [
        "[t=q,k].* : d ... -> qk.* : (t d) ...",
        "q.* : q ..., k.* : k ... -> qk.* : (q + k) ...",
        "(q.*, k.*) | cat -> qk.*",
        "(q.*, k.*) | cat dim=0 -> qk.*",
    ],
)
def test_concatenation(rule, emit) -> None:
    assert emit(rule, PARTS).table == {r"^q\.([^.]+)$": (r"qk.\1", 0, 2), r"^k\.([^.]+)$": (r"qk.\1", 1, 2)}


def test_unequal_parts_in_the_order_of_the_target(emit) -> None:
    text = "k : k c, q : q c, v : v c -> all : (q + k + v) c"
    table = emit(text, {"k": (2, 3), "q": (5, 3), "v": (1, 3)}).table
    assert table == {"^k$": ("all", 1, 3), "^q$": ("all", 0, 3), "^v$": ("all", 2, 3)}


def test_index_axis(emit) -> None:
    table = emit("e.[e].w : o c -> w : (e o) c", {f"e.{k}.w": W for k in range(12)}).table
    assert table[r"^e\.11\.w$"] == ("w", 11, 12)


def test_ragged_index_axes_are_told_apart(emit) -> None:
    shapes = {f"l.{i}.e.{k}": W for i, n in enumerate((2, 3, 2)) for k in range(n)}
    emitted = emit("l.{i}.e.[e] : o c -> m.{i} : (e o) c", shapes)
    assert emitted.table[r"^l\.0\.e\.0$"] == ("m.0", 0, 2)
    assert emitted.table[r"^l\.1\.e\.0$"] == ("m.1", 0, 3)


def test_a_whole_tensor_in_pieces_is_still_whole(emit) -> None:
    emitted = emit("a : o (x + y) -> b : o (x + y) where x = y", {"a": W})
    assert emitted.table == {"^a$": "b"}


def test_a_cast_to_the_same_type_is_none(emit) -> None:
    assert emit("dtype f32\na | cast f32 -> b", {"a": W}).table == {"^a$": "b"}


def test_tensors_without_elements_and_without_dimensions_are_renamed(emit) -> None:
    assert emit("a.* -> b.*", {"a.w": (0, 3), "a.s": ()}).table == {r"^a\.([^.]+)$": r"b.\1"}


# --- patterns

WILD = {
    "a.{i}.b -> c.{i}": ("a.7.b", r"^a\.(0|[1-9][0-9]*)\.b$", r"c.\1"),
    "l{i}.w -> layer{i}_.w": ("l7.w", r"^l(0|[1-9][0-9]*)\.w$", r"layer\1_.w"),
    "a.*.b -> c.*": ("a.x.b", r"^a\.([^.]+)\.b$", r"c.\1"),
    "a.x*.b -> c.*y": ("a.x.b", r"^a\.x([^.]*)\.b$", r"c.\1y"),
    "a.** -> c.**": ("a.x.b", r"^a\.(.+)$", r"c.\1"),
    "a.{i}.{i} -> c.{i}": ("a.3.3", r"^a\.(0|[1-9][0-9]*)\.(?:\1)$", r"c.\1"),
    "a.{i} -> c{i}0": ("a.3", r"^a\.(0|[1-9][0-9]*)$", r"c\g<1>0"),
    "a.{i}.{j} -> c.{j}.{i}": ("a.3.4", r"^a\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$", r"c.\2.\1"),
}


@pytest.mark.parametrize("rule", WILD)
def test_patterns(rule, emit) -> None:
    name, pattern, template = WILD[rule]
    assert emit(rule, {name: W}).table == {pattern: template}


def test_many_captures(emit) -> None:
    indices = ".".join(f"{{{c}}}" for c in "abcdefghijkl")
    emitted = emit(f"x.{indices} -> y.{indices}1", {"x." + ".".join(map(str, range(12))): W})
    ((_, template),) = emitted.table.items()
    assert template.endswith(r"\9.\g<10>.\g<11>.\g<12>1")


def test_other_separators(emit) -> None:
    text = 'separator source "/"\nenc/l_{i}/** -> enc.{i}.**\nenc/x*/b -> y.*\n'
    table = emit(text, {"enc/l_0/a/w": W, "enc/l_1/a/w": W, "enc/xz/b": W}).table
    assert table == {
        r"^enc/l_(0|[1-9][0-9]*)/a/w$": r"enc.\1.a.w",  # its separators change: written out
        r"^enc/x([^/]*)/b$": r"y.\1",
    }


NASTY = [
    "it's",
    'say "so"',
    "back\\slash",
    r"\g<0>",
    r"\1",
    r"\q",
    "end\\",
    "a$",
    "^(a|b)*[c]{2}+?",
    "{x}",
    "a\u00e9\u5c42",
    "#not a comment",
    "'''",
    "x'); import os; ('",
]


@pytest.mark.parametrize("name", NASTY)
def test_nasty_names(name, emit) -> None:
    text = (
        f"{quote(name)}.{{i}}.* -> {quote(name + '1')}.{{i}}.*\n{quote(name)} -> {quote(name[::-1] + '2')}\n"
    )
    emitted = emit(text, {f"{name}.0.w": W, f"{name}.1.w": W, name: W})
    assert emitted.ok
    assert emitted.text.isascii()
    assert dict(read_dict(emitted.text, "param_names_mapping")) == emitted.table
    for source, target in ((f"{name}.1.w", f"{name}1.1.w"), (name, name[::-1] + "2")):
        ((pattern, template),) = [(p, t) for p, t in emitted.table.items() if re.match(p, source)]
        assert re.sub(pattern, template, source) == target


# --- what a template cannot carry over


def test_reversed_index_is_written_out(emit) -> None:
    shapes = {f"up.{i}.{k}.w": W for i in range(3) for k in range(2)}
    emitted = emit("up.{n-1-i}.{k}.* -> up_blocks.{i}.{k}.* where n = count(up.{j})", shapes)
    assert emitted.table == {
        rf"^up\.{i}\.(0|[1-9][0-9]*)\.([^.]+)$": rf"up_blocks.{2 - i}.\1.\2" for i in range(3)
    }
    assert "written out for every 'i' in this source" in emitted.text


def test_mixed_radix_is_written_out(emit) -> None:
    text = "b.{2*b + r}.** -> b.{b}.r.{r}.** where r in 0..1"
    emitted = emit(text, {f"b.{i}.w": W for i in range(4)})
    assert emitted.table == {rf"^b\.{i}\.(.+)$": rf"b.{i // 2}.r.{i % 2}.\1" for i in range(4)}


def test_filters_are_written_out(emit) -> None:
    text = "x.{i}.* -> even.{i}.* where i % 2 == 0\nx.{i}.* -> odd.{i}.* where i % 2 == 1"
    emitted = emit(text, {f"x.{i}.w": W for i in range(4)})
    assert emitted.table == {rf"^x\.{i}\.([^.]+)$": rf"{('even', 'odd')[i % 2]}.{i}.\1" for i in range(4)}


def test_a_filter_is_written_out_where_all_names_pass_it(emit) -> None:
    """The dict may meet another checkpoint, and then must not take more than the mapping does."""
    emitted = emit("x.{i}.* -> y.{i}.* where i < 2", {"x.0.w": W, "x.1.w": W})
    assert emitted.table == {rf"^x\.{i}\.([^.]+)$": rf"y.{i}.\1" for i in range(2)}


def test_exists_is_written_out(emit) -> None:
    text = (
        "x.{i}.w -> a.{i} where exists(x.{i}.b)\nx.{i}.w -> c.{i} where not exists(x.{i}.b)\nx.{i}.b -> b.{i}"
    )
    emitted = emit(text, {"x.0.w": W, "x.0.b": B, "x.1.w": W})
    assert emitted.table == {
        r"^x\.0\.w$": "a.0",
        r"^x\.1\.w$": "c.1",
        r"^x\.(0|[1-9][0-9]*)\.b$": r"b.\1",
    }


def test_regular_expressions_are_written_out(emit) -> None:
    emitted = emit("a.{x:/(k|q)+_\\d/}.w -> b.{x}.w", {"a.kq_1.w": W, "a.q_2.w": W})
    assert emitted.table == {r"^a\.kq_1\.w$": "b.kq_1.w", r"^a\.q_2\.w$": "b.q_2.w"}


# --- order, and names that stay


def test_names_that_stay_need_no_entry(emit) -> None:
    emitted = emit("keep a.*\nb.* -> c.*", {"a.w": W, "b.w": W})
    assert emitted.table == {r"^b\.([^.]+)$": r"c.\1"}
    assert "# A name that no pattern matches stays" in emitted.text


def test_names_that_stay_get_one_where_a_default_would_take_them(emit) -> None:
    emitted = emit("default {\n    ** -> model.**\n}\nkeep a.*\n", {"a.w": W, "b.w": W})
    assert list(emitted.table.items()) == [
        (r"^a\.([^.]+)$", r"a.\1"),
        (r"^(.+)$", r"model.\1"),
    ]


def test_defaults_come_last(emit) -> None:
    emitted = emit("default {\n    ** -> rest.**\n}\na.{i}.w -> b.{i}", {"a.0.w": W, "a.x.w": W})
    assert list(emitted.table) == [r"^a\.(0|[1-9][0-9]*)\.w$", "^(.+)$"]


def test_an_empty_dict(emit) -> None:
    emitted = emit("keep a.*", {"a.w": W})
    assert emitted.ok
    assert emitted.table == {}
    assert "\nparam_names_mapping = {}\n" in emitted.text


def test_what_the_source_does_not_have_is_told(emit) -> None:
    emitted = emit("a.* -> b.*\nimg.{x,y}.* -> image.{u,v}.* optional", {"a.w": W, "img.x.w": W})
    assert "#     line 2: 'img.y.* -> image.v.*'" in emitted.text.splitlines()
    assert not any("img.y" in line for line in emitted.text.splitlines() if not line.startswith("#"))


def test_parameters_that_the_loader_fills_with_zeros_are_told(emit) -> None:
    emitted = emit("a.* -> text_proj_layer.*", {"a.w": W})
    assert "#     'text_proj_layer.w'" in emitted.text.splitlines()


# --- the proof


def test_nothing_is_emitted_that_the_replay_contradicts(emit, monkeypatch) -> None:
    entries_of = fastvideo.entries_of

    def wrong(candidate, paths):
        return {pattern.replace("^a", "^x"): entry for pattern, entry in entries_of(candidate, paths).items()}

    monkeypatch.setattr(fastvideo, "entries_of", wrong)
    emitted = emit("a.{i} -> b.{i}\nc -> d", {"a.0": W, "a.1": W, "c": W})
    (found,) = emitted.diagnostics
    assert (found.code, found.names, emitted.text) == ("MC602", ("a.{0,1}",), "")


def test_a_pattern_that_takes_too_much_is_written_out(emit, monkeypatch) -> None:
    """An index of more digits than mapcc reads is text to mapcc, and an index to the pattern."""
    long = "1" * 20
    text = "a.{i}.w -> b.{i}\ndefault {\n    a.*.w -> c.*\n}"
    emitted = emit(text, {"a.0.w": W, f"a.{long}.w": W})
    assert list(emitted.table) == [rf"^a\.{long}\.w$", r"^a\.(0|[1-9][0-9]*)\.w$"]


GOLDEN = """# Emitted by mapcc from the mapping 'small'.
# Replayed over all 10 names of the source as FastVideo's loader applies it: each gets
# the name, and the place in a concatenation, that the mapping gives it.
#
# Its place is the architecture's config: field(default_factory=lambda: {...}). The loader reads
# the attribute of the model class: param_names_mapping = YourConfig().param_names_mapping
#
# A name that no pattern matches stays as it is, so these need no entry:
#     line 10: 'proj_out.*'
param_names_mapping = {
    # line 5: 'attn.[t=to_q,to_k].* : d ... -> qk.* : (t d) ...'
    r"^blocks\\.(0|[1-9][0-9]*)\\.attn\\.to_q\\.([^.]+)$": (r"layers.\\1.qk.\\2", 0, 2),
    r"^blocks\\.(0|[1-9][0-9]*)\\.attn\\.to_k\\.([^.]+)$": (r"layers.\\1.qk.\\2", 1, 2),
    # line 6: 'mlp.{0,2}.* -> mlp.{fc_in,fc_out}.*'
    r"^blocks\\.(0|[1-9][0-9]*)\\.mlp\\.0\\.([^.]+)$": r"layers.\\1.mlp.fc_in.\\2",
    r"^blocks\\.(0|[1-9][0-9]*)\\.mlp\\.2\\.([^.]+)$": r"layers.\\1.mlp.fc_out.\\2",
    # line 9: 'table -> scale_shift_table'
    "^table$": "scale_shift_table",
}

# From the model's names to the checkpoint's. A fused parameter has its parts in their order, each
# with its rows: FastVideo's own way back keeps one of them, and cuts all to one size.
reverse_param_names_mapping = {
    r"^layers\\.(0|[1-9][0-9]*)\\.mlp\\.fc_in\\.([^.]+)$": r"blocks.\\1.mlp.0.\\2",
    r"^layers\\.(0|[1-9][0-9]*)\\.mlp\\.fc_out\\.([^.]+)$": r"blocks.\\1.mlp.2.\\2",
    r"^layers\\.(0|[1-9][0-9]*)\\.qk\\.([^.]+)$": (
        (r"blocks.\\1.attn.to_q.\\2", 6),
        (r"blocks.\\1.attn.to_k.\\2", 6),
    ),
    "^scale_shift_table$": "table",
}

# For LoRA adapters in the checkpoint's names: what param_names_mapping alone does not take along
# (MODULE.lora_A, MODULE.lora_B and, for alphas, MODULE).
#
# No adapter of these can go along: FastVideo has one lora_A for a fused module.
#     'blocks.{0,1}.attn.{to_q,to_k}'
lora_param_names_mapping = {
    r"^blocks\\.(0|[1-9][0-9]*)\\.mlp\\.0((?:\\.[^.]+)?)$": r"layers.\\1.mlp.fc_in\\g<2>",
    r"^blocks\\.(0|[1-9][0-9]*)\\.mlp\\.2((?:\\.[^.]+)?)$": r"layers.\\1.mlp.fc_out\\g<2>",
}
"""


def test_golden(emit) -> None:
    text = """mapping small "A small one"

# a comment
blocks.{i} -> layers.{i} {
    attn.[t=to_q,to_k].* : d ... -> qk.* : (t d) ...
    mlp.{0,2}.* -> mlp.{fc_in,fc_out}.*
}

table -> scale_shift_table
keep proj_out.*
"""
    names = [f"blocks.{i}.{m}.weight" for i in range(2) for m in ("attn.to_q", "attn.to_k", "mlp.0", "mlp.2")]
    assert emit(text, dict.fromkeys([*names, "table", "proj_out.bias"], W)).text == GOLDEN
