"""All components into one folder: complete or as before, whatever happens on the way."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import mapcc as library
from mapcc.errors import MappingError
from mapcc.port import assembly, place
from mapcc.port.assembly import convert_port
from mapcc.port.read import read_port
from tests.port.conftest import Workspace

pytestmark = [pytest.mark.slow, pytest.mark.converts]

PORT = """\
model: m
weights: {path: weights}
target: {kind: diffusers, pipeline: P, version: "1"}
components:
  a:
    {source: all.safetensors, prefix: a., mapping: a.mapcc, keys: a.json, class: diffusers.A, config: {n: 1}}
  b:
    source: all.safetensors
    prefix: b.
    mapping: b.mapcc
    keys: b.json
    class: transformers.B
    config: {n: 2}
assets:
  notes: {from: notes}
"""


TURNED = "{i}.w : x y -> t.{i}.w : y x\n"


@pytest.fixture
def ported(workspace: Workspace) -> Workspace:
    import torch

    torch.manual_seed(0)
    tensors = {f"{part}.{at}.w": torch.randn(64, 48) for part in "ab" for at in range(6)}
    workspace.weights("weights/all.safetensors", tensors)
    workspace.write("weights/notes/one.txt", "one")
    mapped(workspace, "a", "keep **\n")
    mapped(workspace, "b", TURNED)
    workspace.write("port.yaml", PORT)
    return workspace


def mapped(workspace: Workspace, component: str, text: str) -> None:
    """A mapping, and the keys of the model that it is right for."""
    workspace.write(f"{component}.mapcc", text)
    shapes = {f"{at}.w": [64, 48] for at in range(6)}
    path = workspace.write("shapes.json", json.dumps(shapes))
    shown = library.show(workspace.folder / f"{component}.mapcc", path)
    workspace.write(f"{component}.json", json.dumps({each.name: list(each.shape) for each in shown}))


def contents(folder: Path) -> dict[str, str]:
    """Every file of the output but for the records of when: names, and hashes of what is in them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def beside(workspace: Workspace) -> list[str]:
    return sorted(entry.name for entry in (workspace.folder / "converted_weights").iterdir())


def converted(workspace: Workspace) -> dict[str, str]:
    convert_port(read_port(Path("port.yaml")))
    return contents(workspace.folder / "converted_weights/m")


def test_again_is_the_same_and_costs_nothing(ported: Workspace) -> None:
    first = converted(ported)
    weights = ported.folder / "converted_weights/m/a/diffusion_pytorch_model.safetensors"
    inode = weights.stat().st_ino
    again = convert_port(read_port(Path("port.yaml")))
    assert all(made.is_kept for made in again)
    assert contents(ported.folder / "converted_weights/m") == first
    assert weights.stat().st_ino == inode
    assert beside(ported) == ["m"]


def test_a_changed_mapping_converts_that_component_alone(ported: Workspace) -> None:
    first = converted(ported)
    weights = ported.folder / "converted_weights/m/a/diffusion_pytorch_model.safetensors"
    inode = weights.stat().st_ino
    mapped(ported, "b", "{i}.w -> t.{i}.w\n")
    made = convert_port(read_port(Path("port.yaml")))
    assert {each.name: each.is_kept for each in made} == {"a": True, "b": False}
    assert weights.stat().st_ino == inode
    second = contents(ported.folder / "converted_weights/m")
    assert {name for name in first if first[name] != second[name]} == {
        "b/model.safetensors",
        "b/mapcc.manifest.json",
        "_mapping/port.json",
    }


def test_changed_weights_of_the_same_size_are_converted_anew(ported: Workspace) -> None:
    import torch

    first = converted(ported)
    tensors = {f"{part}.{at}.w": torch.ones(64, 48) for part in "ab" for at in range(6)}
    ported.weights("weights/all.safetensors", tensors)
    second = converted(ported)
    assert first["a/diffusion_pytorch_model.safetensors"] != second["a/diffusion_pytorch_model.safetensors"]


def test_no_stale_file_stays(ported: Workspace) -> None:
    converted(ported)
    stray = ported.folder / "converted_weights/m/a/model-00001-of-00002.safetensors"
    stray.write_bytes(b"an earlier shard, which FastVideo's loader would read")
    (ported.folder / "converted_weights/m/old").mkdir()
    mapped(ported, "a", "{i}.w -> n.{i}.w\n")
    converted(ported)
    out = ported.folder / "converted_weights/m"
    assert not stray.exists()
    assert sorted(entry.name for entry in out.iterdir()) == [
        "_mapping",
        "a",
        "b",
        "model_index.json",
        "notes",
    ]


def test_what_is_not_ours_is_left_alone(ported: Workspace) -> None:
    ported.write("converted_weights/m/mine.txt", "mine")
    with pytest.raises(MappingError, match="did not make"):
        convert_port(read_port(Path("port.yaml")))
    assert beside(ported) == ["m"]
    assert (ported.folder / "converted_weights/m/mine.txt").read_text("utf-8") == "mine"


def test_key_dumps_stay(ported: Workspace) -> None:
    ported.good("keys")
    ported.good("convert")
    assert (ported.folder / "converted_weights/m/_mapping/a_official_keys.json").exists()


def test_configs_and_index(ported: Workspace) -> None:
    converted(ported)
    out = ported.folder / "converted_weights/m"
    index = json.loads((out / "model_index.json").read_text("utf-8"))
    assert index == {
        "_class_name": "P",
        "_diffusers_version": "1",
        "a": ["diffusers", "A"],
        "b": ["transformers", "B"],
    }
    config = json.loads((out / "a/config.json").read_text("utf-8"))
    assert config == {"_class_name": "A", "_diffusers_version": "1", "n": 1}
    assert json.loads((out / "b/config.json").read_text("utf-8")) == {"architectures": ["B"], "n": 2}
    assert (out / "notes/one.txt").read_text("utf-8") == "one"


def test_types_and_exceptions_of_port_yaml(ported: Workspace) -> None:
    from mapcc.tensors.keysets import open_keyset

    ported.write(
        "port.yaml",
        PORT.replace("mapping: a.mapcc,", 'mapping: a.mapcc, dtype: bf16, keep: {f32: "0.*"},'),
    )
    converted(ported)
    kept = open_keyset(ported.folder / "converted_weights/m/a").tensors
    assert {name: spec.dtype.name for name, spec in kept.items() if spec.dtype} == {
        "0.w": "F32",
        **{f"{at}.w": "BF16" for at in range(1, 6)},
    }
    ran = ported.mapcc("verify", "converted_weights/m/a")
    assert ran.code == 0, ran.err


def test_a_damaged_output_is_made_anew(ported: Workspace) -> None:
    first = converted(ported)
    out = ported.folder / "converted_weights/m"
    for name in (
        "a/diffusion_pytorch_model.safetensors",
        "notes/one.txt",
        "a/config.json",
        "model_index.json",
    ):
        data = bytearray((out / name).read_bytes())
        data[-1] ^= 1
        (out / name).unlink()
        (out / name).write_bytes(data)
        assert converted(ported) == first, name
    (out / "b/model.safetensors").unlink()
    assert converted(ported) == first


def test_shards_and_their_index(ported: Workspace) -> None:
    ported.good("convert", "--max-shard-size", "30KB")
    names = sorted(path.name for path in (ported.folder / "converted_weights/m/a").iterdir())
    assert "diffusion_pytorch_model-00001-of-00003.safetensors" in names
    assert "diffusion_pytorch_model.safetensors.index.json" in names


def test_several_files_of_one_component(ported: Workspace) -> None:
    import torch

    for at in range(2):
        ported.weights(f"weights/part{at}.safetensors", {f"{at}.w": torch.full((2, 2), float(at))})
    text = PORT.replace(
        "{source: all.safetensors, prefix: a., mapping: a.mapcc, keys: a.json,",
        "{source: [part0.safetensors, part1.safetensors], mapping: a.mapcc,  keys: two.json,",
    )
    ported.write("two.json", json.dumps({"0.w": [2, 2], "1.w": [2, 2]}))
    ported.write("port.yaml", text + "foreign: {names: a.*, because: not of this test}\n")
    converted(ported)
    from tests.library.test_oracles import loaded

    found = loaded(ported.folder / "converted_weights/m/a")
    assert {name: float(value.sum()) for name, value in found.items()} == {"0.w": 0, "1.w": 4}
    made_of = ported.evidence("convert-a")["made_of"]
    assert {key for key in made_of if key.startswith("weights")} == {
        "weights part0.safetensors",
        "weights part1.safetensors",
    }


# --- interrupted


class Killed(BaseException):
    pass


def calls_of(monkeypatch: pytest.MonkeyPatch, stop_at: int) -> list[str]:
    """Each call that changes files beside those of ``carry_out``; the one at ``stop_at`` does not happen."""
    seen: list[str] = []

    def counted(owner: Any, name: str) -> None:
        before = getattr(owner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            seen.append(name)
            if len(seen) == stop_at:
                raise Killed
            return before(*arguments, **named)

        monkeypatch.setattr(owner, name, call)

    for owner, names in (
        (assembly, ("carry_out", "copy", "write", "_link")),
        (place, ("write_text", "copy", "write", "sync_all", "sync_folder")),
        (shutil, ("rmtree",)),
        (Path, ("rename", "unlink", "mkdir")),
    ):
        for name in names:
            counted(owner, name)
    return seen


def stops(ported: Workspace) -> Iterator[int]:
    with pytest.MonkeyPatch.context() as patch:
        seen = calls_of(patch, 0)
        convert_port(read_port(Path("port.yaml")))
        total = len(seen)
    yield from range(1, total + 1)


@pytest.mark.parametrize("again", [False, True], ids=["new", "over an earlier one"])
def test_stopped_at_each_step_it_finishes_next_time(ported: Workspace, again: bool) -> None:
    """The output is absent, the old one, or the new one; never a part, and never lost."""
    expected = converted(ported)
    out = ported.folder / "converted_weights/m"
    mapped(ported, "b", "{i}.w -> u.{i}.w\n")
    old = converted(ported)
    mapped(ported, "b", TURNED)
    lost = 0
    for stop in stops(ported):
        shutil.rmtree(ported.folder / "converted_weights")
        shutil.rmtree(ported.folder / "evidence")
        if again:
            mapped(ported, "b", "{i}.w -> u.{i}.w\n")
            converted(ported)
            mapped(ported, "b", TURNED)
        with pytest.MonkeyPatch.context() as patch:
            calls_of(patch, stop)
            with suppress(Killed):
                convert_port(read_port(Path("port.yaml")))
        now = contents(out) if out.exists() else {}
        lost += now not in ([old, expected, {}] if again else [expected, {}])
        assert converted(ported) == expected
        assert beside(ported) == ["m"]
    assert lost == 0


@pytest.mark.parametrize("seed", range(6))
def test_killed_at_any_moment(ported: Workspace, seed: int) -> None:
    """The process itself, by SIGKILL."""
    expected = converted(ported)
    shutil.rmtree(ported.folder / "converted_weights")
    shutil.rmtree(ported.folder / "evidence")
    wait = random.Random(seed).uniform(0.2, 1.2)
    process = subprocess.Popen(
        [sys.executable, "-m", "mapcc", "port", "convert", "-q"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    time.sleep(wait)
    if process.poll() is None:
        os.kill(process.pid, signal.SIGKILL)
    process.wait()
    out = ported.folder / "converted_weights/m"
    assert not out.exists() or contents(out) == expected
    assert converted(ported) == expected
    assert beside(ported) == ["m"]


def test_two_at_once(ported: Workspace) -> None:
    from mapcc.runtime.journal import open_journal

    (ported.folder / "converted_weights").mkdir()
    held = open_journal(ported.folder / "converted_weights/m.mapcc-port-journal", "port", durable=False)
    try:
        with pytest.raises(MappingError, match="another mapcc writes it now"):
            convert_port(read_port(Path("port.yaml")))
    finally:
        held.unlink()
        held.close()


# --- evidence


def test_evidence_says_why_it_does_not_hold(ported: Workspace) -> None:
    ported.good("check")
    ported.good("convert")
    ported.good("review", "--by", "me")
    assert "done      a: converted" in ported.good("status")
    (ported.folder / "weights/notes/one.txt").write_text("two", "utf-8")
    assert "done      a: converted" in ported.good("status")  # notes are none of its business
    mapped(ported, "a", "{i}.w -> n.{i}.w\n")
    lines = ported.good("status").splitlines()
    told = {line.split(":")[0].split("  ")[-1].strip(): line for line in lines if line.startswith("stale")}
    assert set(told) == {"a"}
    assert "mapping a has changed" in told["a"]
    plan = (ported.folder / "PLAN.md").read_text("utf-8")
    assert "- [ ] a: converted" in plan
    assert "- [x] b: converted" in plan


def test_a_changed_output_is_noticed(ported: Workspace) -> None:
    ported.good("convert")
    path = ported.folder / "converted_weights/m/a/diffusion_pytorch_model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.unlink()
    path.write_bytes(data)
    ran = ported.port("gate")
    assert ran.code == 1
    assert "stale     a: converted" in ran.out
    assert "converted a has changed" in ran.out


def test_what_was_hashed_while_it_was_written_is_what_is_there(ported: Workspace) -> None:
    """The hashes of an output come from its conversion: reading it gives the same."""
    ported.good("convert")
    (ported.folder / "evidence/.hashes.json").unlink()
    assert ported.good("status").count("converted") == 2
    assert "stale" not in ported.good("status")


def test_boxes_of_people_stay_as_they_are(ported: Workspace) -> None:
    ported.good("status")
    plan = ported.folder / "PLAN.md"
    plan.write_text(plan.read_text("utf-8") + "\n- [x] ask the authors\n- [ ] tea\n", "utf-8")
    ported.good("convert")
    ported.good("status")
    assert "- [x] ask the authors\n- [ ] tea\n" in plan.read_text("utf-8")
