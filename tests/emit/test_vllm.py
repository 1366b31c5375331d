"""The emitted ``WeightsMapper``: what it says, what it refuses, and that it is data."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given

from mapcc.dialects.vllm.read import read_vllm
from mapcc.emit.vllm import emit_vllm
from mapcc.text import Source
from tests.faults import nasty
from tests.faults.counts import inputs, randomness

from .test_properties import by_moves, mappings

LAYERS = range(3)
DATA = (
    ast.Module,
    ast.Import,
    ast.ImportFrom,
    ast.alias,
    ast.Assign,
    ast.Name,
    ast.Store,
    ast.Load,
    ast.Call,
)
DATA = (*DATA, ast.keyword, ast.Attribute, ast.Dict, ast.Tuple, ast.Constant)


@dataclass
class WeightsMapper:
    """vLLM's class in a few lines; ``test_vllm_oracle.py`` has itself."""

    orig_to_new_regex: dict = field(default_factory=dict)
    orig_to_new_substr: dict = field(default_factory=dict)
    orig_to_new_stacked: dict = field(default_factory=dict)
    orig_to_new_prefix: dict = field(default_factory=dict)
    orig_to_new_suffix: dict = field(default_factory=dict)

    def apply(self, name: str):
        shard = None
        for pattern, new in self.orig_to_new_regex.items():
            if pattern.search(name):
                if new is None:
                    return None, None
                name = pattern.sub(new, name)
        for old, (new, own) in self.orig_to_new_stacked.items():
            if old in name:
                name, shard = name.replace(old, new, 1), own
        for old, new in self.orig_to_new_prefix.items():
            if name.startswith(old):
                name = new + name[len(old) :]
        return name, shard


def run(text: str, cls: type = WeightsMapper):
    """The mapper that a text makes; it is a call with literals in it, and nothing else."""
    assert text.isascii()
    module = ast.parse(text)
    assert all(isinstance(node, DATA) for node in ast.walk(module))
    assert {ast.unparse(n.func) for n in ast.walk(module) if isinstance(n, ast.Call)} <= {
        "WeightsMapper",
        "re.compile",
    }
    *imports, statement = module.body
    assert [ast.unparse(each) for each in imports] == [
        "import re",
        "from vllm.model_executor.models.utils import WeightsMapper",
    ]
    namespace = {"re": re, "WeightsMapper": cls, "__builtins__": {}}
    exec(compile(ast.Module([statement], []), "emitted", "exec"), namespace)
    return namespace["hf_to_vllm_mapper"]


LLAMA = """\
model.layers.{i}.self_attn.[t=q,k,v]_proj.* : d ... -> model.layers.{i}.self_attn.qkv_proj.* : (t d) ...
model.layers.{i}.mlp.gate_proj.weight : a c, model.layers.{i}.mlp.up_proj.weight : b c
    -> model.layers.{i}.mlp.gate_up_proj.weight : (a + b) c
keep model.layers.{i}.mlp.down_proj.weight
drop model.layers.{i}.self_attn.rotary.inv_freq because "vLLM computes it"
model.norm.* -> model.final.*
"""
PARTS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "mlp.gate_proj", "mlp.up_proj")
SHAPES = {f"model.layers.{i}.{part}.weight": (2, 3) for i in LAYERS for part in (*PARTS, "mlp.down_proj")}
SHAPES |= {f"model.layers.{i}.self_attn.rotary.inv_freq": (2,) for i in LAYERS}
SHAPES |= {"model.norm.weight": (3,)}


def test_a_model(bind) -> None:
    emitted = emit_vllm(bind(LLAMA, SHAPES))
    mapper = run(emitted.text)
    assert {pattern.pattern: new for pattern, new in mapper.orig_to_new_regex.items()} == {
        r"^model\.layers\.(0|[1-9][0-9]*)\.self_attn\.rotary\.inv_freq$": None,
        r"^model\.norm\.([^.]+)$": r"model.final.\1",
    }
    assert mapper.orig_to_new_stacked == {
        ".q_proj.": (".qkv_proj.", "q"),
        ".k_proj.": (".qkv_proj.", "k"),
        ".v_proj.": (".qkv_proj.", "v"),
        ".gate_proj.": (".gate_up_proj.", 0),
        ".up_proj.": (".gate_up_proj.", 1),
    }
    assert not mapper.orig_to_new_prefix
    assert read_vllm(Source("m.py", emitted.text)).rules[1].new is None


@pytest.mark.parametrize(
    ("mapping", "shapes", "reason"),
    [
        ("a | transpose -> b", {"a": (2, 3)}, "reorder the elements"),
        ("a : (x + y) c -> p : x c, q : y c where x = 1", {"a": (2, 3)}, "split a tensor"),
        ("a | cast bf16 -> b", {"a": (2, 3)}, "cast to another type"),
        ("a | scale 2 -> b", {"a": (2, 3)}, "compute values (scale)"),
        ("p.[e].w -> w : e ...", {"p.0.w": (2,), "p.1.w": (2,)}, "stack tensors on a new axis"),
        ("a : r c, b : r d -> w : r (c + d)", {"a": (2, 3), "b": (2, 3)}, "concatenate along dimension 1"),
    ],
)
def test_what_is_refused(bind, mapping: str, shapes, reason: str) -> None:
    emitted = emit_vllm(bind(mapping, shapes))
    [found] = emitted.diagnostics
    assert found.code == "MC601"
    assert found.message.startswith(f"vLLM's WeightsMapper cannot {reason}")
    assert "mapcc convert" in found.help
    assert not emitted.text
    assert emitted.table is None


@pytest.mark.parametrize(
    "mapping",
    [
        "a.{i} -> b.{i}\nb.{i} -> a.{i}",
        "a.{i} -> b.{i}\nb.{i} -> c.{i}",
        "b.{i} -> c.{i}\na.{i} -> b.{i}",
        "a.{i} -> a.{i+1}\nb.{i} -> b.{i}",
        "a.{n-1-i} -> a.{i} where n = count(a.{j})\nkeep b.*",
        "default {\n    ** -> x.**\n}\na.{i} -> b.{i}",
        'default {\n    drop ** because "nobody needs it"\n}\na.{i} -> b.{i}',
        'a.{i} -> b.{i}\ndrop b.{i} because "old"',
        "a.0 : p, a.1 : q, a.2 : r -> b : (p + q + r)\nkeep b.{i}",
        "a.0 : p, a.1 : q -> a : (p + q)\na.2 -> a.0\nb.{i} -> a.{i+1}",
    ],
)
def test_entries_do_not_act_on_each_other(bind, mapping: str) -> None:
    bound = bind(mapping, {f"{name}.{i}": (2,) for name in "ab" for i in LAYERS})
    emitted = emit_vllm(bound)
    assert emitted.ok, emitted.diagnostics
    check(bound, run(emitted.text))


def check(bound, mapper) -> None:
    """The mapper's tensors are those that the moves give."""
    start, tensors = 0, {}
    for name, spec in bound.source.tensors.items():
        tensors[name] = np.arange(start, start + spec.numel).reshape(spec.shape)
        start += spec.numel
    parts: dict[str, list] = {}
    for name, tensor in tensors.items():
        new, shard = mapper.apply(name)
        assert (new is None) == (name in bound.dropped)
        if new is not None:
            parts.setdefault(new, []).append(
                ("qkv".index(shard) if isinstance(shard, str) else shard, tensor)
            )
    wanted = by_moves(bound, tensors)
    assert parts.keys() == wanted.keys()
    for name, own in parts.items():
        if len(own) > 1:
            assert sorted(place for place, _ in own) == list(range(len(own)))
            own = [(None, np.concatenate([tensor for _, tensor in sorted(own, key=lambda each: each[0])]))]
        np.testing.assert_array_equal(own[0][1], wanted[name])


@pytest.mark.slow
@given(mappings())
def test_the_mapper_moves_what_the_mapping_moves(bind, case) -> None:
    bound = bind(*case)
    emitted = emit_vllm(bound)
    assert emitted.ok, emitted.diagnostics
    check(bound, run(emitted.text))


def test_nasty_names(bind) -> None:
    draw = randomness()
    wanted = inputs(1_000, 10_000)
    tried = 0
    while tried < wanted:
        names = sorted({f"{at}{nasty.name(draw, [*nasty.PRINTED, '@', '=>'])}" for at in range(9)})
        tried += len(names)
        first, second, *rest = (json.dumps(name) for name in names)
        rules = [f"{name} -> {json.dumps('new' + json.loads(name))}" for name in rest]
        rules.append(f"{first} : a, {second} : b -> {json.dumps('both' + names[0])} : (a + b)")
        text = "\n".join(['separator source "§"', 'separator target "§"', *rules])
        bound = bind(text, dict.fromkeys(names, (2,)))
        emitted = emit_vllm(bound)
        assert emitted.ok, emitted.diagnostics
        check(bound, run(emitted.text))
