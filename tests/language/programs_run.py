"""Everything that mapcc does with a mapping, held against what its target has to be."""

from __future__ import annotations

import runpy
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path

import pytest

import mapcc
from mapcc.tensors.dtypes import DTYPES
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest, TensorSpec
from tests.language.programs import Program, Tensors, raw, write
from tests.language.scenarios import FREE

SMALL = mapcc.Options(memory=1 << 20, workers=1, sync=False)
Found = dict[str, tuple[str, tuple[int, ...], bytes]]


def key_set(tensors: Tensors) -> Manifest:
    specs = {name: TensorSpec(name, DTYPES[one.dtype], one.shape) for name, one in tensors.items()}
    return Manifest(specs, (), "the wanted key set", None, {})


def right(tensors: Tensors) -> Found:
    return {name: (tensor.dtype, tensor.shape, raw(tensor)) for name, tensor in tensors.items()}


def read(folder: Path) -> Found:
    """A checkpoint, by its headers alone."""
    found: Found = {}
    for path in sorted(folder.glob("*.safetensors")):
        data = path.read_bytes()
        for spec in open_keyset(path).tensors.values():
            assert spec.dtype is not None
            found[spec.name] = (spec.dtype.name, spec.shape, data[spec.begin : spec.end])
    return found


def same(found: Found, wanted: Found, text: str) -> None:
    assert found.keys() == wanted.keys(), text
    assert [(name, found[name], wanted[name]) for name in wanted if found[name] != wanted[name]] == [], text


class Case:
    """A program in a folder of its own."""

    def __init__(self, program: Program, folder: Path, needs_target: bool = True) -> None:
        self.program, self.folder = program, folder
        self.mapping = folder / "m.mapcc"
        self.text = program.text
        self.mapping.write_text(self.text, "utf-8")
        self.source = write(folder / "s.safetensors", program.sources)
        self.target = key_set(program.wanted()) if needs_target else None
        free = {d.code for d in mapcc.check(self.mapping, self.source, self.target).diagnostics} & FREE
        if free:  # the key sets leave some sizes open
            self.text = program.sized_text
            self.mapping.write_text(self.text, "utf-8")

    def is_right(self) -> None:
        self.is_clean()
        self.converted()
        self.loaded()
        self.verified()
        self.scripted()
        self.inverted()

    def is_clean(self) -> None:
        found = mapcc.check(self.mapping, self.source, self.target).diagnostics
        assert found == (), (self.text, found)

    def converted(self) -> None:
        out = mapcc.convert(
            self.mapping, self.source, self.folder / "out", self.target, max_shard_size=200, running=SMALL
        )
        same(read(out), right(self.program.targets), self.text)

    def loaded(self) -> None:
        import torch

        with warnings.catch_warnings(action="ignore", category=mapcc.ValuesLost):
            tensors = dict(mapcc.load(self.mapping, self.source, self.target, running=SMALL))
        assert tensors.keys() == self.program.targets.keys()
        for name, tensor in tensors.items():
            wanted = self.program.targets[name]
            assert tuple(tensor.shape) == wanted.shape
            own = tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes()
            assert own == raw(wanted), (name, self.text)

    def verified(self) -> None:
        """By the verifier, which reads the axes a second time; it sees one bit that is wrong."""
        assert mapcc.verify_output(self.folder / "out", self.source, samples=1 << 12) == (), self.text

    def scripted(self) -> None:
        """The script reads, writes and orders as mapcc does; it is run as a program."""
        script = self.folder / "convert.py"
        text = mapcc.emit_script(self.mapping, self.source, self.target, max_shard_size=200)
        script.write_text(text, "ascii")
        with (
            arguments(script, self.source, self.folder / "by_script"),
            redirect_stdout(None),
            pytest.raises(SystemExit) as ended,
        ):
            runpy.run_path(str(script), run_name="__main__")
        assert not ended.value.code, self.text
        ours = {path.name: path.read_bytes() for path in (self.folder / "by_script").iterdir()}
        theirs = {
            path.name: path.read_bytes()
            for path in (self.folder / "out").iterdir()
            if path.name != "mapcc.manifest.json"
        }
        assert ours == theirs, self.text

    def inverted(self) -> None:
        """The inverse is proven, and gives each bit of the source where each is in the target."""
        if not self.program.has_inverse:
            with pytest.raises(mapcc.MappingError, match="MC701"):
                mapcc.invert(self.mapping, self.source, self.target)
            return
        backwards = mapcc.invert(self.mapping, self.source, self.target)
        assert backwards.proven
        both = self.folder / "both"
        both.mkdir()
        write(both / "model.safetensors", self.program.wanted())
        back = mapcc.convert(
            mapcc.parse(backwards.text), both, self.folder / "back", self.source, running=SMALL
        )
        if not self.program.comes_back:
            return
        if not self.program.is_rounded:
            same(read(back), right(self.program.sources), f"{self.text}\n{backwards.text}")
        else:
            assert read(back).keys() == self.program.sources.keys()


@contextmanager
def arguments(*values: object) -> Iterator[None]:
    before = sys.argv
    sys.argv = [*map(str, values)]
    try:
        yield
    finally:
        sys.argv = before
