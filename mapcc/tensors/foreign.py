"""Files that are not safetensors: told by their content, and what to do with them."""

from __future__ import annotations

import shlex
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic

SNIFFED = 16  # bytes from the start of a file
PICKLED = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle")

_MAGICS = (
    (b"PK\x03\x04", "a zip archive, as torch.save writes it"),
    (b"\x80\x02", "a pickle"),
    (b"\x80\x03", "a pickle"),
    (b"\x80\x04", "a pickle"),
    (b"\x80\x05", "a pickle"),
    (b"GGUF", "a GGUF file"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x93NUMPY", "a numpy array"),
)
_CONVERT = (
    "import sys, torch, safetensors.torch as s; "
    "d = torch.load(sys.argv[1], map_location='cpu', weights_only=True); d = d.get('state_dict', d); "
    "s.save_file({k: v.clone().contiguous() for k, v in d.items()}, sys.argv[2])"
)


def foreign_kind(start: bytes) -> str | None:
    """What a file is that begins with these bytes; None if it may be a safetensors file.

    The first eight bytes of safetensors are a length, so they can be anything: the ninth decides.

    >>> foreign_kind(b"PK\\x03\\x04" + bytes(12))
    'a zip archive, as torch.save writes it'
    """
    if start[8:9] == b"{":
        return None
    return next((kind for magic, kind in _MAGICS if start.startswith(magic)), None)


def foreign(path: Path, kind: str) -> Diagnostic:
    """MC006 for a file of another kind; with the command that rewrites it, where torch can."""
    pickled = kind.startswith(("a zip", "a pickle"))
    return Diagnostic(
        "MC006",
        f"`{path}` is {kind}, not a safetensors file",
        notes=("a pickle can run code when it is loaded: this release reads safetensors only",)
        if pickled
        else (),
        help=conversion(path) if pickled else "convert it to safetensors with its own tools",
    )


def conversion(path: Path) -> str:
    """How to rewrite a checkpoint of torch.save, as a command to type."""
    target = path.with_suffix(".safetensors")
    if target == path:
        target = path.with_name(f"{path.stem}.rewritten.safetensors")
    words = ("python", "-c", _CONVERT, str(path), str(target))
    return f"rewrite it first: {shlex.join(words)}"
