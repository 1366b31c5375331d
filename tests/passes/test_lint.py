"""Warnings about mappings that check clean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from mapcc.api import check, parse
from mapcc.diagnostics.model import Diagnostic
from mapcc.ir.bound import BoundMapping
from mapcc.library.catalog import Entry, catalog
from mapcc.passes.lint import lint
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

Shapes = Mapping[str, Sequence[int]]


def manifest(shapes: Shapes) -> Manifest:
    tensors = {name: TensorSpec(name, DTYPES["F32"], tuple(shape)) for name, shape in shapes.items()}
    return Manifest(tensors, (), "test", None, {})


def bind(text: str, shapes: Shapes, target: Shapes | None = None) -> BoundMapping:
    checked = check(parse(text), manifest(shapes), None if target is None else manifest(target))
    assert checked.ok, checked.diagnostics
    assert checked.bound is not None
    return checked.bound


def linted(text: str, shapes: Shapes, target: Shapes | None = None) -> list[Diagnostic]:
    return lint(bind(text, shapes, target))


def codes(found: Sequence[Diagnostic]) -> list[str]:
    return [d.code for d in found]


def of_four(names: Sequence[str]) -> Shapes:
    return {name: [4] for name in names}


# --- MC811


@pytest.mark.parametrize(
    ("text", "names", "again", "note"),
    [
        ("norm*.w -> norm2*.w", ["norm.w"], "norm2.w", None),
        ("**.q -> **.q.q", ["a.q"], None, None),  # a.q.q: ** takes a.q
        ("a.{i} -> a.{i+1}", ["a.0", "a.1"], "a.{1,2}", "a.1 would become a.2"),
        ("** -> m.**", ["a.w"], "m.a.w", "m.a.w would become m.m.a.w"),
        ("a -> b\nb -> a", ["a", "b"], "a", "a would become b"),
        ("a -> b\nc -> a", ["a", "c"], "a", "a would become b"),
        ('a -> b\ndrop b.x, b because "unused"', ["a", "b.x"], "b", "b would be dropped"),
        ("[t=a,b] : d -> ab : (t d)\n[t=c,d] : d -> [t=a,b] : d", ["a", "b", "c", "d"], "a", None),
    ],
)
def test_what_is_taken_again(text: str, names: list[str], again: str | None, note: str | None) -> None:
    found = [d for d in linted(text, of_four(names)) if d.code == "MC811"]
    assert found
    first = found[0]
    assert first.message == "not idempotent: of what the mapping gives, this takes some again"
    assert again is None or again in first.names
    assert note is None or note in first.notes
    assert first.span is not None
    assert 'allow MC811 because "..."' in first.help


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("norm.* -> norm2.*", ["norm.w"]),  # a name is matched whole
        ("a.* -> b.*\nkeep c.*", ["a.w", "c.w"]),
        ("default { ** -> ** }\na -> b", ["a", "c.w"]),
        ("** -> m.** where not exists(m)", ["a.w"]),
        ("a.{i}.w -> b.{i}.w", ["a.0.w", "a.1.w"]),
        ("[t=q,k,v] : d -> q : (t d)", ["q", "k", "v"]),  # k and v are gone: nothing goes wrong in silence
        ('keep a\ndrop b because "unused"', ["a", "b"]),
    ],
)
def test_what_is_not(text: str, names: list[str]) -> None:
    assert "MC811" not in codes(linted(text, of_four(names)))


def test_shapes_that_do_not_fit_are_no_second_time() -> None:
    """The second time it would be an error, which is not silent."""
    assert linted("a* : x c -> ab* : x c 2 where c = 3", {"a": [4, 3]}, {"ab": [4, 3, 2]}) == []


def test_one_finding_for_a_rule_with_many_tensors() -> None:
    names = [f"blocks.{i}.attn.w" for i in range(40)]
    (found,) = linted("** -> m.**", of_four(names))
    assert found.names == ("m.blocks.{0..39}.attn.w",)


def test_what_something_else_supplies_is_there_too() -> None:
    text = 'a -> b\nold.* -> new.*\nexternal old.x because "the tokenizer"'
    found = linted(text, {"a": [4], "old.w": [4]}, {"b": [4], "new.w": [4], "old.x": [4]})
    assert [(d.code, d.names) for d in found] == [("MC811", ("old.x",))]


def test_linting_leaves_the_mapping_as_it_is() -> None:
    bound = bind("** -> m.**", {"a": [4]})
    before = (len(bound.instances), dict(bound.given), list(bound.program.failed_right))
    assert codes(lint(bound)) == codes(lint(bound)) == ["MC811"]
    assert (len(bound.instances), dict(bound.given), list(bound.program.failed_right)) == before


# --- MC812

QKV = {"qkv.weight": [24, 8], "qkv.bias": [24]}
ORDER = "their order is taken from the rule"


@pytest.mark.parametrize(
    ("text", "shapes", "said"),
    [
        ("qkv.* : (t d) ... -> [t=q,k,v].* : d ...", QKV, f"shapes cannot tell q from k from v: {ORDER}"),
        ("qkv.* | chunk 3 -> a.to_q.*, a.to_k.*, a.to_v.*", QKV, f"to_q from to_k from to_v: {ORDER}"),
        ("(a.w1, a.w3) | cat -> w", {"a.w1": [4], "a.w3": [4]}, f"w1 from w3: {ORDER}"),
        ("(x, y) | stack -> w", {"x": [4], "y": [4]}, f"x from y: {ORDER}"),
        ("w | unstack -> x.a, y.a", {"w": [2, 4]}, f"x from y: {ORDER}"),
        (
            "w : (q + k + v + m) -> q : q, k : k, v : v, m : m where q = k = v, m = 4 * q",
            {"w": [28]},
            f"q from k from v: {ORDER}",
        ),
        (
            "w : (g (r + k + v) d) -> q : (g r d), k : (g k d), v : (g v d) where k = v = 1, g = 2, d = 4",
            {"w": [48]},
            f"k from v: {ORDER}; shapes cannot tell the sizes of g, d, k and v",
        ),
        ("w : (a + b) c -> w : (b + a) c where a = b", {"w": [8, 4]}, f"a from b: {ORDER}"),
        ("e.[e].[p=w1,w3] : o c -> w : e (p o) c", {"e.0.w1": [2, 3], "e.0.w3": [2, 3]}, "w1 from w3"),
        ("q : q, create : k = 0, v : v -> b : (q + k + v) where k = q", {"q": [4], "v": [4]}, "q from k"),
        ("w : i o -> w : o i", {"w": [8, 8]}, "shapes cannot tell i from o: both are 8"),
        ("w | transpose -> w", {"w": [8, 8]}, "shapes cannot tell dimension 0 from dimension 1: both are 8"),
        ("w : i o h x -> w : o i h x", {"w": [8, 8, 3, 3]}, "i from o: both are 8"),
        ("w | permute 0 3 1 2 -> w", {"w": [4, 3, 3, 3]}, "dimension 1 from dimension 3: both are 3"),
        (
            "w : (h f 2) c -> w : (h 2 f) c where f = 4",
            {"w": [16, 3]},
            "shapes cannot tell the sizes of h and f: only 'where' does (f = 1, 2, 8 would fit as well)",
        ),
        ("w : (h 3 d) c -> w : (3 h d) c where h = 2", {"w": [24, 3]}, "the sizes of h and d"),
    ],
)  # fmt: skip
def test_what_shapes_cannot_tell(text: str, shapes: Shapes, said: str) -> None:
    (found,) = linted(text, shapes)
    assert found.code == "MC812"
    assert said in found.message
    assert found.names
    assert "the reference once" in found.help
    assert 'allow MC812 because "..."' in found.help


def test_several_things_are_one_finding() -> None:
    text = "qkv.* : (h t d) ... -> [t=q,k,v].* : (h d) ... where h = 2"
    (found,) = linted(text, QKV)
    order, sizes = found.message.split("; ")
    assert order == f"shapes cannot tell q from k from v: {ORDER}"
    sure = "shapes cannot tell the sizes of h and d: only 'where' does"
    assert sizes == f"{sure} (h = 1, 4, 8 would fit as well)"


@pytest.mark.parametrize(
    ("text", "shapes"),
    [
        ("{img,txt}.* -> {ff,ff_context}.*", {"img.w": [4, 4], "txt.w": [4, 4]}),
        ("w{q,k} -> {q,k}_proj", {"wq": [4, 4], "wk": [4, 4]}),
        ("qkv.* -> in_proj.*", QKV),
        ("qkv : (q + k) -> q : q, k : k where q = 8", {"qkv": [12]}),  # unequal pieces
        ("kv : (a + b) c -> kv : (a + b) c where a = b", {"kv": [8, 4]}),  # alike on both sides
        ("w : i o -> w : o i", {"w": [8, 4]}),
        ("w : i o -> w : i o", {"w": [8, 8]}),
        ("w : o i -> w : o i 1 1", {"w": [8, 8]}),
        ("v : c -> w : 1 1 c", {"v": [4]}),
        ("e.[e].w : o c -> w : e o c", {"e.0.w": [4, 4], "e.1.w": [4, 4]}),  # by number
        ("w : (h f 2) c -> w : h f 2 c where h = 2", {"w": [16, 3]}),
        ("[t=q,k] : d -> [t=a,b] : d", {"q": [4], "k": [4]}),  # names on both sides
        ("a : d -> b : h d where h = 3", {"a": [4]}),
        ("(g, v) | weight_norm -> w", {"g": [4, 1], "v": [4, 4]}),
    ],
)
def test_what_is_told(text: str, shapes: Shapes) -> None:
    assert linted(text, shapes) == []


def test_head_counts_that_the_target_tells() -> None:
    text = "w : (h f 2) c -> w : h 2 f c where h = 2"
    assert linted(text, {"w": [16, 3]}) == []


def test_only_the_tensors_of_which_it_is_true() -> None:
    text = "h.{i}.{a,b}.w : c o -> h.{i}.{a,b}.w : o c"
    shapes = {f"h.{i}.{name}.w": [4, 4] if name == "a" else [4, 8] for i in range(3) for name in "ab"}
    (found,) = linted(text, shapes)
    assert found.names == ("h.{0..2}.a.w",)


# --- allow, MC813

SPLIT = "qkv.* : (t d) ... -> [t=q,k,v].* : d ..."


@pytest.mark.parametrize(
    "text",
    [
        f'{SPLIT} allow MC812 because "compared"',
        f'{SPLIT} allow MC811, MC812, MC813 because "compared"',
        f'. -> . allow MC812 because "compared" {{\n{SPLIT}\n}}',
        f'. -> a allow MC812 because "compared" {{\n. -> b {{\n{SPLIT}\n}}\n}}',
    ],
)
def test_allowed(text: str) -> None:
    assert linted(text, QKV) == []


def test_allowed_on_a_drop() -> None:
    text = 'a -> b\ndrop b.x, b because "unused" allow MC811 because "known"'
    assert codes(linted(text.split(" allow")[0], {"a": [4], "b.x": [4]})) == ["MC811"]
    assert linted(text, {"a": [4], "b.x": [4]}) == []


def test_another_code_is_not_allowed() -> None:
    found = linted(f'{SPLIT} allow MC811 because "compared"', QKV)
    assert codes(found) == ["MC812", "MC813"]
    assert found[1].message == "nothing to allow: MC811 is not given here"
    assert found[1].span is not None
    assert found[1].span.text == 'allow MC811 because "compared"'


def test_that_of_a_block_has_its_use_in_one_of_its_rules() -> None:
    text = f'. -> . allow MC812 because "compared" {{\n{SPLIT}\nkeep norm\n}}'
    assert linted(text, {**QKV, "norm": [4]}) == []


def test_one_without_use_is_told_once() -> None:
    text = '. -> . allow MC812 because "x" {\nkeep a.{x,y}, b\ndrop c because "unused"\n}'
    found = linted(text, {"a.x": [4], "a.y": [4], "b": [4], "c": [4]})
    assert codes(found) == ["MC813"]


def test_it_may_have_its_use_with_other_key_sets() -> None:
    assert linted('keep a allow MC812, MC813 because "other variants"', {"a": [4]}) == []


# --- what is shipped

SHIPPED = [entry for entry in catalog() if entry.family != "moe"]  # 90,000 tensors take long


@pytest.mark.parametrize("entry", SHIPPED, ids=lambda entry: entry.name)
def test_the_shipped_mappings(entry: Entry) -> None:
    """Few findings, and of those places that a porter has to look at twice."""
    checked = check(entry.path, entry.pairs[0].source, entry.pairs[0].target)
    assert checked.bound is not None
    assert not checked.diagnostics
    found = lint(checked.bound)
    assert set(codes(found)) <= {"MC812"}
    assert len(found) <= 5
    assert all(d.names and d.message.startswith("shapes cannot tell") for d in found)
