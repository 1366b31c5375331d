"""A million headers, against the library's parser: what mapcc accepts, it accepts too, and as the same."""

from __future__ import annotations

from itertools import islice

import pytest
import safetensors

from mapcc.tensors.safetensors import HeaderFault, parse_header
from mapcc.tensors.spec import TensorSpec
from tests.faults.counts import inputs, randomness, report
from tests.faults.header_inputs import files

pytestmark = [pytest.mark.slow, pytest.mark.oracle]

Theirs = list[tuple[str, dict[str, object]]]


def test_no_header_that_the_library_refuses_is_accepted() -> None:
    wanted = inputs(1_000_000, 10_000_000)
    tried = both = neither = stricter = 0
    for raw in islice(files(randomness()), wanted):
        tried += 1
        try:
            found = ours(raw)
        except HeaderFault:
            found = None
        try:
            library: Theirs | None = safetensors.deserialize(raw)
        except safetensors.SafetensorError:
            library = None
        if found is not None:
            assert library is not None, raw
            assert same(raw, found, library), raw
            both += 1
        elif library is None:
            neither += 1
        else:
            stricter += 1
    report(
        {"inputs": wanted, "accepted": wanted // 20, "refused": wanted // 3, "stricter": wanted // 200},
        inputs=tried,
        accepted=both,
        refused=neither,
        stricter=stricter,
        escaped=0,  # another exception ends the test, as does what only mapcc accepts
    )


def ours(raw: bytes) -> list[TensorSpec]:
    """What mapcc reads, without a file; ``HeaderFault`` if it refuses, and nothing else."""
    length = int.from_bytes(raw[:8], "little")
    if 8 + length > len(raw):
        raise HeaderFault("cut")  # what read_header says before it comes to the header
    return parse_header(raw[8 : 8 + length], len(raw))[0]


def same(raw: bytes, found: list[TensorSpec], library: Theirs) -> bool:
    if len(found) != len(library):
        return False
    theirs = dict(library)
    return all(
        (info := theirs.get(spec.name)) is not None
        and spec.dtype is not None
        and info["dtype"] == spec.dtype.name
        and info["shape"] == list(spec.shape)
        and info["data"] == raw[spec.begin : spec.end]
        for spec in found
    )
