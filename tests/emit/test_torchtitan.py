"""torchtitan's ``from_hf_map``: read, run, emitted, and held against the adapters' own loops."""

from __future__ import annotations

import ast
import json
import re
import zipfile
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mapcc.dialects.torchtitan.read import of_mapping, read_torchtitan
from mapcc.dialects.torchtitan.table import TitanTable
from mapcc.emit.torchtitan import emit_torchtitan
from mapcc.errors import MappingError
from mapcc.ir.axes import Atom, Rest
from mapcc.text import Source
from tests.faults import nasty
from tests.faults.counts import inputs, randomness

from .conftest import keys

VERSION = "0.3.0"
SHA256 = "5563ccf9a295b24e00a36087149e9c2d0686cecbd3972c31e67227029293af42"
ADAPTERS = {
    "llama3": "Llama3StateDictAdapter",
    "qwen3": "Qwen3StateDictAdapter",
    "gpt_oss": "GptOssStateDictAdapter",
    "deepseek_v3": "DeepSeekV3StateDictAdapter",
}
EXPERTS = 2

MAPPING = """\
model.embed_tokens.* -> tok_embeddings.*
model.layers.{i}.self_attn.{q,k}_proj.* -> layers.{i}.attention.w{q,k}.*
drop model.layers.{i}.self_attn.rotary_emb.inv_freq because "torchtitan computes it"
keep lm_head.weight
"""
SHAPES = {f"model.layers.{i}.self_attn.{name}_proj.weight": (2, 3) for i in range(12) for name in "qk"}
SHAPES |= {f"model.layers.{i}.self_attn.rotary_emb.inv_freq": (2,) for i in range(12)}
SHAPES |= {"model.embed_tokens.weight": (5, 3), "lm_head.weight": (5, 3)}


def table_of(text: str) -> dict[str, str | None]:
    """The dict that a text assigns: literals, and nothing else."""
    assert text.isascii()
    [statement] = ast.parse(text).body
    assert isinstance(statement, ast.Assign)
    return ast.literal_eval(statement.value)


def test_a_model(bind) -> None:
    emitted = emit_torchtitan(bind(MAPPING, SHAPES))
    assert emitted.table == table_of(emitted.text)
    assert emitted.table == {
        "model.embed_tokens.weight": "tok_embeddings.weight",
        "model.layers.{}.self_attn.q_proj.weight": "layers.{}.attention.wq.weight",
        "model.layers.{}.self_attn.k_proj.weight": "layers.{}.attention.wk.weight",
        "model.layers.{}.self_attn.rotary_emb.inv_freq": None,
        "lm_head.weight": "lm_head.weight",
    }
    assert "it gives each name back" in emitted.text


def test_a_table_that_cannot_be_read_backwards(bind) -> None:
    bound = bind(
        "layers.{i}.{j}.w -> layers.{j}.{i}.w", {f"layers.{i}.{j}.w": () for i in "01" for j in "02"}
    )
    emitted = emit_torchtitan(bound)
    assert emitted.table == {"layers.{}.0.w": "layers.0.{}.w", "layers.{}.2.w": "layers.2.{}.w"}
    assert "it does not give these names back" in emitted.text


@pytest.mark.parametrize(
    ("mapping", "names", "reason"),
    [
        ("layers.{i}.a | transpose -> layers.{i}.b", ["layers.0.a"], "reorder the elements"),
        ("layers.{i}.a -> layers.{i+1}.a", ["layers.0.a", "layers.1.a"], "change the first number"),
        ("layers.a -> layers.b", ["layers.a"], "say a name with 'layers' and no number"),
        ("layers.{i}.[e].a -> layers.{i}.a : e ...", ["layers.0.0.a", "layers.0.1.a"], "stack tensors on"),
        ("a.0 : p c, a.1 : q c -> b : (p + q) c", ["a.0", "a.1"], "concatenate tensors"),
    ],
)
def test_what_is_refused(bind, mapping: str, names: list[str], reason: str) -> None:
    emitted = emit_torchtitan(bind(mapping, dict.fromkeys(names, (2, 3))))
    [found] = emitted.diagnostics
    assert found.code == "MC601"
    assert found.message.startswith(f"torchtitan's from_hf_map cannot {reason}")
    assert "mapcc convert" in found.help
    assert emitted.table is None


PIECES = st.sampled_from(
    ["layers", "a", "7", "0", "12", "{}", "{", "}", "{0}", "mlp.experts", "'", "\\", "é"]
)
SEGMENTS = st.lists(PIECES, min_size=1, max_size=3).map("".join)
NAMES = st.lists(SEGMENTS, min_size=1, max_size=4).map(".".join)


@given(st.dictionaries(NAMES, NAMES, min_size=1, max_size=6).filter(lambda d: len(set(d.values())) == len(d)))
def test_any_names(bind, names: dict[str, str]) -> None:
    """Names that the loop takes as they are, and such that it does not: said, or refused."""
    rules = [f"{json.dumps(old)} -> {json.dumps(new)}" for old, new in names.items()]
    text = "\n".join(['separator source "§"', 'separator target "§"', *rules])
    emitted = emit_torchtitan(bind(text, dict.fromkeys(names, (2,))))
    if not emitted.ok:
        assert {found.code for found in emitted.diagnostics} == {"MC601"}
        return
    table = table_of(emitted.text)
    for old, new in names.items():
        assert looked_up(table, old) == new


def looked_up(table: dict[str, str | None], name: str) -> str | None:
    """The loop of llama3's adapter in three lines."""
    if "layers" not in name:
        return table[name]
    value = table[re.sub(r"(\d+)", "{}", name, count=1)]
    return None if value is None else value.format(re.search(r"\d+", name)[0])


def test_nasty_names(bind) -> None:
    draw = randomness()
    tried = 0
    while tried < inputs(500, 5_000):
        names = sorted({f"{at}{nasty.name(draw, nasty.PRINTED)}" for at in range(10)})
        tried += len(names)
        rules = [f"{json.dumps(name)} -> {json.dumps('new' + name)}" for name in names]
        text = "\n".join(['separator source "§"', 'separator target "§"', *rules])
        emitted = emit_torchtitan(bind(text, dict.fromkeys(names, (2,))))
        assert emitted.ok, emitted.diagnostics
        assert table_of(emitted.text) == {name: f"new{name}" for name in names}


# --- reading

ADAPTER = """
class A(StateDictAdapter):
    def __init__(self, config):
        self.from_hf_map = {
            "m.layers.{}.q": "layers.{}.wq",
            "m.layers.{}.v": "layers.{}.wv",
            "m.layers.{}.mlp.experts.{}.w": "layers.{}.w_EFD",
            "m.norm": None,
        }
        if config.more:
            self.from_hf_map.update({"m.x": "x"})

    def from_hf(self, state):
        for key, value in state.items():
            if "layers" in key:
                abstract = re.sub(r"(\\d+)", "{}", key, count=1)
                if abstract == "m.layers.{}.q":
                    value = self._permute(value)
"""


def test_what_an_adapter_does_besides() -> None:
    table = read_torchtitan(Source("adapter.py", ADAPTER))
    assert [(code.text, code.keys) for code in table.code] == [
        ("`self.from_hf_map.update({'m.x': 'x'})`", ()),
        ("`self._permute(value)`", ("m.layers.{}.q",)),
    ]
    names = ["m.layers.0.q", "m.layers.0.v", "m.norm", "m.x"]
    names += [f"m.layers.0.mlp.experts.{k}.w" for k in (0, 2, 1, 10, 3, 4, 5, 6, 7, 8, 9)]
    outcome = table.run(keys(dict.fromkeys(names, (2, 3))), None)
    assert outcome.dropped == {"m.norm": 3}
    assert [(fault.code, fault.names) for fault in outcome.faults] == [
        ("MC809", ()),
        ("MC809", ("m.layers.0.q",)),
        ("MC809", ("m.x",)),
    ]
    renamed, stacked = outcome.made
    assert renamed.right[0].names == ("layers.0.wv",)
    assert stacked.left[0].names == tuple(f"m.layers.0.mlp.experts.{k}.w" for k in range(11))
    assert stacked.left[0].axis == "e"
    assert stacked.right[0].shape == (Atom("e"), Rest())
    assert [sketch.rule for sketch in table.sketches()] == [
        "",
        "m.layers.{i}.v -> layers.{i}.wv",
        "m.layers.{i}.mlp.experts.[e].w : ... -> layers.{i}.w_EFD : e ...",
        'drop m.norm because "torchtitan leaves it out"',
    ]


def test_an_expert_that_is_missing() -> None:
    table = of_mapping({"layers.{}.mlp.experts.{}.w": "layers.{}.w"})
    [fault] = table.run(keys({f"layers.0.mlp.experts.{k}.w": (2,) for k in (0, 2)}), None).faults
    assert (fault.code, fault.message) == ("MC806", "the experts of `layers.0.w` are 0, 2")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "assigns nothing to `from_hf_map`"),
        ("from_hf_map = {f'{p}a': 'b'}", "would have to be run"),
        ("from_hf_map = [1]", "is not a dict"),
        ("from_hf_map = {'a': 1}", "is no entry"),
        ("(", "is not Python"),
        (
            "class A:\n from_hf_map = {}\nclass B:\n from_hf_map = {}",
            "has several: A.from_hf_map, B.from_hf_map",
        ),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(MappingError) as caught:
        read_torchtitan(Source("adapter.py", text))
    [found] = caught.value.diagnostics
    assert found.code == "MC003"
    assert message in found.message


# --- the adapters themselves


@pytest.fixture(scope="module")
def adapters(wheel) -> dict[str, str]:
    with zipfile.ZipFile(wheel("torchtitan", VERSION, SHA256)) as archive:
        return {
            model: archive.read(f"torchtitan/models/{model}/state_dict_adapter.py").decode()
            for model in ADAPTERS
        }


class Base:
    """What the adapters inherit, without torch: tensors are names here."""

    def __init__(self, config: Any, path: str | None) -> None:
        self.model_config = config
        self.local_experts_indices: dict[str, object] = {}

    def _validate_hf_rope_config(self, cls: object) -> None:
        pass

    def _concatenate_expert_weights(self, experts, key: str, layer: str, count: int):
        found = experts[layer][key]
        return tuple(found[k] for k in sorted(found)) if len(found) == count else None


def adapter(text: str, name: str) -> Any:
    """An adapter's class, taken out of its module, which imports all of torchtitan."""
    [found] = [node for node in ast.parse(text).body if isinstance(node, ast.ClassDef) and node.name == name]
    unused = dict.fromkeys(("ComplexRoPE", "CosSinRoPE"), SimpleNamespace(Config=None))
    models = {
        f"{model}Model": SimpleNamespace(Config=object)
        for model in ("Llama3", "Qwen3", "GptOss", "DeepSeekV3")
    }
    namespace: dict[str, Any] = {"re": re, "Any": Any, "StateDictAdapter": Base, "MoEStateDictAdapter": Base}
    namespace |= {"HuggingFaceStorageReader": object, "DTensor": type("DTensor", (), {}), **unused, **models}
    exec(compile(ast.Module([found], []), name, "exec"), namespace)
    attention = SimpleNamespace(n_heads=1, n_kv_heads=1, head_dim=1, q_lora_rank=1)
    layer = SimpleNamespace(attention=attention, moe=SimpleNamespace(num_experts=EXPERTS))
    config = SimpleNamespace(layers=[layer] * 64, enable_weight_tying=False, dim=1, mtp_layers=[])
    made = namespace[name](config, None)
    made._reverse_permute = lambda value, *_: value
    return made


def checkpoint(table: TitanTable) -> list[str]:
    """Names with two layers and all experts for every key."""
    names = {
        key.replace("{}", layer, 1).replace("{}", str(expert), 1): None
        for key in table.table
        for layer in ("0", "13")
        for expert in range(EXPERTS)
    }
    return list(names)


@pytest.mark.oracle
@pytest.mark.network
@pytest.mark.parametrize("model", ADAPTERS)
def test_their_own_tables(adapters: dict[str, str], model: str) -> None:
    theirs = adapter(adapters[model], ADAPTERS[model])
    table = of_mapping(theirs.from_hf_map)
    read = read_torchtitan(Source("adapter.py", adapters[model]))
    assert read.table.items() <= table.table.items()
    assert read.numbered == "layers"
    names = checkpoint(table)
    outcome = table.run(keys(dict.fromkeys(names, (2, 3))), None)
    assert not outcome.faults
    ours = {made.right[0].names[0]: made.left[0].names for made in outcome.made}
    given = theirs.from_hf({name: name for name in names})
    assert ours == {new: old if isinstance(old, tuple) else (old,) for new, old in given.items()}
    for name in ("model.unknown", "model.layers.3.unknown", "model.layers.unknown"):
        assert table.way(name).fault


@pytest.mark.oracle
@pytest.mark.network
def test_an_emitted_table_in_their_loop(adapters: dict[str, str], bind) -> None:
    theirs = adapter(adapters["llama3"], ADAPTERS["llama3"])
    bound = bind(MAPPING, SHAPES)
    theirs.from_hf_map = table_of(emit_torchtitan(bound).text)
    given = theirs.from_hf({name: name for name in SHAPES})
    assert given == {new: instance.sources[number][0] for new, (instance, number) in bound.given.items()}
