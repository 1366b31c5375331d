"""One file of weights, of whatever format: told by its content, read without its tensors."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mapcc.diagnostics.fold import fold
from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import Stamp, reading
from mapcc.tensors.foreign import PICKLED, foreign, foreign_kind, is_legacy, sniff
from mapcc.tensors.safetensors import Header, read_header
from mapcc.tensors.selection import TOP, Chosen, Select, choose, selects
from mapcc.tensors.spec import TensorSpec
from mapcc.tensors.zips import MAGIC, Member, ZipFault, read_members

# A checkpoint of safetensors does not wait for what reads archives.
if TYPE_CHECKING:
    from mapcc.tensors.pickled import Archive, Extent, PickleFault

NPZ = ".npz"
ARCHIVES = (*PICKLED, ".jit", ".ptl", NPZ)
_EMPTY = b"PK\x05\x06"  # an archive without members begins with its end

_AGAIN = "get the file again; if it is as its author made it, save it again with torch.save"


def read_weights(path: Path, file: int | None = None, select: Select = None) -> Header:
    """The tensors of a file: of safetensors, of ``torch.save``, of TorchScript or of ``numpy.savez``.

    Args:
        file: goes into each tensor.
        select: which dictionaries of a checkpoint of torch hold the tensors, as dotted paths. A file that has
            no dictionaries is read whole.

    Raises:
        MappingError: MC001 if the file cannot be read, MC006 if it is of another kind or
            holds something else, MC002 if it is malformed, MC007 if ``select`` leads nowhere.
    """
    with reading(path) as (fd, stamp):
        start = sniff(fd)
        if is_archive(start):
            return _read_archive(path, fd, stamp, file, select)
        if is_legacy(start):
            return _read_legacy(path, fd, stamp, file, select)
        kind = foreign_kind(start)
        if kind is None and path.suffix in PICKLED and start[8:9] != b"{":
            kind = "of no kind that torch writes"
        if kind is not None:
            raise MappingError([foreign(path, kind)])
    return read_header(path, file)


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so is a zip archive, whatever its name is.

    >>> is_archive(b"PK\\x03\\x04" + bytes(12)), is_archive(b"PK\\x03\\x04\\0\\0\\0\\0{")
    (True, False)
    """
    return start[:4] in (MAGIC, _EMPTY) and start[8:9] != b"{"


def not_selectable(where: object, select: Select) -> Diagnostic:
    """MC007 for a source that has nothing to select from."""
    message = f"`{where}` has no dictionaries of which {', '.join(map(repr, selects(select)))} could be one"
    return Diagnostic(
        "MC007", message, help="leave --select out: it is for dictionaries and prefixes of names"
    )


def _read_archive(path: Path, fd: int, stamp: Stamp, file: int | None, select: Select) -> Header:
    from mapcc.tensors.npz import SUFFIX, read_arrays
    from mapcc.tensors.pickled import Archive, PickleFault
    from mapcc.tensors.walk import WalkFault

    try:
        members = read_members(fd, stamp.size)
        if members and all(name.endswith(SUFFIX) for name in members):
            return Header(read_arrays(path, fd, members, file), {}, stamp)
        archive = Archive(fd, members, _root(path, members), file, stamp.size)
        chosen = _chosen(path, archive, select)
        return _header(path, chosen, archive.extents, stamp, file)
    except (ZipFault, WalkFault) as fault:
        raise MappingError([_malformed(path, PickleFault(str(fault)))]) from None
    except PickleFault as fault:
        raise MappingError([_malformed(path, fault)]) from None


def _read_legacy(path: Path, fd: int, stamp: Stamp, file: int | None, select: Select) -> Header:
    from mapcc.tensors.pickled import PickleFault, read_legacy
    from mapcc.tensors.walk import WalkFault

    try:
        found = read_legacy(fd, stamp.size)
        return _header(path, choose(str(path), found.top, select), found.extents, stamp, file)
    except WalkFault as fault:
        raise MappingError([_malformed(path, PickleFault(str(fault)))]) from None
    except PickleFault as fault:
        raise MappingError([_malformed(path, fault)]) from None


def _root(path: Path, members: dict[str, Member]) -> str:
    """The one folder of an archive of torch."""
    from mapcc.tensors.pickled import PickleFault

    pickles = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickles) == 1:
        return pickles[0].partition("/")[0]
    raise MappingError(
        [
            foreign(path, "a zip archive, but none of torch.save (it has no data.pkl) or of numpy.savez")
            if not pickles
            else _malformed(path, PickleFault("it has several data.pkl"))
        ]
    )


def _chosen(path: Path, archive: Archive, select: Select) -> Chosen:
    from mapcc.tensors.pickled import unpickle
    from mapcc.tensors.scripted import is_scripted, scripted_state

    if not is_scripted(archive):
        return choose(str(path), unpickle(archive), select)
    if select not in (None, TOP):
        raise MappingError([not_selectable(path, select)])
    return Chosen(scripted_state(archive), ())


def _header(path: Path, chosen: Chosen, extents: dict[str, Extent], stamp: Stamp, file: int | None) -> Header:
    from mapcc.tensors.pickled import PickleFault, tensor_spec

    tensors: list[TensorSpec] = []
    faults: dict[str, list[PickleFault]] = {}
    for name, tensor in chosen.tensors.items():
        try:
            tensors.append(tensor_spec(extents, file, name, tensor))
        except PickleFault as fault:
            faults.setdefault(fault.rule, []).append(fault)
    if faults:
        raise MappingError([_malformed(path, *alike) for alike in faults.values()])
    return Header(tensors, {}, stamp, chosen.skipped, is_chosen=True)


def _malformed(path: Path, fault: PickleFault, *others: PickleFault) -> Diagnostic:
    """Of several faults that differ in nothing but the tensor, one diagnostic."""
    names = tuple(one.name for one in (fault, *others) if one.name is not None)
    whose = f", tensor `{fault.name}`" if names else ""
    if others:
        whose += f" and {len(others):,} more"
    where, help = f"`{path}`", fault.help
    if fault.code == "MC002":
        where, help = f"malformed archive `{path}`", _AGAIN
    message = f"{where}{whose}: {fault.rule}"
    return Diagnostic(fault.code, message, help=help, names=tuple(fold(names, 8)) if others else names)
