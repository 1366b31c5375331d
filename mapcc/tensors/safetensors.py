"""The header of a safetensors file: read strictly, written always in the same way.

A file has 8 bytes of length (little endian), the header (JSON, padded with spaces),
and the data. The reader takes a subset of what the safetensors library takes: what a
file could mean in two ways, or what other readers choke on, is refused. The rules and
their reasons are the table of ``tests/tensors/headers.py``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from math import prod
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple, cast

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import Stamp, read_at, reading
from mapcc.tensors.dtypes import DTYPES, Dtype
from mapcc.tensors.foreign import foreign, foreign_kind, sniff
from mapcc.tensors.spec import MAX_TENSORS, METADATA, TensorSpec, name_fault, name_faults, shape_fault
from mapcc.tensors.strict_json import JsonFault, check_cost, collector_off, find_key, loads

MAX_HEADER = 100_000_000  # bytes, as the library has it
MAX_PADDING = 1 << 16  # alignment to a page needs 4,095; 100 MB of spaces are no padding
LENGTH = 8
ALIGNMENT = 8

_FIELDS = {"dtype", "shape", "data_offsets"}
_REWRITE = "get the file again; if it is as its author made it, rewrite it with safetensors.torch.save_file"


_Layouts = dict[object, tuple[Dtype, tuple[int, ...], int]]


class Header(NamedTuple):
    """The tensors of one file in its order, its ``__metadata__``, what the file was, and what else it has.

    Attributes:
        is_chosen: whether what was to be selected was: not by a reader of files without dictionaries.
    """

    tensors: list[TensorSpec]
    metadata: dict[str, str]
    stamp: Stamp
    skipped: tuple[str, ...] = ()
    is_chosen: bool = False


class HeaderFault(Exception):
    """Which rule a header breaks, at which byte of the file (if known), and for which tensor."""

    def __init__(self, rule: str, at: int | None = None, name: str | None = None) -> None:
        super().__init__(rule)
        self.rule = rule
        self.at = at
        self.name = name


def read_header(path: Path, file: int | None = None) -> Header:
    """Reads a file's header, and nothing of its data; ``file`` goes into each tensor.

    Raises:
        MappingError: MC001 if the file cannot be read, MC006 if it is of another kind,
            MC002 if it is malformed.
    """
    with reading(path) as (fd, stamp):
        try:
            start = sniff(fd)
            kind = foreign_kind(start)
            if kind is not None:
                raise MappingError([foreign(path, kind)])
            length = _header_length(start[:LENGTH], stamp.size)
            raw = read_at(fd, length, LENGTH)
            if len(raw) != length:
                raise HeaderFault("the file was cut while it was read", LENGTH + len(raw))
            with collector_off():
                return Header(*parse_header(raw, stamp.size, file), stamp)
        except HeaderFault as fault:
            raise MappingError([_malformed(path, fault)]) from None


def parse_header(
    raw: bytes, file_size: int, file: int | None = None
) -> tuple[list[TensorSpec], dict[str, str]]:
    """The tensors and the metadata of a header, given without its length. ``HeaderFault`` if malformed."""
    members = _members(raw)
    metadata = _metadata(members.pop(METADATA, None), raw)
    if len(members) > MAX_TENSORS:
        raise HeaderFault(f"a file has at most {MAX_TENSORS:,} tensors")
    base = LENGTH + len(raw)
    # Few layouts recur in very many tensors. The JSON has no 1.0 and no true, so what is equal is the same.
    layouts: _Layouts = {}
    try:
        for name, rule in name_faults(members.keys()).items():
            raise HeaderFault(rule, name=name)
        tensors = [_tensor(name, entry, base, file, layouts) for name, entry in members.items()]
        _check_cover(tensors, base, file_size)
    except HeaderFault as fault:
        at = _offset(raw, fault.name) if fault.at is None else fault.at
        raise HeaderFault(fault.rule, at, fault.name) from None
    return tensors, metadata


def header_bytes(
    tensors: Iterable[tuple[str, Dtype, tuple[int, ...]]], metadata: Mapping[str, str] | None = None
) -> tuple[bytes, list[tuple[int, int]]]:
    """The first bytes of a file that holds these tensors, in this order, without gaps.

    Returns:
        The length, the header, and the spaces that align the data to 8 bytes; and, for
        each tensor, where its bytes begin and end in the file. The same arguments give
        the same bytes; metadata is sorted by key.

    Raises:
        MappingError: MC209 for a name that no tensor can have; MC005 for what fits in no header.
        ValueError: a name given twice, an impossible shape, a tensor that ends within a byte.
    """
    quote = json.encoder.encode_basestring
    parts = []
    places = []
    seen = set()
    end = 0
    for name, dtype, shape in tensors:
        size = _checked_size(name, dtype, shape)
        begin, end = end, end + size
        seen.add(name)
        dims = ",".join(map(str, shape))
        parts.append(
            f'{quote(name)}:{{"dtype":"{dtype.name}","shape":[{dims}],"data_offsets":[{begin},{end}]}}'
        )
        places.append((begin, end))
    if len(seen) != len(parts):
        raise ValueError("a tensor is given twice")
    if metadata:
        pairs = ",".join(f"{quote(key)}:{quote(value)}" for key, value in sorted(metadata.items()))
        parts.insert(0, f'"{METADATA}":{{{pairs}}}')
    header = f"{{{','.join(parts)}}}".encode()
    header += b" " * (-(LENGTH + len(header)) % ALIGNMENT)
    if len(header) > MAX_HEADER or len(places) > MAX_TENSORS:
        limits = f"a safetensors header has at most {MAX_HEADER:,} bytes, and {MAX_TENSORS:,} tensors"
        help = "write more shards"
        raise MappingError([Diagnostic("MC005", "too many tensors for one file", notes=(limits,), help=help)])
    base = LENGTH + len(header)
    return len(header).to_bytes(LENGTH, "little") + header, [(base + b, base + e) for b, e in places]


def padded(header: bytes, count: int) -> bytes:
    """The first bytes of a file with ``count`` more spaces behind the header.

    >>> padded(bytes([2, 0, 0, 0, 0, 0, 0, 0]) + b"{}", 6)
    b'\\x08\\x00\\x00\\x00\\x00\\x00\\x00\\x00{}      '
    """
    text = header[LENGTH:] + b" " * count
    return len(text).to_bytes(LENGTH, "little") + text


def _checked_size(name: str, dtype: Dtype, shape: tuple[int, ...]) -> int:
    fault = name_fault(name)
    if fault is not None:
        raise MappingError([Diagnostic("MC209", f"`{name}` cannot be written: {fault}", names=(name,))])
    fault = shape_fault(shape)
    bits = prod(shape) * dtype.bits
    if fault is not None or bits % 8:
        raise ValueError(f"{name!r}: {fault or 'ends within a byte'}")
    return bits // 8


def _header_length(start: bytes, file_size: int) -> int:
    if len(start) < LENGTH:
        raise HeaderFault(f"a file begins with {LENGTH} bytes of length; this one has {len(start)} in all", 0)
    length = int.from_bytes(start, "little")
    if length > MAX_HEADER:
        raise HeaderFault(f"a header has at most {MAX_HEADER:,} bytes; this one claims {length:,}", 0)
    if LENGTH + length > file_size:
        rest = file_size - LENGTH
        raise HeaderFault(f"the header has {length:,} bytes, but only {rest:,} follow its length", 0)
    return length


def _members(raw: bytes) -> dict[str, object]:
    if not raw.startswith(b"{"):
        raise HeaderFault("a header begins with `{`", LENGTH)
    body = raw.rstrip(b" ")
    if not body.endswith(b"}"):
        raise HeaderFault("a header ends with `}`, and only spaces may follow", LENGTH + len(body) - 1)
    if len(raw) - len(body) > MAX_PADDING:
        raise HeaderFault(f"a header is padded with at most {MAX_PADDING:,} spaces", LENGTH + len(body))
    try:
        check_cost(body)
    except JsonFault as fault:
        raise HeaderFault(fault.rule) from None
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise HeaderFault("a header is UTF-8", LENGTH + error.start) from None
    try:
        members = loads(text)
    except JsonFault as fault:
        at = None if fault.at is None else LENGTH + len(text[: fault.at].encode())
        raise HeaderFault(fault.rule, at) from None
    assert isinstance(members, dict)  # it begins with a brace
    return members


def _metadata(value: object, raw: bytes) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise HeaderFault(f"{METADATA} is an object of strings", _offset(raw, METADATA))
    return value


def _tensor(name: str, entry: object, base: int, file: int | None, layouts: _Layouts) -> TensorSpec:
    if type(entry) is not dict or entry.keys() != _FIELDS:
        raise HeaderFault("an entry has the fields dtype, shape and data_offsets, and no other", name=name)
    word, dims, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    key = (word, *dims) if type(dims) is list else None
    try:
        layout = layouts.get(key)
    except TypeError:  # a list where a number should be
        layout = None
    if layout is None:
        layout = layouts[key] = _layout(word, dims, name)
    dtype, shape, size = layout
    try:
        begin, end = offsets
        span = end - begin  # only natural numbers subtract: the JSON has no other numbers
    except (TypeError, ValueError):
        raise HeaderFault("data_offsets are two natural numbers", name=name) from None
    if span != size:
        raise HeaderFault(f"its dtype and shape make {size:,} bytes; its offsets {span:,}", name=name)
    return tuple.__new__(TensorSpec, (name, dtype, shape, file, base + begin, base + end, None))


def _layout(word: object, dims: object, name: str) -> tuple[Dtype, tuple[int, ...], int]:
    dtype = DTYPES.get(word) if isinstance(word, str) else None
    if dtype is None:
        raise HeaderFault(f"no dtype {json.dumps(word)[:40]} is known to the format", name=name)
    fault = shape_fault(dims)
    if fault is not None:
        raise HeaderFault(fault, name=name)
    shape = tuple(cast(list[int], dims))
    bits = prod(shape) * dtype.bits
    if bits % 8:
        raise HeaderFault(f"its {bits:,} bits end within a byte", name=name)
    return dtype, shape, bits // 8


def _check_cover(tensors: list[TensorSpec], base: int, file_size: int) -> None:
    """Each byte of the data belongs to exactly one tensor."""
    at = base
    for spec in sorted(tensors, key=itemgetter(4, 5)):
        if spec.begin != at:
            what = "begins before the one before it ends" if spec.begin < at else "leaves a hole before it"
            raise HeaderFault(f"tensors lie one after the other; this one {what}", name=spec.name)
        at = spec.end
    if at > file_size:
        raise HeaderFault(f"the tensors end at byte {at:,}: it is cut short", file_size)
    if at < file_size:
        raise HeaderFault(f"the tensors end there, the file at {file_size:,}: what follows is no tensor", at)


def _offset(raw: bytes, name: str | None) -> int | None:
    """Where in the file an entry begins; None for a name that is spelled in an unusual way."""
    if name is None:
        return None
    text = raw.decode()
    found = find_key(text, name)
    return found and LENGTH + len(text[: found[0]].encode())


def _malformed(path: Path, fault: HeaderFault) -> Diagnostic:
    where = "" if fault.at is None else f" at byte {fault.at:,}"
    whose = "" if fault.name is None else f", tensor `{fault.name}`"
    message = f"malformed safetensors file `{path}`{where}{whose}: {fault.rule}"
    return Diagnostic("MC002", message, help=_REWRITE, names=() if fault.name is None else (fault.name,))
