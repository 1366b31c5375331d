"""The directory of a zip archive, read strictly: where each member's bytes lie in the file.

Python's ``zipfile`` takes what could mean two things: a name twice, a directory that is not
where it says, bytes before the first member. Writers of checkpoints make none of these, so
they are refused: what mapcc finds in an archive is what torch and numpy find there.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from mapcc.tensors.disk import read_at
from mapcc.tensors.spec import MAX_TENSORS, name_fault

MAGIC = b"PK\x03\x04"
MAX_DIRECTORY = 1 << 26

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")

_STORED, _DEFLATED = 0, 8
_ENCRYPTED = 0x2041  # the three flags that say so


class ZipFault(Exception):
    """Which rule an archive breaks."""


class Member(NamedTuple):
    """One member: its bytes in the file, and how many they are unpacked (the same, if it is stored)."""

    name: str
    begin: int
    packed: int
    size: int
    stored: bool

    @property
    def end(self) -> int:
        return self.begin + self.packed


class _Entry(NamedTuple):
    name: bytes
    flags: int
    method: int
    packed: int
    size: int
    at: int  # its local header


def read_members(fd: int, file_size: int) -> dict[str, Member]:
    """The members of an archive by name, in the order of their bytes. ``ZipFault`` if it is malformed."""
    offset, size, count = _directory(fd, file_size)
    if size > MAX_DIRECTORY or count > MAX_TENSORS:
        raise ZipFault(f"its directory has {size:,} bytes and {count:,} members: that is too much")
    raw = read_at(fd, size, offset)
    entries = sorted(_entries(raw, count), key=lambda entry: entry.at)
    members: dict[str, Member] = {}
    at = 0
    for entry in entries:
        if entry.at < at or (at == 0 and entry.at):
            what = "overlaps the member before it" if at else "does not begin where the file does"
            raise ZipFault(f"{_shown(entry.name)} {what}")
        member = _member(fd, entry)
        at = member.end
        if at > offset:
            raise ZipFault(f"`{member.name}` ends at byte {at:,}, but the members at {offset:,}")
        if member.name in members:
            raise ZipFault(f"`{member.name}` stands twice in its directory")
        members[member.name] = member
    return members


def read_member(fd: int, member: Member, limit: int) -> bytes:
    """A member's bytes, unpacked. ``ZipFault`` if there are more than ``limit``, or others than it says."""
    if member.size > limit or member.packed > limit:
        raise ZipFault(f"`{member.name}` has {member.size:,} bytes; at most {limit:,} are read")
    raw = read_at(fd, member.packed, member.begin)
    if not member.stored:
        unpack = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            raw = unpack.decompress(raw, member.size + 1)
        except zlib.error as error:
            raise ZipFault(f"`{member.name}` cannot be unpacked: {error}") from None
    if len(raw) != member.size:
        raise ZipFault(f"`{member.name}` has other than the {member.size:,} bytes that the directory says")
    return raw


def _directory(fd: int, file_size: int) -> tuple[int, int, int]:
    """Where the directory begins, its size, and its number of entries."""
    at = file_size - _END.size
    tail = read_at(fd, _END.size, at) if at >= 0 else b""
    if not tail.startswith(b"PK\x05\x06"):
        raise ZipFault("it does not end as a zip archive does: it is cut short, or something follows it")
    _, disk, first, here, count, size, offset, comment = _END.unpack(tail)
    locator = read_at(fd, _LOCATOR.size, at - _LOCATOR.size) if at >= _LOCATOR.size else b""
    if locator.startswith(b"PK\x06\x07"):
        told = (count, size, offset)
        at, count, size, offset = _directory64(fd, at - _LOCATOR.size, locator)
        for short, long, most in zip(
            told, (count, size, offset), (0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF), strict=True
        ):
            if short not in (long, most):
                raise ZipFault("the two ends of its directory do not say the same")
        here = count
    if disk or first or here != count or comment:
        raise ZipFault("it is one of several, or it has a comment")
    if offset + size != at:
        raise ZipFault(f"its directory should end at byte {at:,}, but says {offset + size:,}")
    return offset, size, count


def _directory64(fd: int, at: int, locator: bytes) -> tuple[int, int, int, int]:
    _, disk, begin, disks = _LOCATOR.unpack(locator)
    raw = read_at(fd, _END64.size, at - _END64.size) if at >= _END64.size else b""
    if not raw.startswith(b"PK\x06\x06") or begin != at - _END64.size or disk or disks > 1:
        raise ZipFault("the end of its directory is not where it says")
    _, _, _, _, disk, first, here, count, size, offset = _END64.unpack(raw)
    if disk or first or here != count:
        raise ZipFault("it is one of several")
    return begin, count, size, offset


def _entries(raw: bytes, count: int) -> Iterator[_Entry]:
    at = 0
    for _ in range(count):
        if raw[at : at + 4] != b"PK\x01\x02" or len(raw) < at + _ENTRY.size:
            raise ZipFault(f"its directory is malformed at byte {at:,}")
        (_, _, _, flags, method, _, _, _, packed, size, name, extra, comment, _, _, _, local) = (
            _ENTRY.unpack_from(raw, at)
        )
        at += _ENTRY.size
        fields = _wide(raw[at + name : at + name + extra], (size, packed, local))
        yield _Entry(raw[at : at + name], flags, method, fields[1], fields[0], fields[2])
        at += name + extra + comment
    if at != len(raw):
        raise ZipFault("its directory has another length than its entries")


def _wide(extra: bytes, fields: tuple[int, int, int]) -> tuple[int, ...]:
    """Size, packed size and place, of which those that do not fit in 32 bits stand in the extra field."""
    if 0xFFFFFFFF not in fields:
        return fields
    at = 0
    while len(extra) >= at + 4:
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1 and len(extra) >= at + 4 + length:
            words = iter(struct.unpack_from(f"<{length // 8}Q", extra, at + 4))
            wide = [next(words, -1) if field == 0xFFFFFFFF else field for field in fields]
            if min(wide) >= 0:
                return tuple(wide)
        at += 4 + length
    raise ZipFault("a member of more than 4 GiB does not say how large it is")


def _member(fd: int, entry: _Entry) -> Member:
    name = _name(entry.name)
    head = read_at(fd, _LOCAL.size + len(entry.name), entry.at)
    if len(head) < _LOCAL.size + len(entry.name) or not head.startswith(MAGIC):
        raise ZipFault(f"`{name}` is not where its directory says")
    _, _, flags, method, _, _, _, _, _, length, extra = _LOCAL.unpack_from(head)
    if length != len(entry.name) or head[_LOCAL.size :] != entry.name or method != entry.method:
        raise ZipFault(f"`{name}` has another name or packing in its directory than before its bytes")
    if (flags | entry.flags) & _ENCRYPTED:
        raise ZipFault(f"`{name}` is encrypted")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and entry.packed != entry.size):
        raise ZipFault(f"`{name}` is packed in a way that no checkpoint is (method {method})")
    begin = entry.at + _LOCAL.size + length + extra
    return Member(name, begin, entry.packed, entry.size, method == _STORED)


def _name(raw: bytes) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ZipFault(f"{_shown(raw)}: a member's name is UTF-8") from None
    if (fault := name_fault(name)) is not None:
        raise ZipFault(f"{_shown(raw)}: {fault}")
    if name.startswith("/") or ".." in name.replace("\\", "/").split("/"):
        raise ZipFault(f"`{name}` leads out of the archive")
    return name


def _shown(raw: bytes) -> str:
    return f"`{raw[:80].decode(errors='replace')}`"
