"""numpy's ``.npz``: a zip archive of arrays, each a short header in front of its bytes."""

from __future__ import annotations

import ast
import shlex
from pathlib import Path
from typing import NamedTuple

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import read_at
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.foreign import rewritten
from mapcc.tensors.spec import MAX_COUNT, TensorSpec, name_fault, shape_fault
from mapcc.tensors.strided import column_major, placed, reach
from mapcc.tensors.zips import Member

SUFFIX = ".npy"
MAX_HEADER = 10_000  # characters, as numpy has it: evaluating more could exhaust the stack

_MAGIC = b"\x93NUMPY"
_FIELDS = {"descr", "fortran_order", "shape"}
_PACKED = (
    "import sys, numpy as np; d = np.load(sys.argv[1], allow_pickle=False); np.savez(sys.argv[2], **dict(d))"
)
_KINDS = {"b": "BOOL", "i": "I", "u": "U", "f": "F", "c": "C"}


class ArrayFault(Exception):
    """Why a member is no tensor."""


class _Array(NamedTuple):
    dtype: Dtype
    shape: tuple[int, ...]
    fortran: bool
    begin: int


def read_arrays(path: Path, fd: int, members: dict[str, Member], file: int | None) -> list[TensorSpec]:
    """The arrays of an archive of numpy, without their bytes.

    Raises:
        MappingError: MC006 for members that are packed, with the command that unpacks them, and
            for arrays of a type that no checkpoint has; MC002 for what is malformed. All at once.
    """
    packed = [name for name, member in members.items() if not member.stored]
    if packed:
        raise MappingError([_packed(path, packed)])
    tensors = []
    faults = []
    for name, member in members.items():
        tensor = name.removesuffix(SUFFIX)
        try:
            tensors.append(_tensor(fd, tensor, member, file))
        except ArrayFault as fault:
            faults.append(Diagnostic("MC006", f"`{path}`, array `{tensor}`: {fault}", names=(tensor,)))
        except ValueError as fault:
            faults.append(
                Diagnostic("MC002", f"malformed archive `{path}`, array `{tensor}`: {fault}", names=(tensor,))
            )
    if faults:
        raise MappingError(faults)
    return tensors


def _tensor(fd: int, name: str, member: Member, file: int | None) -> TensorSpec:
    if (fault := name_fault(name)) is not None:
        raise ValueError(fault)
    dtype, shape, fortran, begin = _header(fd, member)
    strides = column_major(shape) if fortran else column_major(shape[::-1])[::-1]
    end = begin + reach(shape, strides) * (dtype.bits // 8)
    if end != member.end:
        raise ValueError(
            f"its dtype and shape make {end - begin:,} bytes; the archive has {member.end - begin:,}"
        )
    return placed(name, dtype, shape, strides, file, begin)


def _header(fd: int, member: Member) -> _Array:
    head = read_at(fd, min(member.size, 12), member.begin)
    if not head.startswith(_MAGIC) or len(head) < 10 or head[6] not in (1, 2, 3):
        raise ValueError("it does not begin as an array of numpy does")
    prefix = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:prefix], "little")
    if length > MAX_HEADER or prefix + length > member.size:
        raise ValueError(f"its header claims {length:,} bytes")
    raw = read_at(fd, length, member.begin + prefix)
    fields = _fields(raw.decode("utf-8" if head[6] == 3 else "latin-1"))
    shape, fortran = fields["shape"], fields["fortran_order"]
    fault = shape_fault(shape)
    if fault is not None or type(shape) is not tuple or type(fortran) is not bool:
        raise ValueError(fault or "its header has fields of other types than numpy writes")
    return _Array(_dtype(fields["descr"]), shape, fortran, member.begin + prefix + length)


def _fields(text: str) -> dict[str, object]:
    try:
        fields = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise ValueError("its header is not a literal of Python") from None
    if not isinstance(fields, dict) or fields.keys() != _FIELDS:
        raise ValueError("its header has the fields descr, fortran_order and shape, and no other")
    return fields


def _dtype(descr: object) -> Dtype:
    """The type that numpy writes as ``<f4``. ``ArrayFault`` for what is no number, or not little endian.

    >>> _dtype("<f4").name, _dtype("|b1").name, _dtype("<c8").name
    ('F32', 'BOOL', 'C64')
    """
    if not isinstance(descr, str):
        raise ArrayFault("it is a structured array: save its fields as arrays of their own")
    order, kind, digits = descr[:1], descr[1:2], descr[2:]
    if kind == "O":
        raise ArrayFault("it has Python objects, which only a pickle can hold")
    if order == ">":
        raise ArrayFault(f"it is big-endian ({descr}): save it as a.astype(a.dtype.newbyteorder('<'))")
    bits = 8 * int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else MAX_COUNT
    name = "BOOL" if (kind, bits) == ("b", 8) else f"{_KINDS.get(kind)}{bits}"
    if order not in "<|" or kind not in _KINDS or name not in DTYPES:
        raise ArrayFault(f"it is of type {descr[:40]}, which safetensors does not have")
    return DTYPES[name]


def _packed(path: Path, names: list[str]) -> Diagnostic:
    words = ("python", "-c", _PACKED, str(path), str(rewritten(path, ".npz")))
    return Diagnostic(
        "MC006",
        f"`{path}` is compressed: its arrays have no place in the file from which they could be read",
        help=f"rewrite it first: {shlex.join(words)}",
        names=tuple(name.removesuffix(SUFFIX) for name in names[:8]),
    )
