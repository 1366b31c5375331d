"""Random mappings within the dialect: the emitted dict, run as FastVideo runs it, moves the same bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mapcc.emit import emit_fastvideo
from mapcc.emit.pysource import read_dict
from mapcc.ir.bound import BoundMapping
from mapcc.ir.notation import quote

Shapes = dict[str, tuple[int, ...]]

# Roots that tell whether names are quoted; none is a prefix of another up to a separator.
ROOTS = ["blocks", "a-b", "x$", "q'", 'd"', r"b\g<1>", "[t]", "1", "\u00e9"]
PARAMETERS = ["weight", "bias", "1", r"\1"]


@st.composite
def mappings(draw) -> tuple[str, Shapes]:
    """A rule or two for each of some roots, and the tensors that they take."""
    lines: list[str] = []
    shapes: Shapes = {}
    for root in draw(st.lists(st.sampled_from(ROOTS), min_size=1, max_size=4, unique=True)):
        kind = draw(st.sampled_from(KINDS))
        layers = draw(st.integers(1, 4) | st.just(11))
        parameters = draw(st.lists(st.sampled_from(PARAMETERS), min_size=1, max_size=2, unique=True))
        rules, tails = kind(quote(root), draw)
        lines += rules
        for layer in range(layers):
            for tail, rows in tails:
                for parameter in parameters:
                    extra = draw(st.sampled_from([(), (2,), (3, 1)]))
                    shapes[f"{root}.{layer}.{tail}.{parameter}"] = (rows, *extra)
    shapes = same_rank(shapes)
    if draw(st.booleans()):
        lines = ["default {", "    ** -> rest.**", "}", *lines]
        shapes["other.weight"] = (2,)
    return "\n".join(lines) + "\n", shapes


def same_rank(shapes: Shapes) -> Shapes:
    """Tensors that may be concatenated differ in their first dimension alone."""
    rests: dict[str, tuple[int, ...]] = {}
    return {
        name: (shape[0], *rests.setdefault(re.sub(r"\.p[^.]*\.", ".", name), shape[1:]))
        for name, shape in shapes.items()
    }


def rename(root, draw):
    return [f"{root}.{{i}}.a.* -> new.{root}.{{i}}0.*"], [("a", 2)]


def keep(root, draw):
    return [f"keep {root}.**"], [("a", 2)]


def parted(root, draw):
    return [f"{root}.{{i}}.x*y.* -> new.{root}.*_{{i}}.*"], [("xzy", 2), ("xy", 1)]


def deep(root, draw):
    return [f"{root}.{{i}}.** -> new.{root}.{{i}}.**"], [("a.b", 2), ("c", 3)]


def reversed_(root, draw):
    return [f"{root}.{{n-1-i}}.** -> new.{root}.{{i}}.** where n = count({root}.{{j}})"], [("a", 2)]


def parity(root, draw):
    rules = [
        f"{root}.{{i}}.** -> new.{root}.{name}.{{i}}.** where i % 2 == {k}" for k, name in enumerate("eo")
    ]
    return [*rules[:1], rules[1] + " optional"], [("a", 2)]


def axis(root, draw):
    return [f"{root}.{{i}}.[t=pq,pk,pv].* : d ... -> new.{root}.{{i}}.qkv.* : (t d) ..."], [
        ("pq", 2),
        ("pk", 2),
        ("pv", 2),
    ]


def unequal(root, draw):
    order = draw(st.permutations("qkv"))
    left = ", ".join(f"{root}.{{i}}.p{name}.* : {name} ..." for name in order)
    return [f"{left} -> new.{root}.{{i}}.* : (q + k + v) ..."], [("pq", 3), ("pk", 1), ("pv", 2)]


def cat(root, draw):
    return [f"({root}.{{i}}.pa.*, {root}.{{i}}.pb.*) | cat -> new.{root}.{{i}}.*"], [("pa", 2), ("pb", 5)]


def experts(root, draw):
    count = draw(st.integers(1, 12))
    rule = f"{root}.{{i}}.p[e].* : o ... -> new.{root}.{{i}}.experts.* : (e o) ..."
    return [rule], [(f"p{k}", 2) for k in range(count)]


KINDS = [rename, keep, parted, deep, reversed_, parity, axis, unequal, cat, experts]


def by_moves(bound: BoundMapping, tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The target as the moves make it: a reference of five lines."""
    out: dict[str, np.ndarray] = {}
    for instance in bound.instances:
        targets = [np.full(int(np.prod(shape)), -1) for shape in instance.layout.target_shapes]
        for move in instance.layout.moves:
            source, target = np.array(move.source_offset), np.array(move.target_offset)
            for size, source_stride, target_stride in move.dims:
                source = source[..., None] + np.arange(size) * source_stride
                target = target[..., None] + np.arange(size) * target_stride
            targets[move.target][target] = tensors[instance.sources[move.source][0]].reshape(-1)[source]
        for name, flat, shape in zip(instance.targets, targets, instance.layout.target_shapes, strict=True):
            out[name] = flat.reshape(shape)
    return out


def by_table(table, tensors: dict[str, np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    """FastVideo's two functions in a few lines; every target that is not complete is missing."""
    waiting: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in tensors.items():
        for pattern, entry in table.items():
            if re.match(pattern, name):
                template, *place = entry if isinstance(entry, tuple) else (entry,)
                target = re.sub(pattern, template, name)
                break
        else:
            target, place = name, []
        if not place:
            yield target, tensor
            continue
        group = waiting.setdefault(target, {})
        group[place[0]] = tensor
        if len(group) == place[1]:
            del waiting[target]
            yield target, np.concatenate([group[k] for k in range(place[1])])


@given(mappings())
def test_the_dict_moves_what_the_mapping_moves(bind, case) -> None:
    text, shapes = case
    bound = bind(text, shapes)
    emitted = emit_fastvideo(bound)
    assert emitted.ok, emitted.diagnostics
    table = dict(read_dict(emitted.text, "param_names_mapping"))
    assert list(table.items()) == list(emitted.table.items())
    start = 0
    tensors: dict[str, np.ndarray] = {}
    for name, shape in shapes.items():
        tensors[name] = np.arange(start, start + int(np.prod(shape))).reshape(shape)
        start += int(np.prod(shape))
    wanted = by_moves(bound, tensors)
    given_ = list(by_table(table, tensors))
    assert len(given_) == len(dict(given_)), "a target given twice"
    assert dict(given_).keys() == wanted.keys()
    for name, tensor in given_:
        np.testing.assert_array_equal(tensor, wanted[name])
