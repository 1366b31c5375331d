"""Outputs that are wrong as converters are wrong: each has to be found, and told where."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mapcc.errors import MappingError
from mapcc.tensors.keysets import open_keyset
from mapcc.verify import compare

Bench = Any
Arrays = dict[str, np.ndarray]
Pack = Callable[[Arrays], Any]

RULE = "layers.{i}.qkv : (q + k + v) c -> blocks.{i}.q : q c, blocks.{i}.kv : (k + v) c where q = k = v"


def source(layers: int = 3, size: int = 8) -> Arrays:
    generator = np.random.default_rng(5)
    shape = (3 * size, size)
    return {f"layers.{i}.qkv": generator.standard_normal(shape).astype("f4") for i in range(layers)}


def output(arrays: Arrays, size: int = 8) -> Arrays:
    out: Arrays = {}
    for i in range(len(arrays)):
        out[f"blocks.{i}.q"] = arrays[f"layers.{i}.qkv"][:size].copy()
        out[f"blocks.{i}.kv"] = arrays[f"layers.{i}.qkv"][size:].copy()
    return out


def flip(out: Arrays) -> None:
    out["blocks.1.q"].view("u1")[3, 9] ^= 1


def swap_rows(out: Arrays) -> None:
    out["blocks.1.q"][[2, 5]] = out["blocks.1.q"][[5, 2]]


def transpose(out: Arrays) -> None:
    out["blocks.1.q"] = out["blocks.1.q"].T.copy()


def swap_halves(out: Arrays) -> None:
    out["blocks.1.kv"] = np.roll(out["blocks.1.kv"], 8, axis=0)


def stale(out: Arrays) -> None:
    out["blocks.1.q"] = out["blocks.0.q"].copy()


def off_by_one(out: Arrays) -> None:
    """The border between q and k is one row too far."""
    out["blocks.1.kv"][0] = out["blocks.1.q"][-1]


def last_element(out: Arrays) -> None:
    out["blocks.1.kv"][-1, -1] += 1


def zeros(out: Arrays) -> None:
    out["blocks.1.q"][:] = 0


MUTANTS = [flip, swap_rows, transpose, swap_halves, stale, off_by_one, last_element, zeros]


def test_the_right_output_is_right(bench: Bench, tensors_of: Pack) -> None:
    arrays = source()
    for samples in (1, 4, 64, 1 << 18):
        assert bench.found(RULE, tensors_of(arrays), tensors_of(output(arrays)), samples) == ()


@pytest.mark.parametrize("mutant", MUTANTS)
def test_mutants_are_found(bench: Bench, tensors_of: Pack, mutant: Callable[[Arrays], None]) -> None:
    arrays = source()
    out = output(arrays)
    mutant(out)
    (found,) = bench.found(RULE, tensors_of(arrays), tensors_of(out))
    assert found.code == "MC503"
    assert found.span is not None
    (name,) = found.names
    assert name in ("blocks.1.q", "blocks.1.kv")
    assert "layers.1.qkv" in found.notes[0]


@pytest.mark.parametrize("mutant", [m for m in MUTANTS if m is not flip])
def test_mutants_of_large_tensors_are_found_by_samples(
    bench: Bench, tensors_of: Pack, mutant: Callable[[Arrays], None]
) -> None:
    """64 samples of 200,000 elements: what is wrong on a border is looked for there."""
    arrays = source(size=256)
    out = output(arrays, 256)
    if mutant is swap_rows:  # two rows of 256: all of them, so that chance does not decide
        out["blocks.1.q"] = out["blocks.1.q"][::-1].copy()
    elif mutant is off_by_one:
        out["blocks.1.kv"] = np.concatenate([out["blocks.1.q"][-1:], out["blocks.1.kv"][:-1]])
    elif mutant is swap_halves:
        out["blocks.1.kv"] = np.roll(out["blocks.1.kv"], 256, axis=0)
    else:
        mutant(out)
    (found,) = bench.found(RULE, tensors_of(arrays), tensors_of(out), samples=64)
    assert found.code == "MC503"


def test_a_border_between_pieces_is_looked_at(bench: Bench, tensors_of: Pack) -> None:
    """One row in 4,000 is wrong, where two pieces meet: chance would hardly see it."""
    arrays = {name: np.random.default_rng(7).standard_normal((4000, 16)).astype("f4") for name in "ab"}
    out = np.concatenate([arrays["a"], arrays["b"]])
    out[4000] = arrays["a"][-1]
    (found,) = bench.found("a : p c, b : q c -> x : (p + q) c", tensors_of(arrays), tensors_of({"x": out}))
    for seed in range(5):
        (found,) = bench.found(
            "a : p c, b : q c -> x : (p + q) c", tensors_of(arrays), tensors_of({"x": out}), 16, seed
        )
        assert "`b` [0," in found.notes[0]


def test_a_finding_says_where(bench: Bench, tensors_of: Pack) -> None:
    arrays = {"a": np.arange(6, dtype="f4").reshape(2, 3)}
    out = {"b": arrays["a"].T.copy()}
    out["b"][2, 0] = 9
    (found,) = bench.found("a : m n -> b : n m", tensors_of(arrays), tensors_of(out))
    assert found.notes == (
        "`b` [2, 0] is 0x41100000 (9.0), and should be 0x40000000 (2.0): `a` [0, 2]",
        "1 of 6 elements that were looked at differ",
    )
    assert found.names == ("b",)


def test_names_are_folded_and_few_elements_are_told(bench: Bench, tensors_of: Pack) -> None:
    arrays = source(9)
    out = {name: -array for name, array in output(arrays).items()}
    (found,) = bench.found(RULE, tensors_of(arrays), tensors_of(out))
    assert found.names == ("blocks.{0..8}.{q,kv}",)
    assert len(found.notes) == 4


def test_a_source_with_strides(bench: Bench, tensors_of: Pack) -> None:
    """A tensor of an archive of torch may lie column by column."""
    array = np.arange(12, dtype="f4").reshape(3, 4)
    bound = bench.bound("a : m n -> b : n m", {"a": ("F32", (3, 4), array.T.tobytes())})
    bound.source.tensors["a"] = bound.source.tensors["a"]._replace(strides=(1, 3))
    assert bench.verify(bound, tensors_of({"b": array.T})) == ()
    assert len(bench.verify(bound, tensors_of({"b": array.reshape(4, 3)}))) == 1


# --- headers


def test_headers(bench: Bench, tensors_of: Pack) -> None:
    arrays = source(4)
    out = output(arrays)
    out["blocks.0.q"] = out["blocks.0.q"].astype("f2")
    out["blocks.1.q"] = out["blocks.1.q"].reshape(4, 16)
    del out["blocks.2.kv"]
    out["blocks.9.kv"] = out["blocks.0.kv"]
    found = bench.found(RULE, tensors_of(arrays), tensors_of(out))
    assert {(d.message, d.names) for d in found} == {
        ("the rule gives F32, the output has F16", ("blocks.0.q",)),
        ("the rule gives the shape [8, 8], the output has [4, 16]", ("blocks.1.q",)),
        ("the output does not have what this rule gives", ("blocks.2.kv",)),
        ("the output has tensors that no rule gives", ("blocks.9.kv",)),
    }
    assert {d.code for d in found} == {"MC503"}


def test_without_bytes_nothing_can_be_compared(bench: Bench, tensors_of: Pack) -> None:
    arrays = source()
    bound = bench.bound(RULE, tensors_of(arrays))
    keys = bench.folder / "keys.json"
    keys.write_text('{"blocks.0.q": {"dtype": "F32", "shape": [8, 8]}}', "utf-8")
    with pytest.raises(MappingError, match="MC006"):
        compare(bound, open_keyset(keys))


def test_a_file_that_changed_since(bench: Bench, tensors_of: Pack) -> None:
    arrays = source()
    bound = bench.bound(RULE, tensors_of(arrays))
    path: Path = bench.write("out", tensors_of(output(arrays)))
    out = open_keyset(path)
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(MappingError, match="MC002"):
        compare(bound, out)


def test_progress_ends_with_everything(bench: Bench, tensors_of: Pack) -> None:
    arrays = source()
    bound = bench.bound(RULE, tensors_of(arrays))
    seen: list[tuple[int, int]] = []
    out = open_keyset(bench.write("out", tensors_of(output(arrays))))
    compare(bound, out, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (6, 6)
    assert seen == sorted(seen)
