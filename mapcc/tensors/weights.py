"""One file of weights, of whatever format: told by its content, read without its tensors."""

from __future__ import annotations

from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import Stamp, reading
from mapcc.tensors.foreign import PICKLED, foreign, foreign_kind, sniff
from mapcc.tensors.npz import SUFFIX as ARRAY
from mapcc.tensors.npz import read_arrays
from mapcc.tensors.pickled import Archive, PickleFault, tensor_spec, unpickle
from mapcc.tensors.safetensors import Header, read_header
from mapcc.tensors.scripted import is_scripted, scripted_state
from mapcc.tensors.selection import TOP, Chosen, choose
from mapcc.tensors.spec import TensorSpec
from mapcc.tensors.zips import MAGIC, Member, ZipFault, read_members

NPZ = ".npz"
ARCHIVES = (*PICKLED, ".jit", ".ptl", NPZ)
_EMPTY = b"PK\x05\x06"  # an archive without members begins with its end

_AGAIN = "get the file again; if it is as its author made it, save it again with torch.save"


def read_weights(path: Path, file: int | None = None, select: str | None = None) -> Header:
    """The tensors of a file: of safetensors, of ``torch.save``, of TorchScript or of ``numpy.savez``.

    Args:
        file: goes into each tensor.
        select: which dictionary of an archive of torch holds the tensors, as a dotted path.

    Raises:
        MappingError: MC001 if the file cannot be read, MC006 if it is of another kind or
            holds something else, MC002 if it is malformed, MC007 if ``select`` leads nowhere.
    """
    with reading(path) as (fd, stamp):
        start = sniff(fd)
        if is_archive(start):
            return _read_archive(path, fd, stamp, file, select)
    kind = foreign_kind(start)
    if kind is None and path.suffix in PICKLED and start[8:9] != b"{":
        kind = "of no kind that torch writes now"
    if kind is not None:
        raise MappingError([foreign(path, kind)])
    if select is not None:
        raise MappingError([not_selectable(path, select)])
    return read_header(path, file)


def is_archive(start: bytes) -> bool:
    """Whether a file that begins so is a zip archive, whatever its name is.

    >>> is_archive(b"PK\\x03\\x04" + bytes(12)), is_archive(b"PK\\x03\\x04\\0\\0\\0\\0{")
    (True, False)
    """
    return start[:4] in (MAGIC, _EMPTY) and start[8:9] != b"{"


def not_selectable(where: object, select: str) -> Diagnostic:
    """MC007 for a source that has nothing to select from."""
    message = f"`{where}` has no dictionaries of which {select!r} could be one"
    return Diagnostic("MC007", message, help="leave --select out: it is for archives of torch.save")


def _read_archive(path: Path, fd: int, stamp: Stamp, file: int | None, select: str | None) -> Header:
    try:
        members = read_members(fd, stamp.size)
        if members and all(name.endswith(ARRAY) for name in members):
            if select is not None:
                raise MappingError([not_selectable(path, select)])
            return Header(read_arrays(path, fd, members, file), {}, stamp)
        tensors, skipped = _read_torch(path, Archive(fd, members, _root(path, members), file), select)
        return Header(tensors, {}, stamp, skipped)
    except ZipFault as fault:
        raise MappingError([_malformed(path, PickleFault(str(fault)))]) from None
    except PickleFault as fault:
        raise MappingError([_malformed(path, fault)]) from None


def _root(path: Path, members: dict[str, Member]) -> str:
    """The one folder of an archive of torch."""
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


def _read_torch(path: Path, archive: Archive, select: str | None) -> tuple[list[TensorSpec], tuple[str, ...]]:
    if is_scripted(archive):
        if select not in (None, TOP):
            raise MappingError([not_selectable(path, select)])
        chosen = Chosen(scripted_state(archive, path), ())
    else:
        chosen = choose(str(path), unpickle(archive, {}, path), select)
    tensors: list[TensorSpec] = []
    faults: list[Diagnostic] = []
    for name, tensor in chosen.tensors.items():
        try:
            tensors.append(tensor_spec(archive, name, tensor))
        except PickleFault as fault:
            faults.append(_malformed(path, fault))
    if faults:
        raise MappingError(faults)
    return tensors, chosen.skipped


def _malformed(path: Path, fault: PickleFault) -> Diagnostic:
    whose = "" if fault.name is None else f", tensor `{fault.name}`"
    names = () if fault.name is None else (fault.name,)
    if fault.code == "MC002":
        return Diagnostic(
            "MC002", f"malformed archive `{path}`{whose}: {fault.rule}", help=_AGAIN, names=names
        )
    return Diagnostic(fault.code, f"`{path}`{whose}: {fault.rule}", help=fault.help, names=names)
