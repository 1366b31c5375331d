"""Headers mutated at random, against the library: what mapcc accepts, it accepts too, and as the same.

Examples that Hypothesis makes small; ``tests/faults/test_header_fuzz.py`` tries a million without it.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors
from hypothesis import given, settings
from hypothesis import strategies as st

from mapcc.errors import MappingError
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.safetensors import header_bytes, read_header

pytestmark = pytest.mark.oracle

# A mutant costs little: so there are many more of them than of other examples.
many = settings(max_examples=max(2_000, 10 * settings().max_examples))

SEEDS = [
    b"".join((head, bytes(places[-1][1] - len(head)) if places else b""))
    for head, places in (
        header_bytes([]),
        header_bytes([("a", DTYPES["F32"], (1,))], {"format": "pt"}),
        header_bytes([("a", DTYPES["U8"], (3,)), ("b.1", DTYPES["BF16"], (2, 0)), ("c", DTYPES["I64"], ())]),
        header_bytes([(f"é.{name}", dtype, (2, 4)) for name, dtype in DTYPES.items()]),
    )
]
TOKENS = [
    *b'{ } [ ] , : " \\ - 0 1 9 1e0 2.0 true false null NaN'.split(),
    *b"\\u0061 \\ud800 \xff \xc3\xa9 \x1b \0 PK\x03\x04".split(),
    *b'"a" "dtype" "shape" "data_offsets" "__metadata__" "F4" "F32" "x":{},'.split(),
    *b'"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}, 9223372036854775808 18446744073709551616'.split(),
    b" ",
    b"\n",
]
EDIT = st.tuples(
    st.sampled_from(["insert", "replace", "delete", "double"]),
    st.integers(0, 10_000),
    st.integers(1, 6),
    st.sampled_from(TOKENS) | st.binary(min_size=1, max_size=2),
)


@st.composite
def mutants(draw: st.DrawFn) -> bytes:
    """A valid file after some edits of its header; with the length put right, mostly."""
    seed = draw(st.sampled_from(SEEDS))
    length = int.from_bytes(seed[:8], "little")
    header, data = seed[8 : 8 + length], seed[8 + length :]
    for kind, place, span, token in draw(st.lists(EDIT, max_size=3)):
        at = place % (len(header) + 1)
        rest = {"insert": at, "double": at}.get(kind, at + span)
        new = {"delete": b"", "double": header[at : at + 8 * span]}.get(kind, token)
        header = header[:at] + new + header[rest:]
    length = len(header) + draw(st.sampled_from([0] * 12 + [-1, 1, 8, 2**62]))
    size = len(data) + draw(st.sampled_from([0] * 12 + [-1, 1, 4]))
    return max(length, 0).to_bytes(8, "little") + header + bytes(max(size, 0))


NATURAL = st.sampled_from([0, 1, 2, 3, 4, 8, 2**31, 2**62, 2**63 - 1, 2**63, 2**64 - 1, 2**64])
NUMBER = NATURAL | st.sampled_from([-1, 1.0, True, None, "1", [1], {}])
ENTRY = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from([*DTYPES, "f32", 1, None]),
        "shape": st.lists(NATURAL | NUMBER, max_size=3) | NUMBER,
        "data_offsets": st.lists(st.integers(0, 8), min_size=2, max_size=2) | st.lists(NUMBER, max_size=3),
    },
    optional={"x": NUMBER},
)


@st.composite
def trees(draw: st.DrawFn) -> bytes:
    """A file of JSON of the right form with values that may be wrong."""
    names = st.sampled_from(["a", "b", "", "a\nb", "é", "__metadata__", "\ud800"])
    header = json.dumps(draw(st.dictionaries(names, ENTRY | NUMBER, max_size=3))).encode()
    return len(header).to_bytes(8, "little") + header + bytes(draw(st.integers(0, 16)))


Found = dict[str, tuple[str, list[int], bytes]]


def ours(raw: bytes, path: Path) -> Found | None:
    """What mapcc reads; None if it refuses, and that in the right way."""
    path.write_bytes(raw)
    try:
        header = read_header(path)
    except MappingError as error:
        wrong = [
            d for d in error.diagnostics if d.code not in ("MC002", "MC006") or str(path) not in d.message
        ]
        if wrong:
            raise
        return None
    return {t.name: (str(t.dtype).upper(), list(t.shape), raw[t.begin : t.end]) for t in header.tensors}


def theirs(raw: bytes) -> Found:
    return {name: (info["dtype"], info["shape"], info["data"]) for name, info in safetensors.deserialize(raw)}


def agrees(raw: bytes, path: Path) -> None:
    found = ours(raw, path)
    assert found is None or found == theirs(raw)


@many
@given(mutants())
def test_mutants(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    agrees(raw, tmp_path_factory.getbasetemp() / "mutant.safetensors")


@many
@given(trees())
def test_trees(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    agrees(raw, tmp_path_factory.getbasetemp() / "tree.safetensors")


@given(st.binary(max_size=64))
def test_any_bytes(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    agrees(raw, tmp_path_factory.getbasetemp() / "bytes.safetensors")


@pytest.mark.parametrize("seed", SEEDS, ids=["nothing", "metadata", "three", "every dtype"])
def test_the_seeds_are_valid(seed: bytes, tmp_path: Path) -> None:
    path = tmp_path / "seed.safetensors"
    path.write_bytes(seed)
    read_header(path)
    agrees(seed, path)


def test_every_single_byte_damaged(tmp_path: Path) -> None:
    """Each byte of a header, damaged in three ways."""
    seed = SEEDS[2]
    for at in range(8 + int.from_bytes(seed[:8], "little")):
        for damaged in (seed[at] ^ 1, seed[at] ^ 0x80, 0x20):
            agrees(seed[:at] + bytes([damaged]) + seed[at + 1 :], tmp_path / "damaged.safetensors")
