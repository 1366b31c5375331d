"""The output's files: order, shards, names, places, costs; and what cannot be planned."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.errors import MappingError
from mapcc.ir.bound import BoundMapping
from mapcc.passes.fills import fill_fault
from mapcc.plan import Plan, make_plan
from mapcc.plan.lower import Lowered
from mapcc.plan.memory import BUDGET, SPAN, WINDOW, buffers
from mapcc.plan.model import Fill, Folded, SourceTensor
from mapcc.plan.shards import divide
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import parse_header

Bound = Callable[..., BoundMapping]
SEVEN = {f"t.{i}": ("F32", (i + 1,)) for i in range(7)}  # 4 to 28 bytes


def names(plan: Plan) -> list[list[str]]:
    return [[tensor.name for tensor in file.tensors] for file in plan.files]


def codes(error: pytest.ExceptionInfo[MappingError]) -> list[str]:
    return [d.code for d in error.value.diagnostics]


def test_headers_tell_where_the_bytes_are(bound: Bound) -> None:
    plan = make_plan(bound("t.{i} -> u.{i}", SEVEN), max_shard_size=40)
    for file in plan.files:
        told, metadata = parse_header(file.header[8:], file.size)
        assert [(t.name, t.dtype, t.shape, t.begin, t.end) for t in told] == [t[:5] for t in file.tensors]
        assert metadata == {"format": "pt"}
        assert int.from_bytes(file.header[:8], "little") == len(file.header) - 8


def test_the_order_is_that_of_the_source(bound: Bound) -> None:
    rules = """
        new.a -> y.c
        old.{i} -> x.{3-i}
        qkv : (q + k + v) -> z.v : v, z.k : k, z.q : q where q = k = v
        create a.made : 3 = 1
    """
    first = {"qkv": ("F16", (6,)), "new.a": ("F16", (2,))}
    second = {f"old.{i}": ("F16", (1,)) for i in range(3)}
    # That of the bytes, not that of the names or of the rules.
    expected = ["z.q", "z.k", "z.v", "y.c", "x.3", "x.2", "x.1", "a.made"]
    assert names(make_plan(bound(rules, first, second))) == [expected]


def test_shards_are_filled_in_order(bound: Bound) -> None:
    plan = make_plan(bound("t.{i} -> t.{i}", SEVEN), max_shard_size=24)
    assert names(plan) == [["t.0", "t.1", "t.2"], ["t.3"], ["t.4"], ["t.5"], ["t.6"]]
    assert [file.name for file in plan.files][::4] == [
        "model-00001-of-00005.safetensors",
        "model-00005-of-00005.safetensors",
    ]


@given(st.lists(st.integers(0, 12)), st.integers(1, 20))
def test_a_shard_is_too_large_only_alone(sizes: list[int], limit: int) -> None:
    tensors = [Lowered(str(at), DTYPES["U8"], (size,), (), (0, 0)) for at, size in enumerate(sizes)]
    shards = divide(tensors, limit)
    assert [tensor for shard in shards for tensor in shard] == tensors
    totals = [sum(tensor.shape[0] for tensor in shard) for shard in shards]
    assert all(total <= limit or len(shard) == 1 for total, shard in zip(totals, shards, strict=True))
    assert all(a + b[0].shape[0] > limit for a, b in zip(totals, shards[1:], strict=False))


def test_one_file_has_no_index(bound: Bound) -> None:
    plan = make_plan(bound("t.{i} -> t.{i}", SEVEN), prefix="diffusion_pytorch_model")
    assert [file.name for file in plan.files] == ["diffusion_pytorch_model.safetensors"]
    assert plan.index is None


def test_the_index_is_as_transformers_writes_it(bound: Bound) -> None:
    plan = make_plan(bound("t.{i} -> u.{6-i}", SEVEN), max_shard_size=60)
    assert plan.index is not None
    assert plan.index.name == "model.safetensors.index.json"
    weight_map = {t.name: file.name for file in plan.files for t in file.tensors}
    index = {"metadata": {"total_size": 112}, "weight_map": weight_map}
    assert plan.index.content.decode() == json.dumps(index, indent=2, sort_keys=True) + "\n"


def test_what_a_plan_costs(bound: Bound) -> None:
    plan = make_plan(bound("t.{i} -> t.{i}", SEVEN), max_shard_size=60)
    assert plan.index is not None
    assert plan.bytes_read == 112
    assert plan.bytes_written == sum(file.size for file in plan.files) + len(plan.index.content)
    assert plan.scratch == 0
    assert buffers(plan, 2).total == 2 * WINDOW
    turned = make_plan(bound("a : x y -> b : y x, c : x y", {"a": ("F32", (4, 5))}))
    assert turned.bytes_read == 160
    assert WINDOW + SPAN <= buffers(turned, 1).total <= BUDGET


def test_casts_to_the_own_type_move_bits(bound: Bound) -> None:
    plan = make_plan(
        bound("a | cast f32 | cast f32 -> b\nc -> d | cast bf16", {"a": ("F32", (4,)), "c": ("BF16", (2,))})
    )
    assert all(transfer.is_plain for tensor in plan.files[0].tensors for transfer in tensor.transfers)


def test_the_last_cast_is_that_of_the_target(bound: Bound) -> None:
    plan = make_plan(bound("a | scale 2 -> b\ndtype bf16", {"a": ("F32", (4,))}))
    ((transfer,),) = [tensor.transfers for tensor in plan.files[0].tensors]
    assert [step.op.name for step in transfer.steps] == ["scale"]
    assert (transfer.source.name, transfer.target.name) == ("F32", "BF16")


FOLDS = "(g.{i}, v.{i}) | weight_norm dim=0 | cast f16 -> w.{i}"
NORMS = {f"{kind}.{i}": ("F32", (3, 1) if kind == "g" else (3, 2)) for i in range(2) for kind in "gv"}


def test_a_fold_is_made_once_and_computed_wide(bound: Bound) -> None:
    plan = make_plan(bound(FOLDS.replace("-> w", "-> x.{i}, w"), NORMS))
    assert [(fold.dtype.name, fold.shape, len(fold.inputs)) for fold in plan.folds] == [
        ("F32", (3, 2), 2)
    ] * 2
    origins = [tensor.transfers[0].origin for tensor in plan.files[0].tensors]
    assert sorted(origins) == [Folded(0), Folded(0), Folded(1), Folded(1)]
    assert {t.transfers[0].target.name for t in plan.files[0].tensors} == {"F16"}
    assert plan.scratch == 48
    assert plan.bytes_read == 2 * (12 + 24 + 24)


def test_a_fold_of_f64_is_f64(bound: Bound) -> None:
    plan = make_plan(bound(FOLDS, {**NORMS, "v.0": ("F64", (3, 2))}))
    assert sorted(fold.dtype.name for fold in plan.folds) == ["F32", "F64"]


def test_no_file_and_no_array(bound: Bound) -> None:
    plan = make_plan(bound("a : x y -> b : y x\ncreate c : 3 = 0.5", {"a": ("F32", (4, 5))}))
    origins = [transfer.origin for tensor in plan.files[0].tensors for transfer in tensor.transfers]
    assert origins == [SourceTensor(0, 64, DTYPES["F32"], (4, 5)), Fill(0.5)]


def test_empty_tensors_have_a_place(bound: Bound) -> None:
    plan = make_plan(bound("{a,b} -> {c,d}", {"a": ("F32", (0, 3)), "b": ("F32", ())}))
    assert [(t.name, t.end - t.begin, len(t.transfers)) for t in plan.files[0].tensors] == [
        ("d", 4, 1),
        ("c", 0, 0),
    ]


# --- what cannot be planned


def test_a_source_without_bytes(bound: Bound) -> None:
    mapping = bound("a -> b", {"a": ("F32", (4,))})
    specs = {"a": mapping.source.tensors["a"]._replace(file=None)}
    mapping.source = replace(mapping.source, files=(), tensors=specs)
    with pytest.raises(MappingError) as error:
        make_plan(mapping)
    assert codes(error) == ["MC006"]


@pytest.mark.parametrize("options", [{"max_shard_size": 0}, {"prefix": "../up"}, {"prefix": ""}])
def test_options(bound: Bound, options: dict[str, int | str]) -> None:
    with pytest.raises(MappingError) as error:
        make_plan(bound("a -> b", {"a": ("F32", (4,))}), **options)  # type: ignore[arg-type]
    assert codes(error) == ["MC007"]


def test_half_bytes_are_not_taken_apart(bound: Bound) -> None:
    tensors = {f"{i}.w": ("F4", (4, 6)) for i in range(2)}
    make_plan(bound("{i}.w : (a b) c -> {i}.x : b a c where a = 2", tensors))
    with pytest.raises(MappingError) as error:
        make_plan(bound("{i}.w : a b -> {i}.x : b a", tensors))
    assert codes(error) == ["MC502"]
    (found,) = error.value.diagnostics
    assert found.names == ("{0,1}.x",)
    assert found.span is not None


def test_a_number_that_the_type_has_not(bound: Bound) -> None:
    with pytest.raises(MappingError) as error:
        make_plan(bound("q : a, create : b = 300 -> t : (a + b) where b = 2", {"q": ("U8", (4,))}))
    assert codes(error) == ["MC502"]


@pytest.mark.parametrize(
    ("dtype", "good", "bad"),
    [
        ("BOOL", [0, 1, 1.0], [2, 0.5]),
        ("I8", [-128, 127, 3.0], [128, -129, 0.5]),
        ("U64", [0, 2**64 - 1], [-1, 2**64]),
        ("F4", [0, 6, -0.5, 0.3], [6.5]),
        ("F6_E2M3", [0], [1]),
        ("F8_E4M3", [448, -448, 0.1], [449]),
        ("F8_E8M0", [1, 0.5, 3], [0, -1]),
        ("F16", [65504], [65505, float("nan"), float("inf")]),
        ("F64", [1e308], [10**400]),
        ("C64", [1.5], ["text"]),
    ],
)
def test_fills(dtype: str, good: list[float], bad: list[float]) -> None:
    assert [fill_fault(value, DTYPES[dtype]) for value in good] == [None] * len(good)
    assert None not in [fill_fault(value, DTYPES[dtype]) for value in bad]


def test_a_target_of_created_pieces_alone_in_a_rule_with_sources(bound: Bound) -> None:
    rule = "s : q c, create : k c = 0 -> t : q c, u : k c where k = 2"
    plan = make_plan(bound(rule, {"s": ("BF16", (3, 4))}))
    assert {t.name: t.dtype.name for t in plan.files[0].tensors} == {"t": "BF16", "u": "F32"}
