"""The 22 types of the format, under every name."""

from __future__ import annotations

import pytest
import torch

from mapcc.tensors.dtypes import DTYPES, Dtype, parse_dtype


def test_there_are_as_many_as_the_format_has() -> None:
    assert len(DTYPES) == 22
    assert all(dtype.name == name for name, dtype in DTYPES.items())


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_short_name_and_header_name_are_read_in_any_case(dtype: Dtype) -> None:
    assert dtype.short == dtype.name.lower()
    for text in (dtype.name, dtype.short, dtype.short.title()):
        assert parse_dtype(text) is dtype


@pytest.mark.oracle
@pytest.mark.parametrize("dtype", DTYPES.values(), ids=str)
def test_bits_and_kind_are_those_of_torch(dtype: Dtype) -> None:
    known = [t for t in vars(torch).values() if isinstance(t, torch.dtype) and parse_dtype(str(t)) is dtype]
    if dtype.name.startswith("F6_"):  # torch has none
        assert (dtype.bits, dtype.kind, known) == (6, "float", [])
        return
    assert known
    for theirs in known:
        elements = 2 if dtype.name == "F4" else 1  # torch packs two in a byte
        assert dtype.bits == theirs.itemsize * 8 // elements
        assert (dtype.kind == "float") == theirs.is_floating_point
        assert (dtype.kind == "complex") == theirs.is_complex
        assert (dtype.kind in ("bool", "uint")) == (
            not theirs.is_signed and not theirs.is_floating_point and not theirs.is_complex
        )


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("torch.float32", "F32"),
        ("float", "F32"),
        ("half", "F16"),
        ("bfloat16", "BF16"),
        ("long", "I64"),
        ("bool", "BOOL"),
        ("float8_e4m3fn", "F8_E4M3"),
        ("torch.float8_e8m0fnu", "F8_E8M0"),
        ("complex64", "C64"),
    ],
)
def test_torch_names(text: str, name: str) -> None:
    assert parse_dtype(text) is DTYPES[name]


@pytest.mark.parametrize("text", ["", "f12", "torch.", "torch.torch.float32", "complex128", "q4_0", "f32 "])
def test_unknown_names(text: str) -> None:
    assert parse_dtype(text) is None
