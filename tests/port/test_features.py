"""Features of a fused, split or permuted layer are where the moves say: shown on the layers themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import mapcc
from mapcc.port.pairs import pairs_of
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.spec import Manifest, TensorSpec

pytestmark = pytest.mark.converts

# Official layers with their sizes of rows, in terms of what is drawn; what the mapping makes of them.
RULES = {
    "renamed": ({"a": "r"}, "a.weight -> b.weight"),
    "split": ({"a": "3*r"}, "a.weight : (t r) c -> [t=q,k,v].weight : r c"),
    "split by heads": ({"a": "3*h*r"}, "a.weight : (h t r) c -> [t=q,k,v].weight : (h r) c where h = {h}"),
    "fused": ({"q": "r", "k": "r"}, "[t=q,k].weight : r c -> qk.weight : (t r) c"),
    "interleaved": ({"q": "r", "k": "r"}, "[t=q,k].weight : r c -> qk.weight : (r t) c"),
    "of unequal sizes": (
        {"q": "h*r", "k": "r"},
        "q.weight : (h r) c, k.weight : r c -> qk.weight : (h r + r) c where h = {h}",
    ),
    "rotary": ({"a": "h*2*r"}, "a.weight : (h r two) c -> b.weight : (h two r) c where h = {h}, two = 2"),
    "halves": ({"a": "2*r"}, "a.weight : (s + t) c -> b.weight : (t + s) c where s = t"),
    "columns": ({"a": "r"}, "a.weight : r (c d) -> b.weight : r (d c) where c = 2"),
}


def linear(rows: int, columns: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, columns))


@pytest.mark.parametrize("kind", RULES)
@given(st.integers(1, 4), st.integers(1, 3), st.integers(1, 3))
def test_outputs_and_inputs(kind: str, r: int, h: int, c: int) -> None:
    from torch import nn

    columns = 2 * c
    layers, rule = RULES[kind]
    sizes = {name: eval(size, {"r": r, "h": h}) for name, size in layers.items()}
    weights = {name: linear(size, columns, at) for at, (name, size) in enumerate(sizes.items())}
    specs = {f"{n}.weight": TensorSpec(f"{n}.weight", DTYPES["F32"], w.shape) for n, w in weights.items()}
    checked = mapcc.check(mapcc.parse(rule.format(h=h)), Manifest(specs, (), "", None, {}))
    assert checked.bound is not None
    assert checked.ok, checked.diagnostics
    bound = checked.bound
    made = {
        name: np.empty(instance.layout.target_shapes[number])
        for name, (instance, number) in bound.given.items()
    }
    for name, (instance, number) in bound.given.items():
        for move in instance.layout.moves:
            if move.target == number:
                source = weights[instance.sources[move.source][-1].removesuffix(".weight")].reshape(-1)
                index = np.indices([size for size, _, _ in move.dims]).reshape(len(move.dims), -1).T
                at = move.source_offset + index @ np.array([d[1] for d in move.dims], int)
                to = move.target_offset + index @ np.array([d[2] for d in move.dims], int)
                made[name].reshape(-1)[to] = source[at]
    official = {name: nn.Linear(columns, size) for name, size in sizes.items()}
    ported = {name.removesuffix(".weight"): nn.Linear(1, 1) for name in made}
    pairs = pairs_of(bound, official, ported, {})
    x = linear(1, columns, 99)[0]
    outputs = {name: weight @ x for name, weight in weights.items()}
    for name, owner in pairs.owners.items():
        given_features = owner.into[0]
        own = np.empty(columns)
        own[given_features.ported_index] = x[given_features.official_index]
        y = made[f"{name}.weight"] @ own
        covered = 0
        for features in owner.out:
            np.testing.assert_allclose(
                y[features.ported_index], outputs[features.official][features.official_index]
            )
            covered += len(features.ported_index)
        assert covered == len(y)


def test_a_transposed_matrix_says_nothing_of_features() -> None:
    from torch import nn

    spec = TensorSpec("a.weight", DTYPES["F32"], (4, 4))
    source = Manifest({"a.weight": spec}, (), "", None, {})
    bound = mapcc.check(mapcc.parse("a.weight : x y -> b.weight : y x"), source).bound
    assert bound is not None
    pairs = pairs_of(bound, {"a": nn.Linear(4, 4)}, {"b": nn.Linear(4, 4)}, {})
    assert pairs.owners["b"].out == ()
    assert pairs.owners["b"].officials == ("a",)
