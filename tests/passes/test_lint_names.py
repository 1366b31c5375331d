"""Lint by solving and by words: other sizes that fit, siblings of a square matrix, crossed names."""

from __future__ import annotations

import pytest

from mapcc.diagnostics.model import Diagnostic
from tests.passes.test_lint import bind, codes, linted, of_four


@pytest.mark.parametrize(
    ("text", "shape", "fitting"),
    [
        ("(g (r + k)) c -> y : (g r + g k) c where g = 4, r = 2 * k", [48, 4], {"g": "1, 2, 8, 16"}),
        ("(g (r + k)) c -> y : (g r + g k) c where g = 4, k = 3", [48, 4], {"g": "1, 2, 3", "k": "1, 2, 4"}),
        ("(g (r + k)) c -> y : (g r + g k) c where g = 2, r = 8, k = 16", [48, 4], dict.fromkeys("grk", "1")),
        ("(g (r + k)) c -> y : (g r + g k) c where g = n, r = k", [48, 4], {"g": "1, 2, 3, 6, 8"}),
        ("(a + b) c -> y : (b + a) c where a = 12", [48, 4], {"a": "1, 2, 3"}),
        (
            "(h (q + k + v)) c -> y : (h q + h k + h v) c where h = 2, q = k = v",
            [48, 4],
            {"h": "1, 4, 8, 16"},
        ),
        ("(h d) c -> y : (d h) c where h = n", [12, 5], {"h": "1, 2, 3, 6, 12"}),
        ("(h f 2) -> y : (h 2 f) where h = 2", [16], {"h": "1, 4"}),
        ("(half m d) -> [m=a,b].l : (half d) where half = 6", [96], {"half": "1, 2, 3"}),
        ("c (g r) -> y : g (r c) where r = 3", [2, 12], {}),  # sizes of the target tell
        ("(g d) -> y : (g d) where g = 4", [48], {}),  # whatever it is, nothing moves
        ("(h d) -> y : (d h) where h = 12", [12], {"h": "2, 3, 4, 6"}),  # nothing moves now, but would
    ],
)
def test_other_sizes_that_fit_are_told(text: str, shape: list[int], fitting: dict[str, str]) -> None:
    found = [d for d in linted(f"let n = 4\nx : {text}", {"x": shape}) if "only 'where' does" in d.message]
    assert len(found) == bool(fitting)
    for atom, values in fitting.items():
        assert f"{atom} = {values}" in found[0].message
        assert found[0].message.endswith(" would fit as well)")


def test_each_size_that_is_told_fits_and_gives_other_elements() -> None:
    """The promise itself: the mapping with that size is clean, and means something else."""
    text = "x : (g (r + k)) c -> y : (g r + g k) c where g = {}, r = 2 * k"
    shapes = {"x": [48, 4]}
    (found,) = linted(text.format(4), shapes)
    told = found.message.split("g = ")[1].split(" would")[0].split(", ")
    moves = {n: bind(text.format(n), shapes).instances[0].layout.moves for n in (4, *map(int, told))}
    assert set(moves) == {1, 2, 4, 8, 16}
    assert len(set(moves.values())) == len(moves)


SIBLINGS = {"h.0.a.w": [8, 4], "h.0.b.w": [4, 8], "h.0.q.w": [4, 4], "h.1.q.w": [6, 6], "h.0.n.w": [4]}


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        ("h.{i}.{a,b}.w | transpose -> t.{i}.{a,b}.w\nh.{i}.q.w -> t.{i}.q.w", ["h.0.q.w"]),
        ("h.{i}.{a,b}.w -> t.{i}.{a,b}.w\nh.{i}.q.w | transpose -> t.{i}.q.w", ["h.{0,1}.q.w"]),
        ("h.{i}.{a,b}.w -> t.{i}.{a,b}.w\nh.{i}.q.w -> t.{i}.q.w", []),
        # Not all of them are transposed, or only one is there.
        ("h.{i}.a.w | transpose -> t.{i}.a.w\nh.{i}.{b,q}.w -> t.{i}.{b,q}.w", []),
        ('h.{i}.a.w | transpose -> t.{i}.a.w\nh.{i}.q.w -> t.{i}.q.w\ndrop h.{i}.b.w because "x"', []),
    ],
)
def test_a_square_matrix_beside_transposed_siblings(rules: str, said: list[str]) -> None:
    found = linted(f"{rules}\nkeep h.0.n.w", SIBLINGS)
    assert [name for d in found for name in d.names] == said
    assert set(codes(found)) <= {"MC812"}


def crossed(text: str, names: list[str]) -> list[Diagnostic]:
    return [d for d in linted(text, of_four(names)) if d.code == "MC818"]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.{q,k}.* -> a.{to_k,to_q}.*", ["a.q.w", "a.k.w"]),
        ("a.{q,k}_proj.w -> a.{attn_k,attn_q}.w", ["a.q_proj.w", "a.k_proj.w"]),
        ("self.{query,key}.w -> a.{wk,wq}.w", ["self.query.w", "self.key.w"]),
        ("m.{up,gate,down} -> f.{w1,w3,w2}", ["m.up", "m.gate", "m.down"]),
        ("f.{w1,w2,w3}.w -> m.{gate,up,down}_proj.w", ["f.w1.w", "f.w2.w", "f.w3.w"]),
        ("shift.w -> mod.scale.w\nscale.w -> mod.shift.w", ["shift.w", "scale.w"]),
        ("[t=wk,wv] : d -> [t=v,k] : d", ["wk", "wv"]),
        ("k : a, v : b -> to_v : a, to_k : b", ["k", "v"]),
        ("q -> a.k\nk -> a.q", ["q", "k"]),
    ],
)
def test_crossed_names_are_told(text: str, names: list[str]) -> None:
    first, *_ = crossed(text, names)
    assert first.message == "names are crossed: what is one thing in the source becomes another in the target"
    assert first.notes[0].endswith("are the names crossed?")
    lines = [f'{line} allow MC818 because "x"' for line in text.splitlines()]
    assert crossed("\n".join(lines), names) == []


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a.{q,k,v}.* -> a.to_{q,k,v}.*", ["a.q.w", "a.k.w", "a.v.w"]),
        ("f.{w1,w2,w3} -> m.{gate,down,up}", ["f.w1", "f.w2", "f.w3"]),
        ("f.{w1,w2} -> m.{up,gate}", ["f.w1", "f.w2"]),  # Qwen's own: w3 is not there
        ("mlp.gate.w -> router.w", ["mlp.gate.w"]),
        ("kv.k.w -> a.kv_k.w", ["kv.k.w"]),
        ("{down,up}.w -> lora_{A,B}.w", ["down.w", "up.w"]),
        ("q.norm_k.w -> k_norm.w", ["q.norm_k.w"]),  # several words: no telling
        ("[t=q,k,v] : d -> qkv : (t d)", ["q", "k", "v"]),
        ("a.q.scale -> a.norm_q.weight", ["a.q.scale"]),
    ],
)
def test_names_that_say_the_same_or_nothing(text: str, names: list[str]) -> None:
    assert crossed(text, names) == []
