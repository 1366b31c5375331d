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
_MAGICS = (
    (b"PK\x03\x04", "a zip archive"),
    (b"\x80\x02", _PICKLE),
    (b"\x80\x03", _PICKLE),
    (b"\x80\x04", _PICKLE),
    (b"\x80\x05", _PICKLE),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
)
_RESAVE = (
    "import sys, torch; "
    "torch.save(torch.load(sys.argv[1], map_location='cpu', weights_only=True), sys.argv[2])"
)
_RESAVE_TAR = _RESAVE.replace("weights_only=True", "weights_only=False")


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
        return _TAR
    if start[8:9] == b"{" or is_legacy(start):
        return None
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), None)


def sniff(fd: int) -> bytes:
    """The first bytes of a file: 16 of one of safetensors, so that nothing behind a small header is read."""
    start = read_at(fd, 16, 0)
    return start if start[8:9] == b"{" else read_at(fd, SNIFFED, 0)


def foreign(path: Path, kind: str) -> Diagnostic:
    """MC006 for a file of another kind; with the command that rewrites it, where there is one."""
    notes: tuple[str, ...] = ()
    if kind == _TAR:
        notes = (
            "torch reads such a file only as a pickle that can run code: do it if you trust who made it",
        )
        help = resave(path, _RESAVE_TAR)
    elif kind == _PICKLE or kind.startswith("a pickle"):
        help = _ELSEWHERE
    else:
        help = "convert it to safetensors with its own tools"
    return Diagnostic("MC006", f"`{path}` is {kind}", notes=notes, help=help)


def resave(path: Path, program: str = _RESAVE) -> str:
    """How to rewrite a checkpoint of torch as an archive of today, as a command to type."""
    words = ("python", "-c", program, str(path), str(rewritten(path, ".pt")))
    return f"rewrite it first: {shlex.join(words)}"


def rewritten(path: Path, suffix: str) -> Path:
    """Where the rewritten file goes: beside it, under a name that is not its own.

    >>> rewritten(Path("a/model.bin"), ".pt").name
    'model.rewritten.pt'
    """
    return path.with_name(f"{path.stem}.rewritten{suffix}")
