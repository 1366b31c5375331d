"""Sharded checkpoints: what an index may name, and whether it tells the truth."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mapcc.diagnostics.model import Diagnostic
from mapcc.tensors.index import shard_fault
from mapcc.tensors.keysets import open_keyset

Faults = Callable[..., tuple[Diagnostic, ...]]
Write = Callable[..., Path]

W = ("F32", (2,))


@pytest.fixture
def two_shards(weights: Write, index: Write) -> Path:
    weights("m-1.safetensors", {"a.0.w": W, "a.1.w": W}, {"format": "pt", "shard": "1"})
    weights("m-2.safetensors", {"a.2.w": W, "b": W}, {"format": "pt", "shard": "2"})
    return index(
        {
            "a.0.w": "m-1.safetensors",
            "a.1.w": "m-1.safetensors",
            "a.2.w": "m-2.safetensors",
            "b": "m-2.safetensors",
        }
    )


def test_shards_are_one_key_set(two_shards: Path) -> None:
    manifest = open_keyset(two_shards)
    assert list(manifest.names) == ["a.0.w", "a.1.w", "a.2.w", "b"]
    assert [path.name for path in manifest.files] == ["m-1.safetensors", "m-2.safetensors"]
    assert [spec.file for spec in manifest.tensors.values()] == [0, 0, 1, 1]
    assert [stamp.size for stamp in manifest.stamps] == [path.stat().st_size for path in manifest.files]
    assert manifest.metadata == {"format": "pt", "shard": "1"}
    assert manifest.where == str(two_shards)


@pytest.mark.parametrize(
    "name",
    [
        "../secret/private.safetensors",
        "/etc/private.safetensors",
        "x/../../secret/private.safetensors",
        "/dev/stdin",
        "..\\secret\\private.safetensors",
        "C:\\secret.safetensors",
        "C:secret.safetensors",
        "sub/m.safetensors",
        "a\0.safetensors",
        "a\x1b[31m.safetensors",
        "",
        ".",
        "..",
        ".hidden.safetensors",
        ".safetensors",
        "m.onnx",
        "m.SAFETENSORS",
        "m.safetensors ",
        "m.safetensors/",
        "\ud800.safetensors",
        "x" * 250 + ".safetensors",
    ],
)
def test_an_index_names_plain_files_beside_itself(
    name: str, index: Write, weights: Write, faults: Faults, tmp_path: Path
) -> None:
    assert shard_fault(name) is not None
    weights("m.safetensors", {"a": W})
    (tmp_path / "secret").mkdir()
    weights("secret/private.safetensors", {"b": W})
    found = faults(open_keyset, index({"a": "m.safetensors", "b": name}))
    assert {fault.code for fault in found} == {"MC003"}


@pytest.mark.parametrize("name", ["model.safetensors", "model-00001-of-00002.safetensors", "層.safetensors"])
def test_plain_names(name: str) -> None:
    assert shard_fault(name) is None


def test_names_that_differ_in_case_only(index: Write, faults: Faults) -> None:
    (fault,) = faults(open_keyset, index({"a": "m.safetensors", "b": "M.safetensors"}))
    assert "upper and lower case" in fault.message


def test_everything_untrue_is_told_at_once(weights: Write, index: Write, faults: Faults) -> None:
    weights("m-1.safetensors", {"a.0.w": W, "a.1.w": W, "extra": W})
    weights("m-2.safetensors", {"a.2.w": W, "a.0.w": W, "extra": W})
    one, two = "m-1.safetensors", "m-2.safetensors"
    path = index({"a.0.w": one, "a.1.w": two, "a.2.w": two, "gone.0": one, "gone.1": two})
    found = {fault.message.partition(": ")[2]: fault for fault in faults(open_keyset, path)}
    assert {what: fault.names for what, fault in found.items()} == {
        "2 tensors are listed, but in none of the shards": ("gone.{0,1}",),
        "1 tensor is in the shards, but not listed": ("extra",),
        "1 tensor is listed in another shard than they are in": ("a.1.w",),
        "1 tensor is in two shards": ("extra",),
    }
    assert {fault.code for fault in found.values()} == {"MC003"}
    absent = found["2 tensors are listed, but in none of the shards"]
    assert absent.span is not None
    assert absent.span.text == '"gone.0"'


@pytest.mark.parametrize("right", ["m-1.safetensors", "m-2.safetensors"])
def test_the_index_says_which_of_two_is_meant(right: str, weights: Write, index: Write) -> None:
    """A shard that was mended leaves a stale tensor in another: it is left out, and that is told."""
    weights("m-1.safetensors", {"a": W, "b": ("F32", (3,))})
    weights("m-2.safetensors", {"b": ("F32", (5,)), "c": W})
    manifest = open_keyset(index({"a": "m-1.safetensors", "b": right, "c": "m-2.safetensors"}))
    number = int(right[2]) - 1
    assert (manifest.tensors["b"].file, manifest.tensors["b"].shape) == (number, ((3,), (5,))[number])
    assert list(manifest.names) == ["a", "b", "c"]
    stale = f"m-{2 - number}.safetensors"
    assert manifest.skipped == (f"b of {stale} (the index has it elsewhere)",)


def test_absent_shards_are_named(two_shards: Path, faults: Faults) -> None:
    two_shards.with_name("m-2.safetensors").unlink()
    (fault,) = faults(open_keyset, two_shards)
    assert fault.code == "MC003"
    assert "1 of its 2 shards is not there" in fault.message
    assert fault.names == ("m-2.safetensors",)


def test_all_malformed_shards_are_told_at_once(two_shards: Path, faults: Faults) -> None:
    two_shards.with_name("m-1.safetensors").write_bytes(b"")
    two_shards.with_name("m-2.safetensors").write_bytes(b"PK\x03\x04" + bytes(20))
    assert [fault.code for fault in faults(open_keyset, two_shards)] == ["MC002", "MC002"]


def malformed() -> Iterator[tuple[str, str, str]]:
    yield "not JSON", "{", "JSON"
    yield "a list", "[]", "not a JSON object"
    yield "no weight_map", '{"metadata": {}}', "weight_map"
    yield "weight_map is a list", '{"weight_map": []}', "weight_map"
    yield "weight_map is empty", '{"weight_map": {}}', "weight_map"
    yield "name twice", '{"weight_map": {"a": "m.safetensors", "a": "n.safetensors"}}', "stands twice"
    yield "shard is a number", '{"weight_map": {"a": 1}}', "file's name"
    yield "empty name", '{"weight_map": {"": "m.safetensors"}}', "not empty"
    yield "surrogate", '{"weight_map": {"\\ud800": "m.safetensors"}}', "surrogate"
    yield "deep", '{"metadata": ' + "[" * 100_000 + "]" * 100_000 + "}", "deeply"


@pytest.mark.parametrize(("text", "rule"), [pytest.param(*rest, id=what) for what, *rest in malformed()])
def test_malformed(text: str, rule: str, tmp_path: Path, faults: Faults) -> None:
    path = tmp_path / "model.safetensors.index.json"
    path.write_text(text, "utf-8")
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC003"
    assert str(path) in fault.message
    assert rule in fault.message


def test_an_index_of_archives_may_not_lead_elsewhere(index: Write, faults: Faults) -> None:
    path = index({"a": "../pytorch_model-1.bin"}, name="pytorch_model.bin.index.json")
    (fault,) = faults(open_keyset, path)
    assert fault.code == "MC003"
    assert "without folders" in fault.message


def hub_cache(root: Path, two_shards: Path) -> Path:
    """A repository as the Hub's cache lays it out: a snapshot of links to blobs."""
    snapshot = root / "models--org--name" / "snapshots" / ("0" * 40)
    blobs = root / "models--org--name" / "blobs"
    snapshot.mkdir(parents=True)
    blobs.mkdir()
    for at, path in enumerate(sorted(two_shards.parent.glob("*.safetensors*"))):
        path.rename(blobs / str(at))
        (snapshot / path.name).symlink_to(f"../../blobs/{at}")
    return snapshot


def test_a_snapshot_of_the_hub_is_links(two_shards: Path, tmp_path: Path) -> None:
    snapshot = hub_cache(tmp_path / "hub", two_shards)
    for source in (snapshot, snapshot / two_shards.name, snapshot / "m-1.safetensors"):
        assert "a.0.w" in open_keyset(source).names
    assert "b" in open_keyset((snapshot / "m-2.safetensors").resolve()).names  # a blob has no ending
    elsewhere = tmp_path / "link"
    elsewhere.symlink_to(snapshot)
    assert len(open_keyset(elsewhere).names) == 4


def test_a_snapshot_does_not_reach_another_repository(
    two_shards: Path, tmp_path: Path, faults: Faults
) -> None:
    snapshot = hub_cache(tmp_path / "hub", two_shards)
    other = tmp_path / "hub" / "models--org--other" / "blobs" / "0"
    other.parent.mkdir(parents=True)
    shard = snapshot / "m-1.safetensors"
    shard.resolve().rename(other)
    shard.unlink()
    shard.symlink_to(other)
    (fault,) = faults(open_keyset, snapshot)
    assert fault.code == "MC001"
    assert "outside of the checkpoint" in fault.message


@pytest.mark.parametrize("source", ["index", "folder"])
@pytest.mark.parametrize("what", ["shard", "config"])
def test_links_to_outside(
    source: str, what: str, two_shards: Path, tmp_path_factory: pytest.TempPathFactory, faults: Faults
) -> None:
    folder = two_shards.parent
    link = folder / {"shard": "m-2.safetensors", "config": "config.json"}[what]
    target = tmp_path_factory.mktemp("outside") / link.name
    if what == "config":
        link.write_text('{"heads": 8}', "utf-8")
    link.rename(target)
    link.symlink_to(target)
    asked = two_shards if source == "index" else folder
    (fault,) = faults(open_keyset, asked)
    assert fault.code == "MC001"
    assert str(target) in fault.message
    assert len(open_keyset(asked, links_anywhere=True).names) == 4


def test_links_within_the_folder_are_files(two_shards: Path) -> None:
    shard = two_shards.with_name("m-2.safetensors")
    shard.rename(shard.with_name("blob"))
    shard.symlink_to("blob")
    assert len(open_keyset(two_shards).names) == 4


@pytest.mark.parametrize("target", ["m-2.safetensors", "nowhere"])
def test_links_to_nothing(target: str, two_shards: Path, faults: Faults) -> None:
    shard = two_shards.with_name("m-2.safetensors")
    shard.unlink()
    shard.symlink_to(target)
    (fault,) = faults(open_keyset, two_shards)
    assert fault.code == "MC001"
    if target == "nowhere":
        assert "a link to `nowhere`" in fault.help


def test_a_shard_that_is_no_file(two_shards: Path, faults: Faults) -> None:
    shard = two_shards.with_name("m-2.safetensors")
    shard.unlink()
    os.mkfifo(shard)
    (fault,) = faults(open_keyset, two_shards)
    assert "not a regular file" in fault.message
