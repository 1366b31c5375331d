"""An index that names files elsewhere: nothing there is read, and nothing is written."""

from __future__ import annotations

import json
import random
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from mapcc import api
from mapcc.errors import MappingError
from mapcc.tensors.index import shard_fault
from tests.faults.counts import inputs, randomness, report
from tests.tensors.headers import one

# A checkpoint's folder is ``in``; the secret lies beside it and, by other names, within reach.
NAMES = [
    "../secret/private.safetensors",
    "{root}/secret/private.safetensors",
    "x/../../secret/private.safetensors",
    "/dev/stdin",
    "link.safetensors",
    "..\\secret\\private.safetensors",
    "C:\\secret\\private.safetensors",
    "folder/private.safetensors",
    "\0.safetensors",
    "",
    "MODEL.safetensors",
    "..",
    "model.SAFETENSORS",
]
PARTS = ["..", ".", "", "secret", "private", "a", "\\", "/", "//", "\0", "\n", "~", "C:", "%2e%2e", "…", "․․"]
PARTS += [
    ".safetensors",
    "in",
    "$HOME",
    "{root}",
    "dev",
    "fd",
    "é",
    "x" * 120,
    "\u202e",
    "NUL",
    " ",
    "\ud800",
]

# With a separator that is in no name, empty segments are none.
KEEP = 'separator source "§"\nseparator target "§"\nkeep '


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A folder with a good shard, a link to outside, and a secret that is out of its reach."""
    for name in ("in/folder", "secret"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "private.safetensors").write_bytes(one(name="secret"))
    (tmp_path / "in" / "model.safetensors").write_bytes(one(name="good"))
    (tmp_path / "in" / "model.bin").write_bytes(one(name="secret"))
    (tmp_path / "in" / "link.safetensors").symlink_to("../secret/private.safetensors")
    (tmp_path / "m.mapcc").write_text("good -> good\nsecret -> secret", "utf-8")
    return tmp_path


def index(folder: Path, name: str) -> Path:
    path = folder / "in" / "model.safetensors.index.json"
    weight_map = {"good": "model.safetensors", "secret": name.format(root=folder)}
    path.write_text(json.dumps({"weight_map": weight_map}), "utf-8")
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.converts
def test_names_that_lead_out_are_neither_read_nor_written(checkpoint: Path) -> None:
    counts = {"read": 0, "write": 0}
    for name in NAMES:
        source = index(checkpoint, name)
        before = files(checkpoint)
        for asked in (source, source.parent):
            with pytest.raises(MappingError) as caught:
                api.keys(asked)
            assert {fault.code for fault in caught.value.diagnostics} <= {"MC001", "MC003"}, name
        counts["read"] += 1
        with pytest.raises(MappingError):
            api.convert(checkpoint / "m.mapcc", source, checkpoint / "out")
        counts["write"] += 1
        assert files(checkpoint) == before
        assert not (checkpoint / "out").exists()
    report({"read": 12, "write": 12}, **counts)


def random_name(draw: random.Random) -> str:
    name = "".join(draw.choices(PARTS, k=draw.randint(1, 5)))
    return draw.choice(["", "/", "a"]) + name + draw.choice(["", ".safetensors", ".safetensors"])


def test_a_name_that_may_be_a_shard_stays_in_its_folder() -> None:
    draw = randomness()
    wanted = inputs(50_000, 1_000_000)
    allowed = 0
    for _ in range(wanted):
        name = random_name(draw)
        if shard_fault(name) is None:
            allowed += 1
            assert (Path("/top/in") / name).parent == Path("/top/in")
            assert PurePosixPath(name).parts == PureWindowsPath(name).parts == (name,)
            assert not {"/", "\\", "\0", "\n"} & set(name)
            assert name not in ("", ".", "..")
            assert len(name.encode()) <= 255
    report({"names": wanted, "allowed": wanted // 100}, names=wanted, allowed=allowed)


@pytest.mark.converts
def test_what_is_written_is_named_by_the_prefix_alone(tmp_path: Path) -> None:
    """The name of a tensor becomes the name of no file."""
    names = ["../../etc/passwd", "/absolute", "a/../b", "C:\\x", "~", "a'\"]\\import os", "x" * 4000]
    for at, name in enumerate(names):
        source = tmp_path / "source.safetensors"
        source.write_bytes(one(name=json.dumps(name)[1:-1]))
        (tmp_path / "m.mapcc").write_text(KEEP + json.dumps(name), "utf-8")
        out = tmp_path / f"out{at}"
        api.convert(tmp_path / "m.mapcc", source, out)
        assert all(path.name.startswith(("model", "mapcc", "config")) for path in out.iterdir())
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"m.mapcc", "source.safetensors", *(f"out{at}" for at in range(len(names)))}
    report({"names": 7}, names=len(names))
