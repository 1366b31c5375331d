"""Tiny models that others' converters converted: right, and wrong once a tensor is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import mapcc
from mapcc.api import bound_mapping
from mapcc.tensors.keysets import open_keyset
from mapcc.verify import compare
from tests.corpus.conftest import PAIRS, Case, pair  # noqa: F401

# torch computes a norm in another order than the sum of squares in F64.
COMPUTED = {"hifigan_pwg_to_hf"}


def bound(case: Case) -> Any:
    return bound_mapping(mapcc.check(case.mapping, case.source, case.target, settings=case.settings))


@pytest.mark.parametrize("pair", [n for n in PAIRS if n not in COMPUTED], indirect=True)
def test_others_converted_it_right(pair: Case) -> None:  # noqa: F811
    for samples in (64, 1 << 18):
        assert compare(bound(pair), open_keyset(pair.target), samples=samples) == ()


@pytest.mark.parametrize("pair", sorted(COMPUTED), indirect=True)
def test_what_is_computed(pair: Case, tmp_path: Path) -> None:  # noqa: F811
    out = mapcc.convert(pair.mapping, pair.source, tmp_path / "out", pair.target, settings=pair.settings)
    assert compare(bound(pair), open_keyset(out), samples=1 << 18) == ()


@pytest.mark.parametrize("pair", list(PAIRS), indirect=True)
def test_a_byte_of_the_last_element_of_each_tensor(pair: Case, tmp_path: Path) -> None:  # noqa: F811
    raw = bytearray(pair.target.read_bytes())
    specs = open_keyset(pair.target).tensors.values()
    for spec in specs:
        raw[spec.end - 1] ^= 0x40
    path = tmp_path / "spoilt.safetensors"
    path.write_bytes(raw)
    found = compare(bound(pair), open_keyset(path))
    assert {d.code for d in found} == {"MC503"}
    wrong = sum(int(d.notes[-1].split()[0].replace(",", "")) for d in found)
    assert wrong >= len(specs)
