"""The data types that a safetensors file can have, under all the names that people write."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["bool", "int", "uint", "float", "complex"]


@dataclass(frozen=True, slots=True)
class Dtype:
    """A data type: ``name`` as in a header (``BF16``), ``bits`` of one element, and its kind."""

    name: str
    bits: int
    kind: Kind

    @property
    def short(self) -> str:
        """The name in the mapping language: ``bf16``."""
        return self.name.lower()

    def __str__(self) -> str:
        return self.short


def _of(kind: Kind, **bits: int) -> dict[str, Dtype]:
    return {name: Dtype(name, size, kind) for name, size in bits.items()}


DTYPES: dict[str, Dtype] = {
    **_of("bool", BOOL=8),
    **_of("float", F4=4, F6_E2M3=6, F6_E3M2=6),
    **_of("float", F8_E5M2=8, F8_E4M3=8, F8_E8M0=8, F8_E4M3FNUZ=8, F8_E5M2FNUZ=8),
    **_of("float", F16=16, BF16=16, F32=32, F64=64),
    **_of("int", I8=8, I16=16, I32=32, I64=64),
    **_of("uint", U8=8, U16=16, U32=32, U64=64),
    **_of("complex", C64=64),
}

_TORCH = {
    "half": "F16",
    "float16": "F16",
    "bfloat16": "BF16",
    "float": "F32",
    "float32": "F32",
    "double": "F64",
    "float64": "F64",
    "short": "I16",
    "int": "I32",
    "long": "I64",
    **{f"int{bits}": f"I{bits}" for bits in (8, 16, 32, 64)},
    **{f"uint{bits}": f"U{bits}" for bits in (8, 16, 32, 64)},
    "cfloat": "C64",
    "complex64": "C64",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "float4_e2m1fn_x2": "F4",
}
_NAMES = {name.lower(): dtype for name, dtype in DTYPES.items()} | {
    torch: DTYPES[name] for torch, name in _TORCH.items()
}


# The last name of a type is the one that torch prints.
_TORCH_NAMES = {name: torch for torch, name in _TORCH.items()} | {"BOOL": "bool"}


def torch_name(dtype: Dtype) -> str | None:
    """The name of a type in torch; None if torch has none.

    >>> torch_name(DTYPES["BF16"]), torch_name(DTYPES["I16"]), torch_name(DTYPES["F6_E2M3"])
    ('bfloat16', 'int16', None)
    """
    return _TORCH_NAMES.get(dtype.name)


def parse_dtype(text: str) -> Dtype | None:
    """The type that ``text`` names in the language, in a header or in torch; None if no type does.

    >>> parse_dtype("bf16") is parse_dtype("torch.bfloat16") is DTYPES["BF16"]
    True
    >>> parse_dtype("q4_0")
    """
    return _NAMES.get(text.lower().removeprefix("torch."))
