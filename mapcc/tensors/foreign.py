"""Files that mapcc does not read: told by their content, and what to do with them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.disk import read_at

# The first pickle of torch before 1.6, of whatever protocol: a number.
_LEGACY = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
SNIFFED = 264  # bytes from the start of a file: the mark of a tar archive ends at 262
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")

_PICKLE = "a pickle that torch did not write"
_TAR = "a tar archive, as the first releases of torch wrote it"
_NEMO = "a .nemo file of NeMo: a tar archive with a checkpoint of torch in it"
_TARRED = "a tar archive"
_GGUF, _HDF5, _NUMPY = "a GGUF file", "an HDF5 file", "a numpy array"
_ONNX, _TFLITE, _MSGPACK = "an ONNX model", "a TFLite model", "a msgpack file, as Flax writes it"
_POINTER, _PAGE = "a pointer of Git LFS, not the file itself", "a web page, not the file itself"
_GZIP = "a gzip archive"
_MAGICS = (
    (b"version https://git-lfs.github.com/spec/", _POINTER),
    *((start, _PAGE) for start in (b"<!DOCTYPE html", b"<!doctype html", b"<html")),
    (b"\x1f\x8b\x08", _GZIP),
    (b"PK\x03\x04", "a zip archive"),
    *((bytes((0x80, protocol)), _PICKLE) for protocol in (2, 3, 4, 5)),
    (b"GGUF", _GGUF),
    (b"\x89HDF\r\n\x1a\n", _HDF5),
    (b"\x93NUMPY", _NUMPY),
)
# A map of one to fifteen texts, or of more; the version of an ONNX model, and the name of who made it.
_MAP = re.compile(rb"(?:[\x81-\x8f]|\xde..|\xdf.{4})(?:[\xa1-\xbf]|\xd9.)[A-Za-z_/]", re.DOTALL)
_MODEL = re.compile(rb"\x08[\x01-\x20](?:\x12[\x01-\x40][A-Za-z]|:)")

_RESAVE_TAR = (
    "import sys, torch; "
    "torch.save(torch.load(sys.argv[1], map_location='cpu', weights_only=False), sys.argv[2])"
)
_SAVE = "from safetensors.numpy import save_file; "
# For each kind: what it needs of packages, and a program from the file to one of safetensors.
_PROGRAMS = {
    _GGUF: (
        "gguf",
        "import sys, gguf; " + _SAVE + "r = gguf.GGUFReader(sys.argv[1]); "
        "save_file({t.name: gguf.quants.dequantize(t.data, t.tensor_type) for t in r.tensors}, sys.argv[2])",
    ),
    _HDF5: (
        "h5py",
        "import sys, h5py; " + _SAVE + "d = {}; "
        "h5py.File(sys.argv[1]).visititems(lambda n, o: hasattr(o, 'shape') and d.update({n: o[()]})); "
        "save_file(d, sys.argv[2])",
    ),
    _NUMPY: (
        "numpy",
        "import sys, numpy; " + _SAVE + "save_file({'array': numpy.load(sys.argv[1])}, sys.argv[2])",
    ),
    _ONNX: (
        "onnx",
        "import sys, onnx; from onnx.numpy_helper import to_array; "
        + _SAVE
        + "save_file({t.name: to_array(t) for t in onnx.load(sys.argv[1]).graph.initializer}, sys.argv[2])",
    ),
    _MSGPACK: (
        "flax",
        "import sys, numpy; from flax.serialization import msgpack_restore as r; "
        "from flax.traverse_util import flatten_dict as f; "
        + _SAVE
        + "d = f(r(open(sys.argv[1], 'rb').read()), sep='.'); "
        "save_file({n: numpy.asarray(x) for n, x in d.items()}, sys.argv[2])",
    ),
}
_ELSEWHERE = "where its classes are, save its tensors by name: torch.save({name: tensor, ...}, 'weights.pt')"


def is_legacy(start: bytes) -> bool:
    """Whether a file that begins so was written by ``torch.save`` before release 1.6."""
    return _LEGACY.match(start) is not None


def foreign_kind(start: bytes) -> str | None:
    """What a file is that begins with these bytes; None if it may be one that mapcc reads.

    The first eight bytes of safetensors are a length, so they can be anything: the ninth decides.

    >>> foreign_kind(b"GGUF" + bytes(12))
    'a GGUF file'
    """
    if start[257:262] == b"ustar":
        return _tar(start)
    if start[8:9] == b"{" or is_legacy(start):
        return None
    if start[4:8] == b"TFL3":
        return _TFLITE
    for pattern, kind in ((_MAP, _MSGPACK), (_MODEL, _ONNX)):
        if pattern.match(start):
            return kind
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), None)


def _tar(start: bytes) -> str:
    """By the name of its first member."""
    first = start[:100].rstrip(b"\0").removeprefix(b"./")
    if first in (b"storages", b"tensors", b"pickle", b"sys_info"):
        return _TAR
    is_nemo = first.startswith((b"model_weights", b"model_config", b"weights/")) or not first
    return _NEMO if is_nemo else _TARRED


def sniff(fd: int) -> bytes:
    """The first bytes of a file: 16 of one of safetensors, so that nothing behind a small header is read."""
    start = read_at(fd, 16, 0)
    return start if start[8:9] == b"{" else read_at(fd, SNIFFED, 0)


def foreign(path: Path, kind: str) -> Diagnostic:
    """MC006 for a file of another kind; with the command that rewrites it, where there is one."""
    notes: tuple[str, ...] = ()
    help = "convert it to safetensors with its own tools"
    if kind in _PROGRAMS:
        package, program = _PROGRAMS[kind]
        notes = (f"the command needs: pip install {package} safetensors",)
        help = _command(path, program, ".safetensors")
    elif kind == _TAR:
        notes = ("torch reads it only as a pickle that can run code: do it if you trust who made it",)
        help = _command(path, _RESAVE_TAR, ".pt")
    elif kind == _POINTER:
        help = "get the file that it points to: git lfs pull"
    elif kind == _PAGE:
        help = "download it again: what asks for a login, or an error, was saved in its place"
    elif kind == _GZIP and not path.name.endswith((".nemo", ".tgz", ".tar.gz")):
        unpacked = path.with_suffix("") if path.suffix == ".gz" else rewritten(path, path.suffix)
        help = f"unpack it first: gunzip -c {shlex.quote(str(path))} > {shlex.quote(str(unpacked))}"
    elif kind in (_NEMO, _TARRED, _GZIP):
        place, packed = shlex.quote(str(rewritten(path, ""))), shlex.quote(str(path))
        unpack = f"mkdir {place} && tar -xf {packed} -C {place}"
        help = f"unpack it, and name the checkpoint in it (of NeMo, model_weights.ckpt): {unpack}"
    elif kind == _PICKLE:
        help = _ELSEWHERE
    elif kind == _TFLITE:
        help = "its weights are those of a compiled graph: start from the checkpoint that it was made of"
    return Diagnostic("MC006", f"`{path}` is {kind}", notes=notes, help=help)


def _command(path: Path, program: str, suffix: str) -> str:
    words = ("python", "-c", program, str(path), str(rewritten(path, suffix)))
    return f"rewrite it first: {shlex.join(words)}"


def rewritten(path: Path, suffix: str) -> Path:
    """Where the rewritten file goes: beside it, under a name that is not its own.

    >>> rewritten(Path("a/model.bin"), ".pt").name
    'model.rewritten.pt'
    """
    return path.with_name(f"{path.stem}.rewritten{suffix}")
