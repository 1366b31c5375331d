"""The plan of a conversion: what is read from where, and where each byte of the output lies.

A plan is data alone. It holds no open file and no array, so it can be printed, sent to another
machine and carried out there, in any order of its output tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import NamedTuple

from mapcc.ir.bound import Move
from mapcc.ir.values import Step
from mapcc.tensors.disk import Stamp
from mapcc.tensors.dtypes import Dtype

Shape = tuple[int, ...]


class SourceFile(NamedTuple):
    """A file of the source, and what it was when its header was read (None: not known)."""

    path: str
    stamp: Stamp | None


class SourceTensor(NamedTuple):
    """A tensor of the source: ``file`` counts :attr:`Plan.sources`, ``begin`` is a byte of that file."""

    file: int
    begin: int
    dtype: Dtype
    shape: Shape


class Fill(NamedTuple):
    """No tensor, but one number for all elements."""

    value: int | float


class Folded(NamedTuple):
    """The result of ``Plan.folds[number]``."""

    number: int


Origin = SourceTensor | Fill | Folded


class Transfer(NamedTuple):
    """Elements of one origin, put in their places in one target tensor.

    Without steps and with equal types it moves bits and computes nothing. Otherwise the elements
    pass through ``steps``, and what comes out is rounded to ``target`` if it is of another type.

    Attributes:
        move: in elements of ``source`` and ``target``; in bytes for types smaller than a byte.
            Its operand numbers have no meaning here.
        source: the type as it is read; of a folded origin, that of the fold.
        target: the type of the output tensor.
    """

    origin: Origin
    move: Move
    steps: tuple[Step, ...]
    source: Dtype
    target: Dtype

    @property
    def is_plain(self) -> bool:
        return not self.steps and self.source == self.target


class OutputTensor(NamedTuple):
    """A tensor of the output: its bytes are ``begin`` to ``end`` of its file, and come by ``transfers``.

    The transfers are in the order of their first elements, and give each element exactly once.
    """

    name: str
    dtype: Dtype
    shape: Shape
    begin: int
    end: int
    transfers: tuple[Transfer, ...]


class Run(NamedTuple):
    """Bytes ``begin`` to ``end`` of an output file are those of a source file from ``offset`` on.

    ``file`` counts :attr:`Plan.sources`; ``~file``, if it is negative, counts :attr:`Plan.folds`.
    """

    begin: int
    end: int
    file: int
    offset: int


class Gathered(NamedTuple):
    """Bytes of a tensor that are put together window by window."""

    begin: int
    end: int
    name: str
    transfers: tuple[Transfer, ...]


class Turned(NamedTuple):
    """Bytes of a tensor that are put together box by box: each transfer writes long runs of its own."""

    begin: int
    end: int
    name: str
    transfers: tuple[Transfer, ...]


Segment = Run | Gathered | Turned


@dataclass(frozen=True, slots=True)
class OutputFile:
    """A file of the output: ``header`` are its first bytes, the tensors follow without gaps.

    Attributes:
        size: of the whole file, in bytes.
        tensors: what the file holds. In a plan that was read from a file they have no transfers:
            the segments say all that is needed to write them.
        segments: the bytes behind the header, by how they are made.
    """

    name: str
    header: bytes
    size: int
    tensors: tuple[OutputTensor, ...]
    segments: tuple[Segment, ...]


@dataclass(frozen=True, slots=True)
class IndexFile:
    """The ``index.json`` of a sharded output, whole."""

    name: str
    content: bytes


class Fold(NamedTuple):
    """A tensor that is made before it is taken apart, row-major, of ``dtype`` and ``shape``.

    It is kept on disk while the output needs it, in the type in which it is computed.

    Attributes:
        step: an operation that is not elementwise, on ``inputs``; None where one tensor, whose
            elements lie scattered in its file, is only laid out.
        move: how it is laid out; None with a step.
    """

    step: Step | None
    inputs: tuple[SourceTensor | Folded, ...]
    dtype: Dtype
    shape: Shape
    move: Move | None = None

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.bits // 8


class Computing(NamedTuple):
    """The tensors of the output that one rule computes, and the rule in words: its file, line and text."""

    rule: str
    names: tuple[str, ...]


class Twins(NamedTuple):
    """A tensor of the source that is dropped as a copy of another: to be compared, byte by byte."""

    name: str
    other: str
    first: SourceTensor | Folded
    second: SourceTensor | Folded


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole conversion.

    Attributes:
        sources: the files of the source; opened for reading alone.
        bytes_read: of the elements that are used. Where they lie apart, what lies between may
            be read too, if that is cheaper than to skip it.
        bytes_written: the size of the output.
        scratch: the bytes of all folds: they are on disk beside the output until it is complete.
        computing: rules that compute values, for what is told of them afterwards; the output is the same.
        twins: what has to be equal, or there is no output.
        origin: what the plan was made from, for the record beside the output: JSON values alone.
    """

    sources: tuple[SourceFile, ...]
    files: tuple[OutputFile, ...]
    folds: tuple[Fold, ...]
    index: IndexFile | None
    bytes_read: int
    bytes_written: int
    scratch: int
    computing: tuple[Computing, ...] = ()
    origin: Mapping[str, object] = field(default_factory=dict)
    twins: tuple[Twins, ...] = ()
