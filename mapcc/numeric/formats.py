"""Floating-point formats as data."""

from __future__ import annotations

from typing import NamedTuple


class Format(NamedTuple):
    """A floating-point format; codes are those of magnitudes, without the sign.

    Attributes:
        bits: of a code; with the sign, where there is one.
        bias: of the exponent; it has all bits between the sign and the mantissa.
        largest: the largest finite number.
        infinity: what a number that is too large becomes: infinity, NaN where there is none, or the
            largest number where there is no NaN either.
        kind: ``ieee``; ``fn``, NaN is all ones; ``fnuz``, NaN is what -0 would be; ``power``, powers of
            two alone, without zero or sign; ``finite``, neither infinity nor NaN.
    """

    bits: int
    mantissa: int
    bias: int
    largest: int
    infinity: int
    kind: str = "ieee"

    @property
    def sign(self) -> int:
        return 0 if self.kind == "power" else 1 << (self.bits - 1)

    @property
    def mask(self) -> int:
        """The bits of the magnitude."""
        return (1 << self.bits) - 1 - self.sign

    @property
    def has_negative_zero(self) -> bool:
        return self.kind not in ("fnuz", "power")

    @property
    def unsigned(self) -> str:
        """The numpy type of codes: a whole byte for the small ones."""
        return f"<u{max(8, self.bits) // 8}"


F64 = Format(64, 52, 1023, 0x7FEFFFFFFFFFFFFF, 0x7FF0000000000000)
F32 = Format(32, 23, 127, 0x7F7FFFFF, 0x7F800000)
BF16 = Format(16, 7, 127, 0x7F7F, 0x7F80)
F16 = Format(16, 10, 15, 0x7BFF, 0x7C00)
E5M2 = Format(8, 2, 15, 0x7B, 0x7C)
E4M3 = Format(8, 3, 7, 0x7E, 0x7F, "fn")
E4M3FNUZ = Format(8, 3, 8, 0x7F, 0x80, "fnuz")
E5M2FNUZ = Format(8, 2, 16, 0x7F, 0x80, "fnuz")
E8M0 = Format(8, 0, 127, 0xFE, 0xFF, "power")
E2M3 = Format(6, 3, 1, 0x1F, 0x1F, "finite")
E3M2 = Format(6, 2, 3, 0x1F, 0x1F, "finite")
E2M1 = Format(4, 1, 1, 0x07, 0x07, "finite")
