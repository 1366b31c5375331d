"""Checkpoints of ``torch.save``: what is in them, and where the bytes of their tensors lie.

Two layouts: an archive whose ``data.pkl`` says what there is, each storage a member of its own; and that
of the releases before 1.6, four pickles one after the other with the storages behind them. Neither torch
nor any other code is needed to read them, and none is run (``tensors/machine.py``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from mapcc.tensors.disk import read_at
from mapcc.tensors.dtypes import parse_dtype
from mapcc.tensors.machine import BUDGET, CutShort, Machine, MachineFault
from mapcc.tensors.rebuild import made, storage_of, width_of
from mapcc.tensors.spec import TensorSpec, name_fault, shape_fault
from mapcc.tensors.strided import placed, reach
from mapcc.tensors.values import Recorded, Storage
from mapcc.tensors.zips import Member, read_member

MAX_PICKLE = 100_000_000  # bytes: as much as a header of safetensors
_SHARE = 32  # a file of very many bytes may have very many tensors: one byte of memory for so many of it
_WINDOW = 1 << 20

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001


class PickleFault(Exception):
    """What is wrong with a checkpoint, and whether it is malformed or of a kind that is not read."""

    def __init__(self, rule: str, code: str = "MC002", name: str | None = None, help: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.code = code
        self.name = name
        self.help = help


@dataclass(frozen=True, slots=True)
class Extent:
    """Where a storage lies in the file."""

    begin: int
    size: int


@dataclass(slots=True)
class Archive:
    """An archive that is open: ``root`` is the folder that all its members are in."""

    fd: int
    members: dict[str, Member]
    root: str
    file: int | None
    size: int = 0
    extents: dict[str, Extent] = field(default_factory=dict)

    def read(self, name: str, limit: int = MAX_PICKLE) -> bytes | None:
        """A member's bytes; None if there is none. ``ZipFault`` if it has more than ``limit``."""
        member = self.members.get(f"{self.root}/{name}")
        return None if member is None else read_member(self.fd, member, limit)


def unpickle(archive: Archive) -> object:
    """What ``data.pkl`` holds, with tensors as records. No code of the archive is run.

    Raises:
        PickleFault, ZipFault: it is malformed, or takes more memory than a checkpoint does.
    """
    raw = archive.read("data.pkl") or b""
    order = archive.read("byteorder", 1 << 10)
    if order not in (None, b"little"):
        raise PickleFault(f"its numbers are in the byte order {order!r}; only little is read", "MC006")
    machine = Machine(raw, made, lambda pid: _member(archive, storage_of(pid)), room=_room(archive.size))
    try:
        return machine.run()
    except MachineFault as fault:
        raise PickleFault(f"data.pkl cannot be read: {fault}") from None


def _room(file_size: int) -> int:
    return max(BUDGET, file_size // _SHARE)


def _member(archive: Archive, storage: object) -> object:
    if isinstance(storage, Storage) and storage.key not in archive.extents:
        member = archive.members.get(f"{archive.root}/data/{storage.key}")
        if member is None:
            raise PickleFault(f"the storage `{storage.key}` is not there")
        if not member.stored:
            raise PickleFault(
                f"the storage `{storage.key}` is compressed: torch.save does not do that", "MC006"
            )
        archive.extents[storage.key] = Extent(member.begin, member.size)
    if isinstance(storage, Storage):
        size = archive.extents[storage.key].size
        if size // width_of(storage.dtype) != storage.count:
            wanted = f"{storage.count:,} elements of torch.{storage.dtype}"
            raise PickleFault(f"the storage `{storage.key}` has {size:,} bytes, not {wanted}")
    return storage


@dataclass(frozen=True, slots=True)
class Pickles:
    """A checkpoint of an old release, read: what it holds, and where its storages lie."""

    top: object
    extents: dict[str, Extent]


def read_legacy(fd: int, file_size: int) -> Pickles:
    """What a file of a release before 1.6 holds: its pickles stand first, so little of it is read.

    Raises:
        PickleFault: it is malformed, or takes more memory than a checkpoint does.
    """
    window = _WINDOW
    while True:
        raw = read_at(fd, min(window, file_size), 0)
        try:
            return _legacy(fd, raw, file_size)
        except CutShort as fault:
            if window >= file_size:
                raise PickleFault(f"its pickle cannot be read: {fault}") from None
            if window >= MAX_PICKLE:
                raise PickleFault(f"its pickle has more than {MAX_PICKLE:,} bytes") from None
        except MachineFault as fault:
            raise PickleFault(f"its pickle cannot be read: {fault}") from None
        window = min(window * 8, MAX_PICKLE)


def _legacy(fd: int, raw: bytes, file_size: int) -> Pickles:
    storages: dict[str, Storage] = {}

    def named(pid: object) -> object:
        storage = storage_of(pid)
        if isinstance(storage, Storage):
            known = storages.setdefault(storage.key, storage)
            if (known.dtype, known.count) != (storage.dtype, storage.count):
                raise MachineFault(f"the storage `{storage.key}` is told of in two ways")
        return storage

    at, room, found = 0, _room(file_size), list[object]()
    for _ in range(5):
        machine = Machine(raw, made, named, at, room)
        found.append(machine.run())
        at, room = machine.at, machine.room
        if found[0] != _MAGIC or found[1:2] not in ([], [_PROTOCOL]):
            raise MachineFault("it does not begin as one of torch does")
    _, _, system, top, keys = found
    if isinstance(system, dict) and system.get("little_endian", True) is not True:
        raise PickleFault("its numbers are big-endian; only little-endian ones are read", "MC006")
    if not isinstance(keys, list) or not all(isinstance(key, (str, bytes)) for key in keys):
        raise MachineFault("its last pickle lists the storages")
    named_keys = [key.decode("latin-1") if isinstance(key, bytes) else key for key in keys]
    return Pickles(top, dict(_extents(fd, at, file_size, named_keys, storages)))


def _extents(
    fd: int, at: int, file_size: int, keys: list[str], storages: dict[str, Storage]
) -> Iterator[tuple[str, Extent]]:
    """Storages one after the other, each behind its number of elements."""
    for key in keys:
        storage = storages.get(key)
        if storage is None:
            raise MachineFault(f"the storage `{key}` is listed, and of no tensor")
        count = int.from_bytes(read_at(fd, 8, at), "little")
        size = count * width_of(storage.dtype)
        if count != storage.count or at + 8 + size > file_size:
            what = (
                "ends behind the file" if count == storage.count else "has another size than its tensors say"
            )
            raise PickleFault(f"the storage `{key}` {what}")
        yield key, Extent(at + 8, size)
        at += 8 + size


def tensor_spec(extents: dict[str, Extent], file: int | None, name: str, tensor: Recorded) -> TensorSpec:
    """Where a tensor lies. ``PickleFault`` if it is no plain block of numbers."""
    if tensor.kind:
        rule = f"it is {tensor.kind}; safetensors has plain tensors only"
        raise PickleFault(rule, "MC006", name, tensor.advice)
    dtype = parse_dtype(tensor.dtype)
    if dtype is None:
        raise PickleFault(
            f"it is of type torch.{tensor.dtype}, which safetensors does not have", "MC006", name
        )
    shape, strides = tensor.shape, tensor.strides
    extent = None if tensor.storage is None else extents.get(tensor.storage.key)
    if (fault := name_fault(name) or shape_fault(shape)) is not None or extent is None:
        raise PickleFault(fault or "it has no bytes in the file", name=name)
    width = width_of(tensor.dtype)
    begin, size = tensor.offset * width, reach(shape, strides) * width
    if size and begin + size > extent.size:
        raise PickleFault(
            f"it ends at byte {begin + size:,} of its storage, which has {extent.size:,}", name=name
        )
    if width * 8 != dtype.bits:  # torch counts pairs of 4 bits as one element
        if not shape or placed(name, dtype, shape, strides, None, 0).strides:
            raise PickleFault("its pairs of 4 bits are not contiguous", "MC006", name)
        at = extent.begin + begin
        return TensorSpec(name, dtype, (*shape[:-1], 2 * shape[-1]), file, at, at + size)
    return placed(name, dtype, shape, strides, file, extent.begin + (begin if size else 0))
