"""Folders that hold a checkpoint in somebody else's layout: told by what lies in them, with a way out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from mapcc.diagnostics.model import Diagnostic
from mapcc.errors import MappingError
from mapcc.tensors.disk import reading
from mapcc.tensors.foreign import foreign, foreign_kind, sniff
from mapcc.tensors.parts import of_trainer

_SUFFIXES = (".gguf", ".nemo", ".msgpack", ".h5", ".hdf5", ".keras", ".onnx", ".tflite", ".npy", ".tar")
_TENSORFLOW = (
    "import sys, numpy, tensorflow as tf; r = tf.train.load_checkpoint(sys.argv[1]); "
    "numpy.savez(sys.argv[2], **{n: r.get_tensor(n) for n in r.get_variable_to_shape_map()})"
)
_ORBAX = (
    "import sys, numpy, orbax.checkpoint as o; from flax.traverse_util import flatten_dict as f; "
    "d = f(o.PyTreeCheckpointer().restore(sys.argv[1]), sep='.'); "
    "numpy.savez(sys.argv[2], **{n: numpy.asarray(x) for n, x in d.items()})"
)


def foreign_folder(path: Path, entries: Sequence[str]) -> Diagnostic | None:
    """MC006 for a folder in a layout that is known, and not read; None for any other."""
    for name in entries[:100]:  # ZeRO: the folder above those of its steps
        if told := of_trainer(path / name, [p.name for p in _inside(path / name)]):
            return told
    if any(name.startswith(("_CHECKPOINT_METADATA", "manifest.ocdbt")) for name in entries):
        inside = path / "default" if "default" in entries else path / "items" if "items" in entries else path
        command = _command("-c", _ORBAX, inside.absolute(), suffix=".npz", beside=path)
        return _told(path, "a checkpoint of Orbax", command, "orbax-checkpoint flax")
    if steps := [name for name in entries[:1000] if (path / name / "_CHECKPOINT_METADATA").is_file()]:
        help = f"name a step: {shlex.quote(str(path / steps[-1]))}"
        return Diagnostic("MC006", f"`{path}` holds steps of Orbax: {', '.join(steps[-8:])}", help=help)
    if any((path / name / ".zarray").is_file() for name in entries[:100]):
        return Diagnostic(
            "MC006",
            f"`{path}` is a checkpoint of T5X (arrays of zarr)",
            help="convert it to a checkpoint of PyTorch or Flax with the scripts of its own project",
        )
    index = next((name for name in entries if name.endswith(".index")), None)
    stem = index.removesuffix(".index") if index else ""
    if index and any(name.startswith(f"{stem}.data-") for name in entries):
        command = _command("-c", _TENSORFLOW, path / stem, suffix=".npz")
        return _told(path, "a checkpoint of TensorFlow", command, "tensorflow numpy")
    return _one_file(path, entries)


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())[:1000] if folder.is_dir() else []


def _one_file(path: Path, entries: Sequence[str]) -> Diagnostic | None:
    """What is said of the one file of a foreign kind in it."""
    files = [name for name in entries if name.endswith(_SUFFIXES) and (path / name).is_file()]
    if not files:
        return None
    try:
        with reading(path / files[0]) as (fd, _):
            kind = foreign_kind(sniff(fd))
    except MappingError:
        return None
    return None if kind is None else foreign(path / files[0], kind)


def _command(*words: object, suffix: str, beside: Path | None = None) -> str:
    last = Path(str(words[-1])) if beside is None else beside
    to = last.with_name(f"{last.name}.rewritten{suffix}")
    return shlex.join(["python", *map(str, words), str(to)])


def _told(path: Path, kind: str, command: str, packages: str = "") -> Diagnostic:
    notes = (f"the command needs: pip install {packages}",) if packages else ()
    return Diagnostic("MC006", f"`{path}` is {kind}", notes=notes, help=f"rewrite it first: {command}")
