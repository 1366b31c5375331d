"""The engine for tables of transformers: what needs no transformers."""

from __future__ import annotations

import pytest

from mapcc.dialects.made import Fault
from mapcc.dialects.transformers.engine import TransformersTable
from mapcc.dialects.transformers.read import read_transformers
from mapcc.dialects.transformers.table import Operation, Transform
from mapcc.errors import MappingError
from mapcc.ir.axes import Atom, Sum
from mapcc.text import Source

from .transformers_cases import evaluated, manifest, tensors

EXPERTS = """
weight_mapping = [
    WeightRenaming(".block_sparse_moe.", ".mlp."),
    WeightConverter(
        source_patterns=[".experts.*.w1.weight", ".experts.*.w3.weight"],
        target_patterns=".experts.gate_up_proj",
        operations=[MergeModulelist(dim=0), Concatenate(dim=1)],
    ),
]
"""


def read(text: str, name: str = "") -> TransformersTable:
    return read_transformers(Source("t.py", text), name)


def experts(numbers: str, parts: str = "13") -> dict[str, tuple[int, ...]]:
    return {f"l.0.block_sparse_moe.experts.{k}.w{part}.weight": (4, 3) for part in parts for k in numbers}


def faults(table: TransformersTable, source, target=None) -> list[tuple[str, str]]:
    outcome = table.run(manifest(source), manifest(target) if target is not None else None)
    return [(fault.code, fault.message) for fault in outcome.faults]


# --- equations


def test_experts_are_stacked_and_joined() -> None:
    (made,) = read(EXPERTS).run(manifest(experts("012")), None).made
    assert [operand.axis for operand in made.left] == ["e", "e"]
    assert made.right[0].names == ("l.0.mlp.experts.gate_up_proj",)
    assert made.right[0].shape == (Atom("e"), Sum((Atom("w1"), Atom("w3"))), Atom("i"))
    assert made.sizes == ()
    assert made.entries == (0, 1)


def test_chunks_are_of_the_sizes_that_torch_gives_them() -> None:
    table = read("x = [WeightConverter('qkv', ['q', 'k', 'v'], [Chunk(dim=0)])]")
    (made,) = table.run(manifest({"a.qkv.weight": (8, 2)}), None).made
    assert made.sizes == (("q", 3), ("k", 3), ("v", 2))
    assert made.left[0].shape == (Sum((Atom("q"), Atom("k"), Atom("v"))), Atom("i"))
    [(code, message)] = faults(table, {"a.qkv.weight": (4, 2)})
    assert code == "MC806"
    assert message == (
        "Chunk: torch makes 2 chunks of 4 elements, where 3 are wanted: transformers leaves `a.q.weight` out"
    )


def test_what_no_entry_touches_passes_through() -> None:
    (made,) = read(EXPERTS).run(manifest({"a.b": (2,)}), None).made
    assert made.entries == ()
    assert made.left[0].names == made.right[0].names == ("a.b",)


def test_list_that_is_taken_apart_is_an_axis_of_names() -> None:
    table = read("x = [WeightConverter('.experts.down', '.experts.*.w2', [SplitModulelist(dim=0)])]")
    source = {"l.experts.down": (3, 2, 4)}
    (made,) = table.run(manifest(source), None).made
    assert made.right[0].names == tuple(f"l.experts.{k}.w2" for k in range(3))
    assert made.right[0].axis == "o"
    values = tensors(source)
    assert (evaluated([made], values)["l.experts.1.w2"] == values["l.experts.down"][1]).all()


def test_experts_are_taken_apart_again() -> None:
    table = read(
        "x = [WeightConverter(['text', 'vision'], ['experts.*.gate', 'experts.*.up'],"
        "[ErnieSplitAndDecoupleTextVisionExperts()])]"
    )
    source = {"l.text": (2, 8, 3), "l.vision": (2, 4, 3)}
    values = tensors(source)
    made = table.run(manifest(source), None).made
    got = evaluated(made, values)
    assert sorted(got) == sorted(f"l.experts.{k}.{part}" for k in range(4) for part in ("gate", "up"))
    assert (got["l.experts.3.up"] == values["l.vision"][1, 2:]).all()


def test_convolution_to_a_matrix_and_back() -> None:
    kernel = "in_channels=3, kernel_size=(2, 1, 4)"
    for first, second, shape in (("Conv3dToLinear", "LinearToConv3d", (5, 3, 2, 1, 4)),
                                 ("LinearToConv3d", "Conv3dToLinear", (5, 24))):  # fmt: skip
        source = {"a.w": shape}
        table = read(f"x = [WeightConverter('w', 'v', [{first}({kernel})])]")
        (made,) = table.run(manifest(source), None).made
        values = tensors(source)
        got = evaluated([made], values)["a.v"]
        assert got.shape == ((5, 24) if first == "Conv3dToLinear" else (5, 3, 2, 1, 4))
        assert (got.ravel() == values["a.w"].ravel()).all()
        both = read(f"x = [WeightConverter('w', 'v', [{first}({kernel}), {second}({kernel})])]")
        (made,) = both.run(manifest(source), None).made
        assert (evaluated([made], values)["a.v"] == values["a.w"]).all()


# --- faults


@pytest.mark.parametrize(
    ("source", "what"),
    [
        (experts("013"), "number 2 is not there"),
        (experts("12"), "number 0 is not there"),
        (experts("01", "1"), "there is nothing for `.experts.*.w3.weight`"),
        (experts("012", "1") | experts("01", "3"), "its lists have 2 and 3 members"),
    ],
)
def test_member_missing(source: dict[str, tuple[int, ...]], what: str) -> None:
    [(code, message)] = faults(read(EXPERTS), source)
    assert (code, message) == ("MC806", f"`l.0.mlp.experts.gate_up_proj` has a member missing: {what}")


def test_numbers_that_begin_elsewhere_are_right_if_the_model_says_so() -> None:
    target = {"l.0.mlp.experts.gate_up_proj": (2, 8, 3)}
    assert faults(read(EXPERTS), experts("12"), target) == []


def test_two_sources_for_one_target() -> None:
    table = read("x = [WeightRenaming('gamma', 'weight')]")
    outcome = table.run(manifest({"n.gamma": (2,), "n.weight": (2,)}), None)
    assert [made.left[0].names for made in outcome.made] == [("n.gamma",)]
    [fault] = outcome.faults
    assert (fault.code, fault.names) == ("MC807", ("n.gamma", "n.weight"))


def test_target_that_is_made_twice() -> None:
    table = read("x = [WeightConverter('qk', ['q', 'k'], [Chunk()])]")
    outcome = table.run(manifest({"a.k": (2,), "a.qk": (4,)}), None)
    assert [made.left[0].names for made in outcome.made] == [("a.qk",)]
    assert [(fault.code, fault.names) for fault in outcome.faults] == [("MC807", ("a.k",))]


def test_operation_that_is_not_known() -> None:
    table = read("x = [WeightConverter('w', 'v', [Dequantize(block=(1, 2))])]")
    outcome = table.run(manifest({"a.w": (2,), "b": (1,)}), None)
    assert [made.left[0].names for made in outcome.made] == [("b",)]
    assert outcome.faults == [
        Fault(
            "MC809",
            "for `a.v`: Dequantize is an operation that mapcc does not know",
            ("a.w",),
            (0,),
        )
    ]


@pytest.mark.parametrize(
    ("operation", "shape", "code"),
    [
        ("PermuteForRope()", (8, 2), "MC809"),  # the config says no number of heads
        ("Split()", (8, 2), "MC809"),  # the sizes are the model's
        ("Transpose(dim0=0, dim1=3)", (8, 2), "MC806"),
        ("Interleave(dim=1)", (8, 3), "MC806"),
        ("Conv3dToLinear(1, (1, 1, 1))", (8, 3, 2), "MC806"),
        ("LinearToConv3d(3, (2, 2, 2))", (8, 3), "MC806"),
    ],
)
def test_what_stops_is_left_out(operation: str, shape: tuple[int, ...], code: str) -> None:
    outcome = read(f"x = [WeightConverter('w', 'v', [{operation}])]").run(manifest({"a.w": shape}), None)
    assert outcome.made == []
    assert [fault.code for fault in outcome.faults] == [code]


# --- names


def test_group_of_renamings_waits_for_its_first() -> None:
    table = read("x = [GroupWeightRename(['norm0', 'norm1'], ['norm1', 'norm2'])]")
    old = table.run(manifest({"a.norm0.w": (1,), "a.norm1.w": (1,)}), None)
    assert [made.right[0].names for made in old.made] == [("a.norm1.w",), ("a.norm2.w",)]
    new = table.run(manifest({"a.norm1.w": (1,), "a.norm2.w": (1,)}), None)
    assert [made.entries for made in new.made] == [(), ()]
    assert table.trace("a.norm1.w").target == "a.norm2.w"


def test_trace_and_the_other_way_round() -> None:
    trace = read(EXPERTS).trace("l.0.block_sparse_moe.experts.7.w3.weight")
    assert trace.target == "l.0.mlp.experts.gate_up_proj"
    assert (trace.fired, trace.possible) == ((0, 1), (0, 1))
    table = read("x = [WeightRenaming('a', 'b'), WeightRenaming('b', 'c')]")
    assert (table.trace("a").target, table.backwards().trace("a").target) == ("c", "b")


def test_base_model_prefix() -> None:
    table = read("x = []").of_model("model", None)
    target = {"model.a": (1,), "head": (1,)}
    outcome = table.run(manifest({"a": (1,), "head": (1,)}), manifest(target))
    assert [made.right[0].names for made in outcome.made] == [("model.a",), ("head",)]


# --- reading


def test_entries_have_their_places() -> None:
    table = read(EXPERTS)
    assert [entry.span.line for entry in table.entries if entry.span] == [3, 4]
    assert table.entries[1].text == (
        "WeightConverter(['.experts.*.w1.weight', '.experts.*.w3.weight'], '.experts.gate_up_proj',"
        " [MergeModulelist(), Concatenate(dim=1)])"
    )
    assert table.transforms[1].operations == (
        Operation("MergeModulelist"),
        Operation("Concatenate", (("dim", 1),)),
    )


def test_list_of_a_dict() -> None:
    text = """
    BASE = [WeightRenaming("a", "b")]
    TABLES = {"one": [WeightRenaming("c", "d")], "two": BASE + [PrefixChange(prefix_to_remove="model")]}
    """
    import textwrap

    table = read(textwrap.dedent(text), "two")
    assert [entry.text for entry in table.entries] == [
        "WeightRenaming('a', 'b')",
        "PrefixChange(prefix_to_remove='model')",
    ]
    assert table.trace("model.x.a").target == "x.b"
    assert len(read(textwrap.dedent(text), "one").entries) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = [", "`t.py` is not Python: '[' was never closed"),
        ("x = 1", "`t.py` has no single list of transforms"),
        ("a = []\nb = []", "`t.py` has no single list of transforms"),
        ("x = [f()]", "f is no transform"),
        ("x = [1]", "1 is no transform"),
        ("x = [WeightRenaming('a', g(1))]", "WeightRenaming: patterns are text, or a list of it, not "),
        ("x = [WeightRenaming('a', t[0])]", "`t[0]` would have to be run"),
        ("x = [WeightRenaming('a', 'b', 'c')]", "WeightRenaming has at most 2 arguments"),
        (
            "x = [WeightRenaming('a', source_patterns='b')]",
            "WeightRenaming has no argument `source_patterns`",
        ),
        ("x = [WeightRenaming('(', 'b')]", "WeightRenaming('(', 'b'): not a regular expression: "),
        (
            "x = [WeightRenaming(r'a\\1', 'b')]",
            "WeightRenaming(r'a\\1', 'b'): 'a\\\\1' has \\1, and no target",
        ),
        ("x = [WeightConverter('a', 'b', [])]", "WeightConverter('a', 'b'): a WeightConverter has at least"),
        ("x = [WeightConverter('a', 'b', [Chunk(0, dims=1)])]", "Chunk has no argument `dims`"),
        (
            "x = [WeightConverter(['a', 'b'], ['c', 'd'], [Chunk()])]",
            "WeightConverter(['a', 'b'], ['c', 'd']",
        ),
        ("x = [PrefixChange()]", "PrefixChange: a prefix is either added or removed"),
        (
            "x = [GroupWeightRename(['a', 'b'], 'c')]",
            "GroupWeightRename(['a', 'b'], 'c'): a GroupWeightRename",
        ),
    ],
)
def test_what_is_no_table(text: str, message: str) -> None:
    with pytest.raises(MappingError) as raised:
        read(text)
    (diagnostic,) = raised.value.diagnostics
    assert diagnostic.code == "MC003"
    assert diagnostic.message.startswith(message)
    assert diagnostic.span is not None or diagnostic.message.startswith("`t.py`")


def test_class_that_is_not_known_is_refused() -> None:
    with pytest.raises(MappingError, match="is a class that mapcc does not know"):
        TransformersTable((Transform("FancyRename", ("a",), ("b",)),))


# --- sketches


@pytest.mark.parametrize(
    ("entry", "rule"),
    [
        ("WeightRenaming(r'^a\\.b\\.', 'c.')", "a.b.** -> c.**"),
        ("WeightRenaming('gamma', 'weight')", "{,**.}gamma{,.**} -> {,**.}weight{,.**}"),
        (
            "WeightRenaming(r'linear_(\\d+)', r'layers.\\1.projection')",
            "{,**.}linear_{i}{,.**} -> {,**.}layers.{i}.projection{,.**}",
        ),
        (
            "WeightConverter('qkv', ['q', 'k', 'v'], [Chunk()])",
            "{,**.}qkv{,.**} : (q + k + v) ... -> {,**.}q{,.**} : q ..., {,**.}k{,.**} : k ...,"
            " {,**.}v{,.**} : v ... where q = k = v",
        ),
        (
            "WeightConverter('qkv', ['q', 'k', 'v'], [Split()])",
            "{,**.}qkv{,.**} : (q + k + v) ... -> {,**.}q{,.**} : q ..., {,**.}k{,.**} : k ...,"
            " {,**.}v{,.**} : v ...",
        ),
        (
            "WeightConverter('wq.weight', 'q.weight', [PermuteForRope(subconfig_key='text')])",
            "{,**.}wq.weight : (h f r) ... -> {,**.}q.weight : (h r f) ..."
            " where h = source.config.text.num_attention_heads, r = 2",
        ),
        (
            "WeightConverter('.experts.*.w2.weight', '.experts.down_proj', [MergeModulelist()])",
            "**.experts.[e].w2.weight : ... -> **.experts.down_proj : e ...",
        ),
        ("WeightConverter('a', 'b', [Dequantize()])", ""),
        ("WeightRenaming(r'layers\\.(?=x)y?', 'z')", ""),
    ],
)
def test_sketch(entry: str, rule: str) -> None:
    (sketch,) = read(f"x = [{entry}]").sketches()
    assert sketch.rule == rule
    assert sketch.assumed
