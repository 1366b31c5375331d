"""A disk that loses power: what may be on it after any call of the door.

Until a file is synced, each of its writes is there, in part there, or not there, whatever came
after it; its place is zeros. The same holds of the names in a folder. A name that is there without its
folder is lost, and a file without a name too.
"""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import TypeVar

from tests.faults.doors import Call

# What is seen of a call once it was made: its name, its path, and the other path or the bytes.
Record = tuple[str, str, object]
Write = tuple[int, bytes]  # an offset and bytes; with offset -1, cut to nothing


@dataclass
class File:
    synced: bytearray = field(default_factory=bytearray)
    pending: list[Write] = field(default_factory=list)

    def after(self, writes: Iterable[Write]) -> bytearray:
        data = bytearray(self.synced)
        for offset, part in writes:
            if offset < 0:
                data.clear()
                continue
            data.extend(bytes(max(0, offset + len(part) - len(data))))
            data[offset : offset + len(part)] = part
        return data


@dataclass
class Folder:
    synced: dict[str, Node] = field(default_factory=dict)
    pending: list[dict[str, Node | None]] = field(default_factory=list)  # names of one call, together
    now: dict[str, Node] = field(default_factory=dict)

    def change(self, names: dict[str, Node | None]) -> None:
        self.pending.append(names)
        self.now = self.after([*self.pending])

    def after(self, changes: Iterable[dict[str, Node | None]]) -> dict[str, Node]:
        found: dict[str, Node | None] = dict(self.synced)
        for names in changes:
            found |= names
        return {name: node for name, node in found.items() if node is not None}


Node = File | Folder
T = TypeVar("T")


class Disk:
    """``root`` is a folder that is there; calls are of paths in it."""

    def __init__(self, root: Path) -> None:
        self.root, self.top = root, Folder()

    def node(self, path: str) -> Node:
        at: Node = self.top
        for name in Path(path).relative_to(self.root).parts:
            assert isinstance(at, Folder)
            at = at.now[name]
        return at

    def parent(self, path: str) -> Folder:
        found = self.node(str(Path(path).parent))
        assert isinstance(found, Folder)
        return found

    def apply(self, record: Record) -> None:
        kind, path, more = record
        name = Path(path).name
        match kind, more:
            case "mkdir", _:
                self.parent(path).change({name: Folder()})
            case "create", _:
                self.parent(path).change({name: File()})
            case "unlink" | "rmdir", _:
                self.parent(path).change({name: None})
            case "rename", str(to):
                assert Path(to).parent == Path(path).parent
                self.parent(path).change({name: None, Path(to).name: self.node(path)})
            case "pwrite", (int(), bytes()):
                self._file(path).pending.append(more)  # type: ignore[arg-type]
            case "truncate", _:
                self._file(path).pending.append((-1, b""))
            case "allocate", int(size):
                self._file(path).pending.append((size, b""))
            case "fsync", _:
                node = self.node(path)
                node.synced = node.after(node.pending)  # type: ignore[arg-type, assignment]
                node.pending = []

    def _file(self, path: str) -> File:
        found = self.node(path)
        assert isinstance(found, File)
        return found

    def crash(self, to: Path, random: Random) -> None:
        """Put into ``to`` what may be left."""
        _write(self.top, to, random)

    def copy(self) -> Disk:
        return deepcopy(self)


def _write(folder: Folder, to: Path, random: Random) -> None:
    for name, node in folder.after(_some(folder.pending, random)).items():
        if isinstance(node, Folder):
            (to / name).mkdir()
            _write(node, to / name, random)
        else:
            torn = [_torn(write, random) for write in _some(node.pending, random)]
            (to / name).write_bytes(node.after(torn))


def _some(pending: list[T], random: Random) -> list[T]:
    """All, none, the first ones, or any of them."""
    match random.randrange(4):
        case 0:
            return pending
        case 1:
            return []
        case 2:
            return pending[: random.randint(0, len(pending))]
    return [one for one in pending if random.random() < 0.5]


def _torn(write: Write, random: Random) -> Write:
    offset, data = write
    if offset < 0 or not data or random.random() < 0.7:
        return write
    cut = random.randrange(len(data))
    return (offset, data[:cut]) if random.random() < 0.5 else (offset + cut, data[cut:])


def record(call: Call) -> Record | None:
    """A call, as :meth:`Disk.apply` takes it; None if it changes nothing. Made before the bytes change."""
    match call.name:
        case "pwrite":
            return call.name, call.path, (call.arguments[2], bytes(call.arguments[1]))
        case "allocate":
            return call.name, call.path, call.arguments[1]
        case "rename":
            return call.name, call.path, str(call.arguments[1])
        case "close" | "clone" | "copy_range":
            return None
    return call.name, call.path, None
