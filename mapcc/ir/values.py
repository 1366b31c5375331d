"""Operations on values: what each takes, computes in, loses, and how it is undone.

A statement here is all that the passes need; the arithmetic itself is in ``numeric``.
"""

from __future__ import annotations

from dataclasses import dataclass

from mapcc.tensors.dtypes import Dtype


@dataclass(frozen=True, slots=True)
class ValueOp:
    """The statement of an operation.

    Attributes:
        name: as it stands behind the bar.
        inputs: how many tensors it takes.
        arguments: names of its positional arguments, all required.
        bare: whether it means something else without any argument.
        options: names of its options with their defaults.
        elementwise: each output element depends on one input element alone, so that it may be
            tiled over any axis; otherwise it is tiled over the axis that ``dim`` names.
        loses: what cannot be got back ("" if nothing).
        about: one line, with the precision that it computes in.
    """

    name: str
    inputs: int
    arguments: tuple[str, ...]
    options: tuple[tuple[str, int], ...]
    elementwise: bool
    loses: str
    about: str
    bare: bool = False


VALUE_OPS: dict[str, ValueOp] = {
    op.name: op
    for op in (
        ValueOp("cast", 1, ("dtype",), (), True, "", "to another type, rounded to nearest even"),
        ValueOp("scale", 1, ("factor",), (), True, "rounding", "x * factor, in F32 (F64 for F64)"),
        ValueOp("add", 1, ("number",), (), True, "rounding", "x + number, in F32 (F64 for F64)"),
        ValueOp("neg_exp", 1, (), (), True, "rounding", "-exp(x), in F32 (F64 for F64)"),
        ValueOp("round", 1, (), (), True, "fractions", "to the nearest whole number, ties to even"),
        ValueOp(
            "clamp",
            1,
            ("low", "high"),
            (),
            True,
            "what lies outside of its range",
            "low where x is less, high where it is more; without numbers, the range of the next cast",
            bare=True,
        ),
        ValueOp(
            "weight_norm",
            2,
            (),
            (("dim", 0),),
            False,
            "the split into magnitude and direction",
            "g * v / norm(v), the norm over all dimensions but dim, in F32 (F64 for F64)",
        ),
    )
}

STRUCTURAL_OPS = frozenset({"transpose", "permute", "chunk", "split", "cat", "stack", "unstack"})


@dataclass(frozen=True, slots=True)
class Step:
    """One operation with its arguments evaluated. ``dtype`` is what a cast gives."""

    op: ValueOp
    numbers: tuple[tuple[str, int | float], ...] = ()
    dtype: Dtype | None = None

    @property
    def is_saturating(self) -> bool:
        """``clamp`` without numbers: the cast behind it keeps to the finite numbers of its type."""
        return self.op.bare and not self.numbers

    def number(self, name: str) -> int | float:
        return dict(self.numbers)[name]


def cast_loses(source: Dtype, target: Dtype) -> str:
    """What a cast loses; "" for one that can be undone bit for bit.

    A cast to integers keeps the number, or fails: of a float no more than the sign of 0 goes.

    >>> from mapcc.tensors.dtypes import DTYPES
    >>> cast_loses(DTYPES["BF16"], DTYPES["F32"])
    ''
    >>> cast_loses(DTYPES["F32"], DTYPES["BF16"])
    'F32 values rounded to BF16'
    >>> cast_loses(DTYPES["I64"], DTYPES["I8"]), cast_loses(DTYPES["F32"], DTYPES["I64"])
    ('', 'F32 values, which must be whole, as I64: the sign of 0')
    """
    whole = ("int", "uint")
    if widens(source, target) or (source.kind in whole and target.kind in whole):
        return ""
    if target.kind == "bool":
        return f"{source.name} values told apart from 0 alone"
    if source.kind == "bool":
        return f"BOOL values as {target.name}: which byte stands for true"
    if target.kind in whole:
        return f"{source.name} values, which must be whole, as {target.name}: the sign of 0"
    return f"{source.name} values rounded to {target.name}"


def widens(source: Dtype, target: Dtype) -> bool:
    """Whether a type has every value of another: a cast there changes nothing, and never fails."""
    return source == target or (source.name, target.name) in _WIDENINGS


_WIDENINGS = {
    ("F16", "F32"), ("F16", "F64"), ("BF16", "F32"), ("BF16", "F64"), ("F32", "F64"),
    *(
        (f"F8_{f8}", wide)
        for f8 in ("E4M3", "E5M2", "E4M3FNUZ", "E5M2FNUZ")
        for wide in ("BF16", "F16", "F32", "F64")
    ),
    *(("F8_E8M0", wide) for wide in ("BF16", "F32", "F64")),
    *((f"{sign}{a}", f"{sign}{b}") for sign in "IU" for a in (8, 16, 32) for b in (16, 32, 64) if a < b),
    *((f"{sign}8", wide) for sign in "IU" for wide in ("BF16", "F16", "F32", "F64")),
    *((f"{sign}16", wide) for sign in "IU" for wide in ("F32", "F64")), ("I32", "F64"), ("U32", "F64"),
}  # fmt: skip
