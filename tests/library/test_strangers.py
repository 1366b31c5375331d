"""A mapping of the library over what is none of its models, a rank or a part of one; and over finetunes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import pytest

import mapcc
from mapcc import api
from mapcc.diagnostics.model import Diagnostic
from mapcc.library.catalog import Entry, catalog
from mapcc.library.strangers import strangers
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.safetensors import header_bytes
from mapcc.tensors.spec import Manifest, TensorSpec

Tensors = dict[str, TensorSpec]
META = "llama/meta_to_hf"


@pytest.fixture(scope="module")
def llama() -> Tensors:
    (entry,) = [each for each in catalog(families=["llama"]) if each.name == META]
    return dict(open_keyset(entry.pairs[0].source).tensors)


def found(tensors: Iterable[TensorSpec], mapping: str = META, **options: object) -> tuple[Diagnostic, ...]:
    keys = Manifest({spec.name: spec for spec in tensors}, (), "x", None, {})
    return mapcc.check(mapping, keys, **options).diagnostics  # type: ignore[arg-type]


def only(tensors: Iterable[TensorSpec], code: str) -> Diagnostic:
    (diagnostic,) = found(tensors)
    assert diagnostic.code == code
    assert "llama/meta_to_hf" in diagnostic.help
    return diagnostic


def smaller(tensors: Tensors) -> Tensors:
    """Half as wide, with the same vocabulary and heads."""
    return {
        name: spec._replace(shape=tuple(size // 2 if size <= 16384 else size for size in spec.shape))
        for name, spec in tensors.items()
    }


def rank(spec: TensorSpec) -> TensorSpec:
    """As one of two GPUs has it."""
    if len(spec.shape) < 2:
        return spec
    rows, columns = spec.shape
    if spec.name.endswith(("wo.weight", "w2.weight", "tok_embeddings.weight")):
        return spec._replace(shape=(rows, columns // 2))
    return spec._replace(shape=(rows // 2, columns))


def test_the_model_itself_and_finetunes_of_it(llama: Tensors) -> None:
    assert found(llama.values()) == ()
    small = smaller(llama)
    assert found(small.values()) == ()
    assert found(spec for spec in small.values() if "layers.31." not in spec.name) == ()
    assert found(spec._replace(dtype=DTYPES["F8_E4M3"]) for spec in llama.values()) == ()  # plain FP8
    assert found(spec._replace(dtype=None) for spec in llama.values()) == ()


def test_a_rank_of_a_published_model(llama: Tensors) -> None:
    diagnostic = only(map(rank, llama.values()), "MC419")
    assert "one of 2 ranks" in diagnostic.message
    assert "8b" in diagnostic.message
    assert "layers.{0..31}.attention.wo.weight" in diagnostic.names


def test_a_rank_of_another_size(llama: Tensors) -> None:
    diagnostic = only(map(rank, smaller(llama).values()), "MC419")
    assert "one of 2 ranks" in diagnostic.message


def test_a_rank_that_only_its_heads_betray(llama: Tensors) -> None:
    """Rows of the vocabulary are cut, as Llama 3 cuts them: another model could look like this."""
    small = smaller(llama)
    cut = [
        small[name]._replace(shape=(small[name].shape[0] // 2, small[name].shape[1]))
        if name in ("tok_embeddings.weight", "output.weight")
        else rank(small[name])
        for name in small
    ]
    diagnostic = only(cut, "MC417")
    assert "attention.wq.weight` has 1024" in diagnostic.notes[0]


def test_a_half_of_the_layers(llama: Tensors) -> None:
    second = [spec for spec in llama.values() if not re.match(r"layers\.(\d|1[0-5])\.", spec.name)]
    assert only(second, "MC419").names == ("layers.{0..15}",)
    gap = [spec for spec in llama.values() if not spec.name.startswith("layers.7.")]
    assert only(gap, "MC419").names == ("layers.7",)


def test_tensors_that_no_model_has_or_every_model(llama: Tensors) -> None:
    extra = TensorSpec("layers.0.attention_norm.bias", DTYPES["BF16"], (4096,))
    assert only([*llama.values(), extra], "MC417").notes[0] == "no model has: layers.0.attention_norm.bias"
    integers = [spec._replace(dtype=DTYPES["I8"]) if "w1" in spec.name else spec for spec in llama.values()]
    assert "w1.weight" in only(integers, "MC417").notes[0]


def test_under_a_prefix(llama: Tensors) -> None:
    other = TensorSpec("vae.weight", DTYPES["F32"], (2, 2))
    prefixed = [spec._replace(name=f"model.{spec.name}") for spec in llama.values()]
    assert found([*prefixed, other], under="model") == ()
    ranks = [spec._replace(name=f"model.{spec.name}") for spec in map(rank, llama.values())]
    assert [d.code for d in found([*ranks, other], under="model")] == ["MC419"]


def test_a_mapping_of_ones_own_asks_for_no_model(llama: Tensors) -> None:
    mine = mapcc.parse('use "llama/meta_to_hf"')
    assert mapcc.check(mine, Manifest(dict(llama), (), "x", None, {})).diagnostics == ()
    ranks = {name: rank(spec) for name, spec in llama.items()}
    assert mapcc.check(mine, Manifest(ranks, (), "x", None, {})).diagnostics == ()


def test_plan_says_so_too(llama: Tensors, tmp_path: Path) -> None:
    tiny = {name: spec._replace(shape=tuple(min(n, 256) for n in spec.shape)) for name, spec in llama.items()}
    tiny = {name: spec for name, spec in tiny.items() if not re.search(r"layers\.[1-9]", name)}
    head, places = header_bytes(
        [(name, DTYPES["BF16"], spec.shape) for name, spec in tiny.items()]
        + [("layers.0.ffn_norm.bias", DTYPES["BF16"], (256,))]
    )
    path = tmp_path / "model.safetensors"
    path.write_bytes(head + bytes(sum(end - begin for begin, end in places)))
    told: list[Diagnostic] = []
    api.make_plan(META, path, warned=told.extend)
    assert [diagnostic.code for diagnostic in told] == ["MC417"]
    with pytest.warns(UserWarning, match="MC417: the source is none of the 5 models"):
        api.make_plan(META, path)


def layers_fewer(tensors: Tensors) -> Tensors:
    """Without the second half of the layers, where they are all alike."""
    kinds: dict[str, dict[int, set[str]]] = {}
    for name in tensors:
        number = re.search(r"(?<=\.)\d+(?=\.)", name)
        if number:
            kinds.setdefault(name[: number.start()], {}).setdefault(int(number[0]), set()).add(
                name[number.end() :]
            )
    out = dict(tensors)
    for prefix, layers in kinds.items():
        count = len(layers)
        if (
            count > 3
            and sorted(layers) == list(range(count))
            and len(set(map(frozenset, layers.values()))) == 1
        ):
            behind = {f"{prefix}{number}" for number in range(count // 2, count)}
            out = {n: s for n, s in out.items() if not any(n.startswith(f"{b}.") for b in behind)}
    return out


@pytest.mark.slow
@pytest.mark.parametrize("entry", catalog(), ids=lambda entry: entry.name)
def test_finetunes_of_every_model_are_none_of_these(entry: Entry) -> None:
    for pair in entry.pairs[:2]:
        tensors = dict(open_keyset(pair.source).tensors)
        if len(tensors) > 5000:
            continue
        wide = {
            name: spec._replace(shape=tuple(size * 3 if size > 16 else size for size in spec.shape))
            for name, spec in tensors.items()
        }
        for finetune in (tensors, wide, layers_fewer(tensors)):
            assert strangers(entry.pairs, entry.name, finetune) == ()
