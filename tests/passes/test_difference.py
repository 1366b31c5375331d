"""Two mappings compared: element by element against a slow reference, on random and on real shapes."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.api import bound_mapping, check, parse
from mapcc.ir.bound import BoundMapping
from mapcc.passes import element_codes
from mapcc.passes.compose import composed
from mapcc.passes.difference import Difference, Differences, differences
from mapcc.passes.origins import Result, result_of
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.work import guard

Shapes = Mapping[str, Sequence[int]]
DROPPED = 'drop x because "x"'
# What an element is: where it comes from, its index there, and the operations' names.
Element = tuple[object, ...]


def manifest(shapes: Shapes, dtype: str = "F32") -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES[dtype], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})


def bind(text: str, source: Manifest | Shapes, dtype: str = "F32") -> BoundMapping:
    keys = source if isinstance(source, Manifest) else manifest(source, dtype)
    return bound_mapping(check(parse(text), keys))


def compare(a: str, b: str, shapes: Shapes, dtype: str = "F32") -> Differences:
    return differences(bind(a, shapes, dtype), bind(b, shapes, dtype))


def only(found: Differences) -> Difference:
    assert found.only_a == found.only_b == ()
    (difference,) = found.differing
    return difference


# --- the reference: every element by itself


def elements_of(bound: BoundMapping) -> dict[str, list[Element]]:
    out: dict[str, list[Element]] = {}
    for instance in bound.instances:
        targets: list[list[Element]] = [[()] * prod(shape) for shape in instance.layout.target_shapes]
        for move in instance.layout.moves:
            operand = instance.sources[move.source]
            source, target = np.array(move.source_offset), np.array(move.target_offset)
            for size, across, along in move.dims:
                source = source[..., None] + np.arange(size) * across
                target = target[..., None] + np.arange(size) * along
            for at, to in zip(source.flat, target.flat, strict=True):
                assert targets[move.target][to] == ()
                targets[move.target][to] = (operand[-1], int(at)) if operand else ("constant",)
        out.update(zip(instance.targets, targets, strict=True))
    return out


def behind(
    first: Mapping[str, list[Element]], second: Mapping[str, list[Element]]
) -> dict[str, list[Element]]:
    return {
        name: [e if e == ("constant",) else first[str(e[0])][int(str(e[1]))] for e in elements]
        for name, elements in second.items()
    }


def agrees(found: Differences, a: Mapping[str, list[Element]], b: Mapping[str, list[Element]]) -> None:
    """Whether what was found is what the reference finds."""
    differing = {difference.name: difference for difference in found.differing}
    assert set(found.only_a) == a.keys() - b.keys()
    assert set(found.only_b) == b.keys() - a.keys()
    for name in a.keys() & b.keys():
        if len(a[name]) != len(b[name]):
            assert differing[name].shapes is not None
            continue
        wrong = [k for k, pair in enumerate(zip(a[name], b[name], strict=True)) if pair[0] != pair[1]]
        assert (name in differing) == bool(wrong), name
        if wrong:
            elements = differing[name].elements
            assert elements is not None
            assert (elements.count, elements.total) == (len(wrong), len(a[name]))
            assert elements.first == (wrong[0],)  # these tensors have one dimension
            for taken, elements_ in ((elements.a, a[name]), (elements.b, b[name])):
                wanted = elements_[wrong[0]]
                found_ = (taken.names[-1], *taken.index) if taken.names else ("constant",)
                assert found_ == wanted


# --- random rearrangements of a tensor of one dimension

SIZE = 48
Dim = list["Dim"] | tuple["Dim", ...] | str  # a product, a sum, an atom


@st.composite
def trees(draw: st.DrawFn, size: int, names: list[str], sizes: dict[str, int], depth: int = 3) -> Dim:
    """A dimension of this size: products as lists, sums as tuples; ``sizes`` gets those of its atoms."""
    kind = draw(st.integers(0, 2 if depth and size > 1 else 0))
    if kind == 0:
        name = names.pop()
        sizes[name] = size
        return name
    if kind == 1:
        factor = draw(st.sampled_from([k for k in range(1, size + 1) if size % k == 0]))
        return [draw(trees(part, names, sizes, depth - 1)) for part in (factor, size // factor)]
    cut = draw(st.integers(1, size - 1))
    return tuple(draw(trees(part, names, sizes, depth - 1)) for part in (cut, size - cut))


@st.composite
def shuffled(draw: st.DrawFn, dim: Dim) -> Dim:
    match dim:
        case str():
            return dim
        case list():
            return [draw(shuffled(part)) for part in draw(st.permutations(dim))]
        case _:
            return tuple(draw(shuffled(part)) for part in draw(st.permutations(list(dim))))


def written(dim: Dim) -> str:
    match dim:
        case str():
            return dim
        case list():
            return f"({' '.join(map(written, dim))})"
        case _:
            return f"({' + '.join(map(written, dim))})"


@st.composite
def rearrangements(draw: st.DrawFn, source: str = "x", target: str = "y", size: int = SIZE) -> str:
    sizes: dict[str, int] = {}
    tree = draw(trees(size, [f"a{k}" for k in range(99)], sizes))
    where = ", ".join(f"{name} = {extent}" for name, extent in sizes.items())
    return f"{source} : {written(tree)} -> {target} : {written(draw(shuffled(tree)))} where {where}"


@st.composite
def steps(draw: st.DrawFn, source: str, target: str) -> str:
    """One tensor to one, at times by way of pieces, a repeat or something created."""
    one = draw(rearrangements(source, target))
    kind = draw(st.integers(0, 3))
    if kind == 1:
        cut = draw(st.integers(1, SIZE - 1))
        swap = f"{source} : (p + q) -> {target} : (q + p) where p = {cut}"
        return draw(st.sampled_from([swap, one]))
    if kind == 2:
        factor = draw(st.sampled_from([2, 3, 4]))
        return (
            f'{source} : (p + q) -> {target} : (p r), drop : q because "x" '
            f"where r = {factor}, p = {SIZE // factor}"
        )
    if kind == 3:
        cut = draw(st.integers(1, SIZE - 1))
        return (
            f'{source} : (p + q), create : k = 0 -> {target} : (k + p), drop : q because "x" '
            f"where p = {cut}, k = {SIZE - cut}"
        )
    return one


@given(rearrangements(), rearrangements())
def test_random_rearrangements(first: str, second: str) -> None:
    a, b = (bind(text, {"x": [SIZE]}) for text in (first, second))
    agrees(differences(a, b), elements_of(a), elements_of(b))
    assert differences(a, a).equal


@given(steps("x", "y"), steps("x", "y"))
def test_random_steps(first: str, second: str) -> None:
    a, b = (bind(text, {"x": [SIZE]}) for text in (first, second))
    agrees(differences(a, b), elements_of(a), elements_of(b))


@given(st.data(), st.sampled_from([1, 7, 1 << 20]))
def test_windows_of_any_size(data: st.DataObject, window: int) -> None:
    a, b = (bind(data.draw(steps("x", "y")), {"x": [SIZE]}) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mapcc.passes.difference.WINDOW", window)
        agrees(differences(a, b), elements_of(a), elements_of(b))


@given(st.data())
def test_two_steps_against_one(data: st.DataObject) -> None:
    first = bind(data.draw(steps("x", "y")), {"x": [SIZE]})
    second = bind(data.draw(steps("y", "z")), result_of(first).keys())
    one = bind(data.draw(steps("x", "z")), {"x": [SIZE]})
    both = composed(first, second)
    reference = behind(elements_of(first), elements_of(second))
    agrees(differences(both, one), reference, elements_of(one))
    assert differences(both, both).equal


@given(st.data())
def test_three_steps(data: st.DataObject) -> None:
    first = bind(data.draw(steps("x", "y")), {"x": [SIZE]})
    second = bind(data.draw(steps("y", "z")), result_of(first).keys())
    third = bind(data.draw(steps("z", "x")), result_of(second).keys())
    one = bind(data.draw(steps("x", "x")), {"x": [SIZE]})
    reference = behind(behind(elements_of(first), elements_of(second)), elements_of(third))
    for chained in (composed(composed(first, second), third), composed(first, composed(second, third))):
        agrees(differences(chained, one), reference, elements_of(one))


@given(rearrangements("x", "y"), rearrangements("y", "z"))
def test_a_step_and_its_inverse_are_nothing(first: str, second: str) -> None:
    there = bind(first, {"x": [SIZE]})
    left, _, rest = first.partition(" -> ")
    right, _, where = rest.partition(" where ")
    back = bind(f"{right} -> {left} where {where}", result_of(there).keys())
    assert differences(composed(there, back), bind("keep x", {"x": [SIZE]})).equal


# --- well-known layouts

QKV = {"qkv.weight": [24, 8], "qkv.bias": [24]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("qkv.* | chunk 3 -> q.*, k.*, v.*", "qkv.* : (t d) ... -> [t=q,k,v].* : d ..."),
        (
            "qkv.* : (q + k + v) ... -> q.* : q ..., k.* : k ..., v.* : v ... where q = k = v",
            "qkv.* | split [8, 8, 8] -> q.*, k.*, v.*",
        ),
        ("qkv.weight | transpose -> t\nkeep qkv.bias", "qkv.weight : a b -> t : b a\nkeep *.bias"),
        ("qkv.* -> a.*, b.*", "qkv.{weight,bias} -> b.{weight,bias}, a.{weight,bias}"),
        (
            "qkv.* : (h 2 d) ... -> x.* : (h d 2) ... where h = 4",
            "qkv.* : (a b c) ... -> x.* : (a c b) ... where b = 2, c = 3",
        ),
        ("qkv.* | cast bf16 -> x.*", "qkv.* -> x.*\ndtype bf16"),
        ("qkv.* | cast f64 | cast bf16 -> x.*", "qkv.* -> x.* | cast bf16"),
        ("qkv.* | add 1 | cast f32 | scale 2 -> x.*", "qkv.* | add 1 | scale 2 -> x.*"),
        ("keep **\ncreate z : 2 3 = 2 - 1", "** -> **\ncreate z : 2 3 = 1"),
    ],
)  # fmt: skip
def test_said_in_two_ways(one: str, other: str) -> None:
    found = compare(one, other, QKV)
    assert found.equal
    assert found.taken_a == found.taken_b == ()
    assert found.same > 0


def test_query_and_key_swapped() -> None:
    one, other = "qkv.* : (t d) ... -> [t=q,k,v].* : d ...", "qkv.* : (t d) ... -> [t=k,q,v].* : d ..."
    found = compare(one, other, QKV)
    assert [d.name for d in found.differing] == ["q.weight", "k.weight", "q.bias", "k.bias"]
    assert found.same == 2
    elements = found.differing[1].elements
    assert elements is not None
    assert (elements.count, elements.total, elements.first) == (64, 64, (0, 0))
    assert (elements.a.names, elements.a.index) == (("qkv.weight",), (8, 0))
    assert (elements.b.names, elements.b.index) == (("qkv.weight",), (0, 0))


def test_halves_swapped_but_for_a_part() -> None:
    """Only what differs counts: of four pieces the middle two are exchanged."""
    one = "keep qkv.weight"
    other = "qkv.weight : (a + b + c + d) x -> qkv.weight : (a + c + b + d) x where a = 2, b = c = 4"
    elements = only(compare(one, other, {"qkv.weight": [24, 8]})).elements
    assert elements is not None
    assert (elements.count, elements.first) == (64, (2, 0))
    assert elements.b.index == (6, 0)


def test_rotary_halves_and_pairs() -> None:
    """Of each head the first and the last row stay."""
    one, other = "w : (h 2 f) c -> w : (h f 2) c where h = 2", "w : (h 2 f) c -> w : (h 2 f) c where h = 2"
    elements = only(compare(one, other, {"w": [12, 5]})).elements
    assert elements is not None
    assert (elements.count, elements.first, elements.a.index, elements.b.index) == (
        40,
        (1, 0),
        (3, 0),
        (1, 0),
    )


def test_shapes_and_types_are_told_apart() -> None:
    shapes = {"x": [4, 6]}
    assert only(compare("keep x", "x | transpose -> x", shapes)).shapes == ((4, 6), (6, 4))
    cast = only(compare("keep x", "x | cast bf16 -> x", shapes))
    assert cast.dtypes == (DTYPES["F32"], DTYPES["BF16"])
    assert cast.elements is None  # the same elements, but for the cast
    both = only(compare("keep x", "x : a (b + c) -> x : a (c + b) | cast bf16 where b = 2", shapes))
    assert both.dtypes is not None
    assert both.elements is not None


@pytest.mark.parametrize(
    "other", ["x | add 1 -> x", "x | scale 2 -> x", "x | cast bf16 | cast f32 -> x", f"y -> x\n{DROPPED}"]
)
def test_values_are_told_apart(other: str) -> None:
    drop = '\ndrop y because "y"'
    second = other if "y" in other else other + drop
    elements = only(compare("keep x" + drop, second, {"x": [4], "y": [4]})).elements
    assert elements is not None
    assert elements.count == 4
    assert (elements.b.names, elements.b.steps) != (elements.a.names, elements.a.steps)


def test_numbers_that_are_created() -> None:
    one, other = (f'create z : 4 = {number}\ndrop x because "x"' for number in (0, 1))
    elements = only(compare(one, other, {"x": [4]})).elements
    assert elements is not None
    assert (elements.a.constant, elements.b.constant, elements.count) == (0, 1, 4)


def test_tensors_of_one_side_and_what_is_dropped() -> None:
    shapes = {"x": [4], "y": [4], "z": [4]}
    found = compare('keep x, y\ndrop z because "z"', 'keep x, z\ndrop y because "y"', shapes)
    assert (found.only_a, found.only_b, found.same) == (("y",), ("z",), 1)
    assert (found.taken_a, found.taken_b) == (("y",), ("z",))
    assert not found.equal


def test_several_inputs_are_one_origin() -> None:
    shapes = {"g": [4, 1], "v": [4, 3], "h": [4, 1]}
    one = '(g, v) | weight_norm -> w\ndrop h because "h"'
    assert compare(one, '(g, v) | weight_norm dim=0 -> w\ndrop h because "x"', shapes).equal
    elements = only(compare(one, '(h, v) | weight_norm -> w\ndrop g because "g"', shapes)).elements
    assert elements is not None
    assert elements.count == 12


def test_no_elements_and_one() -> None:
    shapes = {"none": [0, 4], "one": []}
    assert compare("keep none, one", "** -> **", shapes).equal


def test_another_source_is_refused() -> None:
    with pytest.raises(ValueError, match="different sources: y"):
        differences(bind("keep x", {"x": [4]}), bind("keep x, y", {"x": [4], "y": [4]}))


# --- large shapes


def measured(a: BoundMapping | Result, b: BoundMapping | Result) -> Differences:
    """In time and memory that do not grow with the tensor."""
    tracemalloc.start()
    try:
        with guard(60):
            found = differences(a, b)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()
    return found


@pytest.mark.parametrize(
    ("one", "other", "count"),
    [
        ("w : (t d) c -> [t=q,k] : d c", "w : (t d) c -> [t=k,q] : d c", None),
        ("w : (a + b) c -> w : (b + a) c where a = b", "keep w", 8192 * 28672),
        ("w : (h 2 f) c -> w : (h f 2) c where h = 64", "keep w", 8064 * 28672),
        ("w : r (a + b) -> w : r (b + a) where a = b", "keep w", 8192 * 28672),
        ("w : r (a + b) -> w : r (b + a) where a = 4096", "keep w", 8192 * 28672),
        ("w | transpose -> w", "w : a b -> w : b a", None),
    ],
)
def test_large_tensors(one: str, other: str, count: int | None) -> None:
    shapes = {"w": [8192, 28672]}
    found = measured(bind(one, shapes), bind(other, shapes))
    if count is not None:
        elements = only(found).elements
        assert elements is not None
        assert elements.count == count


def test_memory_is_bounded_where_runs_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A transposition against another reading of it: each element by itself."""
    monkeypatch.setattr("mapcc.passes.difference.WINDOW", 1 << 16)
    one, other = "w : (a b) -> w : (b a) where a = 2048", "w : (a b) -> w : (b a) where a = 1024"
    a, b = (bind(text, {"w": [1 << 22]}) for text in (one, other))
    tracemalloc.start()
    found = only(differences(a, b))
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    assert found.elements is not None
    assert found.elements.first == (1,)
    i = np.arange(1 << 22)
    wanted = ((i % 2048) * 2048 + i // 2048 != (i % 1024) * 4096 + i // 1024).sum()
    assert found.elements.count == wanted


def test_a_large_tensor_in_two_steps() -> None:
    shapes = {"w": [3 * 4096, 8192]}
    first = bind("w : (t d) c -> [t=q,k,v] : d c", shapes)
    second = bind("q : (h 2 f) c -> q : (h f 2) c where h = 32\nkeep k, v", result_of(first).keys())
    one = bind("w : (q + k + v) c -> [m=x] : q c, k : k c, v : v c where q = k = v", shapes)
    assert measured(composed(first, second), one).only_a == ("q",)
    fused = bind("[t=q,k,v] : d c -> w : (t d) c", result_of(first).keys())
    assert measured(composed(first, fused), bind("keep w", shapes)).equal


def test_windows_are_what_the_reference_says() -> None:
    """The numbers themselves, window by window."""
    bound = bind("x : (a b c) -> y : (c a b) where a = 4, b = 3", {"x": [SIZE]})
    (made,) = result_of(bound).targets.values()
    codes = element_codes.Codes(1)
    whole = codes.window(made.boxes, 0, SIZE)
    wanted = np.arange(SIZE).reshape(4, 3, 4).transpose(2, 0, 1).reshape(-1)
    assert (whole == wanted).all()
    for low in range(SIZE):
        for size in range(1, SIZE - low):
            assert (codes.window(made.boxes, low, size) == wanted[low : low + size]).all()


# --- two steps: values


@pytest.mark.parametrize(
    ("first", "second", "one", "dtype", "equal"),
    [
        ("x | add 1 -> y", "y | scale 2 -> z", "x | add 1 | scale 2 -> z", "F32", True),
        ("x | add 1 -> y", "y | scale 2 -> z", "x | scale 2 | add 1 -> z", "F32", False),
        # A tensor between the steps is rounded to its type.
        ("x | add 1 -> y", "y | scale 2 -> z", "x | add 1 | scale 2 -> z", "BF16", False),
        ("x | add 1 -> y", "y | scale 2 -> z", "x | add 1 | cast bf16 | scale 2 -> z", "BF16", True),
        ("x | cast f32 -> y", "y | cast bf16 -> z", "x -> z", "BF16", True),
        ("x | cast bf16 -> y", "y | cast f32 -> z", "x -> z", "F32", False),
        ("x | cast f32 -> y", "y | add 1 -> z", "x | add 1 | cast f32 -> z", "BF16", True),
        ("x -> y", "y | cast f16 -> z", "x -> z | cast f16", "F32", True),
        (
            f"create y : 4 = 1\n{DROPPED}",
            "y | cast bf16 -> z",
            f"create z : 4 = 1 | cast bf16\n{DROPPED}",
            "F32",
            True,
        ),
        (
            f"create y : 4 = 0.1 | cast bf16\n{DROPPED}",
            "y | cast f32 -> z",
            f"create z : 4 = 0.1\n{DROPPED}",
            "F32",
            False,
        ),
        (
            f"create y : 4 = 0.5 | cast bf16\n{DROPPED}",
            "y | cast f32 -> z",
            f"create z : 4 = 0.5\n{DROPPED}",
            "F32",
            True,
        ),
        (f"create y : 4 = 1\n{DROPPED}", "y | add 1 -> z", f"create z : 4 = 1\n{DROPPED}", "F32", False),
    ],
)
def test_values_in_two_steps(first: str, second: str, one: str, dtype: str, equal: bool) -> None:
    before = bind(first, {"x": [4]}, dtype)
    after = bind(second, result_of(before).keys())
    found = differences(composed(before, after), bind(one, {"x": [4]}, dtype))
    assert found.equal == equal
    assert not found.problems


def test_an_operation_on_wholes_in_the_second_step() -> None:
    shapes = {"a.g": [4, 1], "a.v": [4, 3]}
    one = bind("(a.g, a.v) | weight_norm -> w", shapes)
    renamed = bind("a.* -> b.*", shapes)
    second = bind("(b.g, b.v) | weight_norm -> w", result_of(renamed).keys())
    assert differences(composed(renamed, second), one).equal
    moved = bind("a.g -> b.g\na.v : (p + q) c -> b.v : (q + p) c where p = q", shapes)
    second = bind("(b.g, b.v) | weight_norm -> w", result_of(moved).keys())
    found = differences(composed(moved, second), one)
    assert not found.equal
    assert only(found).problem == "weight_norm of tensors that the first step moves or computes"
    # The other way round it can be said: first the norm, then the rows.
    first = bind("(a.g, a.v) | weight_norm -> w", shapes)
    second = bind("w : (p + q) c -> w : (q + p) c where p = q", result_of(first).keys())
    both = bind("(a.g, a.v) : (p + q) c | weight_norm -> w : (q + p) c where p = q", shapes)
    assert differences(composed(first, second), both).equal


def test_what_the_first_step_does_not_give() -> None:
    first = bind("x -> y", {"x": [4]})
    second = bind("keep y, other", manifest({"y": [4], "other": [4]}))
    both = composed(first, second)
    for one in (result_of(bind("x -> y, other", {"x": [4]})), both):  # not even equal to itself
        found = differences(both, one)
        assert (only(found).name, only(found).problem) == ("other", "the first step does not give other")
        assert not found.equal
    with pytest.raises(ValueError, match=r"gives y as F32 \[4\], the second takes it as F32 \[5\]"):
        composed(first, bind("keep y", manifest({"y": [5]})))


def test_names_between_the_steps_do_not_matter() -> None:
    shapes = {f"layers.{i}.{name}": [8, 4] for i in range(3) for name in ("w1", "w2", "w3")}
    first = bind("layers.{i}.w{1,2,3} -> m.{i}.{gate,down,up}", shapes)
    second = bind(
        "m.{i}.[p=gate,up] : o c -> n.{i}.gate_up : (p o) c\nm.{i}.down -> n.{i}.down",
        result_of(first).keys(),
    )
    one = bind(
        "layers.{i}.w1 : a c, layers.{i}.w3 : b c -> n.{i}.gate_up : (a + b) c\nlayers.{i}.w2 -> n.{i}.down",
        shapes,
    )
    found = differences(composed(first, second), one)
    assert found.equal
    assert found.same == 6
